//! /proc/PID/mountinfo: a line per mount, with the kernel's octal escapes in paths.

use std::borrow::Cow;

use super::Malformed;
use super::cgroup::blkio::device;
use super::scan::{lines, words};

/// One mount, as written; see [`unescape`] for paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Major and minor number of the file system's device; major 0 for those without one.
    pub device: (u32, u32),
    pub mount_point: &'a [u8],
    /// Comma separated options of this mount.
    pub options: &'a [u8],
    pub fs_type: &'a [u8],
    /// The device, or whatever the file system calls its source.
    pub source: &'a [u8],
    /// Comma separated options of the file system.
    pub super_options: &'a [u8],
}

impl Mount<'_> {
    /// Whether nothing can be written there: by the mount, by the file system, or because the file
    /// system shut itself down after an error.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let has = |options: &[u8], word: &[u8]| options.split(|b| *b == b',').any(|o| o == word);
        has(self.options, b"ro")
            || has(self.super_options, b"ro")
            || has(self.super_options, b"emergency_ro")
    }
}

/// The mounts in the file's order.
pub fn mounts(bytes: &[u8]) -> impl Iterator<Item = Result<Mount<'_>, Malformed>> {
    lines(bytes)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            parse_line(line).ok_or(Malformed {
                format: "mountinfo",
                line: index + 1,
                expected: "id parent dev root mountpoint options ... - type source options",
            })
        })
}

fn parse_line(line: &[u8]) -> Option<Mount<'_>> {
    let mut words = words(line);
    let device = device(words.nth(2)?)?;
    let mount_point = words.nth(1)?;
    let options = words.next()?;
    // Optional fields follow, and a lone dash ends them.
    words.find(|w| *w == b"-")?;
    Some(Mount {
        device,
        mount_point,
        options,
        fs_type: words.next()?,
        source: words.next()?,
        super_options: words.next().unwrap_or_default(),
    })
}

/// Undoes `\040` and its like.
#[must_use]
pub fn unescape(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'\\') {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        if let [
            b'\\',
            a @ b'0'..=b'3',
            b @ b'0'..=b'7',
            c @ b'0'..=b'7',
            tail @ ..,
        ] = rest
        {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_are_skipped() {
        let sample =
            b"29 1 259:2 / / rw,relatime shared:1 master:2 - ext4 /dev/dm-2 errors=remount-ro\n\
            28 29 0:25 / /run ro,nosuid - tmpfs tmpfs rw,size=1617716k\n\
            30 1 8:1 / /a\\040b rw - xfs /dev/sda1 ro,attr2\n";
        let all: Result<Vec<_>, _> = mounts(sample).collect();
        let all = all.expect("sample parses");
        assert_eq!(all[0].source, b"/dev/dm-2");
        assert_eq!(all[0].fs_type, b"ext4");
        let read_only: Vec<_> = all.iter().map(Mount::is_read_only).collect();
        assert_eq!(read_only, [false, true, true]);
        assert_eq!(unescape(all[2].mount_point), &b"/a b"[..]);
    }

    #[test]
    fn escapes_are_undone_and_others_kept() {
        assert_eq!(unescape(b"/\\134x\\011\\9\\04"), &b"/\\x\t\\9\\04"[..]);
        assert!(
            mounts(b"29 1 259:2 / / rw ext4 x y\n")
                .next()
                .expect("a line")
                .is_err()
        );
        assert!(mounts(b"29 1 -\n").next().expect("a line").is_err());
    }
}
