//! A store written by version 1 of the format must open for ever, with the same content.
//!
//! `fixtures/store/v1` holds parts of both signals and a WAL that was not written out. `UPDATE=1`
//! writes it anew: do that only together with a new version number, under a new name.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::select::{Direction, LogBlock, LogSelect};
use kansoku_model::{
    Labels, LogBatch, LogSource, MetricBatch, MetricKind, Position, RecordBatch, Resource,
    SeriesSource, Source, SourceId,
};
use kansoku_store::{Incoming, Options, Store};

const T0_NS: i64 = 1_767_312_000_000_000_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/store/v1")
}

fn log_batch(round: u64) -> RecordBatch {
    let resource = Resource {
        labels: Labels::from_pairs([("app", format!("app{}", round % 2)), ("zone", "観".into())]),
        ..Default::default()
    };
    let mut b = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
    for i in 0..30u64 {
        let at = round * 30 + i;
        let row = b.push(T0_NS + (at * 700_000_001) as i64, Position::at(at + 1));
        b.set_text(
            "log",
            row,
            format!("line {at} of the request {:x}", at * 0x9e37_79b9).as_bytes(),
        );
        if i % 3 == 0 {
            b.set_text("level", row, b"warn");
        }
    }
    b.source = Source {
        id: SourceId(77),
        from: Position::at(round * 30),
        to: Position::at(round * 30 + 30),
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

fn write(path: &Path) {
    let (store, _) = Store::open(Options::new(path)).unwrap();
    for round in 0..8 {
        for batch in [log_batch(round), metric_batch(round as i64)] {
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
    let expected = fixture().with_extension("expected.txt");
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(fixture());
        write(&fixture());
        let scratch = tempfile::tempdir().unwrap();
        copy(&fixture(), scratch.path());
        let (store, _) = Store::open(Options::new(scratch.path())).unwrap();
        fs::write(&expected, dump(&store)).unwrap();
    }
    let scratch = tempfile::tempdir().unwrap();
    copy(&fixture(), scratch.path());
    let (store, recovery) = Store::open(Options::new(scratch.path())).unwrap();
    assert!(
        recovery.damaged.is_empty() && recovery.torn_bytes == 0,
        "{recovery:?}"
    );
    assert_eq!((recovery.parts, recovery.wal_records), (6, 60 + 6));
    let content = dump(&store);
    assert_eq!(content, fs::read_to_string(&expected).unwrap());
    assert_eq!(content.matches("of the request").count(), 240);
    // Marks of version 1 still tell a repeat.
    for round in [0, 7] {
        let done = store
            .append(vec![Incoming::Batch(log_batch(round))])
            .unwrap();
        assert_eq!((done.accepted, done.duplicates), (0, 30));
    }
    // And what this version makes of the old files has the same content.
    store.flush().unwrap();
    while !store.maintain(0).unwrap().is_idle() {}
    assert!(store.stats().merges > 0);
    assert_eq!(dump(&store), content);
}
