//! Which file is this, and does it still hold what we read from it? By content, not by name.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use kansoku_model::SourceId;

use super::content::Content;
use crate::offsets::{Checkpoint, Print};

/// How many first bytes name a file's content: more than any banner with a time in it needs.
pub(super) const HEAD_BYTES: usize = 256;
/// How many bytes before an offset prove that it is an offset into the same content: as many as
/// Fluent Bit's `offset_marker` covers, so that both read each other's.
pub(super) const MARKER_BYTES: usize = 32;

/// A file on this machine, as long as it is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// An id that nobody else has: 16 random bytes from the kernel.
///
/// # Errors
/// When the kernel gives none.
pub(super) fn new_source() -> io::Result<SourceId> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // Zero would mean "no source".
    Ok(SourceId(u128::from_le_bytes(bytes).max(1)))
}

/// The print of at most the first [`HEAD_BYTES`].
pub(super) fn head_print(file: &Content) -> io::Result<Print> {
    print_at(file, 0, HEAD_BYTES)
}

/// Whether the first `size` bytes of a file seem to be those of another: the first and the last of
/// them are compared.
pub(super) fn is_beginning(file: &Content, size: u64, of: &Content) -> io::Result<bool> {
    let n_first = size.min(HEAD_BYTES as u64) as usize;
    Ok(of.may_hold(size)?
        && print_at(file, 0, n_first)? == print_at(of, 0, n_first)?
        && marker_print(file, size)? == marker_print(of, size)?)
}

/// The print of at most [`MARKER_BYTES`] before `offset`.
pub(super) fn marker_print(file: &Content, offset: u64) -> io::Result<Print> {
    let size = offset.min(MARKER_BYTES as u64) as usize;
    print_at(file, offset - size as u64, size)
}

fn print_at(file: &Content, at: u64, size: usize) -> io::Result<Print> {
    let mut bytes = [0; HEAD_BYTES];
    let bytes = &mut bytes[..size.min(HEAD_BYTES)];
    let n = file.read_full(bytes, at)?;
    Ok(Print::of(&bytes[..n]))
}

/// Whether the file's first bytes have this print.
pub(super) fn begins_with(file: &Content, head: Print) -> io::Result<bool> {
    Ok(head.size == 0 || print_at(file, 0, head.size as usize)? == head)
}

/// Whether the file holds the content that the checkpoint speaks of: it is long enough, begins with
/// the same bytes, and has the same bytes before the offset.
pub(super) fn holds(file: &Content, checkpoint: &Checkpoint) -> io::Result<bool> {
    if !file.may_hold(checkpoint.offset)? {
        return Ok(false);
    }
    if !begins_with(file, checkpoint.head)? {
        return Ok(false);
    }
    let marker = checkpoint.marker;
    if marker.size == 0 {
        // Nothing but its length can speak against it.
        let last = checkpoint.offset.saturating_sub(1);
        return Ok(!file.is_gzip()
            || checkpoint.offset == 0
            || file.read_full(&mut [0], last)? == 1);
    }
    let at = checkpoint.offset.saturating_sub(u64::from(marker.size));
    Ok(print_at(file, at, marker.size as usize)? == marker)
}

/// Whether anything was ever read of what the checkpoint speaks of: any content fits one that has
/// seen nothing.
pub(super) fn says_something(checkpoint: &Checkpoint) -> bool {
    checkpoint.offset > 0 || checkpoint.head.size > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognised_by_its_head_and_by_what_stands_before_the_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let original = "line\n".repeat(100) + "the last line read\nand more\n";
        std::fs::write(&path, &original).unwrap();
        let file = Content::open(&path).unwrap();
        let offset = 500 + 19;
        let checkpoint = Checkpoint {
            id: 1,
            path: path.clone(),
            device: 0,
            inode: 0,
            source: new_source().unwrap(),
            created_ns: 0,
            offset,
            sent: kansoku_model::Position::at(offset),
            head: head_print(&file).unwrap(),
            marker: marker_print(&file, offset).unwrap(),
            cuts: Vec::new(),
            cursors: Vec::new(),
            rotated: false,
            finished: false,
            foreign: false,
            moved: false,
        };
        assert_eq!((checkpoint.head.size, checkpoint.marker.size), (256, 32));
        let cases = [
            ("as it was", original.clone(), true),
            ("grown", original.clone() + "news\n", true),
            ("cut", original[..500].to_owned(), false),
            ("other head", original.replacen("line", "LINE", 1), false),
            ("other marker", original.replace("last", "LAST"), false),
        ];
        for (what, content, expected) in cases {
            std::fs::write(&path, content).unwrap();
            assert_eq!(holds(&file, &checkpoint).unwrap(), expected, "{what}");
        }
        assert_ne!(new_source().unwrap(), new_source().unwrap());
    }
}
