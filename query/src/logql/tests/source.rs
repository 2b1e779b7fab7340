//! A log source over vectors that keeps the contract of [`LogSource`] to the letter.

use kansoku_model::log::Slice;
use kansoku_model::select::{
    Direction, LogBlock, LogBlockRef, LogSelect, LogSource, SelectError, VisitBlock,
};
use kansoku_model::{AnyOf, Labels};

/// An entry as a test writes it.
#[derive(Debug, Clone)]
pub struct TestEntry {
    pub time_ns: i64,
    pub line: Vec<u8>,
    pub metadata: Labels,
}

/// Streams and their entries in order of time.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    streams: Vec<(Labels, Vec<TestEntry>)>,
    block_size: usize,
    /// Entries that lack what wanted lines contain are left out.
    leaves_out: bool,
}

impl MemorySource {
    pub fn add_stream(&mut self, labels: Labels) {
        self.streams.push((labels, Vec::new()));
    }

    /// Adds an entry to the last stream.
    pub fn push(&mut self, entry: TestEntry) {
        let (_, entries) = self.streams.last_mut().unwrap();
        entries.push(entry);
        entries.sort_by_key(|e| e.time_ns);
    }

    /// The same entries without those that it may leave out.
    pub fn leaving_out(self) -> Self {
        Self {
            leaves_out: true,
            ..self
        }
    }

    /// The same entries in blocks of so many.
    pub fn in_blocks_of(&self, block_size: usize) -> Self {
        Self {
            block_size,
            ..self.clone()
        }
    }
}

struct Block<'a> {
    leaves_out: bool,
    labels: &'a Labels,
    entries: &'a [TestEntry],
    wanted: &'a LogSelect,
}

impl Block<'_> {
    fn wanted(&self) -> impl Iterator<Item = &TestEntry> {
        let range = self.wanted.from_ns..self.wanted.to_ns;
        self.entries
            .iter()
            .filter(move |e| range.contains(&e.time_ns))
    }

    /// Whether the entry lacks what wanted lines contain, or surely does not pass.
    fn lacks_needle(&self, entry: &TestEntry) -> bool {
        let has_label =
            |name: &String| self.labels.get(name).is_some() || entry.metadata.get(name).is_some();
        let lacks = |any: &AnyOf| {
            let applies = !any.field.as_ref().is_some_and(has_label);
            applies && !any.is_in(&entry.line)
        };
        let automata = &self.wanted.automata;
        self.leaves_out
            && (self.wanted.needles.iter().any(lacks)
                || !automata.iter().all(|a| a.may_pass(&entry.line)))
    }
}

impl LogBlockRef for Block<'_> {
    fn labels(&self) -> &Labels {
        self.labels
    }

    fn time_range_ns(&self) -> (i64, i64) {
        let last = self.entries.len() - 1;
        (self.entries[0].time_ns, self.entries[last].time_ns)
    }

    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        self.load_within(i64::MIN, i64::MAX, out)
    }

    fn load_within(&self, from_ns: i64, to_ns: i64, out: &mut LogBlock) -> Result<(), SelectError> {
        out.clear();
        let is_wanted = |e: &&TestEntry| (from_ns..to_ns).contains(&e.time_ns);
        let entries = self.wanted().filter(is_wanted);
        let entries: Vec<_> = entries.filter(|e| !self.lacks_needle(e)).collect();
        let n = entries.len();
        for (row, entry) in entries.into_iter().enumerate() {
            out.times.push(entry.time_ns);
            let line = store(&mut out.text, &entry.line);
            out.lines.push(line);
            for (name, value) in &entry.metadata {
                let slice = store(&mut out.text, value.as_bytes());
                let column = out.metadata.iter().position(|(n, _)| &**n == name);
                let column = column.unwrap_or_else(|| {
                    out.metadata.push((name.into(), vec![None; n]));
                    out.metadata.len() - 1
                });
                out.metadata[column].1[row] = Some(slice);
            }
        }
        Ok(())
    }

    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        times.clear();
        lens.clear();
        for entry in self.wanted() {
            times.push(entry.time_ns);
            lens.push(entry.line.len() as u32);
        }
        Ok(())
    }

    fn totals(&self) -> Option<(u64, u64)> {
        let lines = self.wanted().map(|e| e.line.len() as u64);
        (self.wanted().count() == self.entries.len())
            .then(|| (self.entries.len() as u64, lines.sum()))
    }

    fn loading_bytes(&self) -> usize {
        let of = |entry: &TestEntry| {
            let metadata = entry.metadata.iter().map(|(n, v)| 16 + n.len() + v.len());
            64 + entry.line.len() + metadata.sum::<usize>()
        };
        self.entries.iter().map(of).sum()
    }

    fn has_metadata(&self) -> bool {
        self.entries.iter().any(|e| !e.metadata.is_empty())
    }
}

fn store(text: &mut Vec<u8>, bytes: &[u8]) -> Slice {
    let start = text.len() as u32;
    text.extend_from_slice(bytes);
    Slice {
        start,
        len: bytes.len() as u32,
    }
}

impl LogSource for MemorySource {
    fn select(&self, wanted: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        let mut blocks: Vec<Block<'_>> = self
            .streams
            .iter()
            .filter(|(labels, _)| wanted.matchers.iter().all(|m| m.matches_labels(labels)))
            .flat_map(|(labels, entries)| {
                entries
                    .chunks(self.block_size.max(1))
                    .map(move |entries| Block {
                        labels,
                        entries,
                        wanted,
                        leaves_out: self.leaves_out,
                    })
            })
            .filter(|b| {
                let (oldest, newest) = b.time_range_ns();
                oldest < wanted.to_ns
                    && newest >= wanted.from_ns
                    && !b.entries.iter().all(|e| b.lacks_needle(e))
            })
            .collect();
        match wanted.direction {
            Direction::Forward => blocks.sort_by_key(|b| b.time_range_ns().0),
            Direction::Backward => blocks.sort_by_key(|b| std::cmp::Reverse(b.time_range_ns().1)),
        }
        for block in &blocks {
            if visit(block)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
