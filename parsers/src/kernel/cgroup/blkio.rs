//! blkio files of version 1: lines `MAJOR:MINOR Operation value` and a last `Total value`.

use crate::kernel::scan::{lines, number, text, words};

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub major: u32,
    pub minor: u32,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`.
    pub operation: &'a str,
    pub value: u64,
}

/// The entries of the file. The sum over all devices and lines of another shape are skipped.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    lines(bytes).filter_map(|line| {
        let mut words = words(line);
        let (major, minor) = device(words.next()?)?;
        Some(Entry {
            major,
            minor,
            operation: text(words.next()?)?,
            value: number(words.next()?)?,
        })
    })
}

/// Reads `MAJOR:MINOR`.
#[must_use]
pub fn device(word: &[u8]) -> Option<(u32, u32)> {
    let colon = memchr::memchr(b':', word)?;
    let half = |w: &[u8]| number(w).and_then(|n| u32::try_from(n).ok());
    Some((half(&word[..colon])?, half(&word[colon + 1..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_but_not_their_sum() {
        let sample = b"254:0 Read 24576\n254:0 Write 0\nTotal 24576\nx:0 Read 1\n254 Read 1\n";
        let all: Vec<_> = entries(sample).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].major, all[0].operation, all[0].value),
            (254, "Read", 24_576)
        );
    }
}
