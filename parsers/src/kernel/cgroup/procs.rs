//! cgroup.procs: a process id a line.

use crate::kernel::scan::{lines, number};

/// The process ids that this namespace can see, in the file's order.
pub fn pids(bytes: &[u8]) -> impl Iterator<Item = u64> {
    lines(bytes)
        .filter_map(|l| number(l.trim_ascii()))
        .filter(|pid| *pid != 0)
}

/// Number of processes and the lowest id, which is most likely the first that was started. Ids of
/// 0 stand for processes that this namespace cannot see; they are counted and never named.
#[must_use]
pub fn parse(bytes: &[u8]) -> (u64, Option<u64>) {
    let mut count = 0;
    let mut first: Option<u64> = None;
    for pid in lines(bytes).filter_map(|l| number(l.trim_ascii())) {
        count += 1;
        if pid != 0 && first.is_none_or(|f| pid < f) {
            first = Some(pid);
        }
    }
    (count, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_names_the_first() {
        assert_eq!(pids(b"300\n12\n0\nx\n").collect::<Vec<_>>(), [300, 12]);
        assert_eq!(parse(b"300\n12\n0\n"), (3, Some(12)));
        assert_eq!(parse(b""), (0, None));
        assert_eq!(parse(b"x\n0\n"), (1, None));
    }
}
