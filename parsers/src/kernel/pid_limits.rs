//! /proc/PID/limits: a table of resource limits, of which open files are wanted.

use super::scan::{after, lines, number, words};

/// The soft limit of open files; `None` when it is not there, `Some(None)` when it is unlimited.
#[must_use]
pub fn open_files(bytes: &[u8]) -> Option<Option<u64>> {
    let rest = lines(bytes).find_map(|line| after(line, "Max open files"))?;
    match words(rest).next()? {
        b"unlimited" => Some(None),
        word => number(word).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit() {
        let sample =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max processes             unlimited            unlimited            processes \n\
            Max open files            20000                524288               files     \n";
        assert_eq!(open_files(sample), Some(Some(20_000)));
        assert_eq!(
            open_files(b"Max open files unlimited unlimited files\n"),
            Some(None)
        );
        assert_eq!(open_files(b"Max open files x\n"), None);
        assert_eq!(open_files(b""), None);
    }
}
