//! A store written by an older version of the format must open for ever, with the same content.
//!
//! `fixtures/store/v1` and `v2` hold parts of both signals and a WAL that was not written out. In
//! `v2` the log parts have pages of templates. `wal2` is a WAL of version 2 alone: frames, and samples
//! by reference. `v3` has histograms and start times, in a part and in the WAL. `logs3` has log parts
//! of version 3, with filters of ids. `patched` has log parts of version 4 and sample parts of version 3, with
//! integers in patched frames. `UPDATE=1` writes the newest anew: do that only together with a new version number,
//! under a new name.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::histogram::{CUSTOM_SCHEMA, Counts, NativeHistogram, ResetHint, Span};
use kansoku_model::metric::{HistogramPoint, Point};
use kansoku_model::select::{Direction, LogBlock, LogSelect};
use kansoku_model::{
    AnyOf, Labels, LogBatch, LogSource, MetricBatch, MetricKind, Position, RecordBatch, Resource,
    SeriesSource, Source, SourceId, Suffix,
};
use kansoku_store::{Incoming, Options, Store};

const T0_NS: i64 = 1_767_312_000_000_000_000;

/// A fixture, and what its writer was given.
#[derive(Clone, Copy)]
struct Version {
    folder: &'static str,
    lines_per_batch: u64,
    line: fn(u64) -> String,
}

const V1: Version = Version {
    folder: "v1",
    lines_per_batch: 30,
    line: |at| format!("line {at} of the request {:x}", at * 0x9e37_79b9),
};
const V2: Version = Version {
    folder: "v2",
    lines_per_batch: 150,
    line: |at| {
        let (ms, id) = (at * 700, at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let time = format!("{:02}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000);
        let path = format!(
            "/api/v1/{}/{}",
            ["cart", "users"][at as usize % 2],
            id >> 44
        );
        format!(
            r#"{{"ts":"2026-01-02T00:{time}Z","n":{at},"path":"{path}","id":"{id:016x}","took":{}.{:02}}} of the request"#,
            id % 7,
            id % 89
        )
    },
};

fn fixture(version: Version) -> PathBuf {
    folder(version.folder)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/store")
        .join(name)
}

fn log_batch(version: Version, round: u64) -> RecordBatch {
    let n = version.lines_per_batch;
    let resource = Resource {
        labels: Labels::from_pairs([("app", format!("app{}", round % 2)), ("zone", "観".into())]),
        ..Default::default()
    };
    let mut b = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
    for i in 0..n {
        let at = round * n + i;
        let row = b.push(T0_NS + (at * 700_000_001) as i64, Position::at(at + 1));
        b.set_text("log", row, (version.line)(at).as_bytes());
        if i % 3 == 0 {
            b.set_text("level", row, b"warn");
        }
    }
    b.source = Source {
        id: SourceId(77),
        from: Position::at(round * n),
        to: Position::at(round * n + n),
    };
    RecordBatch::Logs(b)
}

/// The content as text, for the expected output beside the fixture.
fn dump(store: &Store) -> String {
    let snapshot = store.snapshot();
    let (mut lines, mut block) = (Vec::new(), LogBlock::default());
    LogSource::select(&snapshot, &everything(), &mut |b| {
        b.load(&mut block)?;
        for (row, time) in block.times.iter().enumerate() {
            let line = String::from_utf8_lossy(block.bytes(block.lines[row]));
            let pairs = block
                .metadata
                .iter()
                .filter_map(|(name, values)| Some((name, values[row]?)));
            let pairs: Vec<String> = pairs
                .map(|(name, value)| {
                    format!("{name}={}", String::from_utf8_lossy(block.bytes(value)))
                })
                .collect();
            lines.push(format!("{} {time} {pairs:?} {line}", b.labels()));
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    for s in SeriesSource::select(&snapshot, &[], i64::MIN, i64::MAX, usize::MAX).unwrap() {
        let samples = s.times.iter().zip(&s.values);
        let samples: Vec<String> = samples
            .map(|(t, v)| format!("{t}={:016x}", v.to_bits()))
            .collect();
        lines.push(format!("{} {}", s.labels, samples.join(" ")));
        if !s.starts.is_empty() {
            lines.push(format!("{} starts {:?}", s.labels, s.starts));
        }
        for (t, histogram) in s.times.iter().zip(&s.histograms) {
            lines.extend(histogram.iter().map(|h| format!("{} {t} {h:?}", s.labels)));
        }
    }
    lines.extend(snapshot.metric_metadata().expect("all").iter().map(|m| {
        let (name, kind, help) = (&m.name, m.kind, &m.help);
        format!("MetricMetadata {{ name: {name:?}, kind: {kind:?}, help: {help:?} }}")
    }));
    lines.sort();
    assert!(snapshot.warnings().is_empty());
    lines.join("\n") + "\n"
}

fn everything() -> LogSelect {
    LogSelect {
        matchers: Vec::new(),
        from_ns: i64::MIN,
        to_ns: i64::MAX,
        direction: Direction::Forward,
        needles: Vec::new(),
        automata: Vec::new(),
        counts_only: false,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_store_of_version_1_opens_with_its_content() {
    check(V1);
}

#[test]
fn a_store_of_version_2_opens_with_its_content() {
    check(V2);
    // The lines alone take 6151 bytes of each part when they are not cut (zstd level 1).
    let parts = fs::read_dir(fixture(V2).join("parts")).unwrap();
    let logs = parts.filter_map(|file| {
        let path = file.unwrap().path();
        let is_logs = path.extension().is_some_and(|e| e == "logs");
        is_logs.then(|| fs::read(path).unwrap())
    });
    let logs: Vec<Vec<u8>> = logs.collect();
    assert_eq!(logs.len(), 3);
    for part in logs {
        assert_eq!(part[4..8], [2, 0, 0, 0]);
        assert!(part.len() < 6100, "{}", part.len());
    }
}

fn check(version: Version) {
    let n = version.lines_per_batch;
    let expected = fixture(version).with_extension("expected.txt");
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture(version), scratch.path());
    let (store, recovery) = Store::open(Options::new(scratch.path())).unwrap();
    assert!(
        recovery.damaged.is_empty() && recovery.torn_bytes == 0,
        "{recovery:?}"
    );
    assert_eq!((recovery.parts, recovery.wal_records), (6, 2 * n + 6));
    let content = dump(&store);
    assert_eq!(content, fs::read_to_string(&expected).unwrap());
    assert_eq!(content.matches("of the request").count() as u64, 8 * n);
    // Marks of an older version still tell a repeat.
    for round in [0, 7] {
        let batch = log_batch(version, round);
        let done = store.append(vec![Incoming::Batch(batch)]).unwrap();
        assert_eq!((done.accepted, done.duplicates), (0, n));
    }
    // And what this version makes of the old files has the same content.
    store.flush().unwrap();
    while !store.maintain(0).unwrap().is_idle() {}
    assert!(store.stats().merges > 0);
    assert_eq!(dump(&store), content);
}

#[test]
fn a_wal_of_version_2_opens_with_its_content() {
    let expected = folder("wal2").with_extension("expected.txt");
    let scratch = tempfile::tempdir().unwrap();
    let segment = fs::read(folder("wal2").join("wal/000000000001.wal")).unwrap();
    assert_eq!(segment[4..8], [2, 0, 0, 0]);
    for (magic, n) in [(b"KSF1", 8), (b"KSD1", 8), (b"KSS1", 4)] {
        assert_eq!(segment.windows(4).filter(|w| w == magic).count(), n);
    }
    copy(&folder("wal2"), scratch.path());
    let (store, recovery) = Store::open(Options::new(scratch.path())).unwrap();
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    let n = 4 * V1.lines_per_batch + 4 * 3 + 20;
    assert_eq!((recovery.wal_entries, recovery.wal_records), (20, n));
    let content = dump(&store);
    assert_eq!(content, fs::read_to_string(&expected).unwrap());
    assert_eq!(content.matches("referenced").count(), 4);
    store.flush().unwrap();
    assert_eq!(dump(&store), content);
}

#[test]
fn log_parts_of_version_3_open_with_their_content() {
    let (name, scratch) = ("logs3", tempfile::tempdir().unwrap());
    let expected = folder(name).with_extension("expected.txt");
    for part in fs::read_dir(folder(name).join("parts")).unwrap() {
        let bytes = fs::read(part.unwrap().path()).unwrap();
        assert_eq!(bytes[4..8], [3, 0, 0, 0]);
    }
    copy(&folder(name), scratch.path());
    let (store, recovery) = Store::open(Options::new(scratch.path())).unwrap();
    assert_eq!((recovery.parts, recovery.damaged.len()), (3, 0));
    let content = dump(&store);
    assert_eq!(content, fs::read_to_string(&expected).unwrap());
    assert_eq!(content.matches("of the request").count(), 8 * 150);
    // Of three pages of two blocks each that one is read which holds an id, and none for another.
    for (at, blocks) in [(1u64, 2), (599, 2), (601, 2), (99_999, 0)] {
        let id = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let wanted = LogSelect {
            needles: vec![AnyOf::text(format!("\"{id:016x}\"").as_bytes())],
            // The newest are in the head, which has no filters.
            to_ns: T0_NS + 6 * 150 * 700_000_001,
            ..everything()
        };
        let mut n_blocks = 0;
        LogSource::select(&store.snapshot(), &wanted, &mut |_| {
            n_blocks += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(n_blocks, blocks, "{id:016x}");
    }
    store.flush().unwrap();
    while !store.maintain(0).unwrap().is_idle() {}
    assert_eq!(dump(&store), content);
}

/// Histograms of both kinds of counts and bounds, floats between them, start times.
fn histogram_batch(round: i64) -> RecordBatch {
    let time_ms = T0_NS / 1_000_000 + round * 15_000;
    let mut b = MetricBatch::new("m".into(), Arc::default(), time_ms);
    let family = b.family("latency", MetricKind::Histogram, "of requests");
    let point = |labels| Point {
        family,
        suffix: Suffix::None,
        labels,
        time_ms: None,
        value: 0.5,
    };
    let span = |offset, length| Span { offset, length };
    let exponential = NativeHistogram {
        schema: 3,
        zero_threshold: 1e-6,
        negative_spans: vec![span(-2, 1)],
        positive_spans: vec![span(0, 2), span(3, 1)],
        counts: Counts::Integer {
            count: 11 + round as u64,
            zero: 1,
            negative: vec![2],
            positive: vec![3, -1, round],
        },
        reset_hint: ResetHint::No,
        ..NativeHistogram::empty(0.125 * round as f64)
    };
    let custom = NativeHistogram {
        schema: CUSTOM_SCHEMA,
        positive_spans: vec![span(0, 3)],
        counts: Counts::Float {
            count: 6.0,
            zero: 0.0,
            negative: Vec::new(),
            positive: vec![1.0, 2.0, 3.0 / (round + 1) as f64],
        },
        custom_bounds: vec![0.1, 1.0],
        ..NativeHistogram::empty(f64::from_bits(0x7ff0_0000_0000_0002))
    };
    for (name, histogram) in [("exponential", exponential), ("custom", custom)] {
        let labels = b.label_set([("bounds", name)]);
        if round == 5 {
            b.push_started(point(labels), 1);
            continue;
        }
        b.push_histogram(HistogramPoint {
            point: point(labels),
            start_ms: time_ms - 60_000 - round / 4,
            histogram,
        });
    }
    RecordBatch::Metrics(b)
}

#[test]
fn a_store_with_histograms_opens_with_its_content() {
    let expected = folder("v3").with_extension("expected.txt");
    let scratch = tempfile::tempdir().unwrap();
    copy(&folder("v3"), scratch.path());
    let (store, recovery) = Store::open(Options::new(scratch.path())).unwrap();
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert_eq!((recovery.parts, recovery.wal_records), (1, 8));
    let content = dump(&store);
    assert_eq!(content, fs::read_to_string(&expected).unwrap());
    assert_eq!(content.matches("custom_bounds: [0.1, 1.0]").count(), 7);
    store.flush().unwrap();
    assert_eq!(dump(&store), content);
}

/// Counters and gauges that no simple layout fits.
fn noisy_batch(round: u64) -> RecordBatch {
    let time_ms = T0_NS / 1_000_000 + round as i64 * 15_000 + (round * 7919 % 13) as i64;
    let mut b = MetricBatch::new("m".into(), Arc::default(), time_ms);
    let family = b.family("work", MetricKind::Counter, "done");
    for at in 0..3u64 {
        let noise = (round + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        let value = match at {
            0 => (round * 100 + noise) as f64 / 100.0,
            // Pages of memory, and one that is far away.
            1 => (noise * 4096) as f64,
            _ if round % 50 == 7 => 1e12,
            _ => noise as f64,
        };
        let labels = b.label_set([("at", at.to_string().as_str())]);
        b.push(Point {
            family,
            suffix: Suffix::None,
            labels,
            time_ms: None,
            value,
        });
    }
    RecordBatch::Metrics(b)
}

#[test]
fn integers_in_patched_frames_open_with_their_content() {
    let (name, scratch) = ("patched", tempfile::tempdir().unwrap());
    let expected = folder(name).with_extension("expected.txt");
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(folder(name));
        let (store, _) = Store::open(Options::new(folder(name))).unwrap();
        for round in 0..400 {
            store
                .append(vec![Incoming::Batch(noisy_batch(round))])
                .unwrap();
        }
        for round in 0..8 {
            let batch = Incoming::Batch(histogram_batch(round));
            store.append(vec![batch]).unwrap();
        }
        store
            .append(vec![Incoming::Batch(log_batch(V2, 0))])
            .unwrap();
        store.flush().unwrap();
        drop(store);
        copy(&folder(name), scratch.path());
        let (store, _) = Store::open(Options::new(scratch.path())).unwrap();
        fs::write(&expected, dump(&store)).unwrap();
    }
    for part in fs::read_dir(folder(name).join("parts")).unwrap() {
        let path = part.unwrap().path();
        let is_logs = path.extension().is_some_and(|e| e == "logs");
        let version = if is_logs { 4 } else { 3 };
        assert_eq!(fs::read(path).unwrap()[4..8], [version, 0, 0, 0]);
    }
    copy(&folder(name), scratch.path());
    let (store, recovery) = Store::open(Options::new(scratch.path())).unwrap();
    assert_eq!((recovery.parts, recovery.damaged.len()), (2, 0));
    let content = dump(&store);
    assert_eq!(content, fs::read_to_string(&expected).unwrap());
    assert_eq!(content.matches("of the request").count(), 150);
    assert_eq!(content.matches("custom_bounds: [0.1, 1.0]").count(), 7);
    // What was written, not only what was read then.
    for at in 0..3 {
        let wanted = (0..400).map(|round| match noisy_batch(round) {
            RecordBatch::Metrics(batch) => batch.points()[at].value,
            RecordBatch::Logs(_) => unreachable!("metrics"),
        });
        let wanted: Vec<u64> = wanted.map(f64::to_bits).collect();
        let series = SeriesSource::select(&store.snapshot(), &[], i64::MIN, i64::MAX, usize::MAX);
        let found = series.unwrap().into_iter().any(|s| {
            let bits: Vec<u64> = s.values.iter().map(|v| v.to_bits()).collect();
            bits == wanted
        });
        assert!(found, "series {at}");
    }
}
