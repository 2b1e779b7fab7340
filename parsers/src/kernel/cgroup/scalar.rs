//! Files of one number: memory.current, cpuacct.usage, pids.max, cpu.cfs_quota_us and the like.

use crate::kernel::scan::number;

/// What such a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    Number(u64),
    /// `max` of version 2, `-1` of version 1.
    Unlimited,
}

impl Scalar {
    /// The number, or `default` when there is no limit.
    #[must_use]
    pub fn or(self, default: u64) -> u64 {
        match self {
            Self::Number(n) => n,
            Self::Unlimited => default,
        }
    }
}

/// Reads the file; `None` when it holds something else.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Scalar> {
    match bytes.trim_ascii() {
        b"max" | b"-1" => Some(Scalar::Unlimited),
        word => number(word).map(Scalar::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_no_limits() {
        assert_eq!(
            parse(b"9223372036854771712\n"),
            Some(Scalar::Number(9_223_372_036_854_771_712))
        );
        assert_eq!(parse(b"max\n"), Some(Scalar::Unlimited));
        assert_eq!(parse(b"-1\n").map(|s| s.or(7)), Some(7));
        assert_eq!(parse(b"1 2\n"), None);
        assert_eq!(parse(b""), None);
    }
}
