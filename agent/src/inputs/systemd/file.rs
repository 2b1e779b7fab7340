//! One journal file, read entry by entry with plain reads.
//!
//! The rule: an entry is followed only once the header counts it, because journald links an entry in
//! before it is counted and may be in the middle of it now.
//!
//! Entries are found through the file's entry arrays. Where anything on that way is damaged, the rest of
//! the file is read object by object (`walk`): entries lie in it in their order, so one bad object costs
//! itself and no other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use kansoku_parsers::journal::{
    self, DATA, ENTRY, ENTRY_ARRAY, Entry, HEADER_BYTES, Header, OBJECT_HEADER_BYTES,
};

/// Entry offsets that are read from an array at once.
const CHUNK_ITEMS: u64 = 256;
/// Most fields repeat from entry to entry: so many small ones are remembered.
const MAX_REMEMBERED: usize = 2048;
const MAX_REMEMBERED_BYTES: usize = 256;
/// The most arrays that are walked; each is twice as large as the one before.
const MAX_ARRAYS: usize = 4096;

/// Where the next entry's offset stands.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The array; 0 before the first.
    array: u64,
    n_items: u64,
    /// The next item in the array.
    item: u64,
    /// Items of the array from `item` on that have been read.
    chunk: Vec<u64>,
}

/// An open journal file.
pub(crate) struct JournalFile {
    pub path: PathBuf,
    pub header: Header,
    pub(super) file: File,
    place: Place,
    /// Entries passed.
    n_passed: u64,
    /// The sequence number of the last of them.
    pub(super) last_seqnum: u64,
    /// Set once the arrays were found damaged: the next object to look at.
    pub(super) walks_at: Option<u64>,
    /// The header was the same the last time: its last entry is written.
    pub(super) is_settled: bool,
    /// Damaged objects met so far.
    pub n_damaged: u64,
    fields: HashMap<u64, Arc<[u8]>>,
}

impl JournalFile {
    /// # Errors
    /// When it cannot be read or is no journal.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self {
            path: path.to_owned(),
            header: journal::header(&bytes)?,
            file,
            place: Place::default(),
            n_passed: 0,
            last_seqnum: 0,
            walks_at: None,
            is_settled: false,
            n_damaged: 0,
            fields: HashMap::new(),
        })
    }

    /// Looks again how many entries there are.
    ///
    /// # Errors
    /// When the header cannot be read any more.
    pub fn refresh(&mut self) -> anyhow::Result<()> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, 0)?;
        let header = journal::header(&bytes)?;
        self.is_settled = header == self.header;
        self.header = header;
        Ok(())
    }

    /// Whether every entry that is counted has been passed.
    pub fn is_read(&self) -> bool {
        match self.walks_at {
            None => self.n_passed >= self.header.n_entries,
            Some(at) => {
                at > self.header.tail_object_offset || self.last_seqnum >= self.header.tail_seqnum
            }
        }
    }

    pub(super) fn object(&self, offset: u64, wanted: u8) -> anyhow::Result<(u8, Vec<u8>)> {
        let shown = || format!("{} at byte {offset}", self.path.display());
        let mut head = [0; OBJECT_HEADER_BYTES];
        self.file
            .read_exact_at(&mut head, offset)
            .with_context(shown)?;
        let (flags, size) = journal::object_header(&head, wanted).with_context(shown)?;
        let mut object = vec![0; size as usize];
        self.file
            .read_exact_at(&mut object, offset)
            .with_context(shown)?;
        Ok((flags, object))
    }

    /// The number of items of the array at `offset`, and the next array.
    fn array(&self, offset: u64) -> anyhow::Result<(u64, u64)> {
        let shown = || format!("{} at byte {offset}", self.path.display());
        let mut head = [0; 24];
        self.file
            .read_exact_at(&mut head, offset)
            .with_context(shown)?;
        // Arrays grow to any size, so they are not read whole.
        let size = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
        let plausible = OBJECT_HEADER_BYTES as u64..=journal::MAX_OBJECT_BYTES;
        anyhow::ensure!(
            head[0] == ENTRY_ARRAY && (size >= 24 && (plausible.contains(&size) || size < 1 << 40)),
            "{} is damaged: no entry array at byte {offset}",
            self.path.display()
        );
        let next = u64::from_le_bytes(head[16..24].try_into().expect("eight bytes"));
        Ok(((size - 24) / self.item_bytes(), next))
    }

    fn item_bytes(&self) -> u64 {
        if self.header.is_compact { 4 } else { 8 }
    }

    /// Entry offsets `from..from + n` of the array at `offset`.
    fn items(&self, offset: u64, from: u64, n: u64) -> anyhow::Result<Vec<u64>> {
        let width = self.item_bytes();
        let mut bytes = vec![0; (24 + n * width) as usize];
        self.file
            .read_exact_at(&mut bytes[24..], offset + 24 + from * width)
            .with_context(|| format!("{} at byte {offset}", self.path.display()))?;
        Ok(journal::entry_array(&bytes, self.header.is_compact)?.1)
    }

    pub(super) fn entry_at(&self, offset: u64) -> anyhow::Result<Entry> {
        let (_, object) = self.object(offset, ENTRY)?;
        Ok(journal::entry(&object, self.header.is_compact)?)
    }

    /// Goes behind every entry that `is_passed` holds for; it must hold for a run from the start.
    ///
    /// # Errors
    /// What is damaged in the arrays; the place is the right one all the same.
    pub fn skip(&mut self, is_passed: impl Fn(&Entry) -> bool) -> anyhow::Result<()> {
        let skipped = self.skip_by_arrays(&is_passed);
        if skipped.is_err() {
            self.skip_by_objects(is_passed);
        }
        skipped
    }

    fn skip_by_arrays(&mut self, is_passed: impl Fn(&Entry) -> bool) -> anyhow::Result<()> {
        let (mut array, mut n_before) = (self.header.entry_array_offset, 0);
        for _ in 0..MAX_ARRAYS {
            if array == 0 || n_before >= self.header.n_entries {
                return Ok(());
            }
            let (n_items, next) = self.array(array)?;
            let n_used = n_items.min(self.header.n_entries - n_before);
            // The first item that is not passed, by halving.
            let (mut low, mut high) = (0, n_used);
            while low < high {
                let middle = (low + high) / 2;
                let offset = self.items(array, middle, 1)?[0];
                let entry = match offset {
                    0 => None,
                    offset => Some(self.entry_at(offset)?).filter(&is_passed),
                };
                if let Some(entry) = entry {
                    self.last_seqnum = self.last_seqnum.max(entry.seqnum);
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            self.n_passed = n_before + low;
            self.place = Place {
                array,
                n_items,
                item: low,
                chunk: Vec::new(),
            };
            if low < n_used {
                return Ok(());
            }
            n_before += n_items;
            array = next;
        }
        anyhow::bail!(
            "{} is damaged: its entry arrays do not end",
            self.path.display()
        )
    }

    /// The next entry; `None` when all that are counted have been passed.
    ///
    /// # Errors
    /// What is damaged here; it has been passed, and the next call reads on.
    pub fn next(&mut self) -> anyhow::Result<Option<Entry>> {
        let found = match self.walks_at {
            None if self.is_read() => return Ok(None),
            None => self.next_by_arrays(),
            Some(_) => self.next_by_objects(),
        };
        match &found {
            Ok(Some(entry)) => self.last_seqnum = entry.seqnum,
            Ok(None) => {}
            Err(_) => {
                self.n_damaged += 1;
                self.walks_at.get_or_insert(self.header.header_bytes);
            }
        }
        found
    }

    fn next_by_arrays(&mut self) -> anyhow::Result<Option<Entry>> {
        if self.place.array == 0 || self.place.item >= self.place.n_items {
            let next = match self.place.array {
                0 => self.header.entry_array_offset,
                array => self.array(array)?.1,
            };
            if next == 0 {
                return self.nothing("the entry arrays end early");
            }
            // Arrays are only ever added at the end, so that a file cannot lead in a circle.
            anyhow::ensure!(
                next > self.place.array,
                "{} is damaged: the array at byte {} leads back to {next}",
                self.path.display(),
                self.place.array
            );
            self.place = Place {
                array: next,
                n_items: self.array(next)?.0,
                ..Place::default()
            };
        }
        if self.place.chunk.is_empty() {
            let left = self.place.n_items - self.place.item;
            let counted = self.header.n_entries - self.n_passed;
            let n = left.min(counted).min(CHUNK_ITEMS);
            let mut chunk = self.items(self.place.array, self.place.item, n)?;
            chunk.reverse();
            self.place.chunk = chunk;
        }
        let Some(&offset) = self.place.chunk.last() else {
            return self.nothing("an entry array is empty");
        };
        if offset == 0 {
            self.place.chunk.clear();
            return self.nothing("an entry array has a hole");
        }
        let entry = self.entry_at(offset)?;
        anyhow::ensure!(
            self.is_in_order(&entry),
            "{} is damaged: the entry at byte {offset} has the sequence number {} after {}",
            self.path.display(),
            entry.seqnum,
            self.last_seqnum
        );
        self.place.chunk.pop();
        self.place.item += 1;
        self.n_passed += 1;
        Ok(Some(entry))
    }

    /// Nothing where an entry is counted: while journald writes it will be there the next time.
    fn nothing(&self, what: &str) -> anyhow::Result<Option<Entry>> {
        if self.header.is_online {
            return Ok(None);
        }
        anyhow::bail!(
            "{} is damaged: {what} in the array at byte {}",
            self.path.display(),
            self.place.array
        )
    }

    pub(super) fn is_in_order(&self, entry: &Entry) -> bool {
        entry.seqnum > self.last_seqnum && entry.seqnum <= self.header.tail_seqnum
    }

    /// The bytes `NAME=value` of a field.
    ///
    /// # Errors
    /// When it is damaged or compressed in a way that is not known.
    pub fn field(&mut self, offset: u64) -> anyhow::Result<Arc<[u8]>> {
        if let Some(known) = self.fields.get(&offset) {
            return Ok(known.clone());
        }
        let (flags, object) = self.object(offset, DATA)?;
        let field = journal::data(&object, flags, self.header.is_compact)
            .with_context(|| format!("{} at byte {offset}", self.path.display()))?;
        let field: Arc<[u8]> = match field {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        };
        if field.len() <= MAX_REMEMBERED_BYTES {
            if self.fields.len() >= MAX_REMEMBERED {
                self.fields.clear();
            }
            self.fields.insert(offset, field.clone());
        }
        Ok(field)
    }
}
