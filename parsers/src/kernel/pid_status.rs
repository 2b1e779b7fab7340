//! /proc/PID/status and /proc/PID/io: what /proc/PID/stat does not say of a process or thread.

use super::scan::{after, lines, number, words};

/// The fields that are used of `status`; 0 where a line is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidStatus {
    pub effective_uid: u32,
    pub swapped_bytes: u64,
    pub voluntary_switches: u64,
    pub nonvoluntary_switches: u64,
}

/// Reads `status`.
#[must_use]
pub fn parse(bytes: &[u8]) -> PidStatus {
    let mut status = PidStatus::default();
    for line in lines(bytes) {
        let first = |rest: &[u8]| words(rest).next().and_then(number).unwrap_or_default();
        if let Some(rest) = after(line, "Uid:") {
            let uid = words(rest).nth(1).and_then(number).unwrap_or_default();
            status.effective_uid = u32::try_from(uid).unwrap_or(u32::MAX);
        } else if let Some(rest) = after(line, "VmSwap:") {
            status.swapped_bytes = first(rest).saturating_mul(1024);
        } else if let Some(rest) = after(line, "voluntary_ctxt_switches:") {
            status.voluntary_switches = first(rest);
        } else if let Some(rest) = after(line, "nonvoluntary_ctxt_switches:") {
            status.nonvoluntary_switches = first(rest);
        }
    }
    status
}

/// Bytes that were read from and written to storage, from `io`.
#[must_use]
pub fn io(bytes: &[u8]) -> Option<(u64, u64)> {
    let find = |name: &str| {
        let rest = lines(bytes).find_map(|line| after(line, name))?;
        words(rest).next().and_then(number)
    };
    Some((find("read_bytes:")?, find("write_bytes:")?))
}

/// The sum of the values of a field in `smaps_rollup`, in bytes.
#[must_use]
pub fn rollup(bytes: &[u8], name: &str) -> Option<u64> {
    let rest = lines(bytes).find_map(|line| after(line, name)?.strip_prefix(b":"))?;
    let kilobytes = words(rest).next().and_then(number)?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let sample = b"Name:\ta\nUid:\t1\t2\t3\t4\nVmSwap:\t   12 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t8\n";
        let expected = PidStatus {
            effective_uid: 2,
            swapped_bytes: 12 << 10,
            voluntary_switches: 7,
            nonvoluntary_switches: 8,
        };
        assert_eq!(parse(sample), expected);
        assert_eq!(parse(b"Uid:\n\nVmSwap: x"), PidStatus::default());
        let sample = b"rchar: 1\nread_bytes: 3\nwrite_bytes: 4\ncancelled_write_bytes: 5\n";
        assert_eq!(io(sample), Some((3, 4)));
        assert_eq!(io(b"read_bytes: 3\n"), None);
        let sample =
            b"00-7f ---p 0 0 0 [rollup]\nRss: 9 kB\nPss:  5 kB\nPss_Dirty: 1 kB\nSwapPss: 2 kB\n";
        assert_eq!(rollup(sample, "Pss"), Some(5 << 10));
        assert_eq!(rollup(sample, "SwapPss"), Some(2 << 10));
        assert_eq!(rollup(sample, "Swap"), None);
    }
}
