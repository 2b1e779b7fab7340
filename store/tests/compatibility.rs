//! A store written by an older version of the format must open for ever, with the same content.
//!
//! `fixtures/store/v1` and `v2` hold parts of both signals and a WAL that was not written out. In
//! `v2` the log parts have pages of templates. `wal2` is a WAL of version 2 alone: frames, and samples
//! by reference. `UPDATE=1` writes the newest anew: do that only together with a new version number,
//! under a new name.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::select::{Direction, LogBlock, LogSelect};
use kansoku_model::{
    Labels, LogBatch, LogSource, MetricBatch, MetricKind, Position, RecordBatch, Resource,
    SeriesSource, Source, SourceId,
};
use kansoku_store::{Incoming, Options, SampleWriter, Store};

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

fn metric_batch(round: i64) -> RecordBatch {
    let mut b = MetricBatch::new(
        "m".into(),
        Arc::default(),
        T0_NS / 1_000_000 + round * 15_000,
    );
    let family = b.family("requests_total", MetricKind::Counter, "all requests");
    for code in ["200", "500"] {
        b.sample(family, &[("code", code)], (round * 3) as f64);
    }
    let family = b.family("odd", MetricKind::Gauge, "special values");
    let odd = [
        0x7ff0_0000_0000_0002,
        0x8000_0000_0000_0000,
        1,
        0x3ff5_5555_5555_5555,
    ];
    b.sample(family, &[], f64::from_bits(odd[round as usize % 4]));
    RecordBatch::Metrics(b)
}

fn write(version: Version, path: &Path) {
    let (store, _) = Store::open(Options::new(path)).unwrap();
    for round in 0..8 {
        for batch in [log_batch(version, round), metric_batch(round as i64)] {
            store.append(vec![Incoming::Batch(batch)]).unwrap();
        }
        if round % 2 == 1 && round < 7 {
            store.flush().unwrap();
        }
    }
}

/// The content as text, for the expected output beside the fixture.
fn dump(store: &Store) -> String {
    let snapshot = store.snapshot();
    let (mut lines, mut block) = (Vec::new(), LogBlock::default());
    let wanted = LogSelect {
        matchers: Vec::new(),
        from_ns: i64::MIN,
        to_ns: i64::MAX,
        direction: Direction::Forward,
        needles: Vec::new(),
        fields: None,
        ranges: Vec::new(),
    };
    LogSource::select(&snapshot, &wanted, &mut |b| {
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
    }
    lines.extend(snapshot.metric_metadata().iter().map(|m| format!("{m:?}")));
    lines.sort();
    assert!(snapshot.warnings().is_empty());
    lines.join("\n") + "\n"
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
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(fixture(V2));
        write(V2, &fixture(V2));
        let scratch = tempfile::tempdir().unwrap();
        copy(&fixture(V2), scratch.path());
        let (store, _) = Store::open(Options::new(scratch.path())).unwrap();
        let expected = fixture(V2).with_extension("expected.txt");
        fs::write(expected, dump(&store)).unwrap();
    }
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

/// Rounds of frames, and of samples by reference of which each round has one more series.
fn write_wal(path: &Path) {
    let (store, _) = Store::open(Options::new(path)).unwrap();
    for round in 0..4i64 {
        let odd = [0x7ff0_0000_0000_0002, 0x8000_0000_0000_0000, 1];
        let table = store.series();
        let mut writer = SampleWriter::new(&table);
        for i in 0..=round {
            let labels = Labels::from_pairs([
                ("__name__", "referenced"),
                ("i", &i.to_string()),
                ("zone", "観"),
            ]);
            let known = writer.find(&[i as u8]);
            let reference = known.or_else(|| writer.define(&[i as u8], labels)).unwrap();
            let time_ms = T0_NS / 1_000_000 + round * 15_000;
            writer.push(reference, time_ms, (round * 10 + i) as f64);
            let value = odd
                .get(i as usize)
                .map_or(0.1, |bits| f64::from_bits(*bits));
            writer.push(reference, time_ms - 7, value);
        }
        let incoming = vec![
            Incoming::Batch(metric_batch(round)),
            Incoming::Samples(writer.finish()),
            Incoming::Batch(log_batch(V1, round as u64)),
        ];
        store.append(incoming).unwrap();
    }
}

#[test]
fn a_wal_of_version_2_opens_with_its_content() {
    let expected = folder("wal2").with_extension("expected.txt");
    let scratch = tempfile::tempdir().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(folder("wal2"));
        write_wal(&folder("wal2"));
        copy(&folder("wal2"), scratch.path());
        let (store, _) = Store::open(Options::new(scratch.path())).unwrap();
        fs::write(&expected, dump(&store)).unwrap();
    }
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
