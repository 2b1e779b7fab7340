//! /proc/diskstats: a line per block device. Kernels append columns; each line tells how many.

use super::Malformed;
use super::scan::{lines, number, text, words};

/// Statistics that are known: 11 at first, 4 of discards since 4.18, 2 of flushes since 5.5.
pub const MAX_VALUES: usize = 17;

/// One device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk<'a> {
    pub major: u32,
    pub minor: u32,
    pub name: &'a str,
    /// The columns after the name, as the kernel writes them (512-byte sectors, milliseconds).
    pub values: [u64; MAX_VALUES],
    pub n_values: usize,
}

/// The devices in the file's order.
pub fn disks(bytes: &[u8]) -> impl Iterator<Item = Result<Disk<'_>, Malformed>> {
    lines(bytes)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            let malformed = |expected| Malformed {
                format: "diskstats",
                line: index + 1,
                expected,
            };
            let mut words = words(line);
            let mut id = || {
                words
                    .next()
                    .and_then(number)
                    .and_then(|n| u32::try_from(n).ok())
                    .ok_or_else(|| malformed("a device number"))
            };
            let (major, minor) = (id()?, id()?);
            let name = words
                .next()
                .and_then(text)
                .ok_or_else(|| malformed("a device name"))?;
            let mut disk = Disk {
                major,
                minor,
                name,
                values: [0; MAX_VALUES],
                n_values: 0,
            };
            for (slot, word) in disk.values.iter_mut().zip(words) {
                *slot = number(word).ok_or_else(|| malformed("a count"))?;
                disk.n_values += 1;
            }
            Ok(disk)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_kernels() {
        let sample = b"   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n";
        let all: Result<Vec<_>, _> = disks(sample).collect();
        let all = all.expect("sample parses");
        assert_eq!(
            (all[0].name, all[0].n_values, all[0].values[10]),
            ("sda", 11, 11)
        );
        assert_eq!((all[1].major, all[1].minor, all[1].n_values), (254, 0, 17));
        assert_eq!(all[1].values[16], 17);
    }

    #[test]
    fn bad_lines_are_errors() {
        for bad in ["8", "8 0", "x 0 sda 1", "8 0 sda 1 x", "8 0 \u{fffd}"] {
            let bytes = bad.as_bytes();
            let all: Vec<_> = disks(bytes).collect();
            let bad_name = bad.ends_with('\u{fffd}');
            assert_eq!(all[0].is_ok(), bad_name, "{bad}");
        }
        assert!(disks(b"8 0 \xff\xfe 1").next().expect("a line").is_err());
    }
}
