//! Log entries of the head: per stream a list of chunks, of which the last one grows.
//!
//! A query takes references to chunks. A chunk that somebody else holds is never changed: it is
//! closed and the next entry starts a new one.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::select::LogBlock;
use kansoku_model::{Labels, LogBatch, Streams};

use crate::rows;

/// A chunk is closed at this size, so that a query of a short time copies little.
const CHUNK_MAX_BYTES: usize = 256 << 10;
/// A shared chunk smaller than this is copied rather than closed, or frequent queries would leave
/// crumbs.
const COPY_BELOW_BYTES: usize = 16 << 10;
/// Memory of a stream besides its entries.
const STREAM_BYTES: usize = 512;

/// Some entries of one stream in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    pub block: LogBlock,
    pub is_sorted: bool,
    pub min_ns: i64,
    pub max_ns: i64,
}

/// The entries of one stream.
#[derive(Debug)]
pub struct HeadStream {
    pub labels: Arc<Labels>,
    pub chunks: Vec<Arc<Chunk>>,
}

/// All streams of a head.
#[derive(Debug, Default)]
pub struct HeadLogs {
    by_labels: HashMap<Arc<Labels>, u32>,
    pub streams: Vec<HeadStream>,
    pub n_entries: u64,
}

impl HeadLogs {
    /// Adds all records and returns the memory they take.
    pub fn apply(&mut self, batch: &LogBatch) -> usize {
        let streams = Streams::of(batch);
        let mut grown = 0;
        let ids: Vec<u32> = streams
            .labels
            .iter()
            .map(|labels| self.stream(labels, &mut grown))
            .collect();
        let mut line_buf = Vec::new();
        for (row, &time_ns) in batch.times().iter().enumerate() {
            let stream = &mut self.streams[ids[streams.of_row[row] as usize] as usize];
            let chunk = stream.writable();
            let before = chunk.block.text.len();
            chunk.push(time_ns, streams.line(row, &mut line_buf));
            streams.metadata(row, |name, text| {
                rows::set_metadata(&mut chunk.block, name, text);
            });
            let text = chunk.block.text.len() - before;
            // Half as much again: vectors grow ahead of their content.
            grown += (text + rows::ROW_BYTES + 8 * chunk.block.metadata.len()) * 3 / 2;
        }
        for id in ids {
            if let Some(chunk) = self.streams[id as usize]
                .chunks
                .last_mut()
                .and_then(Arc::get_mut)
            {
                rows::even_out(&mut chunk.block);
            }
        }
        self.n_entries += batch.len() as u64;
        grown
    }

    fn stream(&mut self, labels: &Labels, grown: &mut usize) -> u32 {
        if let Some(id) = self.by_labels.get(labels) {
            return *id;
        }
        *grown += STREAM_BYTES + labels.as_bytes().len();
        let id = self.streams.len() as u32;
        let labels = Arc::new(labels.clone());
        self.by_labels.insert(Arc::clone(&labels), id);
        self.streams.push(HeadStream {
            labels,
            chunks: Vec::new(),
        });
        id
    }
}

impl HeadStream {
    /// The chunk that takes the next entry.
    fn writable(&mut self) -> &mut Chunk {
        let open = self.chunks.last_mut().is_some_and(|last| {
            let size = last.block.text.len();
            size < CHUNK_MAX_BYTES && (Arc::get_mut(last).is_some() || size < COPY_BELOW_BYTES)
        });
        if !open {
            if let Some(last) = self.chunks.last_mut().and_then(Arc::get_mut) {
                rows::even_out(&mut last.block);
            }
            self.chunks.push(Arc::default());
        }
        Arc::make_mut(self.chunks.last_mut().expect("just made"))
    }
}

impl Chunk {
    fn push(&mut self, time_ns: i64, line: &[u8]) {
        if self.block.times.is_empty() {
            (self.is_sorted, self.min_ns, self.max_ns) = (true, time_ns, time_ns);
        }
        self.is_sorted &= self.block.times.last().is_none_or(|&last| last <= time_ns);
        self.min_ns = self.min_ns.min(time_ns);
        self.max_ns = self.max_ns.max(time_ns);
        rows::push(&mut self.block, time_ns, line);
    }

    /// Appends the entries with `from_ns <= time < to_ns` to `out` in order of time.
    pub fn copy_range(&self, from_ns: i64, to_ns: i64, out: &mut LogBlock) {
        let times = &self.block.times;
        if self.is_sorted {
            rows::append(out, &self.block, rows::range(times, from_ns, to_ns));
        } else {
            let wanted = |row: &usize| (from_ns..to_ns).contains(&times[*row]);
            let order = rows::order(times);
            rows::append(
                out,
                &self.block,
                order.iter().map(|&row| row as usize).filter(wanted),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::logs;

    #[test]
    fn a_chunk_that_a_query_holds_is_not_changed() {
        let mut head = HeadLogs::default();
        let long = "x".repeat(COPY_BELOW_BYTES);
        head.apply(&logs(0, "a", 0, &[(5, &long), (3, "b")]));
        let held = Arc::clone(&head.streams[0].chunks[0]);
        head.apply(&logs(0, "a", 0, &[(4, "c")]));
        assert_eq!(
            (held.block.times.len(), head.streams[0].chunks.len()),
            (2, 2)
        );
        assert!(!held.is_sorted);
        let mut out = LogBlock::default();
        held.copy_range(0, 5, &mut out);
        assert_eq!(out.times, [3]);
        drop(held);

        head.apply(&logs(0, "b", 0, &[(1, "small")]));
        let held = Arc::clone(&head.streams[1].chunks[0]);
        head.apply(&logs(0, "b", 0, &[(2, "more")]));
        assert_eq!(held.block.times, [1]);
        assert_eq!(head.streams[1].chunks.len(), 1, "small ones are copied");
        assert_eq!(head.streams[1].chunks[0].block.times, [1, 2]);
        assert_eq!(head.n_entries, 5);
    }

    #[test]
    fn metadata_stays_beside_its_entry() {
        let mut head = HeadLogs::default();
        let mut batch = logs(0, "a", 0, &[(1, "x"), (2, "y"), (3, "z")]);
        batch.set_text("level", 1, b"info");
        head.apply(&batch);
        head.apply(&logs(0, "a", 0, &[(4, "w")]));
        let block = &head.streams[0].chunks[0].block;
        let level: Vec<bool> = block.metadata[0].1.iter().map(Option::is_some).collect();
        assert_eq!(level, [false, true, false, false]);
    }
}
