//! The frame of every part file: header, checksummed sections, directory, footer.
//!
//! It does not know what sections hold. The rule: nothing is read without its checksum being
//! verified, and a file without a whole footer is no part.
//!
//! ```text
//! header, 16 bytes:   "KSPT", version (4 bytes: logs 1 to 4, samples 1 to 3), zeros (8)
//!                                                                    (integers little-endian)
//! sections:           bytes, each a zstd frame, or plain when stored and raw length are equal
//! directory:          a section; drawn in `logs.rs` and `samples.rs`
//! footer, 64 bytes:
//!   0  8  directory: offset        24  8  oldest time (logs: Unix ns, samples: Unix ms)
//!   8  4  directory: stored bytes  32  8  newest time
//!  12  4  directory: raw bytes     40  8  entries or samples
//!  16  4  directory: CRC32C        48  8  bytes of text (logs) or number of series (samples)
//!  20  1  1 logs, 2 samples        56  4  CRC32C of the footer's bytes 0..56
//!  21  3  zeros                    60  4  "KSPF"
//! ```
//! A reference to a section is: offset, stored bytes, raw bytes (varints), CRC32C of the stored
//! bytes (4 bytes).

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::StoreError;
use crate::bytes::{Malformed, Reader, put_u32, put_u64, put_varint};
use crate::column::Effort;
use crate::fs::{Disk, Input, Output};
use crate::manifest::{Entry, Signal};
use crate::memory::Memory;

pub const FOLDER: &str = "parts";
const MAGIC: &[u8; 4] = b"KSPT";
const FOOTER_MAGIC: &[u8; 4] = b"KSPF";
const HEADER_BYTES: u64 = 16;
const FOOTER_BYTES: u64 = 64;
/// Memory for a stored section that a thread keeps; few are larger.
const KEPT_MAX_BYTES: usize = 1 << 20;
/// The largest section, raw: eight times the largest frame. A larger number is damage.
const SECTION_MAX_BYTES: u32 = 1 << 30;
/// What is compressed with each level to choose one; more than the window of the lowest.
const SAMPLE_BYTES: usize = 640 << 10;
/// Small pieces of a part are gathered to writes of this size.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of a part that may wait for the disk: an append's sync can have to wait for them.
const UNSYNCED_MAX_BYTES: u64 = 16 << 20;

/// Where a section lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Section {
    pub offset: u64,
    pub len: u32,
    pub raw: u32,
    pub crc: u32,
}

impl Section {
    pub fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, u64::from(self.len));
        put_varint(out, u64::from(self.raw));
        put_u32(out, self.crc);
    }

    pub fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let section = Self {
            offset: r.varint()?,
            len: r.varint32()?,
            raw: r.varint32()?,
            crc: r.u32()?,
        };
        if section.raw > SECTION_MAX_BYTES || section.len > section.raw {
            return Err(Malformed("section is larger than any may be"));
        }
        Ok(section)
    }
}

/// The totals that stand in the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub min_time: i64,
    pub max_time: i64,
    pub n_rows: u64,
    /// Logs: bytes of text. Samples: number of series.
    pub extra: u64,
}

/// Writes a part under a temporary name.
pub struct PartWriter {
    disk: Disk,
    entry: Entry,
    out: Output,
    pending: Vec<u8>,
    offset: u64,
    /// Bytes that are on the disk.
    synced: u64,
    /// One per level that may be chosen.
    compressors: Vec<zstd::bulk::Compressor<'static>>,
}

impl PartWriter {
    pub fn create(disk: &Disk, entry: Entry, effort: Effort) -> Result<Self, StoreError> {
        let name = temporary_name(&entry);
        let out = disk.create(&name)?;
        let levels = effort.zstd_levels().iter();
        let compressors = levels
            .map(|&level| zstd::bulk::Compressor::new(level))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|e| StoreError::io("compress", &disk.path(&name), &e))?;
        let mut pending = MAGIC.to_vec();
        put_u32(&mut pending, newest_version(entry.signal));
        put_u64(&mut pending, 0);
        Ok(Self {
            disk: disk.clone(),
            entry,
            out,
            pending,
            offset: HEADER_BYTES,
            synced: 0,
            compressors,
        })
    }

    /// Appends a section as it is.
    pub fn put_plain(&mut self, bytes: &[u8]) -> Result<Section, StoreError> {
        self.put_stored(bytes, bytes.len())
    }

    /// Appends a section, compressed when that makes it smaller.
    pub fn put_packed(&mut self, bytes: &[u8]) -> Result<Section, StoreError> {
        let packed = self.pack(bytes)?;
        self.put_smaller(&packed, bytes)
    }

    /// Appends a section of another part as it is stored there, with its verified bytes.
    pub fn put_copy(&mut self, section: &Section, stored: &[u8]) -> Result<Section, StoreError> {
        debug_assert_eq!(section.len as usize, stored.len());
        self.put_stored(stored, section.raw as usize)
    }

    /// Compresses bytes with the lowest level, and writes nothing.
    pub fn pack_fast(&mut self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let packed = self.compressors[0].compress(bytes);
        packed.map_err(|e| StoreError::io("compress", self.out.path(), &e))
    }

    /// Compresses bytes as `put_packed` would, and writes nothing.
    pub fn pack(&mut self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let path = self.out.path();
        pack(&mut self.compressors, bytes).map_err(|e| StoreError::io("compress", path, &e))
    }

    /// Appends a section whose compressed bytes are there already.
    pub fn put_smaller(&mut self, packed: &[u8], bytes: &[u8]) -> Result<Section, StoreError> {
        if packed.len() < bytes.len() {
            self.put_stored(packed, bytes.len())
        } else {
            self.put_plain(bytes)
        }
    }

    fn put_stored(&mut self, stored: &[u8], raw: usize) -> Result<Section, StoreError> {
        let section = Section {
            offset: self.offset,
            len: stored.len() as u32,
            raw: raw as u32,
            crc: crc32c::crc32c(stored),
        };
        self.pending.extend_from_slice(stored);
        self.offset += stored.len() as u64;
        if self.pending.len() >= WRITE_BYTES {
            self.out.write(&self.pending)?;
            self.pending.clear();
            if self.out.len() - self.synced >= UNSYNCED_MAX_BYTES {
                self.out.sync()?;
                self.synced = self.out.len();
            }
        }
        Ok(section)
    }

    /// Ends the part with its directory and makes the file durable under its final name. Only the
    /// manifest makes it visible. Returns its size.
    pub fn finish(mut self, directory: &[u8], totals: &Totals) -> Result<u64, StoreError> {
        let at = self.put_packed(directory)?;
        let mut footer = Vec::with_capacity(FOOTER_BYTES as usize);
        put_u64(&mut footer, at.offset);
        put_u32(&mut footer, at.len);
        put_u32(&mut footer, at.raw);
        put_u32(&mut footer, at.crc);
        footer.extend_from_slice(&[signal_byte(self.entry.signal), 0, 0, 0]);
        footer.extend_from_slice(&totals.min_time.to_le_bytes());
        footer.extend_from_slice(&totals.max_time.to_le_bytes());
        put_u64(&mut footer, totals.n_rows);
        put_u64(&mut footer, totals.extra);
        let crc = crc32c::crc32c(&footer);
        put_u32(&mut footer, crc);
        footer.extend_from_slice(FOOTER_MAGIC);
        self.pending.extend_from_slice(&footer);
        self.out.write(&self.pending)?;
        self.out.sync()?;
        let name = self.entry.file_name();
        self.disk
            .rename_into_place(&temporary_name(&self.entry), &name, FOLDER)?;
        Ok(self.out.len())
    }
}

/// Compresses with the level that does best on the first `SAMPLE_BYTES`.
fn pack(compressors: &mut [zstd::bulk::Compressor<'static>], bytes: &[u8]) -> io::Result<Vec<u8>> {
    if let [only] = compressors {
        return only.compress(bytes);
    }
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let mut best = (0, compressors[0].compress(sample)?);
    for (at, compressor) in compressors.iter_mut().enumerate().skip(1) {
        let packed = compressor.compress(sample)?;
        if packed.len() < best.1.len() {
            best = (at, packed);
        }
    }
    if sample.len() == bytes.len() {
        Ok(best.1)
    } else {
        compressors[best.0].compress(bytes)
    }
}

/// The name of a part that is being written; such files are removed at opening.
pub fn temporary_name(entry: &Entry) -> String {
    entry.file_name() + ".tmp"
}

/// The version that is written; all versions from 1 to it are read.
pub fn newest_version(signal: Signal) -> u32 {
    match signal {
        Signal::Logs => 4,
        Signal::Samples => 3,
    }
}

fn signal_byte(signal: Signal) -> u8 {
    match signal {
        Signal::Logs => 1,
        Signal::Samples => 2,
    }
}

/// What all parts of a store share.
#[derive(Debug)]
pub struct Shared {
    pub disk: Disk,
    pub memory: Arc<Memory>,
    /// Tells its parts from those of other stores in one cache.
    pub store: u64,
    pub damaged_blocks: AtomicU64,
}

/// An open part file.
#[derive(Debug)]
pub struct PartFile {
    pub entry: Entry,
    pub totals: Totals,
    pub version: u32,
    input: Input,
    shared: Arc<Shared>,
    /// No manifest names the file any more: remove it when the last query lets go.
    is_doomed: AtomicBool,
    /// Offsets of sections that failed their check, so that each is counted once.
    bad: Mutex<HashSet<u64>>,
}

impl PartFile {
    /// Opens a part and reads its directory.
    pub fn open(shared: &Arc<Shared>, entry: Entry) -> Result<(Self, Vec<u8>), StoreError> {
        let input = shared.disk.open(&entry.file_name())?;
        let damaged = |what: &str| StoreError::damaged(input.path(), what);
        let Some(at) = input
            .len()
            .checked_sub(FOOTER_BYTES)
            .filter(|at| *at >= HEADER_BYTES)
        else {
            return Err(damaged("too short for a part"));
        };
        let (mut header, mut footer) = ([0; HEADER_BYTES as usize], [0; FOOTER_BYTES as usize]);
        input.read_at(0, &mut header)?;
        input.read_at(at, &mut footer)?;
        if &header[..4] != MAGIC || &footer[60..] != FOOTER_MAGIC {
            return Err(damaged("not a part of this store"));
        }
        let version = u32::from_le_bytes(header[4..8].try_into().expect("four bytes"));
        if !(1..=newest_version(entry.signal)).contains(&version) {
            return Err(damaged("part of an unknown version; use a newer kansoku"));
        }
        let u32_at =
            |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().expect("eight bytes"));
        if crc32c::crc32c(&footer[..56]) != u32_at(56) {
            return Err(damaged("checksum of the footer does not match"));
        }
        if footer[20] != signal_byte(entry.signal) {
            return Err(damaged(
                "the part holds another kind of data than the manifest says",
            ));
        }
        let directory = Section {
            offset: u64_at(0),
            len: u32_at(8),
            raw: u32_at(12),
            crc: u32_at(16),
        };
        let totals = Totals {
            min_time: u64_at(24) as i64,
            max_time: u64_at(32) as i64,
            n_rows: u64_at(40),
            extra: u64_at(48),
        };
        let file = Self {
            entry,
            totals,
            version,
            input,
            shared: Arc::clone(shared),
            is_doomed: AtomicBool::new(false),
            bad: Mutex::default(),
        };
        let mut bytes = Vec::new();
        file.read(&directory, &mut bytes)?;
        Ok((file, bytes))
    }

    pub fn len(&self) -> u64 {
        self.input.len()
    }

    /// An error about this file.
    pub fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged(self.input.path(), what)
    }

    /// Reads a section's raw bytes into `out`, which is cleared first.
    pub fn read(&self, section: &Section, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let result = self.read_checked(section, out);
        if matches!(
            result,
            Err(StoreError::Damaged { .. } | StoreError::Io { .. })
        ) {
            self.count_damage(section.offset);
        }
        result
    }

    /// The bytes of a section as they are stored, verified.
    pub fn read_stored(&self, section: &Section) -> Result<Vec<u8>, StoreError> {
        let plain = Section {
            raw: section.len,
            ..*section
        };
        let mut stored = Vec::new();
        self.read_checked(&plain, &mut stored)?;
        Ok(stored)
    }

    /// Counts a damaged block once.
    pub fn count_damage(&self, offset: u64) {
        if self.bad.lock().expect("no panic while held").insert(offset) {
            self.shared.damaged_blocks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether some section failed its check since the part was opened.
    pub fn has_damage(&self) -> bool {
        !self.bad.lock().expect("no panic while held").is_empty()
    }

    fn read_checked(&self, section: &Section, out: &mut Vec<u8>) -> Result<(), StoreError> {
        thread_local! {
            /// A context and a buffer per thread: making them costs more than a small section.
            static UNPACK: RefCell<(Option<zstd::bulk::Decompressor<'static>>, Vec<u8>)> =
                const { RefCell::new((None, Vec::new())) };
        }
        let end = section.offset.checked_add(u64::from(section.len));
        if end.is_none_or(|end| end > self.input.len()) || section.raw > SECTION_MAX_BYTES {
            return Err(self.damaged("section lies outside the file"));
        }
        let at = section.offset;
        let mismatch = || self.damaged(&format!("checksum of the block at {at} does not match"));
        if section.len == section.raw {
            out.resize(section.raw as usize, 0);
            self.input.read_at(at, out)?;
            return if crc32c::crc32c(out) == section.crc {
                Ok(())
            } else {
                Err(mismatch())
            };
        }
        UNPACK.with_borrow_mut(|(decompressor, stored)| {
            stored.resize(section.len as usize, 0);
            self.input.read_at(at, stored)?;
            if crc32c::crc32c(stored) != section.crc {
                return Err(mismatch());
            }
            let unpack =
                |e: &io::Error| self.damaged(&format!("block at {at} does not decompress: {e}"));
            if decompressor.is_none() {
                *decompressor = Some(zstd::bulk::Decompressor::new().map_err(|e| unpack(&e))?);
            }
            let decompressor = decompressor.as_mut().expect("made above");
            out.clear();
            out.reserve_exact(section.raw as usize);
            let unpacked = decompressor.decompress_to_buffer(stored, out);
            if stored.capacity() > KEPT_MAX_BYTES {
                *stored = Vec::new();
            }
            unpacked.map_err(|e| unpack(&e))?;
            if out.len() == section.raw as usize {
                Ok(())
            } else {
                Err(self.damaged(&format!("block at {at} has another length than promised")))
            }
        })
    }

    /// Reads a section that others will want as well.
    pub fn read_shared(&self, section: &Section) -> Result<Arc<Vec<u8>>, StoreError> {
        self.share(section.offset, |bytes| self.read(section, bytes))
    }

    /// What `read` makes of the section at `offset`, if it is not remembered.
    pub fn share(
        &self,
        offset: u64,
        read: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<Arc<Vec<u8>>, StoreError> {
        // Neither number comes near 2^48 or 2^16.
        let key = (self.shared.store << 48 | self.entry.number, offset);
        let cache = &self.shared.memory.cache;
        if let Some(found) = cache.get(key) {
            return Ok(found);
        }
        let mut bytes = Vec::new();
        read(&mut bytes)?;
        let bytes = Arc::new(bytes);
        cache.put(key, &bytes);
        Ok(bytes)
    }

    /// Removes the file when nobody reads it any more.
    pub fn doom(&self) {
        self.is_doomed.store(true, Ordering::Relaxed);
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.is_doomed.load(Ordering::Relaxed) {
            // A file that cannot be removed now is removed at the next opening.
            let _ = self.shared.disk.remove(&self.entry.file_name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fault, Operation};
    use crate::manifest::Day;

    #[test]
    fn a_large_part_goes_to_the_disk_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        let n_syncs = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&n_syncs);
        let hook = move |operation, _: &std::path::Path| -> Option<Fault> {
            seen.fetch_add(u64::from(operation == Operation::Sync), Ordering::Relaxed);
            None
        };
        let disk = Disk::with_faults(dir.path(), Arc::new(hook));
        let entry = Entry {
            number: 1,
            signal: Signal::Logs,
            day: Day::One(20_000),
            flushes: (1, 1),
        };
        let mut part = PartWriter::create(&disk, entry, Effort::Flush).unwrap();
        let piece = vec![7; 3 << 20];
        for _ in 0..11 {
            part.put_plain(&piece).unwrap();
        }
        assert_eq!(n_syncs.load(Ordering::Relaxed), 1, "18 of 33 MiB");
        part.put_plain(&piece).unwrap();
        assert_eq!(n_syncs.load(Ordering::Relaxed), 2);
    }
}
