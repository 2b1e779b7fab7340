//! Files of `key value` lines: cpu.stat, cpuacct.stat, memory.stat, memory.events,
//! memory.oom_control, pids.events.

use crate::kernel::scan::{lines, number};

/// The values of `keys`, in one pass; `None` for those that are not there. Lines of another shape are
/// skipped: kernels add such lines, and what is wanted is still right.
#[must_use]
pub fn values<const N: usize>(bytes: &[u8], keys: [&str; N]) -> [Option<u64>; N] {
    let mut out = [None; N];
    let mut missing = N;
    for line in lines(bytes) {
        // Only the value of a line that is wanted is looked at: memory.stat has a hundred lines.
        let Some(end) = memchr::memchr(b' ', line) else {
            continue;
        };
        let (key, value) = line.split_at(end);
        let is_key = |k: &str| k.len() == key.len() && k.as_bytes() == key;
        if let Some(at) = keys.iter().position(|k| is_key(k))
            && let Some(value) = number(value.trim_ascii())
        {
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
