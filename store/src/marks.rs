//! High-water marks: how far into each source the store has come, so that a repeat is told from
//! news.
//!
//! Plain memory; `state.rs` writes it. The rule: a mark moves only forward, in the order of the
//! WAL, so a replay comes to the same marks.

use std::collections::HashMap;

use kansoku_model::{Position, RecordBatch, Source, SourceId};

/// How far into a source the store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub to: Position,
    /// Unix milliseconds of the last flush that saw it move; `None` since the last one.
    pub moved_ms: Option<i64>,
}

/// How long the mark of a brief source is kept: events of Kubernetes, which come again after their reader
/// was replaced, live for an hour.
const BRIEF_MS: i64 = 24 * 3_600_000;

/// The marks of all sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(HashMap<u128, Mark>);

impl Marks {
    /// Whether the source has delivered all of this range before.
    pub fn covers(&self, source: &Source) -> bool {
        self.0.get(&source.id.0).is_some_and(|m| source.to <= m.to)
    }

    /// Drops from `batch` what was delivered before, moves the mark, and returns how many records
    /// were dropped.
    pub fn admit(&mut self, batch: &mut RecordBatch) -> u64 {
        let source = *batch.source();
        if source.id == SourceId::NONE {
            return 0;
        }
        let known = self.0.get(&source.id.0).map(|m| m.to);
        let before = batch.n_records();
        if let Some(known) = known {
            if source.to <= known {
                clear(batch);
                return before as u64;
            }
            if let RecordBatch::Logs(logs) = batch
                && source.from < known
            {
                let positions = logs.positions().to_vec();
                logs.retain(|row| positions[row] > known);
            }
            // Samples have no position of their own; a repeated one is equal and stored once.
        }
        self.set(source.id, source.to, None);
        (before - batch.n_records()) as u64
    }

    pub fn set(&mut self, id: SourceId, to: Position, moved_ms: Option<i64>) {
        self.0.insert(id.0, Mark { to, moved_ms });
    }

    /// Dates the marks that have moved since the last call.
    pub fn date(&mut self, now_ms: i64) {
        for mark in self.0.values_mut() {
            mark.moved_ms.get_or_insert(now_ms);
        }
    }

    /// Forgets the marks that have not moved since `before_ms`.
    pub fn expire(&mut self, before_ms: i64) {
        self.0
            .retain(|_, m| m.moved_ms.is_none_or(|t| t >= before_ms));
    }

    /// Forgets the marks of brief sources that are older than those can come again: each of them has few
    /// records, and there may be one per record.
    pub fn expire_brief(&mut self, now_ms: i64) {
        let before_ms = now_ms.saturating_sub(BRIEF_MS);
        self.0
            .retain(|id, m| !SourceId(*id).is_brief() || m.moved_ms.is_none_or(|t| t >= before_ms));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All marks in order of their ids.
    pub fn sorted(&self) -> Vec<(SourceId, Mark)> {
        let mut all: Vec<_> = self.0.iter().map(|(id, m)| (SourceId(*id), *m)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

fn clear(batch: &mut RecordBatch) {
    match batch {
        RecordBatch::Logs(b) => b.retain(|_| false),
        RecordBatch::Metrics(b) => b.clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{logs, samples};

    #[test]
    fn repeats_are_dropped_overlaps_trimmed_and_gaps_accepted() {
        let mut marks = Marks::default();
        let lines: Vec<(i64, &str)> = (0..10).map(|i| (i, "x")).collect();
        // (from, lines, kept, dropped)
        let cases = [
            (0, 5, 5, 0),
            (0, 5, 0, 5),
            (2, 2, 0, 2),
            (3, 4, 2, 2),
            (7, 1, 1, 0),
            (20, 3, 3, 0),
            (8, 10, 0, 10),
        ];
        for (from, n, kept, dropped) in cases {
            let mut batch = RecordBatch::Logs(logs(1, "a", from, &lines[..n]));
            assert_eq!(marks.admit(&mut batch), dropped, "from {from}");
            assert_eq!(batch.n_records(), kept, "from {from}");
        }
        let mut other = RecordBatch::Logs(logs(2, "a", 0, &lines));
        assert_eq!(marks.admit(&mut other), 0, "another source");
        for _ in 0..2 {
            let mut none = RecordBatch::Logs(logs(0, "a", 0, &lines));
            assert_eq!(marks.admit(&mut none), 0, "no source");
        }
        let mut first = RecordBatch::Metrics(samples(3, 0, "m", 0, &[1.0, 2.0]));
        let mut again = first.clone();
        assert_eq!((marks.admit(&mut first), marks.admit(&mut again)), (0, 2));
        assert_eq!(marks.len(), 3);
    }

    #[test]
    fn marks_that_rest_expire() {
        let mut marks = Marks::default();
        marks.set(SourceId(1), Position::at(5), None);
        marks.date(1000);
        marks.set(SourceId(2), Position::at(5), None);
        marks.expire(1001);
        assert_eq!(marks.sorted().len(), 1);
        marks.date(2000);
        marks.expire(2001);
        assert_eq!(marks.len(), 0);
    }

    #[test]
    fn marks_of_brief_sources_are_kept_a_day() {
        let mut marks = Marks::default();
        let brief = SourceId::brief(b"an event");
        for id in [SourceId(1), brief, brief.derived("tag")] {
            assert_eq!(id.is_brief(), id != SourceId(1));
            marks.set(id, Position::at(1), Some(1000));
        }
        marks.expire_brief(1000 + BRIEF_MS);
        assert_eq!(marks.len(), 3);
        marks.expire_brief(1001 + BRIEF_MS);
        assert_eq!(marks.sorted()[0].0, SourceId(1));
        assert_eq!(marks.len(), 1);
    }
}
