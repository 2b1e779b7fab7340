//! Rows of log entries in memory: appending, ordering, and copying from one block to another.
//!
//! Works on the model's `LogBlock`; knows neither files nor streams. The rule: entries of one time
//! keep the order in which they came.

use kansoku_model::Slice;
use kansoku_model::select::LogBlock;

/// Bytes of memory that a row takes besides its text.
pub const ROW_BYTES: usize = 16;

/// Appends a copy of `bytes` to the block's text.
pub fn store(block: &mut LogBlock, bytes: &[u8]) -> Slice {
    let start = block.text.len() as u32;
    block.text.extend_from_slice(bytes);
    Slice {
        start,
        len: bytes.len() as u32,
    }
}

/// Appends an entry without metadata.
pub fn push(block: &mut LogBlock, time_ns: i64, line: &[u8]) {
    let line = store(block, line);
    block.times.push(time_ns);
    block.lines.push(line);
}

/// Gives the newest entry a metadata pair. The last of a repeated name counts.
pub fn set_metadata(block: &mut LogBlock, name: &str, text: &[u8]) {
    let row = block.times.len() - 1;
    let value = store(block, text);
    let at = column(block, name);
    let values = &mut block.metadata[at].1;
    values.resize(row + 1, None);
    values[row] = Some(value);
}

/// Gives every metadata column one value per entry.
pub fn even_out(block: &mut LogBlock) {
    let n = block.times.len();
    for (_, values) in &mut block.metadata {
        values.resize(n, None);
    }
}

fn column(block: &mut LogBlock, name: &str) -> usize {
    let known = block.metadata.iter().position(|(n, _)| &**n == name);
    known.unwrap_or_else(|| {
        block.metadata.push((name.into(), Vec::new()));
        block.metadata.len() - 1
    })
}

/// Whether times ascend.
pub fn is_sorted(times: &[i64]) -> bool {
    times.windows(2).all(|w| w[0] <= w[1])
}

/// The rows in order of time, for a block that is not sorted.
pub fn order(times: &[i64]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..times.len() as u32).collect();
    rows.sort_by_key(|&row| times[row as usize]);
    rows
}

/// The run of rows with `from_ns <= time < to_ns` in sorted times.
pub fn range(times: &[i64], from_ns: i64, to_ns: i64) -> std::ops::Range<usize> {
    let start = times.partition_point(|&t| t < from_ns);
    let end = times.partition_point(|&t| t < to_ns);
    start..end.max(start)
}

/// Appends copies of the given rows of `from` to `to`.
pub fn append(to: &mut LogBlock, from: &LogBlock, rows: impl Iterator<Item = usize> + Clone) {
    let before = to.times.len();
    to.times.extend(rows.clone().map(|row| from.times[row]));
    for row in rows.clone() {
        let line = store(to, from.bytes(from.lines[row]));
        to.lines.push(line);
    }
    let n = to.times.len();
    for (name, values) in &from.metadata {
        let at = column(to, name);
        to.metadata[at].1.resize(before, None);
        for row in rows.clone() {
            let value = values[row].map(|s| store(to, from.bytes(s)));
            to.metadata[at].1.push(value);
        }
    }
    for (_, values) in &mut to.metadata {
        values.resize(n, None);
    }
}

/// Keeps the rows for which `kept` says so; their text stays where it is.
pub fn retain(block: &mut LogBlock, kept: &[bool]) {
    if kept.iter().all(|kept| *kept) {
        return;
    }
    fn keep<T>(all: &mut Vec<T>, kept: &[bool]) {
        let mut kept = kept.iter();
        all.retain(|_| kept.next().is_some_and(|kept| *kept));
    }
    keep(&mut block.times, kept);
    keep(&mut block.lines, kept);
    for (_, values) in &mut block.metadata {
        keep(values, kept);
    }
}

/// Bytes of lines and metadata of the rows, as the user counts them.
pub fn raw_bytes(block: &LogBlock) -> u64 {
    let lines: u64 = block.lines.iter().map(|s| u64::from(s.len)).sum();
    let metadata = block
        .metadata
        .iter()
        .flat_map(|(_, values)| values.iter().flatten());
    lines + metadata.map(|s| u64::from(s.len)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> LogBlock {
        let mut b = LogBlock::default();
        push(&mut b, 3, b"c");
        push(&mut b, 1, b"a");
        set_metadata(&mut b, "level", b"info");
        push(&mut b, 3, b"d");
        push(&mut b, 2, b"b");
        set_metadata(&mut b, "level", b"warn");
        set_metadata(&mut b, "level", b"error");
        even_out(&mut b);
        b
    }

    #[test]
    fn ordering_is_stable_and_copies_keep_metadata() {
        let b = block();
        assert!(!is_sorted(&b.times));
        let mut sorted = LogBlock::default();
        push(&mut sorted, 0, b"first");
        append(&mut sorted, &b, order(&b.times).iter().map(|&r| r as usize));
        let lines: Vec<&[u8]> = sorted.lines.iter().map(|&s| sorted.bytes(s)).collect();
        assert_eq!(lines, [&b"first"[..], b"a", b"b", b"c", b"d"]);
        let levels: Vec<Option<&[u8]>> = sorted.metadata[0]
            .1
            .iter()
            .map(|s| s.map(|s| sorted.bytes(s)))
            .collect();
        assert_eq!(
            levels,
            [None, Some(&b"info"[..]), Some(b"error"), None, None]
        );
        assert_eq!(range(&sorted.times, 1, 3), 1..3);
        assert_eq!(range(&sorted.times, 9, 3), 5..5);
        assert_eq!(raw_bytes(&sorted), 5 + 4 + 4 + 5);
    }
}
