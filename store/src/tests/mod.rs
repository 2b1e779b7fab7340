//! Tests of the whole store: what is acknowledged is there, once, whatever happens.

mod backup;
mod by_reference;
mod check;
mod concurrency;
mod crash;
mod damage;
mod deletes;
mod faults;
mod histograms;
mod parts;
mod power_cut;
mod retention;
mod store;
mod told;

use std::ops::ControlFlow;
use std::path::Path;

use kansoku_model::select::{Direction, LogBlock, LogSelect, SeriesData};
use kansoku_model::{FloatRun, LogSource, Matcher, SeriesSource};

use crate::testing::options;
use crate::{Recovery, Snapshot, Store};

/// Opens a store that must open.
fn open(path: &Path) -> (Store, Recovery) {
    Store::open(options(path)).unwrap()
}

fn wanted(direction: Direction) -> LogSelect {
    LogSelect {
        matchers: Vec::new(),
        from_ns: i64::MIN,
        to_ns: i64::MAX,
        direction,
        needles: Vec::new(),
        automata: Vec::new(),
        counts_only: false,
    }
}

/// Labels, time, metadata and line of every entry, in a canonical order.
fn entries_of(snapshot: &Snapshot, wanted: &LogSelect) -> Vec<String> {
    let mut all = Vec::new();
    let mut block = LogBlock::default();
    let mut last: Option<i64> = None;
    let (mut times, mut lens) = (Vec::new(), Vec::new());
    LogSource::select(snapshot, wanted, &mut |b| {
        let (min, max) = b.time_range_ns();
        match wanted.direction {
            Direction::Forward => assert!(last.replace(min).is_none_or(|l| l <= min)),
            Direction::Backward => assert!(last.replace(max).is_none_or(|l| l >= max)),
        }
        b.load(&mut block).unwrap();
        b.load_times(&mut times, &mut lens).unwrap();
        assert_eq!(block.times.len(), block.lines.len());
        if !wanted.needles.is_empty() {
            let is_known = |time| times.binary_search(time).is_ok();
            assert!(block.times.iter().all(is_known), "some of all entries");
        } else if !block.times.is_empty() {
            assert_eq!(times, block.times, "both ways of loading agree");
            let all_lens: Vec<u32> = block.lines.iter().map(|line| line.len).collect();
            assert_eq!(lens, all_lens);
            let bytes = all_lens.iter().map(|len| u64::from(*len)).sum();
            let totals = (times.len() as u64, bytes);
            assert!(b.totals().is_none_or(|known| known == totals));
            let (from, to) = (times[times.len() / 3], times[times.len() * 2 / 3]);
            let mut part = LogBlock::default();
            b.load_within(from, to, &mut part).unwrap();
            let rows = crate::rows::range(&times, from, to);
            assert_eq!(part.times, times[rows.clone()]);
            let lines = |block: &LogBlock, rows: std::ops::Range<usize>| {
                let lines = block.lines[rows].iter();
                lines
                    .map(|line| block.bytes(*line).to_vec())
                    .collect::<Vec<_>>()
            };
            assert_eq!(lines(&part, 0..part.lines.len()), lines(&block, rows));
        }
        assert!(crate::rows::is_sorted(&block.times));
        for (row, time) in block.times.iter().enumerate() {
            assert!((min..=max).contains(time) && (wanted.from_ns..wanted.to_ns).contains(time));
            let mut text = format!("{} {time} ", b.labels());
            // The order of columns is not defined.
            let mut pairs = Vec::new();
            for (name, values) in &block.metadata {
                let value = values[row].map(|v| String::from_utf8_lossy(block.bytes(v)));
                pairs.extend(value.map(|v| format!("{name}={v} ")));
            }
            pairs.sort();
            text += &pairs.concat();
            all.push(text + &String::from_utf8_lossy(block.bytes(block.lines[row])));
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    all.sort();
    all
}

/// All entries, read in both directions.
fn entries(snapshot: &Snapshot) -> Vec<String> {
    let forward = entries_of(snapshot, &wanted(Direction::Forward));
    assert_eq!(forward, entries_of(snapshot, &wanted(Direction::Backward)));
    forward
}

/// Two long lists are equal, or the first difference is shown.
#[track_caller]
fn assert_same(got: &[String], expected: &[String], what: &str) {
    let at = got.iter().zip(expected).position(|(g, e)| g != e);
    let at = at.unwrap_or(got.len().min(expected.len()));
    let (g, e) = (got.get(at), expected.get(at));
    assert!(
        g == e,
        "{what}: item {at} of {} is {g:?}, expected {e:?} of {}",
        got.len(),
        expected.len()
    );
}

/// Labels, times and value bits of every series.
fn series_of(snapshot: &Snapshot, matchers: &[Matcher]) -> Vec<String> {
    let found = SeriesSource::select(snapshot, matchers, i64::MIN, i64::MAX, usize::MAX).unwrap();
    let mut all: Vec<String> = found
        .iter()
        .map(|s| {
            assert!(
                s.times.windows(2).all(|w| w[0] < w[1]),
                "each time once, in order"
            );
            let bits: Vec<u64> = s.values.iter().map(|v| v.to_bits()).collect();
            format!("{} {:?} {bits:?}", s.labels, s.times)
        })
        .collect();
    all.sort();
    all
}

fn series(snapshot: &Snapshot) -> Vec<String> {
    let all = series_of(snapshot, &[]);
    let times = |range| both_readings(snapshot, range);
    let all_times = times((i64::MIN, i64::MAX));
    if let (Some(first), Some(last)) = (all_times.iter().min(), all_times.iter().max()) {
        let third = last.saturating_sub(*first) / 3;
        let (one, two) = (first.saturating_add(third), last.saturating_sub(third));
        for range in [(one, two), (*first, one), (two, *last)] {
            times(range);
        }
    }
    all
}

/// Reads the floats of all series in both ways and compares what comes; returns their times.
fn both_readings(snapshot: &Snapshot, (from_ms, to_ms): (i64, i64)) -> Vec<i64> {
    let found = snapshot.find(&[], from_ms, to_ms, usize::MAX).unwrap();
    let (mut reader, mut other) = (found.reader(), found.reader());
    let (mut any, mut floats) = (SeriesData::default(), FloatRun::default());
    let mut times = Vec::new();
    for at in 0..found.n_series() {
        reader.read(at, &mut any).unwrap();
        times.extend_from_slice(&any.times);
        if other.read_floats(at, &mut floats).unwrap() {
            assert_eq!(*floats.times, any.times, "{}", found.labels(at));
            assert!(any.histograms.is_empty() && any.starts.is_empty());
            assert_eq!(floats.values.len(), any.values.len());
            for (row, value) in any.values.iter().enumerate() {
                assert_eq!(floats.values.at(row).to_bits(), value.to_bits());
            }
        }
    }
    times
}
