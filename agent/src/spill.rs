//! What would vanish while a destination is away, on disk: one folder of segment files per output.
//!
//! Frames are appended, read back in order as memory allows, and deleted when they are delivered.
//! Safe against kill -9: a frame is written before it is acknowledged to its input, and what has
//! been delivered is noted beside it. With `storage.sync full` a frame is also synced before it is
//! acknowledged; else once a second, so that only a power failure can take the last second.
//!
//! The rule: nothing is dropped that was taken, but for the oldest that is not under way when the
//! newest cannot wait, and that is counted. A full disk is reported and tried again later.

mod segment;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{RecordBatch, SourceId};

use crate::log;
use segment::{Reading, Segment};

/// A segment is closed at this size: what is delivered is given back to the disk in such pieces.
const SEGMENT_BYTES: u64 = 8 << 20;
/// The segment at work is kept when it is empty of undelivered frames, up to this size.
const REUSE_BYTES: u64 = 256 << 10;
/// After a failed write the disk is left alone for this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How a spill behaves.
#[derive(Debug, Clone)]
pub struct SpillOptions {
    /// Made when the first frame comes.
    pub folder: PathBuf,
    /// For messages.
    pub component: String,
    pub sync_full: bool,
    /// Bytes of segments that may lie there.
    pub limit_bytes: Option<u64>,
    pub delete_damaged: bool,
    /// `storage.checksum`: whether frames are checked when they are read back.
    pub verify: bool,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `storage.total_limit_size` is reached.
    Full,
    /// The disk does not take it; it has been logged.
    Disk,
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    offset: u64,
    bytes: u64,
}

/// One output's spill.
pub struct Spill {
    options: SpillOptions,
    /// Taken for a write or a read of one frame.
    state: Mutex<State>,
    /// Something was written since the last sync.
    unsynced: AtomicBool,
    /// Frames that were read back and are not settled.
    n_up: AtomicUsize,
    bytes_up: AtomicU64,
    pub dropped_records: AtomicU64,
    pub damaged_frames: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Oldest first; the last may be written to.
    segments: VecDeque<Segment>,
    /// Whether the last segment is written to.
    is_open: bool,
    next_number: u64,
    /// The segment and offset of the next frame to be read.
    cursor: (u64, u64),
    /// How many frames of each source have not been read yet.
    unread: HashMap<SourceId, u64>,
    pause_until: Option<Instant>,
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.len).sum()
    }

    fn is_all_read(&self) -> bool {
        self.unread.is_empty()
    }

    fn read_one(&mut self, source: SourceId) {
        if let Some(n) = self.unread.get_mut(&source) {
            *n -= 1;
            if *n == 0 {
                self.unread.remove(&source);
            }
        }
    }

    /// The segment the cursor is in, having moved it over those that are read.
    fn current(&mut self) -> Option<&mut Segment> {
        let (number, _) = self.cursor;
        let at = self.segments.iter().position(|s| s.number >= number)?;
        if self.segments[at].number > number {
            self.cursor = (self.segments[at].number, 0);
        }
        self.segments.get_mut(at)
    }
}

impl Spill {
    /// Opens what an earlier life left.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn open(options: SpillOptions) -> io::Result<Self> {
        let mut state = State::default();
        if options.folder.exists() {
            for number in segment::numbers(&options.folder)? {
                let unread = &mut state.unread;
                let note = |source| *unread.entry(source).or_default() += 1;
                let segment = Segment::open(&options.folder, number, note)?;
                if segment.damaged {
                    let message = "has bytes that are no frames; what stands before them is sent";
                    log::error(
                        &options.component,
                        format_args!("spilled segment {number} {message}"),
                    );
                }
                state.next_number = number + 1;
                state.segments.push_back(segment);
            }
        }
        let spill = Self {
            options,
            state: Mutex::new(state),
            unsynced: AtomicBool::new(false),
            n_up: AtomicUsize::new(0),
            bytes_up: AtomicU64::new(0),
            dropped_records: AtomicU64::new(0),
            damaged_frames: AtomicU64::new(0),
        };
        spill.remove_delivered(&mut spill.lock());
        Ok(spill)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a frame of this source waits to be read: then all that follows of it must be spilled
    /// too, so that it stays in order.
    #[must_use]
    pub fn has(&self, source: SourceId) -> bool {
        let state = self.lock();
        !state.unread.is_empty() && state.unread.contains_key(&source)
    }

    /// Whether a frame of `bytes` would be taken, as far as can be known before.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        let state = self.lock();
        let paused = state.pause_until.is_some_and(|at| Instant::now() < at);
        !paused && self.fits(&state, bytes)
    }

    fn fits(&self, state: &State, bytes: u64) -> bool {
        let limit = self.options.limit_bytes;
        // A spill that is empty takes a frame of any size, or it would never be sent.
        let is_empty = || state.segments.iter().all(|s| s.n_delivered >= s.n_frames);
        limit.is_none_or(|limit| state.bytes() + bytes <= limit || is_empty())
    }

    /// Appends a frame. `direct` says that the caller can pass the batch on at once; the second
    /// value says whether it may, as nothing waits before it: else it will be read back.
    ///
    /// With `push_out`, the oldest frames give way when the limit is reached.
    ///
    /// # Errors
    /// When there is no room or the disk fails.
    pub fn append(
        &self,
        frame: &[u8],
        source: SourceId,
        direct: bool,
        push_out: bool,
    ) -> Result<(Place, bool), Refused> {
        let mut state = self.lock();
        if state.pause_until.is_some_and(|at| Instant::now() < at) {
            return Err(Refused::Disk);
        }
        while !self.fits(&state, frame.len() as u64) {
            if !push_out || !self.drop_oldest(&mut state) {
                return Err(Refused::Full);
            }
        }
        let place = self.write(&mut state, frame).map_err(|error| {
            state.pause_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
            state.is_open = false;
            log::error(
                &self.options.component,
                format_args!(
                    "cannot spill to {}: {error}; inputs wait",
                    self.options.folder.display()
                ),
            );
            Refused::Disk
        })?;
        let direct = direct && state.is_all_read();
        if direct {
            if let Some(segment) = state.segments.back_mut() {
                segment.n_up += 1;
            }
            state.cursor = (place.segment, place.offset + place.bytes);
        } else {
            *state.unread.entry(source).or_default() += 1;
        }
        Ok((place, direct))
    }

    fn write(&self, state: &mut State, frame: &[u8]) -> io::Result<Place> {
        // A few segments must fit the limit, as only whole ones give bytes back.
        let limit = self.options.limit_bytes.unwrap_or(u64::MAX);
        let most = SEGMENT_BYTES.min(limit / 4);
        let is_full = |s: &Segment| s.len > 0 && s.len + frame.len() as u64 > most;
        if !state.is_open || state.segments.back().is_none_or(is_full) {
            fs::create_dir_all(&self.options.folder)?;
            let segment = Segment::create(&self.options.folder, state.next_number)?;
            state.next_number += 1;
            state.segments.push_back(segment);
            state.is_open = true;
            if self.options.sync_full {
                File::open(&self.options.folder)?.sync_all()?;
            }
        }
        let segment = state.segments.back_mut().expect("one was just made");
        let offset = segment.append(frame)?;
        if self.options.sync_full {
            segment.clone_file()?.sync_data()?;
        } else {
            self.unsynced.store(true, Ordering::Relaxed);
        }
        Ok(Place {
            segment: segment.number,
            offset,
            bytes: frame.len() as u64,
        })
    }

    /// Reads the next frame that nobody has read. The caller says [`queued`](Self::queued) when it
    /// stands in its queue.
    pub fn next(&self) -> Option<(RecordBatch, Place)> {
        let mut state = self.lock();
        loop {
            let (_, mut offset) = state.cursor;
            let number = state.cursor.0;
            let segment = state.current()?;
            if segment.number != number {
                offset = 0;
            }
            let number = segment.number;
            let reading = match segment.read(offset, self.options.verify) {
                Ok(reading) => reading,
                Err(error) => {
                    let component = &self.options.component;
                    log::error(component, format_args!("cannot read the spill: {error}"));
                    return None;
                }
            };
            match reading {
                Reading::Skip(next) => state.cursor = (number, next),
                Reading::Frame(batch, next) => {
                    segment.n_up += 1;
                    state.cursor = (number, next);
                    let place = Place {
                        segment: number,
                        offset,
                        bytes: next - offset,
                    };
                    return Some((*batch, place));
                }
                Reading::Damaged(next) => {
                    segment.damaged = true;
                    segment.n_delivered += 1;
                    let source = segment.source_at(offset).unwrap_or_default();
                    state.cursor = (number, next);
                    state.read_one(source);
                    self.damaged_frames.fetch_add(1, Ordering::Relaxed);
                    log::error(
                        &self.options.component,
                        format_args!("a damaged frame in spilled segment {number} is skipped"),
                    );
                    self.remove_delivered(&mut state);
                }
                Reading::End => {
                    let is_last = state.segments.back().is_some_and(|s| s.number == number);
                    if is_last {
                        return None;
                    }
                    state.cursor = (number + 1, 0);
                }
            }
        }
    }

    /// A frame that was read stands in its queue: what follows of its source may go there too.
    pub fn queued(&self, source: SourceId) {
        self.lock().read_one(source);
    }

    /// Whether there is something to be read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        !self.lock().is_all_read()
    }

    /// A frame has been delivered, or will never be.
    pub fn delivered(&self, place: Place) {
        let mut state = self.lock();
        let mut segments = state.segments.iter_mut();
        let Some(segment) = segments.find(|s| s.number == place.segment) else {
            return;
        };
        if let Err(error) = segment.note_delivered(place.offset) {
            log::warn(
                &self.options.component,
                format_args!("cannot note what has been delivered: {error}"),
            );
        }
        self.remove_delivered(&mut state);
    }

    fn remove_delivered(&self, state: &mut State) {
        loop {
            let is_open = state.is_open;
            let last = state.segments.len().saturating_sub(1);
            let is_over = |(n, s): (usize, &Segment)| {
                let reused = is_open && n == last && s.len < REUSE_BYTES;
                s.n_delivered >= s.n_frames && !reused
            };
            let Some(at) = state.segments.iter().enumerate().position(is_over) else {
                return;
            };
            if at == last {
                state.is_open = false;
            }
            if let Some(segment) = state.segments.remove(at) {
                self.remove(segment);
            }
        }
    }

    fn remove(&self, segment: Segment) {
        if let Err(error) = segment.remove(self.options.delete_damaged) {
            log::warn(
                &self.options.component,
                format_args!("cannot remove a delivered segment: {error}"),
            );
        }
    }

    /// Gives up the oldest segment of frames that nobody has read; false when there is none. What is
    /// under way stays: its segment must outlive it, as a crash would take what memory holds.
    fn drop_oldest(&self, state: &mut State) -> bool {
        let (number, offset) = state.cursor;
        let may_go = |s: &Segment| {
            let from = if s.number == number { offset } else { 0 };
            s.number >= number && s.n_up == 0 && from < s.len
        };
        let Some(at) = state.segments.iter().position(may_go) else {
            return false;
        };
        let Some(segment) = state.segments.remove(at) else {
            return false;
        };
        if at == state.segments.len() {
            state.is_open = false;
        }
        let mut offset = if segment.number == number { offset } else { 0 };
        let mut n_records = 0;
        while let Ok(reading) = segment.read(offset, self.options.verify) {
            match reading {
                Reading::Frame(batch, next) => {
                    n_records += batch.n_records() as u64;
                    state.read_one(batch.source().id);
                    offset = next;
                }
                Reading::Damaged(next) => {
                    // It was counted when the spill was opened, and nobody will read it any more.
                    state.read_one(segment.source_at(offset).unwrap_or_default());
                    self.damaged_frames.fetch_add(1, Ordering::Relaxed);
                    offset = next;
                }
                Reading::Skip(next) => offset = next,
                Reading::End => break,
            }
        }
        if segment.number == number {
            state.cursor = (segment.number + 1, 0);
        }
        self.remove(segment);
        if n_records == 0 {
            return true;
        }
        self.dropped_records.fetch_add(n_records, Ordering::Relaxed);
        log::error(
            &self.options.component,
            format_args!(
                "storage.total_limit_size is reached: the {n_records} oldest spilled records are dropped"
            ),
        );
        true
    }

    /// Makes what was written survive a power failure; for a timer.
    pub fn sync(&self) {
        if !self.unsynced.swap(false, Ordering::Relaxed) {
            return;
        }
        // Not under the lock: a sync may take as long as the disk likes.
        let file = {
            let state = self.lock();
            state.segments.back().map(Segment::clone_file)
        };
        let synced = file.map_or(Ok(()), |file| file?.sync_data());
        if let Err(error) = synced {
            log::error(
                &self.options.component,
                format_args!("cannot sync the spill: {error}"),
            );
        }
    }

    /// Counts a frame as in memory until the value is dropped.
    pub fn up(self: &Arc<Self>, place: Place) -> Up {
        self.n_up.fetch_add(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(place.bytes, Ordering::Relaxed);
        Up {
            spill: self.clone(),
            place,
        }
    }

    /// How many frames are in memory, and their bytes on disk.
    #[must_use]
    pub fn up_now(&self) -> (usize, u64) {
        (
            self.n_up.load(Ordering::Relaxed),
            self.bytes_up.load(Ordering::Relaxed),
        )
    }

    /// How much of `storage.total_limit_size` is free, in percent; `None` without a limit.
    #[must_use]
    pub fn free_percent(&self) -> Option<u64> {
        let limit = self.options.limit_bytes?.max(1);
        let used = self.lock().bytes().min(limit);
        Some((limit - used) * 100 / limit)
    }

    /// How it stands, for metrics.
    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.lock();
        let n_frames: u64 = state
            .segments
            .iter()
            .map(|s| s.n_frames - s.n_delivered.min(s.n_frames))
            .sum();
        let n_up = self.n_up.load(Ordering::Relaxed);
        Status {
            n_segments: state.segments.len(),
            bytes: state.bytes(),
            n_frames,
            n_up,
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
        }
    }
}

/// How a spill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    pub n_segments: usize,
    /// Of segments on disk.
    pub bytes: u64,
    /// Not delivered.
    pub n_frames: u64,
    /// Of these, in memory.
    pub n_up: usize,
    pub bytes_up: u64,
}

/// A spilled frame that is in memory.
pub struct Up {
    spill: Arc<Spill>,
    place: Place,
}

impl Up {
    /// It has been delivered, or will never be.
    pub fn delivered(self) {
        self.spill.delivered(self.place);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.spill.n_up.fetch_sub(1, Ordering::Relaxed);
        self.spill
            .bytes_up
            .fetch_sub(self.place.bytes, Ordering::Relaxed);
    }
}
