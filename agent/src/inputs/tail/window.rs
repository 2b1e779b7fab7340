//! The bytes of a file that are in memory at a time, and where lines end in them.
//!
//! It knows nothing of offsets that are stored, of batches or of what a line means. The rule: it
//! grows only for a line that fills it, and never beyond the longest line and two reads.

use std::io;

use super::content::Content;
use super::encoding::{self, Encoding};
use super::identity::MARKER_BYTES;

/// One read: small enough to stay in the processor's cache until its lines are parsed.
pub(super) const READ_BYTES: usize = 256 << 10;
/// Lines are fed in pieces of about this size, after each of which the batch may be closed: rows of
/// very short lines take far more memory than their bytes.
const FEED_BYTES: usize = 64 << 10;

/// The bytes of a file around the offset: `buffer[start..end]` begins at the offset.
pub(super) struct Window {
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Window {
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The end of the next whole lines, counted from `start`: about [`FEED_BYTES`] of them.
    pub(super) fn lines_end(&self, encoding: Option<Encoding>) -> Option<usize> {
        let unread = self.unread();
        let near = unread.len().min(FEED_BYTES);
        encoding::last_line_end(encoding, &unread[..near])
            .or_else(|| encoding::first_line_end(encoding, &unread[near..]).map(|n| near + n))
    }

    /// Reads from offset `at` as much as the buffer takes. Less means the end of the file.
    pub(super) fn fill(&mut self, file: &Content, at: u64) -> io::Result<usize> {
        let wanted = (READ_BYTES + MARKER_BYTES).max(self.buffer.len());
        self.buffer.resize(wanted, 0);
        let n = file.read_at(&mut self.buffer[self.end..], at)?;
        self.end += n;
        Ok(n)
    }

    /// Moves the unfinished line to the front; grows only for a line that fills the buffer.
    pub(super) fn make_room(&mut self, line_max_bytes: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let half = self.buffer.len() / 2;
        if self.end > half {
            let most = line_max_bytes + 2 * READ_BYTES;
            self.buffer.resize((2 * self.buffer.len()).min(most), 0);
        }
    }
}

/// Where the first line over `longest` begins; lines end with a newline or with `bytes`.
pub(super) fn first_long_line(
    encoding: Option<Encoding>,
    bytes: &[u8],
    longest: usize,
) -> Option<usize> {
    let mut start = 0;
    while let Some(n) = encoding::first_line_end(encoding, &bytes[start..]) {
        if n - encoding::width(encoding) > longest {
            return Some(start);
        }
        start += n;
    }
    None
}

/// The longest beginning that does not end within a UTF-8 character.
pub(super) fn utf8_border(bytes: &[u8]) -> usize {
    let continues = |b: &u8| b & 0b1100_0000 == 0b1000_0000;
    let n = bytes
        .iter()
        .rev()
        .take(3)
        .take_while(|b| continues(b))
        .count();
    match bytes.len().checked_sub(n + 1).map(|at| bytes[at]) {
        // A lead byte whose character is complete, or bytes that are no UTF-8 at all, stay.
        Some(lead) if lead >= 0b1100_0000 && lead.leading_ones() as usize > n + 1 => {
            bytes.len() - n - 1
        }
        _ => bytes.len(),
    }
}
