//! Answers log queries: the newest or oldest entries that pass every stage.
//!
//! Blocks come ordered by their newest (or oldest) entry; once enough entries are held and no block
//! to come can hold a better one, reading stops.

use std::collections::{BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use kansoku_model::LogSource;
use kansoku_model::select::{Direction, LogBlock, LogBlockRef, LogSelect};

use super::ast::LogExpr;
use super::engine::Watch;
use super::error::QueryError;
use super::output::{Entry, LabelGroups, Statistics, Stream, Streams};
use super::pipeline::{Pipeline, load_record};
use super::record::Record;

/// What to look for.
pub struct LogRequest<'a> {
    pub expr: &'a LogExpr,
    pub start_ns: i64,
    pub end_ns: i64,
    pub direction: Direction,
    pub limit: usize,
}

/// An entry that is in the answer so far. The worst one is the greatest.
struct Held {
    /// The time, or its complement when the newest entries are wanted.
    rank: i64,
    /// Order of arrival, so that equal times keep it.
    arrival: u64,
    stream: usize,
    time_ns: i64,
    line: Box<[u8]>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.rank, self.arrival) == (other.rank, other.arrival)
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.rank, self.arrival).cmp(&(other.rank, other.arrival))
    }
}

/// Memory of an entry besides its line: in the heap, which grows by doubling, and in the answer.
const HELD_BYTES: usize = 160;
/// Memory of a stream besides its labels and key.
const STREAM_BYTES: usize = 256;

/// A stream of which entries are held.
struct HeldStream {
    labels: LabelGroups,
    /// Its key in the index, shared with that.
    key: Rc<[u8]>,
    n_held: usize,
}

impl HeldStream {
    fn n_bytes(&self) -> usize {
        STREAM_BYTES + self.key.len() + self.labels.n_bytes()
    }
}

/// Runs a log query.
pub fn run(
    source: &dyn LogSource,
    request: &LogRequest<'_>,
    watch: &mut Watch<'_>,
) -> Result<Streams, QueryError> {
    let backward = request.direction == Direction::Backward;
    let mut answer = Streams {
        backward,
        ..Streams::default()
    };
    if request.limit == 0 || request.start_ns >= request.end_ns {
        return Ok(answer);
    }
    let pipeline = Pipeline::new(request.expr);
    let wanted = LogSelect {
        matchers: request.expr.matchers.clone(),
        from_ns: request.start_ns,
        to_ns: request.end_ns,
        direction: request.direction,
        needles: pipeline.needles(),
        automata: pipeline.automata(),
        counts_only: false,
    };
    let mut search = Search {
        backward,
        limit: request.limit,
        pipeline: &pipeline,
        held: BinaryHeap::new(),
        arrival: 0,
        streams: Vec::new(),
        free: Vec::new(),
        index: HashMap::new(),
        statistics: Statistics::default(),
        block: LogBlock::default(),
        rows: Vec::new(),
        key: Vec::new(),
    };
    watch.select(source, &wanted, &mut |block, watch| {
        search.visit(block, watch)
    })?;
    search.finish(&mut answer);
    Ok(answer)
}

struct Search<'a> {
    backward: bool,
    limit: usize,
    pipeline: &'a Pipeline,
    held: BinaryHeap<Held>,
    arrival: u64,
    /// None where a stream has lost all its entries to better ones.
    streams: Vec<Option<HeldStream>>,
    /// Where they are none.
    free: Vec<usize>,
    index: HashMap<Rc<[u8]>, usize>,
    statistics: Statistics,
    /// Memory that is used again for every block.
    block: LogBlock,
    rows: Vec<u32>,
    key: Vec<u8>,
}

impl Search<'_> {
    fn rank(&self, time_ns: i64) -> i64 {
        if self.backward { !time_ns } else { time_ns }
    }

    /// Whether an entry of this time, coming now, cannot be in the answer.
    fn too_late(&self, time_ns: i64) -> bool {
        self.held.len() >= self.limit
            && self
                .held
                .peek()
                .is_some_and(|worst| self.rank(time_ns) >= worst.rank)
    }

    fn visit(
        &mut self,
        block_ref: &dyn LogBlockRef,
        watch: &mut Watch<'_>,
    ) -> Result<ControlFlow<()>, QueryError> {
        let (oldest, newest) = block_ref.time_range_ns();
        if self.too_late(if self.backward { newest } else { oldest }) {
            return Ok(ControlFlow::Break(()));
        }
        watch.hold_loading(block_ref, self.block.held_bytes())?;
        let (from_ns, to_ns) = self.wanted_times(block_ref)?;
        let mut block = std::mem::take(&mut self.block);
        let loaded = block_ref.load_within(from_ns, to_ns, &mut block);
        let visited = match loaded {
            Ok(()) => watch
                .hold_block(block.held_bytes())
                .and_then(|()| self.take_block(&block, block_ref, watch)),
            Err(error) => Err(error.into()),
        };
        self.block = block;
        visited.map(ControlFlow::Continue)
    }

    /// The times that entries of the block must have to be in the answer.
    fn wanted_times(&self, block_ref: &dyn LogBlockRef) -> Result<(i64, i64), QueryError> {
        let (mut from_ns, mut to_ns) = (i64::MIN, i64::MAX);
        if let Some(worst) = self.held.peek().filter(|_| self.held.len() >= self.limit) {
            // An entry of the same time would come too late.
            match self.backward {
                true => from_ns = worst.time_ns.saturating_add(1),
                false => to_ns = worst.time_ns,
            }
        }
        if self.pipeline.is_empty() {
            // Every entry counts, so the best ones of the block are enough.
            let (mut times, mut lens) = (Vec::new(), Vec::new());
            block_ref.load_times(&mut times, &mut lens)?;
            if times.len() > self.limit {
                match self.backward {
                    true => from_ns = from_ns.max(times[times.len() - self.limit]),
                    false => to_ns = to_ns.min(times[self.limit - 1].saturating_add(1)),
                }
            }
        }
        Ok((from_ns, to_ns))
    }

    fn take_block(
        &mut self,
        block: &LogBlock,
        block_ref: &dyn LogBlockRef,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        self.statistics.blocks_read += 1;
        self.statistics.entries_read += block.times.len() as u64;
        self.statistics.bytes_read += block.lines.iter().map(|l| u64::from(l.len)).sum::<u64>();
        let mut rows = std::mem::take(&mut self.rows);
        self.pipeline.surviving_rows(block, &mut rows);
        if self.backward {
            rows.reverse();
        }
        let mut record = Record::new(block_ref.labels());
        let mut result = Ok(());
        for row in &rows {
            result = watch.tick();
            let row = *row as usize;
            // Times ascend in a block and rows go from the better to the worse.
            if result.is_err() || self.too_late(block.times[row]) {
                break;
            }
            let metadata_bytes = load_record(&mut record, block, row) as u64;
            self.statistics.metadata_bytes_read += metadata_bytes;
            self.statistics.bytes_read += metadata_bytes;
            if self.pipeline.process(&mut record) {
                self.statistics.entries_passed += 1;
                result = self.hold(&record, watch);
                if result.is_err() {
                    break;
                }
            }
        }
        self.rows = rows;
        result
    }

    fn hold(&mut self, record: &Record<'_>, watch: &mut Watch<'_>) -> Result<(), QueryError> {
        watch.hold(HELD_BYTES + record.line.len())?;
        let stream = self.stream_of(record, watch)?;
        self.arrival += 1;
        self.held.push(Held {
            rank: self.rank(record.time_ns),
            arrival: self.arrival,
            stream,
            time_ns: record.time_ns,
            line: record.line.as_ref().into(),
        });
        let worst = match self.held.len() > self.limit {
            true => self.held.pop(),
            false => None,
        };
        if let Some(worst) = worst {
            watch.release(HELD_BYTES + worst.line.len());
            self.let_go(worst.stream, watch);
        }
        Ok(())
    }

    /// The stream that an entry is of; it holds one more.
    fn stream_of(
        &mut self,
        record: &Record<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<usize, QueryError> {
        record.labels.write_key(None, &mut self.key);
        if let Some(&at) = self.index.get(self.key.as_slice()) {
            if let Some(stream) = &mut self.streams[at] {
                stream.n_held += 1;
            }
            return Ok(at);
        }
        let stream = HeldStream {
            labels: record.labels.groups(),
            key: self.key.as_slice().into(),
            n_held: 1,
        };
        watch.hold(stream.n_bytes())?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.streams.push(None);
            self.streams.len() - 1
        });
        self.index.insert(Rc::clone(&stream.key), at);
        self.streams[at] = Some(stream);
        Ok(at)
    }

    /// A stream holds one entry less; without any it is forgotten.
    fn let_go(&mut self, at: usize, watch: &mut Watch<'_>) {
        if let Some(stream) = &mut self.streams[at] {
            stream.n_held -= 1;
            if stream.n_held > 0 {
                return;
            }
            watch.release(stream.n_bytes());
            self.index.remove(&stream.key);
            self.streams[at] = None;
            self.free.push(at);
        }
    }

    fn finish(self, answer: &mut Streams) {
        let mut entries: Vec<Vec<Entry>> = Vec::new();
        entries.resize_with(self.streams.len(), Vec::new);
        answer.statistics = self.statistics;
        for held in self.held.into_sorted_vec() {
            answer.statistics.entries_returned += 1;
            entries[held.stream].push(Entry {
                time_ns: held.time_ns,
                line: held.line,
            });
        }
        let streams = self.streams.into_iter().zip(entries);
        answer.streams = streams
            .filter_map(|(stream, entries)| {
                let labels = stream?.labels;
                Some(Stream { labels, entries })
            })
            .collect();
        answer
            .streams
            .sort_by(|a, b| a.labels.all.cmp(&b.labels.all));
    }
}
