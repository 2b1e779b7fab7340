//! cpu.max of version 2: quota and period in microseconds.

use super::scalar::{self, Scalar};
use crate::kernel::scan::{number, words};

/// The file's two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    pub quota_us: Scalar,
    pub period_us: u64,
}

/// Reads the file; `None` when it holds something else.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<CpuMax> {
    let mut words = words(bytes);
    Some(CpuMax {
        quota_us: scalar::parse(words.next()?)?,
        period_us: number(words.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_and_period() {
        let limited = CpuMax {
            quota_us: Scalar::Number(20_000),
            period_us: 100_000,
        };
        assert_eq!(parse(b"20000 100000\n"), Some(limited));
        assert_eq!(
            parse(b"max 100000\n").map(|m| m.quota_us),
            Some(Scalar::Unlimited)
        );
        assert_eq!(parse(b"max\n"), None);
    }
}
