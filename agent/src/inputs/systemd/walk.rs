//! The entries of a damaged journal file, without its arrays: object by object from the first to the
//! last that the header names.
//!
//! The rule: an entry counts only when its sequence number goes on from the one before. So what a
//! search behind damage takes for an entry, and is none, does no harm.

use std::os::unix::fs::FileExt;

use kansoku_parsers::journal::{DATA, ENTRY, Entry, MAX_OBJECT_BYTES, OBJECT_HEADER_BYTES};

use super::file::JournalFile;

/// Objects begin at multiples of this.
const ALIGNMENT: u64 = 8;
/// Types run from 1 (data) to 7 (tag).
const MAX_TYPE: u8 = 7;
/// An entry without fields.
const ENTRY_MIN_BYTES: u64 = 64;
/// How much is searched at once.
const SEARCH_BYTES: usize = 64 << 10;

impl JournalFile {
    /// Goes behind every entry that `is_passed` holds for, from the start of the file.
    pub(super) fn skip_by_objects(&mut self, is_passed: impl Fn(&Entry) -> bool) {
        self.last_seqnum = 0;
        self.walks_at = Some(self.header.header_bytes);
        loop {
            let before = self.walks_at;
            match self.next_by_objects() {
                Ok(Some(entry)) if is_passed(&entry) => self.last_seqnum = entry.seqnum,
                Ok(Some(_)) => {
                    self.walks_at = before;
                    return;
                }
                Ok(None) => return,
                // Told by the run that passed it first.
                Err(_) => {}
            }
        }
    }

    /// The next entry behind `walks_at`.
    ///
    /// # Errors
    /// What is damaged; it has been passed.
    pub(super) fn next_by_objects(&mut self) -> anyhow::Result<Option<Entry>> {
        loop {
            let at = self.walks_at.unwrap_or(self.header.header_bytes);
            if at > self.header.tail_object_offset || self.last_seqnum >= self.header.tail_seqnum {
                return Ok(None);
            }
            let Some((kind, bytes)) = self.object_at(at) else {
                let next = self.next_plausible(at + ALIGNMENT);
                self.walks_at = Some(next);
                anyhow::bail!(
                    "{} is damaged: no object at byte {at}; reading on at byte {next}",
                    self.path.display()
                );
            };
            if kind == ENTRY {
                let entry = self.entry_at(at);
                let is_last = |e: &Entry| e.seqnum >= self.header.tail_seqnum;
                if self.header.is_online && !self.is_settled && entry.as_ref().is_ok_and(is_last) {
                    // journald may be in the middle of it.
                    return Ok(None);
                }
                self.walks_at = Some(at + bytes.next_multiple_of(ALIGNMENT));
                let entry = entry?;
                if self.is_in_order(&entry) {
                    return Ok(Some(entry));
                }
                anyhow::ensure!(
                    entry.seqnum <= self.last_seqnum,
                    "{} is damaged: the entry at byte {at} has the sequence number {}",
                    self.path.display(),
                    entry.seqnum
                );
                continue;
            }
            self.walks_at = Some(at + bytes.next_multiple_of(ALIGNMENT));
        }
    }

    /// Type and size of the object at `at`, when one can be there.
    fn object_at(&self, at: u64) -> Option<(u8, u64)> {
        let mut head = [0; OBJECT_HEADER_BYTES];
        self.file.read_exact_at(&mut head, at).ok()?;
        let bytes = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
        let least = if head[0] == ENTRY {
            ENTRY_MIN_BYTES
        } else {
            OBJECT_HEADER_BYTES as u64
        };
        let end = at.checked_add(bytes)?;
        let fits = at == self.header.tail_object_offset || end <= self.header.tail_object_offset;
        ((1..=MAX_TYPE).contains(&head[0]) && bytes >= least && fits).then_some((head[0], bytes))
    }

    /// Where the next entry seems to be, at or after `from`; behind the last object when nowhere.
    fn next_plausible(&self, from: u64) -> u64 {
        let end = self.header.tail_object_offset;
        let mut buffer = vec![0; SEARCH_BYTES];
        let mut start = from;
        while start <= end {
            let n = self.file.read_at(&mut buffer, start).unwrap_or(0);
            let heads = buffer[..n].chunks_exact(ALIGNMENT as usize);
            let found = heads.enumerate().find_map(|(i, head)| {
                let at = start + i as u64 * ALIGNMENT;
                (head[0] == ENTRY && at <= end && self.is_entry(at)).then_some(at)
            });
            if let Some(at) = found {
                return at;
            }
            // Over what cannot be read, too.
            start += SEARCH_BYTES as u64;
        }
        end + 1
    }

    /// Whether an entry at `at` would go on from the last one and has its first field.
    fn is_entry(&self, at: u64) -> bool {
        let bytes = self.object_at(at).map_or(0, |(_, bytes)| bytes);
        if !(ENTRY_MIN_BYTES..=MAX_OBJECT_BYTES).contains(&bytes) {
            return false;
        }
        let Ok(entry) = self.entry_at(at) else {
            return false;
        };
        let has_field = || {
            entry
                .items
                .first()
                .is_some_and(|f| self.object(*f, DATA).is_ok())
        };
        self.is_in_order(&entry) && has_field()
    }
}
