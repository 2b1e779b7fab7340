//! One generation of one file: an open descriptor, how far it is read, and what is under way.
//!
//! The descriptor stays open until the generation is read to its end, whatever happens to its name.
//! A quiet generation owns no buffer: an unfinished line is read again when more of it is there.
//!
//! Here is its state and what others may ask of it. Reading is in [`turn`], what is handed on and
//! acknowledged in [`flights`], what waits for its rest in [`cutting`], outputs that are not equally
//! far in [`readers`].

mod cutting;
mod flights;
mod readers;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kansoku_model::{Position, Resource, SourceId};

use super::content::Content;
use super::identity::{self, HEAD_BYTES, MARKER_BYTES};
use super::lines::{LineScratch, Lines, Mark, OpenBatch, Waiting};
use super::options::TailOptions;
use crate::offsets::{Checkpoint, Cut, Print};
use crate::pipeline::{InputCounters, OutputSet};

/// A batch is closed when it holds this much: the size of a good request.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// An unfinished line longer than this is searched for its end before it is read again.
const SEARCH_FROM_BYTES: u64 = 64 << 10;

/// What a turn brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    Quiet,
    /// Something was read, up to the end of the file.
    AtEnd,
    /// There is more to read: the batch is full or the turn's bytes are used up.
    More,
    /// The file no longer holds what was read from it.
    Truncated,
}

/// What all turns share.
pub(super) struct TurnContext<'a> {
    pub(super) options: &'a TailOptions,
    pub(super) counters: &'a InputCounters,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) scratch: &'a mut LineScratch,
    pub(super) now: Instant,
    pub(super) now_ns: i64,
    /// The most bytes to read.
    pub(super) limit_bytes: u64,
    /// Nothing will follow: the end of the file ends its last line, too.
    pub(super) last: bool,
}

/// A stretch of the file that has been handed on and not yet been acknowledged.
struct Flight {
    /// Where reading resumes once it is.
    offset: u64,
    marker: Print,
    sent: Position,
    /// Outputs that are not done with it.
    pending: OutputSet,
    /// Where reading began for it.
    from: Start,
    /// The time of its first record.
    first_ns: Option<i64>,
}

/// Where to begin again to get the same records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    offset: u64,
    sent: Position,
    before: Before,
}

/// The bytes before an offset, as they were read. The file may have been truncated since, and must
/// not be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Before {
    bytes: [u8; MARKER_BYTES],
    len: usize,
}

impl Before {
    /// Of at most [`MARKER_BYTES`].
    fn of(bytes: &[u8]) -> Self {
        let len = bytes.len().min(MARKER_BYTES);
        let mut before = Self {
            bytes: [0; MARKER_BYTES],
            len,
        };
        before.bytes[..len].copy_from_slice(&bytes[bytes.len() - len..]);
        before
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn print(&self) -> Print {
        Print::of(self.as_slice())
    }
}

/// A reader for one output that has fallen behind the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lag {
    /// The generation whose other outputs are ahead.
    pub(super) main: u64,
    pub(super) output: usize,
    /// It has caught up; only acknowledgements are still to come.
    pub(super) merged: bool,
}

pub(super) struct Generation {
    /// What is (to be) stored: only what has been acknowledged.
    pub(super) checkpoint: Checkpoint,
    pub(super) file: Content,
    /// The name behind symbolic links.
    pub(super) real: PathBuf,
    tag: Arc<str>,
    resource: Arc<Resource>,
    lines: Lines,
    knows_encoding: bool,
    /// The start of the first line that has not been read.
    offset: u64,
    /// The bytes before `offset`.
    before: Vec<u8>,
    /// In the middle of a line that was too long: where it began.
    long_line: Option<u64>,
    /// The unfinished line is known to have no end before this offset.
    searched: u64,
    /// The outputs that it reads for.
    pub(super) outputs: OutputSet,
    pub(super) lag: Option<Lag>,
    /// Batches end at these positions, as they did before a crash.
    pub(super) ends: Arc<[Position]>,
    /// What single batches of requests covered that are made again: from, to.
    pub(super) ranges: Arc<[(Position, Position)]>,
    /// Sources that had batches in one request with this one then.
    pub(super) partners: Arc<[SourceId]>,
    /// Reading has begun; what the generation before handed on has been taken over.
    pub(super) begun: bool,
    /// That, as long as it may be needed again.
    inherited: Option<Arc<Waiting>>,
    /// The generation that took over what was unfinished at the end of this one.
    pub(super) heir: Option<u64>,
    /// Nothing is read beyond this offset.
    pub(super) until: Option<u64>,
    /// Where the batch under construction begins.
    start: Start,
    /// The state at that point.
    boundary: (u64, Option<u64>, Mark),
    open: Option<OpenBatch>,
    flights: VecDeque<Flight>,
    /// Number of the first flight in the queue.
    first_flight: u64,
    /// The last batch was closed because it was full.
    full: bool,
    /// Since when the name stands for another file, or for none.
    pub(super) rotated: Option<Instant>,
    /// Turns in a row without news.
    pub(super) quiet_turns: u32,
    /// It is to be read at the next tick.
    pub(super) hot: bool,
    /// The last turn failed; it is tried again with the next scan.
    pub(super) failed: bool,
    /// The row must be stored before anything is sent.
    pub(super) must_save: bool,
    /// The checkpoint differs from the stored row.
    pub(super) dirty: bool,
    /// Its content no longer exists anywhere.
    pub(super) gone: bool,
    /// It is let go of because it is old; it may go on one day.
    pub(super) released: bool,
    /// Read to its end and let go; waits for acknowledgements only.
    pub(super) closed: bool,
}

impl Generation {
    /// Goes on where the checkpoint says.
    pub(super) fn new(
        checkpoint: Checkpoint,
        file: Content,
        real: PathBuf,
        tag: Arc<str>,
        resource: Arc<Resource>,
        outputs: OutputSet,
    ) -> io::Result<Self> {
        let offset = checkpoint.offset;
        let before = bytes_before(&file, offset)?;
        let start = Start {
            offset,
            sent: checkpoint.sent,
            before: Before::of(&before),
        };
        let lines = Lines::new(offset, checkpoint.sent, checkpoint.cuts.clone());
        Ok(Self {
            boundary: (offset, None, lines.mark()),
            outputs,
            lag: None,
            ends: Arc::new([]),
            ranges: Arc::new([]),
            partners: Arc::new([]),
            begun: false,
            inherited: None,
            heir: None,
            until: None,
            start,
            lines,
            knows_encoding: false,
            must_save: checkpoint.id == 0 || checkpoint.foreign,
            dirty: true,
            checkpoint,
            file,
            real,
            tag,
            resource,
            offset,
            before,
            long_line: None,
            searched: 0,
            open: None,
            flights: VecDeque::new(),
            first_flight: 0,
            full: false,
            rotated: None,
            quiet_turns: 0,
            hot: true,
            failed: false,
            gone: false,
            released: false,
            closed: false,
        })
    }

    /// Whether it has another name and nothing new comes.
    pub(super) fn is_drained(&self) -> bool {
        self.closed || (self.rotated.is_some() && self.quiet_turns >= 2)
    }

    /// Whether a request of before a crash may have batches of both generations: then the younger
    /// has to be read, too, before it can be made again.
    pub(super) fn shares_request(&self, younger: &Self) -> bool {
        self.has_end_after(self.checkpoint.offset)
            && self.partners.contains(&younger.checkpoint.source)
    }

    /// Whether a batch ended behind `offset` before a crash.
    fn has_end_after(&self, offset: u64) -> bool {
        self.ends.iter().any(|end| end.offset > offset)
    }

    /// Whether a request that was under way before a crash may lack something that is to be read.
    pub(super) fn must_repeat(&self) -> bool {
        self.hot && !self.closed && self.has_end_after(self.offset)
    }

    /// Whether a batch that begins behind `from` is to become one of before a crash, and the rest of
    /// it is still to be read.
    fn is_within_range(&self, from: Position) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|(first, last)| {
            (first.offset..last.offset).contains(&from.offset) && self.offset < last.offset
        })
    }

    /// Whether the batch must not be sent yet: a request of before a crash needs more of it.
    pub(super) fn must_grow(&self) -> bool {
        let from = self.open.as_ref().map(OpenBatch::from);
        self.hot && !self.closed && from.is_some_and(|from| self.is_within_range(from))
    }

    /// Whether everything handed on has been acknowledged and nothing waits to be.
    pub(super) fn is_settled(&self) -> bool {
        self.flights.is_empty() && self.open.is_none()
    }

    /// Whether something was sent that has not been acknowledged.
    pub(super) fn has_flights(&self) -> bool {
        !self.flights.is_empty()
    }

    /// What the row would say if all that was read had been acknowledged.
    pub(super) fn read_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            offset: self.offset,
            marker: Print::of(&self.before),
            ..self.checkpoint.clone()
        }
    }

    /// Whether the file still holds what was read from it.
    pub(super) fn is_intact(&self) -> bool {
        !self.gone && identity::holds(&self.file, &self.read_checkpoint()).unwrap_or(true)
    }

    /// How far it has been read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the batch must be sent before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether there is a batch to send.
    pub(super) fn has_batch(&self) -> bool {
        self.open.is_some()
    }

    /// Memory of the batch that waits for more lines.
    pub(super) fn open_bytes(&self) -> usize {
        self.open
            .as_ref()
            .map_or(0, |open| open.logs.reserved_bytes())
    }

    /// Whether lines wait for others.
    pub(super) fn is_waiting(&self) -> bool {
        self.lines.is_waiting()
    }

    /// Whether something may be there that has not been delivered.
    pub(super) fn is_behind(&self) -> bool {
        self.has_flights() || self.has_batch() || self.is_waiting() || (self.hot && !self.closed)
    }

    /// The time of the oldest record that has been read and not delivered.
    pub(super) fn oldest_ns(&self) -> Option<i64> {
        let sent = self.flights.iter().find_map(|f| f.first_ns);
        sent.or_else(|| self.open.as_ref()?.logs.times().first().copied())
    }

    /// How much there is to deliver; of a packed file only what has been read is known.
    pub(super) fn known_size(&self) -> u64 {
        if self.file.is_gzip() {
            return self.offset;
        }
        (self.file.metadata()).map_or(self.offset, |m| m.len().max(self.offset))
    }

    /// Whether it is a file without content that never had any.
    pub(super) fn has_nothing(&self) -> bool {
        self.offset == 0 && self.checkpoint.head.size == 0 && self.is_empty()
    }

    /// It is to be read, unless nothing more is taken of it.
    pub(super) fn heat(&mut self) {
        self.hot = !self.closed;
    }

    /// A turn would bring nothing.
    pub(super) fn note_quiet(&mut self) {
        self.quiet_turns = self.quiet_turns.saturating_add(1);
        self.hot &= self.quiet_turns < 2;
    }

    /// Whether nothing of it has been handed on in this life.
    pub(super) fn is_untouched(&self) -> bool {
        self.is_settled() && self.first_flight == 0
    }

    /// The first position that reading must be able to come back to.
    fn resume_offset(&self) -> u64 {
        let pending = self.lines.oldest_pending().unwrap_or(self.offset);
        pending.min(self.long_line.unwrap_or(self.offset))
    }

    /// Brings the print of the first bytes up to date; true when it changed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn update_head(&mut self) -> io::Result<bool> {
        let old = self.checkpoint.head;
        let is_long_enough =
            old.size as usize == HEAD_BYTES || (old.size > 0 && u64::from(old.size) >= self.offset);
        // After a truncation the first bytes are those of another generation.
        if is_long_enough || !identity::begins_with(&self.file, old)? {
            return Ok(false);
        }
        self.checkpoint.head = identity::head_print(&self.file)?;
        self.dirty |= self.checkpoint.head != old;
        // Without it the row would not be known again in a compressed file.
        self.must_save |= old.size == 0 && self.checkpoint.head.size > 0;
        Ok(self.checkpoint.head != old)
    }

    /// Whether the file holds nothing now.
    pub(super) fn is_empty(&self) -> bool {
        self.file.is_empty().unwrap_or(false)
    }

    /// Tells the kernel that what was read from `begin` on is not read again.
    pub(super) fn drop_cache(&self, begin: u64) {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let (begin, len) = (begin as i64, (self.offset - begin) as i64);
        // Only a wish: where it is not granted, nothing is lost.
        let _ = nix::fcntl::posix_fadvise(self.file.file(), begin, len, advice);
    }

    /// The same content lies in another file (a copy made before truncation): go on there.
    pub(super) fn move_to(&mut self, file: Content, device: u64, inode: u64) {
        self.file = file;
        self.checkpoint.device = device;
        self.checkpoint.inode = inode;
        self.dirty = true;
        self.must_save = true;
        self.searched = 0;
        self.quiet_turns = 0;
        self.hot = true;
    }
}

fn bytes_before(file: &Content, offset: u64) -> io::Result<Vec<u8>> {
    let size = offset.min(MARKER_BYTES as u64);
    let mut bytes = vec![0; size as usize];
    let n = file.read_full(&mut bytes, offset - size)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Leaves out the cuts that no reading from `offset` on meets. At 0 what an older generation handed
/// on may have been cut.
fn keep_cuts(cuts: &mut Vec<Cut>, offset: u64) {
    cuts.retain(|c| c.offset > offset || offset == 0);
}
