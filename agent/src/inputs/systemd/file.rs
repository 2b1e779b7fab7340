//! One journal file, read entry by entry with plain reads.
//!
//! The rule: an entry is followed only once the header counts it, because journald links an entry in
//! before it is counted and may be in the middle of it now.

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
    file: File,
    place: Place,
    /// Entries passed.
    n_passed: u64,
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
        self.header = journal::header(&bytes)?;
        Ok(())
    }

    /// Whether every entry that is counted has been passed.
    pub fn is_read(&self) -> bool {
        self.n_passed >= self.header.n_entries
    }

    fn object(&self, offset: u64, wanted: u8) -> anyhow::Result<(u8, Vec<u8>)> {
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

    fn entry_at(&self, offset: u64) -> anyhow::Result<Entry> {
        let (_, object) = self.object(offset, ENTRY)?;
        Ok(journal::entry(&object, self.header.is_compact)?)
    }

    /// Goes behind every entry that `is_passed` holds for; it must hold for a run from the start.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn skip(&mut self, is_passed: impl Fn(&Entry) -> bool) -> anyhow::Result<()> {
        let (mut array, mut n_before) = (self.header.entry_array_offset, 0);
        for _ in 0..MAX_ARRAYS {
            if array == 0 || n_before >= self.header.n_entries {
                return Ok(());
            }
            let (n_items, next) = self.array(array)?;
            let n_used = n_items.min(self.header.n_entries - n_before);
            let passed = |at: u64| -> anyhow::Result<bool> {
                let offset = self.items(array, at, 1)?[0];
                Ok(offset != 0 && is_passed(&self.entry_at(offset)?))
            };
            // The first item that is not passed, by halving.
            let (mut low, mut high) = (0, n_used);
            while low < high {
                let middle = (low + high) / 2;
                if passed(middle)? {
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
    /// When the file is damaged. An entry that is damaged itself is passed.
    pub fn next(&mut self) -> anyhow::Result<Option<Entry>> {
        if self.is_read() {
            return Ok(None);
        }
        if self.place.array == 0 || self.place.item >= self.place.n_items {
            let next = match self.place.array {
                0 => self.header.entry_array_offset,
                array => self.array(array)?.1,
            };
            if next == 0 {
                return Ok(None);
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
            return Ok(None);
        };
        if offset == 0 {
            // Counted but not written yet; it will be there the next time.
            self.place.chunk.clear();
            return Ok(None);
        }
        self.place.chunk.pop();
        self.place.item += 1;
        self.n_passed += 1;
        self.entry_at(offset).map(Some)
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
        let field: Arc<[u8]> = match journal::data(&object, flags, self.header.is_compact)? {
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
