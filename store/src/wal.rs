//! The write-ahead log: numbered segment files of checksummed entries, each one frame, or
//! series and samples by reference (`records.rs`).
//!
//! It knows neither marks nor heads. The rule: an entry is acknowledged only after `append`
//! returned, and then every later reading of the segment gives it back.
//!
//! ```text
//! segment file wal/000000000001.wal
//!  0  4  magic "KSWL"
//!  4  4  version, 4 (3: no "KSG1", 2: no "KSS2", 1: frames only)
//!  8  8  segment number                                (integers little-endian)
//! 16     entries:
//!          0  4  n, bytes of the body
//!          4  4  CRC32C of the 4 bytes before and of the body
//!          8  n  the body: a frame (magic "KSF1") as it was received, or "KSD1", "KSS1", "KSS2" or
//!                "KSG1": a group begins, whose entries were written and synced together
//! ```
//!
//! Damage before the last group's beginning lies in what was synced: it loses itself only. In the last
//! group it may be what a power cut left of an append that nobody was answered for, written in any
//! order; nothing behind it counts, or a source's later frame would stand for the earlier one as well.

use kansoku_model::Frame;
use kansoku_model::frame::{HEADER_BYTES, MAX_PAYLOAD_BYTES};

use crate::bytes::put_u32;
use crate::fs::{Disk, Output};
use crate::records::{DEFINITIONS, SAMPLES, STARTED};
use crate::{Damage, StoreError};

pub const FOLDER: &str = "wal";
const MAGIC: &[u8; 4] = b"KSWL";
const VERSION: u32 = 4;
/// Segments of these versions are read.
const VERSIONS: [u32; 4] = [1, 2, 3, VERSION];
/// The first version whose groups are marked.
const VERSION_OF_GROUPS: u32 = 4;
const GROUP: &[u8; 4] = b"KSG1";
const GROUP_BODY_BYTES: usize = 8;
const SEGMENT_HEADER_BYTES: usize = 16;
const ENTRY_HEADER_BYTES: usize = 8;
/// The largest frame, so that a damaged length is told from a true one.
const FRAME_MAX_BYTES: usize = HEADER_BYTES + MAX_PAYLOAD_BYTES;

/// The file of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{FOLDER}/{number:012}.wal")
}

/// The number in a segment's file name.
pub fn segment_number(file_name: &str) -> Option<u64> {
    file_name.strip_suffix(".wal")?.parse().ok()
}

/// The last of some segments, in their order, that holds an entry.
pub fn last_written(disk: &Disk, mut numbers: impl DoubleEndedIterator<Item = u64>) -> Option<u64> {
    let is_written = |number: &u64| {
        let file = disk.open(&segment_name(*number));
        file.is_ok_and(|file| file.len() > SEGMENT_HEADER_BYTES as u64)
    };
    numbers.rfind(is_written)
}

/// Appends the entry with `body` to `out`.
pub fn put_entry(out: &mut Vec<u8>, body: &[u8]) {
    let len = (body.len() as u32).to_le_bytes();
    out.extend_from_slice(&len);
    put_u32(out, entry_checksum(len, body));
    out.extend_from_slice(body);
}

fn entry_checksum(len: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len), body)
}

/// The body of an entry, its checksum verified.
#[derive(Debug)]
pub enum Entry<'a> {
    Frame(Frame<'a>),
    /// Series for `records::Replayed::define`.
    Definitions(&'a [u8]),
    /// Samples for `records::Replayed::samples`.
    Samples(&'a [u8]),
    /// What follows was written together.
    Group,
}

impl Entry<'_> {
    fn body_len(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.as_bytes().len(),
            Self::Definitions(body) | Self::Samples(body) => body.len(),
            Self::Group => GROUP_BODY_BYTES,
        }
    }
}

/// Why entries were not written.
#[derive(Debug)]
pub enum AppendError {
    /// Nothing was written; the log is as before.
    Refused(StoreError),
    /// The log's state is unknown: nothing may be appended to it any more.
    Broken(StoreError),
}

/// The segment that is being written.
#[derive(Debug)]
pub struct Wal {
    disk: Disk,
    segment: Output,
    pub number: u64,
}

impl Wal {
    /// Starts segment `number`.
    pub fn start(disk: &Disk, number: u64) -> Result<Self, StoreError> {
        let mut segment = disk.create(&segment_name(number))?;
        let mut header = MAGIC.to_vec();
        put_u32(&mut header, VERSION);
        header.extend_from_slice(&number.to_le_bytes());
        segment.write(&header)?;
        segment.sync()?;
        disk.sync_folder(FOLDER)?;
        Ok(Self {
            disk: disk.clone(),
            segment,
            number,
        })
    }

    /// Bytes of the running segment.
    pub fn len(&self) -> u64 {
        self.segment.len()
    }

    /// Whether the running segment holds no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == SEGMENT_HEADER_BYTES as u64
    }

    /// Appends whole entries and makes them durable with one sync.
    pub fn append<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), AppendError> {
        let good = self.segment.len();
        let mut group = Vec::new();
        put_entry(&mut group, &[*GROUP, [0; 4]].concat());
        self.write(&group, good)?;
        for bytes in entries {
            self.write(bytes, good)?;
        }
        self.segment.sync().map_err(AppendError::Broken)
    }

    /// Writes some bytes, or cuts the segment back to `good` if the disk is full.
    fn write(&mut self, bytes: &[u8], good: u64) -> Result<(), AppendError> {
        let Err(error) = self.segment.write(bytes) else {
            return Ok(());
        };
        // A full disk must not leave half an entry in front of the next one.
        let cut = self.segment.cut_back(good);
        Err(match (&error, cut) {
            (StoreError::Full { .. }, Ok(())) => AppendError::Refused(error),
            _ => AppendError::Broken(error),
        })
    }

    /// Ends the segment and starts the next. The old one stays until its data is in parts.
    pub fn rotate(&mut self) -> Result<(), StoreError> {
        *self = Self::start(&self.disk, self.number + 1)?;
        Ok(())
    }
}

/// What reading a segment gave besides its entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    pub entries: u64,
    /// Length up to which the file is whole, when it ends in a torn entry.
    pub torn_at: Option<u64>,
    /// Places that could not be read; (offset, length, what).
    pub damaged: Vec<(u64, u64, &'static str)>,
}

impl SegmentReport {
    /// The damage as the recovery report tells it.
    pub fn damage_of(&self, disk: &Disk, number: u64) -> impl Iterator<Item = Damage> {
        let path = disk.path(&segment_name(number));
        self.damaged
            .iter()
            .map(move |&(offset_bytes, len_bytes, what)| Damage {
                path: path.clone(),
                offset_bytes,
                len_bytes,
                what: format!("{what}; the segment is kept in quarantine/"),
            })
    }
}

/// Calls `each` with every whole entry of a segment in order. What lies between is reported; the
/// search for the next whole entry goes on behind it, unless it lies in the last group of the last
/// segment that holds entries.
pub fn read_segment<'a>(
    bytes: &'a [u8],
    is_last: bool,
    mut each: impl FnMut(Entry<'a>),
) -> SegmentReport {
    let mut report = SegmentReport::default();
    let header_is_good = bytes.len() >= SEGMENT_HEADER_BYTES
        && &bytes[..4] == MAGIC
        && VERSIONS.iter().any(|v| bytes[4..8] == v.to_le_bytes());
    if !header_is_good {
        if bytes.len() < SEGMENT_HEADER_BYTES {
            // A crash while the segment was being started: it can hold no entry.
            report.torn_at = Some(0);
            return report;
        }
        report
            .damaged
            .push((0, SEGMENT_HEADER_BYTES as u64, "segment header is damaged"));
    }
    // A damaged header says nothing; old segments go with the first flush after an update.
    let version = bytes[4..8].try_into().map_or(VERSION, u32::from_le_bytes);
    let may_be_unsynced = is_last && (!VERSIONS.contains(&version) || version >= VERSION_OF_GROUPS);
    let mut at = SEGMENT_HEADER_BYTES;
    while at < bytes.len() {
        if let Some(entry) = entry_at(bytes, at) {
            at += ENTRY_HEADER_BYTES + entry.body_len();
            if !matches!(entry, Entry::Group) {
                each(entry);
                report.entries += 1;
            }
            continue;
        }
        let next = (at + 1..bytes.len()).find(|&next| entry_at(bytes, next).is_some());
        let end = next.unwrap_or(bytes.len());
        if next.is_none() && is_torn(&bytes[at..]) {
            report.torn_at = Some(at as u64);
        } else if may_be_unsynced && !begins_group_from(bytes, end) {
            // Some of the last group is there and some of it is not.
            report.torn_at = Some(at as u64);
            report.damaged.push((
                at as u64,
                (bytes.len() - at) as u64,
                "the last append is damaged: the power went while it was written, or the disk lost some of it",
            ));
            return report;
        } else {
            report
                .damaged
                .push((at as u64, (end - at) as u64, "entry is damaged"));
        }
        at = end;
    }
    report
}

/// Whether a group begins at `at` or behind it.
fn begins_group_from(bytes: &[u8], at: usize) -> bool {
    let mut places = at..bytes.len();
    places.any(|at| matches!(entry_at(bytes, at), Some(Entry::Group)))
}

/// The whole entry that starts at `at`.
fn entry_at(bytes: &[u8], at: usize) -> Option<Entry<'_>> {
    // The body's magic first: it makes the search through damaged bytes cheap.
    let magic: &[u8; 4] = bytes.get(at + 8..at + 12)?.try_into().expect("four bytes");
    let by_reference = [DEFINITIONS, SAMPLES, STARTED].contains(&magic);
    let is_group = magic == GROUP;
    if !by_reference && !is_group && magic != b"KSF1" {
        return None;
    }
    let len_bytes: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    let crc = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four bytes"));
    let len = u32::from_le_bytes(len_bytes) as usize;
    let least = match by_reference || is_group {
        true => 8,
        false => HEADER_BYTES,
    };
    if !(least..=FRAME_MAX_BYTES).contains(&len) {
        return None;
    }
    let body = bytes.get(at + 8..)?.get(..len)?;
    if entry_checksum(len_bytes, body) != crc {
        return None;
    }
    if is_group {
        return (len == GROUP_BODY_BYTES).then_some(Entry::Group);
    }
    if by_reference {
        return Some(if magic != DEFINITIONS {
            Entry::Samples(body)
        } else {
            Entry::Definitions(body)
        });
    }
    let frame = Frame::parse(body).ok()?;
    (frame.as_bytes().len() == len).then_some(Entry::Frame(frame))
}

/// Whether the last bytes of a segment are an entry whose end was never written: shorter than they
/// promise, or pages that the file system left as zeros.
fn is_torn(tail: &[u8]) -> bool {
    let Some(len) = tail.first_chunk::<4>() else {
        return true;
    };
    let len = u32::from_le_bytes(*len) as usize;
    let zeros_at_end = tail.iter().rev().take_while(|b| **b == 0).count();
    tail.len() < ENTRY_HEADER_BYTES
        || (len <= FRAME_MAX_BYTES && tail.len() < ENTRY_HEADER_BYTES + len)
        || zeros_at_end == tail.len()
        || zeros_at_end >= 512
}

#[cfg(test)]
mod tests {
    use kansoku_model::{RecordBatch, frame};

    use super::*;
    use crate::fs::{Fault, Operation};
    use crate::testing::{FailOnce, T0_NS, logs};

    fn entry(n: u64) -> Vec<u8> {
        let batch = RecordBatch::Logs(logs(7, "a", n, &[(T0_NS, "a line of some length")]));
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        frame::encode(&batch, &mut bytes).unwrap();
        put_entry(&mut out, &bytes);
        out
    }

    fn segment(n: u64) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        disk.make_folder(FOLDER).unwrap();
        let mut wal = Wal::start(&disk, 3).unwrap();
        for i in 0..n {
            wal.append([&entry(i)[..]].into_iter()).unwrap();
        }
        disk.read(&segment_name(3), 1 << 20).unwrap().unwrap()
    }

    fn offsets(bytes: &[u8]) -> (Vec<u64>, SegmentReport) {
        offsets_of(bytes, true)
    }

    fn offsets_of(bytes: &[u8], is_last: bool) -> (Vec<u64>, SegmentReport) {
        let mut got = Vec::new();
        let report = read_segment(bytes, is_last, |entry| {
            got.push(match entry {
                Entry::Frame(frame) => frame.source.from.offset,
                Entry::Definitions(body) | Entry::Samples(body) => body.len() as u64,
                Entry::Group => unreachable!("groups are not given away"),
            });
        });
        (got, report)
    }

    #[test]
    fn a_tail_torn_at_any_byte_gives_back_all_entries_before_it() {
        let bytes = segment(3);
        let last = bytes.len() - entry(2).len();
        assert_eq!(offsets(&bytes).0, [0, 1, 2]);
        for cut in last + 1..bytes.len() {
            let (got, report) = offsets(&bytes[..cut]);
            assert_eq!(got, [0, 1], "{cut}");
            assert_eq!(report.torn_at, Some(last as u64), "{cut}");
            assert!(report.damaged.is_empty(), "{cut}");
        }
        let mut zeros = bytes[..last].to_vec();
        zeros.resize(last + 5000, 0);
        assert_eq!(offsets(&zeros).1.torn_at, Some(last as u64));
        for cut in 0..SEGMENT_HEADER_BYTES {
            assert_eq!(offsets(&bytes[..cut]).1.torn_at, Some(0));
        }
    }

    #[test]
    fn a_flipped_bit_loses_one_entry_and_is_reported() {
        let bytes = segment(3);
        let len = entry(1).len();
        let mark = ENTRY_HEADER_BYTES + GROUP_BODY_BYTES;
        let second = SEGMENT_HEADER_BYTES + mark + entry(0).len() + mark;
        for bit in 0..len * 8 {
            let mut bad = bytes.clone();
            bad[second + bit / 8] ^= 1 << (bit % 8);
            let (got, report) = offsets(&bad);
            assert_eq!(got, [0, 2], "bit {bit}");
            assert_eq!(report.damaged.len(), 1);
            assert_eq!(report.damaged[0].0, second as u64);
            assert_eq!(report.torn_at, None);
        }
        let mut bad = bytes.clone();
        bad[1] ^= 1;
        assert_eq!(offsets(&bad).0, [0, 1, 2], "a damaged header loses nothing");
        let mut bad = bytes;
        let end = bad.len();
        bad[end - 3] ^= 1;
        let (got, report) = offsets_of(&bad, false);
        assert_eq!(
            (got, report.damaged.len(), report.torn_at),
            (vec![0, 1], 1, None)
        );
        // In the last segment nobody may have been answered for it; what is cut is told as well.
        let (got, report) = offsets(&bad);
        let last = (end - entry(2).len()) as u64;
        assert_eq!(
            (got, report.damaged.len(), report.torn_at),
            (vec![0, 1], 1, Some(last))
        );
    }

    #[test]
    fn of_a_damaged_last_append_nothing_behind_the_damage_counts() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        disk.make_folder(FOLDER).unwrap();
        let mut wal = Wal::start(&disk, 1).unwrap();
        let entries: Vec<Vec<u8>> = (0..4).map(entry).collect();
        wal.append([&entries[0][..]].into_iter()).unwrap();
        let start = wal.len() as usize;
        // One source's frames in one append: the third would stand for the second as well.
        wal.append(entries[1..].iter().map(|e| &e[..])).unwrap();
        let bytes = disk.read(&segment_name(1), 1 << 20).unwrap().unwrap();
        assert_eq!(offsets(&bytes).0, [0, 1, 2, 3]);
        let group = ENTRY_HEADER_BYTES + GROUP_BODY_BYTES;
        let second = start + group + entries[1].len();
        for (damaged, expected) in [
            (start + 3, vec![0]),
            (start + group + 20, vec![0]),
            (second + 20, vec![0, 1]),
        ] {
            let mut bad = bytes.clone();
            bad[damaged] ^= 1;
            let (got, report) = offsets(&bad);
            assert_eq!(got, expected);
            assert!(report.torn_at.is_some() && report.damaged.len() == 1);
            // A later segment was written to: all of this one was synced.
            let (got, report) = offsets_of(&bad, false);
            assert!(got.len() >= 3 && report.torn_at.is_none(), "{got:?}");
        }
    }

    #[test]
    fn a_full_disk_leaves_the_log_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        // Write 0 is the segment's header; each append writes the mark of a group first.
        let (disk, once) = FailOnce::disk(dir.path(), Operation::Write, 4, Fault::Short(9, 28));
        disk.make_folder(FOLDER).unwrap();
        let mut wal = Wal::start(&disk, 1).unwrap();
        wal.append([&entry(0)[..]].into_iter()).unwrap();
        let refused = wal.append([&entry(1)[..]].into_iter());
        assert!(
            matches!(refused, Err(AppendError::Refused(StoreError::Full { .. }))),
            "{refused:?}"
        );
        assert!(once.happened());
        wal.append([&entry(2)[..]].into_iter()).unwrap();
        let bytes = disk.read(&segment_name(1), 1 << 20).unwrap().unwrap();
        assert_eq!(offsets(&bytes).0, [0, 2]);
        assert_eq!(offsets(&bytes).1.damaged, []);
    }

    #[test]
    fn other_failures_break_the_log() {
        for (operation, n, fault) in [
            (Operation::Write, 1, Fault::Short(9, 5)),
            (Operation::Write, 1, Fault::Errno(5)),
            (Operation::Sync, 1, Fault::Errno(5)),
            (Operation::Sync, 1, Fault::Errno(28)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (disk, _) = FailOnce::disk(dir.path(), operation, n, fault);
            disk.make_folder(FOLDER).unwrap();
            let mut wal = Wal::start(&disk, 1).unwrap();
            let broken = wal.append([&entry(0)[..]].into_iter());
            assert!(matches!(broken, Err(AppendError::Broken(_))), "{fault:?}");
        }
    }
}
