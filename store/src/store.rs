//! The store's front door: open, append, snapshot, numbers.
//!
//! Maintenance is in `maintain.rs`, opening in `recovery.rs`. Locks are taken in the order in which
//! the fields of `Inner` stand, and only the first two are held across a write to the disk by
//! appends. The rule: what `append` acknowledged is durable, visible, and there once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use kansoku_model::{Frame, RecordBatch, frame};

use crate::active::{Active, Refused};
use crate::changes::{ChangeMark, Changed, Changes};
use crate::commit::{Lead, Queue, Request};
use crate::deletes::Delete;
use crate::exemplars::Exemplars;
use crate::fs::{Disk, Lock};
use crate::head::Head;
use crate::intern::Interner;
use crate::manifest::Manifest;
use crate::marks::Marks;
use crate::memory::Memory;
use crate::merge::Arrivals;
use crate::part::{Body, Part, Shared};
use crate::records;
use crate::references::{Samples, SeriesTable};
use crate::snapshot::Snapshot;
use crate::state::{Metadata, State};
use crate::wal::{self, AppendError, Wal};
use crate::{Appended, Maintained, Options, Recovery, Stats, StoreError};

/// Data to store.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A frame as it was received.
    Frame(Frame<'a>),
    /// A batch made in this process.
    Batch(RecordBatch),
    /// Samples by reference to `Store::series`.
    Samples(Samples),
}

/// A head that takes no more data and waits to be written out.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub head: Arc<Head>,
    /// The last WAL segment with data of it.
    pub wal_to: u64,
    /// Marks and metadata as of the seal.
    pub state: State,
}

/// What a query sees.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub active: Arc<Head>,
    /// In the order in which they were sealed.
    pub sealed: Vec<Arc<Sealed>>,
    /// In flush order.
    pub parts: Vec<Arc<Part>>,
    pub deletes: Arc<[Arc<Delete>]>,
    /// What rules of the retention take.
    pub expiring: Arc<[Arc<Delete>]>,
}

impl View {
    /// Memory of all heads.
    pub fn head_bytes(&self) -> usize {
        self.active.bytes() + self.sealed.iter().map(|s| s.head.bytes()).sum::<usize>()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub wal_syncs: AtomicU64,
    pub wal_bytes_written: AtomicU64,
    pub records_appended: AtomicU64,
    pub duplicates: AtomicU64,
    pub flushes: AtomicU64,
    pub merges: AtomicU64,
    pub part_bytes_written: AtomicU64,
    pub parts_expired: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub options: Options,
    pub disk: Disk,
    pub shared: Arc<Shared>,
    pub interner: Interner,
    pub queue: Queue,
    /// Held by the one merge or expiry that runs.
    pub merging: Mutex<()>,
    /// Which days are over. Held while a merge is chosen.
    pub arrivals: Mutex<Arrivals>,
    /// Held by the one flush that runs.
    pub flushing: Mutex<()>,
    /// The running segment. Held while a group is written and synced, and while a head is sealed.
    pub wal: Mutex<OpenWal>,
    /// High-water marks. Held while a group is applied; taken before `wal` is let go, so groups are
    /// applied in the order of the WAL.
    pub marks: Mutex<Marks>,
    /// The files of the store. Held while a new manifest is written.
    pub manifest: Mutex<Manifest>,
    /// The series that samples refer to. Held only to read or swap the pointer; swapped when a head
    /// is sealed, so that a head and a segment know the references of one table only.
    pub series: Mutex<Arc<SeriesTable>>,
    /// Held only to read or swap the pointer.
    pub view: Mutex<Arc<View>>,
    pub metadata: Arc<RwLock<Metadata>>,
    /// Taken for writing while a batch that has some is applied.
    pub exemplars: Arc<RwLock<Exemplars>>,
    /// Which samples changed; noted after queries see it and before it is acknowledged.
    pub changes: Changes,
    /// Shared with other stores of the process, perhaps; signals when a head is to be written out.
    pub memory: Arc<Memory>,
    pub active: Arc<Active>,
    /// Heads could not be written out for want of room on the disk.
    pub is_disk_full: AtomicBool,
    /// Why writes are refused, once they are.
    pub poison: OnceLock<String>,
    pub counters: Counters,
    pub _lock: Lock,
}

/// The running segment, and how large the head was when it was started.
#[derive(Debug)]
pub(crate) struct OpenWal {
    pub wal: Wal,
    pub head_bytes_at_start: usize,
    /// One bit per series reference: whether the running segment defines it.
    pub defined: Vec<u64>,
    /// Bytes of the ended segments that are still needed.
    pub ended: Vec<(u64, u64)>,
}

/// The aggregator's durable store. All methods may be called from many threads at once.
#[derive(Debug)]
pub struct Store {
    pub(crate) inner: Inner,
}

pub(crate) const LOCK: &str = "no thread panicked while it changed the store";

impl Store {
    /// Opens the store, replays its WAL and takes the folder's lock.
    ///
    /// # Errors
    /// `Locked` when another process has it open; otherwise what is wrong with which file.
    pub fn open(options: Options) -> Result<(Self, Recovery), StoreError> {
        let disk = Disk::new(&options.path);
        Self::open_on(disk, options)
    }

    /// Stores the batches and returns when they are on the disk and visible to queries. All of a
    /// call is accepted or nothing; the order of one source is the order of the calls.
    ///
    /// # Errors
    /// `Invalid`: the data is at fault, do not repeat. `Full`, `Busy`: repeat later. `Poisoned`:
    /// refused until a restart.
    pub fn append(&self, incoming: Vec<Incoming<'_>>) -> Result<Appended, StoreError> {
        self.refuse_when_poisoned()?;
        let (mut entries, mut batches, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        let (mut n_covered, mut duplicates) = (0, 0);
        let mut refused = Refused::default();
        for one in incoming {
            let (mut batch, frame) = match one {
                Incoming::Frame(frame) => (frame.decode().map_err(invalid)?, Some(frame)),
                Incoming::Batch(batch) => (batch, None),
                Incoming::Samples(new) => {
                    samples.push(new);
                    continue;
                }
            };
            if batch.source().id.is_some()
                && self.inner.marks.lock().expect(LOCK).covers(batch.source())
            {
                // Delivered, applied and therefore durable: nothing to write.
                n_covered += 1;
                duplicates += batch.n_records() as u64;
                batches.push(batch);
                continue;
            }
            self.inner.options.complete.apply(&mut batch);
            let kept_out = self.inner.active.filter(&mut batch);
            // A frame of which something is left out is written anew; the rest of its source's range counts
            // as delivered all the same.
            match frame.filter(|_| kept_out.total() == 0) {
                Some(frame) => wal::put_entry(&mut entries, frame.as_bytes()),
                None => put_batch(&batch, &mut entries)?,
            }
            refused.add_all(kept_out);
            batches.push(batch);
        }
        if n_covered == batches.len() && samples.is_empty() {
            self.inner
                .counters
                .duplicates
                .fetch_add(duplicates, Ordering::Relaxed);
            return Ok(Appended {
                duplicates,
                ..Appended::default()
            });
        }
        self.wait_for_room()?;
        let request = Request::new(entries, batches).with_samples(samples);
        let done = self.inner.queue.submit(request, |group, lead| {
            self.commit(group, lead);
        });
        done.map(|done| Appended { refused, ..done })
    }

    /// The table to which samples can refer. Take it anew for each request: it is replaced now and
    /// then, and samples of an older one cost their labels again.
    #[must_use]
    pub fn series(&self) -> Arc<SeriesTable> {
        Arc::clone(&self.inner.series.lock().expect(LOCK))
    }

    /// Blocks until a head wants to be written out or `timeout` has passed. True: there is work now.
    /// Call `maintain` in both cases: age, merges and retention do not wake anybody.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let memory = &self.inner.memory;
        memory.wait_while(timeout, || !self.wants_flush(None))
    }

    /// Whether a head is to be written out because of its size.
    #[must_use]
    pub fn wants_flush_now(&self) -> bool {
        self.wants_flush(None)
    }

    /// Whether writes are refused after a failed write.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.inner.poison.get().is_some()
    }

    /// Memory that its heads hold.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.inner.view().head_bytes()
    }

    /// One consistent view of all that was appended so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(
            self.inner.view(),
            Arc::clone(&self.inner.metadata),
            Arc::clone(&self.inner.exemplars),
        )
    }

    /// This moment, to be taken before the snapshot that something is computed from; see [`Self::changed_since`].
    #[must_use]
    pub fn change_mark(&self) -> ChangeMark {
        self.inner.changes.mark()
    }

    /// Which samples may differ from those of a snapshot that was taken after the mark.
    #[must_use]
    pub fn changed_since(&self, mark: ChangeMark) -> Changed {
        self.inner.changes.since(mark)
    }

    /// Writes all heads out as parts, for a clean stop and for tests. Not needed for durability.
    ///
    /// # Errors
    /// When writing fails; the data stays in WAL and head.
    pub fn flush(&self) -> Result<Maintained, StoreError> {
        self.flush_all()
    }

    /// Numbers about the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let view = self.inner.view();
        let c = &self.inner.counters;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let mut stats = Stats {
            head_bytes: view.head_bytes() as u64,
            wal_syncs: get(&c.wal_syncs),
            wal_bytes_written: get(&c.wal_bytes_written),
            records_appended: get(&c.records_appended),
            duplicates: get(&c.duplicates),
            flushes: get(&c.flushes),
            merges: get(&c.merges),
            part_bytes_written: get(&c.part_bytes_written),
            parts_expired: get(&c.parts_expired),
            damaged_blocks: get(&self.inner.shared.damaged_blocks),
            cache_bytes: self.inner.memory.cache_bytes() as u64,
            active_series: self.inner.active.n_series(),
            active_streams: self.inner.active.n_streams(),
            poisoned: self.inner.poison.get().is_some(),
            marks: self.inner.marks.lock().expect(LOCK).len() as u64,
            ..Stats::default()
        };
        {
            let wal = self.inner.wal.lock().expect(LOCK);
            stats.wal_segments = wal.ended.len() as u64 + 1;
            stats.wal_bytes = wal.wal.len() + wal.ended.iter().map(|(_, bytes)| bytes).sum::<u64>();
        }
        for head in view.sealed.iter().map(|s| &s.head).chain([&view.active]) {
            let logs = head.logs.read().expect(LOCK);
            stats.head_streams += logs.streams.len() as u64;
            stats.head_entries += logs.n_entries;
            drop(logs);
            let series = head.series.read().expect(LOCK);
            stats.head_series += series.series.len() as u64;
            stats.head_samples += series.n_samples;
        }
        for part in &view.parts {
            stats.disk_bytes += part.file.len();
            match &part.body {
                Body::Logs(index) => {
                    stats.log_parts += 1;
                    stats.part_entries += part.totals().n_rows;
                    stats.part_raw_bytes += part.totals().extra;
                    stats.part_streams += index.streams.len() as u64;
                }
                Body::Samples(index) => {
                    stats.metric_parts += 1;
                    stats.part_samples += part.totals().n_rows;
                    stats.part_series += u64::from(index.n_series);
                }
            }
        }
        stats
    }

    pub(crate) fn refuse_when_poisoned(&self) -> Result<(), StoreError> {
        match self.inner.poison.get() {
            Some(why) => Err(StoreError::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// Refuses all writes from now on.
    pub(crate) fn poison(&self, error: &StoreError) -> StoreError {
        let why = self.inner.poison.get_or_init(|| error.to_string());
        StoreError::Poisoned(why.clone())
    }

    /// Waits while the heads are far beyond their bound.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let memory = &self.inner.memory;
        let limit_bytes = memory.heads_limit_bytes();
        let is_full = || {
            let view = self.inner.view();
            let is_behind = view.active.is_full_of_samples() && !view.sealed.is_empty();
            is_behind || memory.head_bytes() >= limit_bytes
        };
        if !is_full() {
            return Ok(());
        }
        memory.signal_pressure();
        let full = || StoreError::Full {
            path: self.inner.disk.path(""),
        };
        let has_no_room = || self.inner.is_disk_full.load(Ordering::Relaxed);
        // Waiting is of no use then.
        if has_no_room() {
            return Err(full());
        }
        if memory.wait_while(self.inner.options.busy_wait, is_full) {
            return Ok(());
        }
        if has_no_room() {
            return Err(full());
        }
        Err(StoreError::Busy {
            held_bytes: memory.head_bytes(),
            limit_bytes,
        })
    }

    /// Writes, syncs and applies a group of requests.
    fn commit(&self, mut group: Vec<Request>, lead: Lead<'_>) {
        let inner = &self.inner;
        let mut open = inner.wal.lock().expect(LOCK);
        if let Err(error) = self
            .refuse_when_poisoned()
            .and_then(|()| self.end_long_segment(&mut open))
        {
            return refuse(&group, &error);
        }
        let table = self.series();
        group.iter_mut().for_each(|r| r.move_to(&table));
        let new = open.define(group.iter().flat_map(|r| &r.samples));
        let mut definitions = Vec::new();
        records::put_definitions(&mut definitions, &table, &new);
        let entries = || {
            let own = group
                .iter()
                .flat_map(|r| [&r.entries[..], &r.sample_entries]);
            // Definitions stand twice: if one entry of them is damaged, the other tells the same.
            let twice = || [&definitions[..]].into_iter();
            let all = twice().chain(own).chain(twice());
            all.filter(|e| !e.is_empty())
        };
        match open.wal.append(entries()) {
            Ok(()) => {}
            Err(AppendError::Refused(error)) => {
                open.undefine(&new);
                return refuse(&group, &error);
            }
            Err(AppendError::Broken(error)) => return refuse(&group, &self.poison(&error)),
        }
        let bytes: usize = entries().map(<[u8]>::len).sum();
        inner
            .counters
            .wal_bytes_written
            .fetch_add(bytes as u64, Ordering::Relaxed);
        inner.counters.wal_syncs.fetch_add(1, Ordering::Relaxed);

        let mut marks = inner.marks.lock().expect(LOCK);
        drop(open);
        drop(lead);
        let head = Arc::clone(&inner.view().active);
        for mut request in group {
            let mut done = Appended::default();
            for batch in &mut request.batches {
                done.duplicates += inner.apply(&mut marks, &head, batch);
                done.accepted += batch.n_records() as u64;
            }
            for samples in &request.samples {
                head.apply_samples(samples);
                done.accepted += samples.len() as u64;
            }
            if let Some(from_ms) = request.first_sample_ms() {
                inner.changes.note(from_ms);
            }
            inner
                .counters
                .records_appended
                .fetch_add(done.accepted, Ordering::Relaxed);
            inner
                .counters
                .duplicates
                .fetch_add(done.duplicates, Ordering::Relaxed);
            request.answer(Ok(done));
        }
        drop(marks);
        inner.active.note(&head);
        if self.wants_flush(None) || inner.memory.wants_flush() {
            inner.memory.signal_pressure();
        }
    }

    /// Starts a new segment when the running one is long, or when its data in the head is: a replay
    /// can write the head out only between segments.
    fn end_long_segment(&self, open: &mut OpenWal) -> Result<(), StoreError> {
        let head_bytes = self.inner.view().active.bytes();
        let in_head = head_bytes.saturating_sub(open.head_bytes_at_start);
        let is_long = open.wal.len() >= self.inner.options.wal_segment_bytes
            || in_head >= self.inner.memory.head_limit_bytes() / 2;
        if open.wal.is_empty() || !is_long {
            return Ok(());
        }
        match open.rotate(head_bytes) {
            Err(error @ StoreError::Full { .. }) => Err(error),
            Err(error) => Err(self.poison(&error)),
            Ok(()) => Ok(()),
        }
    }
}

impl OpenWal {
    /// Ends the segment and starts the next one.
    pub fn rotate(&mut self, head_bytes: usize) -> Result<(), StoreError> {
        let ended = (self.wal.number, self.wal.len());
        self.wal.rotate()?;
        self.ended.push(ended);
        self.head_bytes_at_start = head_bytes;
        self.defined.clear();
        Ok(())
    }

    /// The references that the running segment does not define yet, marked as defined.
    fn define<'a>(&mut self, samples: impl Iterator<Item = &'a Samples>) -> Vec<u32> {
        let mut new = Vec::new();
        for &(reference, _) in samples.flat_map(|s| &s.runs) {
            let (word, bit) = (reference as usize / 64, 1 << (reference % 64));
            if word >= self.defined.len() {
                self.defined.resize(word + 1, 0);
            }
            if self.defined[word] & bit == 0 {
                self.defined[word] |= bit;
                new.push(reference);
            }
        }
        new
    }

    /// Takes back what `define` marked: its entries were not written.
    fn undefine(&mut self, references: &[u32]) {
        for reference in references {
            self.defined[*reference as usize / 64] &= !(1 << (reference % 64));
        }
    }
}

impl Inner {
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock().expect(LOCK))
    }

    /// Trims a batch by the marks and adds it to the head; returns how many records were repeats.
    pub fn apply(&self, marks: &mut Marks, head: &Head, batch: &mut RecordBatch) -> u64 {
        let duplicates = marks.admit(batch);
        // Remote write sends types and help texts in requests without samples.
        if let RecordBatch::Metrics(metrics) = &*batch {
            self.learn(metrics);
            if !metrics.exemplars().is_empty() {
                let max = self.options.exemplars_max;
                self.exemplars.write().expect(LOCK).learn(metrics, max);
            }
        }
        if batch.n_records() > 0 {
            head.apply(batch);
        }
        duplicates
    }

    fn learn(&self, batch: &kansoku_model::MetricBatch) {
        // Nearly always nothing is new, and readers do not wait for each other.
        if self.metadata.read().expect(LOCK).knows(batch) {
            return;
        }
        self.metadata.write().expect(LOCK).learn(batch);
    }
}

fn refuse(group: &[Request], error: &StoreError) {
    group.iter().for_each(|r| r.answer(Err(error.clone())));
}

/// Writes the WAL entry of a batch.
fn put_batch(batch: &RecordBatch, entries: &mut Vec<u8>) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    frame::encode(batch, &mut bytes).map_err(invalid)?;
    wal::put_entry(entries, &bytes);
    Ok(())
}

fn invalid(error: kansoku_model::FrameError) -> StoreError {
    StoreError::Invalid(error.to_string())
}
