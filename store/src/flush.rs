//! Writing a sealed head out as parts, one per signal and UTC day.
//!
//! It only makes files; `store.rs` makes them visible. A head that is being written out is not
//! changed any more and stays readable until its parts are visible.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use kansoku_model::select::LogBlock;

use crate::StoreError;
use crate::column::Effort;
use crate::fs::Disk;
use crate::head::{Chunk, Head, LOCK};
use crate::manifest::{Day, Entry, Signal};
use crate::part::log_writer::LogPartWriter;
use crate::part::samples::SamplePartWriter;
use crate::{rows, samples};

const DAY_MS: i64 = 86_400_000;
const DAY_NS: i64 = DAY_MS * 1_000_000;
/// Parts that one flush makes per signal; what lies in still older days shares the last one.
const DAYS_MAX: usize = 64;

/// Writes the head's data and returns the parts made. `number` gives each part its number.
pub fn write_head(
    disk: &Disk,
    head: &Head,
    flush: u64,
    number: &mut dyn FnMut() -> u64,
) -> Result<Vec<Entry>, StoreError> {
    let mut parts = Parts {
        flush,
        number,
        entries: Vec::new(),
    };
    let result =
        write_logs(disk, head, &mut parts).and_then(|()| write_samples(disk, head, &mut parts));
    if let Err(e) = result {
        remove_parts(disk, &parts.entries);
        return Err(e);
    }
    Ok(parts.entries)
}

/// The parts of one flush. A part is listed before its file exists, so that a failed flush can
/// remove unfinished ones too.
struct Parts<'a> {
    flush: u64,
    number: &'a mut dyn FnMut() -> u64,
    entries: Vec<Entry>,
}

impl Parts<'_> {
    fn next(&mut self, signal: Signal, day: Day) -> Entry {
        let entry = Entry {
            number: (self.number)(),
            signal,
            day,
            flushes: (self.flush, self.flush),
        };
        self.entries.push(entry);
        entry
    }
}

/// Removes parts that no manifest names, finished or not.
pub fn remove_parts(disk: &Disk, entries: &[Entry]) {
    for entry in entries {
        // Best effort: what stays is removed at the next opening.
        let _ = disk.remove(&entry.file_name());
        let _ = disk.remove(&crate::part::temporary_name(entry));
    }
}

/// The days to make parts of, each with its range of times.
fn partitions(days: &BTreeSet<i64>, day_len: i64) -> Vec<(Day, Range<i64>)> {
    let start = |day: i64| day.saturating_mul(day_len);
    let too_many = days.len().saturating_sub(DAYS_MAX - 1);
    let skipped = if days.len() > DAYS_MAX { too_many } else { 0 };
    let mut out = Vec::new();
    if let Some(&first_kept) = days.iter().nth(skipped).filter(|_| skipped > 0) {
        out.push((Day::Mixed, i64::MIN..start(first_kept)));
    }
    let own = days.iter().skip(skipped);
    out.extend(own.map(|&day| (Day::One(day), start(day)..start(day.saturating_add(1)))));
    out
}

fn add_days(days: &mut BTreeSet<i64>, times: impl Iterator<Item = i64>, day_len: i64) {
    let mut last = None;
    for time in times {
        let day = time.div_euclid(day_len);
        if last != Some(day) {
            days.insert(day);
            last = Some(day);
        }
    }
}

fn write_logs(disk: &Disk, head: &Head, parts: &mut Parts<'_>) -> Result<(), StoreError> {
    let logs = head.logs.read().expect(LOCK);
    let mut streams: Vec<_> = logs.streams.iter().collect();
    streams.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut days = BTreeSet::new();
    for chunk in streams.iter().flat_map(|s| &s.chunks) {
        add_days(&mut days, chunk.block.times.iter().copied(), DAY_NS);
    }
    for (day, range) in partitions(&days, DAY_NS) {
        let entry = parts.next(Signal::Logs, day);
        let mut part = LogPartWriter::create(disk, entry, Effort::Flush)?;
        for stream in &streams {
            let chunks: Vec<&Arc<Chunk>> = stream
                .chunks
                .iter()
                .filter(|c| c.min_ns < range.end && c.max_ns >= range.start)
                .collect();
            let in_order = chunks.iter().all(|c| c.is_sorted)
                && chunks.windows(2).all(|w| w[0].max_ns <= w[1].min_ns);
            if in_order {
                for chunk in chunks {
                    let wanted = rows::range(&chunk.block.times, range.start, range.end);
                    part.add(&stream.labels, &chunk.block, wanted)?;
                }
            } else {
                let sorted = sorted_rows(&chunks, &range);
                part.add(&stream.labels, &sorted, 0..sorted.times.len())?;
            }
        }
        part.finish()?;
    }
    Ok(())
}

fn sorted_rows(chunks: &[&Arc<Chunk>], range: &Range<i64>) -> LogBlock {
    let mut all = LogBlock::default();
    for chunk in chunks {
        let wanted = |row: &usize| range.contains(&chunk.block.times[*row]);
        rows::append(
            &mut all,
            &chunk.block,
            (0..chunk.block.times.len()).filter(wanted),
        );
    }
    let order = rows::order(&all.times);
    let mut sorted = LogBlock::default();
    rows::append(&mut sorted, &all, order.iter().map(|&row| row as usize));
    sorted
}

fn write_samples(disk: &Disk, head: &Head, parts: &mut Parts<'_>) -> Result<(), StoreError> {
    let head = head.series.read().expect(LOCK);
    let mut series: Vec<_> = head.series.iter().collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut days = BTreeSet::new();
    for one in &series {
        let (oldest, newest) = one.bounds();
        if oldest.div_euclid(DAY_MS) == newest.div_euclid(DAY_MS) {
            add_days(&mut days, [oldest].into_iter(), DAY_MS);
        } else {
            add_days(&mut days, one.times(), DAY_MS);
        }
    }
    for (day, range) in partitions(&days, DAY_MS) {
        let entry = parts.next(Signal::Samples, day);
        let mut part = SamplePartWriter::create(disk, entry, Effort::Flush)?;
        for one in &series {
            let samples = one.copy_range(range.start, range.end.saturating_sub(1));
            debug_assert_eq!(
                samples::range(&samples.times, range.start, range.end),
                0..samples.len()
            );
            part.add(&one.labels, &samples)?;
        }
        part.finish()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_partitions_and_hostile_times_share_one() {
        let few = BTreeSet::from([-1, 0, 20_000]);
        let parts = partitions(&few, 10);
        assert_eq!(parts[0], (Day::One(-1), -10..0));
        assert_eq!(parts[2], (Day::One(20_000), 200_000..200_010));
        let many: BTreeSet<i64> = (0..1000).map(|i| i * 7).collect();
        let parts = partitions(&many, 10);
        assert_eq!(parts.len(), DAYS_MAX);
        assert_eq!(parts[0].0, Day::Mixed);
        for day in &many {
            let holders = parts
                .iter()
                .filter(|(_, r)| r.contains(&(day * 10 + 9)))
                .count();
            assert_eq!(holders, 1, "{day}");
        }
        let just: BTreeSet<i64> = (0..DAYS_MAX as i64).collect();
        assert!(
            partitions(&just, 10)
                .iter()
                .all(|(day, _)| *day != Day::Mixed)
        );
    }
}
