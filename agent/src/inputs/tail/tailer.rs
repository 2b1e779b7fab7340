//! The tail's thread: which files there are, whose turn it is, what may be sent and saved.
//!
//! Events and rescans only make it look; what it then does follows from what it finds. A file that
//! was written to is hot and read once per tick until two ticks bring nothing. The generations of
//! one name are read one after the other. Nothing blocks but the wait at the top of the loop: while
//! the pipeline is full nothing is read, but new files are still opened, so that they cannot vanish.
//!
//! Here are its state and the loop; each thing the loop does has a file of its own: [`looking`],
//! [`opening`], [`compressed`], [`order`], [`handing`], [`lagging`], [`reading`], [`sending`],
//! [`saving`], [`measuring`].

mod compressed;
mod handing;
mod lagging;
mod looking;
mod measuring;
mod opening;
mod order;
mod reading;
mod saving;
mod sending;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use super::discover::Listings;
use super::generation::Generation;
use super::identity::FileId;
use super::lines::LineScratch;
use super::options::TailOptions;
use super::watch::Watch;
use crate::offsets::{Checkpoint, Offsets, nanoseconds};
use crate::pipeline::{Link, OutputSet, Stopped};

/// Batches that wait for more lines, of all files together, hold at most this much: hundreds of busy
/// files must not each keep a batch open until the flush.
const OPEN_MAX_BYTES: usize = 1 << 20;
/// Offsets are saved this often, not with every acknowledgement.
const SAVE_EVERY: Duration = Duration::from_millis(200);
/// After a failure to save offsets they are tried again after this, then after twice as long, ...
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// ... but at least this often.
const RETRY_AT_LEAST: Duration = Duration::from_secs(15);
/// How often rotated files that wait to be closed, and waiting partial lines, are looked at.
const CHORES_EVERY: Duration = Duration::from_millis(250);
/// How often everything is looked at when events cannot be had.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// A file younger than the last sign of life of the agent before, less this, was never seen by it.
const ALIVE_SLACK: Duration = Duration::from_secs(60);

/// Times of files come from a coarser clock than ours.
const CLOCK_SLACK: Duration = Duration::from_millis(20);

/// A number for a generation while it is open.
type Key = u64;

/// The generations of one name, oldest first.
#[derive(Default)]
struct Followed {
    generations: Vec<Key>,
    /// Files of this log written after this time and never seen are unread generations.
    since_ns: Option<i64>,
    /// A generation of this name has been opened.
    tracked: bool,
    real: PathBuf,
}

pub(super) struct Tailer {
    options: Arc<TailOptions>,
    link: Link,
    component: String,
    offsets: Offsets,
    watch: Watch,
    listings: Listings,
    generations: BTreeMap<Key, Generation>,
    next_key: Key,
    followed: HashMap<PathBuf, Followed>,
    by_file: HashMap<FileId, Key>,
    by_real: HashMap<PathBuf, Key>,
    /// Rows without an open generation: of the agent's earlier life, or read to their end.
    rows: HashMap<u64, Vec<Checkpoint>>,
    /// Generations of a name that was never seen count as unread when they were written after this:
    /// the start, or the last sign of life of the agent before. `None` during the very first scan.
    unseen_since_ns: Option<i64>,
    /// Rows to be deleted with the next save.
    removed_rows: Vec<i64>,
    /// Rows of finished generations that have another inode now, to be saved.
    moved_rows: Vec<Checkpoint>,
    /// Rows whose file was missing at the last scan.
    missed_rows: HashSet<i64>,
    /// Names with files of which it is not known yet whether they are copies of generations that were
    /// read: their rows are kept until it is.
    undecided: HashSet<PathBuf>,
    /// Generations, mostly compressed, that need no further look: their size and time of last write.
    settled: HashMap<FileId, (u64, i64)>,
    buffer: Vec<u8>,
    scratch: LineScratch,
    /// Outputs fall behind on their own; else the slowest holds all back.
    repeats: bool,
    acknowledged: Receiver<(Key, u64, OutputSet)>,
    acknowledge: Sender<(Key, u64, OutputSet)>,
    started: bool,
    started_ns: i64,
    tick: Duration,
    next_tick: Instant,
    /// The watch has news.
    woken: bool,
    next_flush: Option<Instant>,
    next_save: Option<Instant>,
    next_chores: Option<Instant>,
    next_scan: Instant,
    /// While something is not delivered.
    next_measure: Option<Instant>,
    /// While the database cannot be written: when it is tried again, and the pause after that.
    next_try: Option<(Instant, Duration)>,
    /// Something is not complete yet: the next scan comes soon.
    look_again: bool,
    next_watch: Option<Instant>,
    next_progress: Option<Instant>,
    /// Sizes of files that were too old to be opened: what is added later is read from there.
    ignored: HashMap<FileId, u64>,
}

impl Tailer {
    /// # Errors
    /// When the offset database cannot be used.
    pub(super) fn new(options: Arc<TailOptions>, link: Link) -> anyhow::Result<Self> {
        let offsets = match &options.db {
            Some(db) => Offsets::open(db)?,
            None => Offsets::in_memory(),
        };
        let now = Instant::now();
        let (acknowledge, acknowledged) = crossbeam_channel::unbounded();
        let tick = (link.flush / 20).clamp(Duration::from_millis(10), Duration::from_millis(50));
        let mut rows: HashMap<u64, Vec<Checkpoint>> = HashMap::new();
        for row in offsets.load()? {
            rows.entry(row.inode).or_default().push(row);
        }
        Ok(Self {
            component: format!("input:{}", link.counters.name),
            watch: Watch::new(options.inotify),
            options,
            listings: Listings::default(),
            generations: BTreeMap::new(),
            next_key: 0,
            followed: HashMap::new(),
            by_file: HashMap::new(),
            by_real: HashMap::new(),
            rows,
            unseen_since_ns: offsets.last_alive.map(nanoseconds),
            offsets,
            removed_rows: Vec::new(),
            moved_rows: Vec::new(),
            missed_rows: HashSet::new(),
            undecided: HashSet::new(),
            settled: HashMap::new(),
            buffer: Vec::new(),
            scratch: LineScratch::default(),
            repeats: link.can_repeat(),
            link,
            acknowledged,
            acknowledge,
            started: false,
            started_ns: nanoseconds(SystemTime::now() - CLOCK_SLACK),
            tick,
            next_tick: now,
            woken: false,
            next_flush: None,
            next_save: None,
            next_chores: None,
            next_scan: now,
            next_measure: None,
            next_try: None,
            look_again: false,
            next_watch: None,
            next_progress: None,
            ignored: HashMap::new(),
        })
    }

    /// Follows files until the agent stops, or until all are read when that was asked for.
    pub(super) fn run(&mut self) {
        while self.step(true) {}
        self.leave();
    }

    /// One round: wait, look, read, send, save. False when there is nothing left to do.
    fn step(&mut self, wait: bool) -> bool {
        if wait && !self.wait() {
            return false;
        }
        self.take_acknowledgements();
        let now = Instant::now();
        self.woken |= !wait;
        if now >= self.next_tick && self.has_to_look(now) {
            self.next_tick = now + self.tick;
            self.woken = false;
            let changes = self.watch.take();
            self.look(changes);
            if now >= self.next_scan {
                self.scan();
            }
            self.look_besides_events(now);
            if self.read_hot() == Err(Stopped) {
                return false;
            }
        }
        if self.next_chores.is_some_and(|at| now >= at) {
            self.chores();
        }
        if self.next_flush.is_some_and(|at| now >= at) && self.flush() == Err(Stopped) {
            return false;
        }
        if self.next_save.is_some_and(|at| now >= at) {
            self.save();
        }
        if self.next_measure.is_some_and(|at| now >= at) {
            self.measure();
        }
        !(self.options.exit_on_eof && self.all_read())
    }

    /// Whether there may be news, or something is to be read. A quiet node's agent sleeps.
    fn has_to_look(&self, now: Instant) -> bool {
        let times = [Some(self.next_scan), self.next_watch, self.next_progress];
        let first_look = self.options.watcher_interval.is_some() && self.next_watch.is_none()
            || self.options.progress_interval.is_some() && self.next_progress.is_none();
        let is_due = times.into_iter().flatten().any(|at| now >= at);
        self.woken || first_look || is_due || self.is_hot() || self.has_any_behind()
    }

    /// Whether an output has fallen behind: an acknowledgement may have made room for it.
    fn has_any_behind(&self) -> bool {
        let behind = |g: &Generation| g.lag.is_some_and(|lag| !lag.merged);
        self.generations.values().any(behind)
    }

    /// Whether a file has more to read, and room for it.
    fn is_hot(&self) -> bool {
        (self.generations.values()).any(|g| g.hot && self.has_room_for(g))
    }

    /// Sleeps until there is something to do; false when the agent stops.
    fn wait(&mut self) -> bool {
        let hot = self.is_hot();
        let times = [
            self.next_flush.filter(|_| self.has_any_room()),
            self.next_save,
            self.next_chores,
            self.next_measure,
            Some(self.next_scan.max(self.next_tick)),
            self.next_watch,
            self.next_progress,
            hot.then_some(self.next_tick),
        ];
        let until = times.into_iter().flatten().min().unwrap_or(self.next_scan);
        // Events that come more often than ticks are not worth a wake-up each.
        let resting = Instant::now() < self.next_tick;
        let (until, wake) = if resting {
            (until.min(self.next_tick), crossbeam_channel::never())
        } else {
            (until, self.watch.wake.clone())
        };
        crossbeam_channel::select! {
            recv(self.link.stop) -> _ => return false,
            recv(self.acknowledged) -> message => {
                if let Ok((key, flight, outputs)) = message {
                    self.acknowledge_one(key, flight, outputs);
                }
            }
            recv(wake) -> _ => self.woken = true,
            recv(crossbeam_channel::at(until)) -> _ => {}
        }
        true
    }
}

fn now() -> (Instant, i64) {
    (Instant::now(), nanoseconds(SystemTime::now()))
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
