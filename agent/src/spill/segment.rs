//! One file of the spill and the notes beside it of what has been delivered.
//!
//! ```text
//! 0000000012.seg    frames, one after the other, as model/src/frame.rs draws them
//! 0000000012.done   12 bytes for each delivered frame: its offset (u64), 4 bytes of the XXH3 of that,
//!                   little-endian
//! ```
//! The rule: a frame counts from the moment its last byte is written. What follows the last whole
//! frame of a file that nobody writes any more is a torn tail and is cut off.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kansoku_model::frame::{HEADER_BYTES, Header};
use kansoku_model::{Frame, FrameError, RecordBatch, SourceId};

const DONE_BYTES: usize = 12;

pub(super) struct Segment {
    pub(super) number: u64,
    path: PathBuf,
    file: File,
    /// Opened with the first delivered frame.
    done: Option<File>,
    /// Where the next frame goes.
    pub(super) len: u64,
    pub(super) n_frames: u64,
    pub(super) n_delivered: u64,
    /// Delivered in an earlier life, not to be read again.
    delivered: HashSet<u64>,
    /// Frames that were read, or passed on when they were written, and are not delivered.
    pub(super) n_up: u64,
    /// Some of it could not be read.
    pub(super) damaged: bool,
}

/// What one reading gave.
pub(super) enum Reading {
    Frame(Box<RecordBatch>, u64),
    /// Delivered before; go on behind it.
    Skip(u64),
    /// This frame is damaged; go on behind it.
    Damaged(u64),
    /// Nothing more in this segment.
    End,
}

impl Segment {
    /// A new, empty segment.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = path_of(folder, number);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self::of(path, file, number))
    }

    fn of(path: PathBuf, file: File, number: u64) -> Self {
        Self {
            number,
            path,
            file,
            done: None,
            len: 0,
            n_frames: 0,
            n_delivered: 0,
            delivered: HashSet::new(),
            n_up: 0,
            damaged: false,
        }
    }

    /// A segment of an earlier life; calls `undelivered` for each frame that is still to be sent.
    /// Only headers are read: a frame is checked when its turn comes.
    pub(super) fn open(
        folder: &Path,
        number: u64,
        mut undelivered: impl FnMut(SourceId),
    ) -> io::Result<Self> {
        let path = path_of(folder, number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut segment = Self::of(path, file, number);
        segment.delivered = delivered(&segment.path.with_extension("done"));
        let mut header = [0; HEADER_BYTES];
        while segment.len < size {
            let n = read_at(&segment.file, &mut header, segment.len)?;
            let end = match Header::read(&header[..n]) {
                Ok(h) => segment.len + h.frame_bytes as u64,
                Err(error) => {
                    segment.damaged = !matches!(error, FrameError::Truncated { .. });
                    break;
                }
            };
            if end > size {
                break;
            }
            segment.n_frames += 1;
            if segment.delivered.contains(&segment.len) {
                segment.n_delivered += 1;
            } else {
                let h = Header::read(&header).map_err(io::Error::other)?;
                undelivered(h.source.id);
            }
            segment.len = end;
        }
        if segment.len < size && !segment.damaged {
            segment.file.set_len(segment.len)?;
        }
        Ok(segment)
    }

    /// Appends whole frames.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<u64> {
        let at = self.len;
        if let Err(error) = self.file.write_all_at(frame, at) {
            // What was written of it must not stand before the next frame.
            self.file.set_len(at)?;
            return Err(error);
        }
        self.len += frame.len() as u64;
        self.n_frames += 1;
        Ok(at)
    }

    /// The frame at `offset`, with the offset behind it; with `verify` its checksum is looked at.
    pub(super) fn read(&self, offset: u64, verify: bool) -> io::Result<Reading> {
        if offset >= self.len {
            return Ok(Reading::End);
        }
        let mut header = [0; HEADER_BYTES];
        let n = read_at(&self.file, &mut header, offset)?;
        let Ok(header) = Header::read(&header[..n]) else {
            return Ok(Reading::End);
        };
        let next = offset + header.frame_bytes as u64;
        if self.delivered.contains(&offset) {
            return Ok(Reading::Skip(next));
        }
        let mut bytes = vec![0; header.frame_bytes];
        let n = read_at(&self.file, &mut bytes, offset)?;
        let frame = if verify {
            Frame::parse(&bytes[..n])
        } else {
            Frame::parse_unverified(&bytes[..n])
        };
        let batch = frame.and_then(|f| f.decode());
        Ok(match batch {
            Ok(batch) => Reading::Frame(Box::new(batch), next),
            Err(_) => Reading::Damaged(next),
        })
    }

    /// The source of the frame at `offset`.
    pub(super) fn source_at(&self, offset: u64) -> Option<SourceId> {
        let mut header = [0; HEADER_BYTES];
        let n = read_at(&self.file, &mut header, offset).ok()?;
        Header::read(&header[..n]).ok().map(|h| h.source.id)
    }

    /// Notes that the frame at `offset` has been delivered.
    pub(super) fn note_delivered(&mut self, offset: u64) -> io::Result<()> {
        self.n_delivered += 1;
        self.n_up = self.n_up.saturating_sub(1);
        if self.done.is_none() {
            let path = self.path.with_extension("done");
            self.done = Some(OpenOptions::new().create(true).append(true).open(path)?);
        }
        let bytes = offset.to_le_bytes();
        let mut note = bytes.to_vec();
        note.extend_from_slice(&checksum(&bytes));
        match &mut self.done {
            Some(done) => done.write_all(&note),
            None => Ok(()),
        }
    }

    /// Makes what was written survive a power failure.
    pub(super) fn clone_file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Deletes it with its notes, or keeps a damaged one aside.
    pub(super) fn remove(self, delete_damaged: bool) -> io::Result<()> {
        if self.damaged && !delete_damaged {
            fs::rename(&self.path, self.path.with_extension("damaged"))?;
        } else {
            fs::remove_file(&self.path)?;
        }
        match fs::remove_file(self.path.with_extension("done")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.seg"))
}

/// The numbers of the segments in a folder, oldest first.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".seg"));
        numbers.extend(number.and_then(|n| n.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    (xxhash_rust::xxh3::xxh3_64(bytes) as u32).to_le_bytes()
}

/// Offsets of delivered frames; a torn or damaged note only means that a frame is sent again.
fn delivered(path: &Path) -> HashSet<u64> {
    let bytes = fs::read(path).unwrap_or_default();
    let notes = bytes.chunks_exact(DONE_BYTES);
    let sound = notes.filter(|n| n[8..] == checksum(&n[..8]));
    sound
        .map(|n| u64::from_le_bytes(n[..8].try_into().expect("eight bytes")))
        .collect()
}

/// Reads as much as there is.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut n = 0;
    while n < bytes.len() {
        match file.read_at(&mut bytes[n..], offset + n as u64) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}
