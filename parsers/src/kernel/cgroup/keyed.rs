//! Files of `key value` lines: cpu.stat, cpuacct.stat, memory.stat, memory.events,
//! memory.oom_control, pids.events.

use crate::kernel::scan::{lines, number, text, words};

/// The pairs of the file. Lines of another shape are skipped: kernels add such lines, and what is
/// wanted is still right.
pub fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&str, u64)> {
    lines(bytes).filter_map(|line| {
        let mut words = words(line);
        let key = text(words.next()?)?;
        let value = number(words.next()?)?;
        words.next().is_none().then_some((key, value))
    })
}

/// The values of `keys`, in one pass; `None` for those that are not there.
#[must_use]
pub fn values<const N: usize>(bytes: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
    let mut out = [None; N];
    let mut missing = N;
    for (key, value) in pairs(bytes) {
        if let Some(at) = keys.iter().position(|k| *k == key) {
            missing -= usize::from(out[at].replace(value).is_none());
            if missing == 0 {
                break;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whole_keys_in_one_pass() {
        let sample = b"cache 1\nrss 2\ntotal_cache 3\ntotal_rss 4\n";
        assert_eq!(
            values(sample, ["total_rss", "cache", "swap"]),
            [Some(4), Some(1), None]
        );
        assert_eq!(
            values(b"a x\nb\nc 1 2\n\xff 1\na 5\n", ["a", "b", "c"]),
            [Some(5), None, None]
        );
        assert_eq!(values(b"a 1\na 2\nb 3", ["a", "b"]), [Some(2), Some(3)]);
    }
}
