//! A block of log entries without those that deletes take.
//!
//! It stands in for the block while it is queried; what it wraps reads the part. The rule: both ways of
//! loading give the same entries.

use kansoku_model::Labels;
use kansoku_model::select::{LogBlock, LogBlockRef, SelectError};

use crate::deletes::{Delete, strike_entries};

/// A block, and the deletes that touch it.
pub struct Struck<'a> {
    block: &'a dyn LogBlockRef,
    deletes: &'a [&'a Delete],
}

impl<'a> Struck<'a> {
    pub fn new(block: &'a dyn LogBlockRef, deletes: &'a [&'a Delete]) -> Self {
        Self { block, deletes }
    }
}

impl LogBlockRef for Struck<'_> {
    fn labels(&self) -> &Labels {
        self.block.labels()
    }

    fn time_range_ns(&self) -> (i64, i64) {
        self.block.time_range_ns()
    }

    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        self.block.load(out)?;
        strike_entries(self.deletes.iter().copied(), self.labels(), out);
        Ok(())
    }

    fn load_within(&self, from_ns: i64, to_ns: i64, out: &mut LogBlock) -> Result<(), SelectError> {
        self.block.load_within(from_ns, to_ns, out)?;
        strike_entries(self.deletes.iter().copied(), self.labels(), out);
        Ok(())
    }

    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        if self.deletes.iter().any(|d| d.selector.lines.is_some()) {
            let mut whole = LogBlock::default();
            self.load(&mut whole)?;
            times.clear();
            lens.clear();
            lens.extend(whole.lines.iter().map(|line| line.len));
            times.append(&mut whole.times);
            return Ok(());
        }
        self.block.load_times(times, lens)?;
        for delete in self.deletes {
            let start = times.partition_point(|t| *t < delete.from);
            let end = times.partition_point(|t| *t <= delete.to).max(start);
            times.drain(start..end);
            lens.drain(start..end);
        }
        Ok(())
    }

    fn loading_bytes(&self) -> usize {
        self.block.loading_bytes()
    }

    fn has_metadata(&self) -> bool {
        self.block.has_metadata()
    }
}
