//! Append, read back, flush, restart: the plain ways through the store.

use std::ops::ControlFlow;
use std::time::Duration;

use kansoku_model::select::{Direction, LogBlock, LogBlockRef, LogSelect, SelectError};
use kansoku_model::{
    AnyOf, Extraction, FieldBlock, FieldsWanted, Frame, LogSource, MatchOp, Matcher, MetricKind,
    RecordBatch, SeriesSource, frame,
};

use super::{assert_same, entries, entries_of, open, series, series_of, wanted};
use crate::testing::{DAY_NS, Random, T0_MS, T0_NS, log_in, logs, metric_in, options, samples};
use crate::{Appended, Complete, Incoming, Options, Store, StoreError};

fn words(random: &mut Random) -> String {
    (0..3 + random.below(9))
        .map(|_| format!("word{} ", random.below(50)))
        .collect()
}

/// Puts mixed data in: in order, late, of two days, with metadata and of many streams.
fn fill(store: &Store, seed: u64) {
    let mut random = Random(seed);
    for round in 0..20u64 {
        for app in 0..12 {
            let lines: Vec<(i64, String)> = (0..random.below(30))
                .map(|i| {
                    let late = random.below(10).saturating_sub(7) as i64 * 1_000_000_000_000;
                    let time = T0_NS + DAY_NS - 8_000_000_000_000
                        + (round * 30 + i) as i64 * 20_000_000_000
                        - late;
                    (time, words(&mut random))
                })
                .collect();
            let lines: Vec<(i64, &str)> = lines.iter().map(|(t, l)| (*t, l.as_str())).collect();
            let mut batch = logs(0, &format!("app{app}"), 0, &lines);
            for row in 0..batch.len() {
                if random.below(3) == 0 {
                    batch.set_text("level", row, if row % 2 == 0 { b"info" } else { b"warn" });
                }
                if app == 3 {
                    batch.set_text("id", row, random.next().to_string().as_bytes());
                }
            }
            store.append(log_in(batch)).unwrap();
        }
        let values: Vec<f64> = (0..300).map(|i| (i * round) as f64 / 8.0).collect();
        let time = T0_MS + 86_000_000 + round as i64 * 30_000;
        store
            .append(metric_in(samples(0, round, "gauge", time, &values)))
            .unwrap();
        let special = [
            f64::from_bits(0x7ff0_0000_0000_0002),
            -0.0,
            f64::INFINITY,
            1e-310,
        ];
        store
            .append(metric_in(samples(0, round, "special", time, &special)))
            .unwrap();
        // Late, repeated and corrected samples.
        store
            .append(metric_in(samples(
                0,
                round,
                "gauge",
                time - 60_000,
                &[round as f64; 5],
            )))
            .unwrap();
    }
}

#[test]
fn what_is_appended_is_read_back_from_head_wal_and_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery, Default::default());
    fill(&store, 1);
    let (lines, samples) = (entries(&store.snapshot()), series(&store.snapshot()));
    assert!(lines.len() > 2000);
    assert_eq!(samples.len(), 304);

    drop(store);
    let (store, recovery) = open(dir.path());
    assert!(recovery.damaged.is_empty());
    assert_eq!(recovery.torn_bytes, 0);
    assert!(recovery.wal_records > 2000);
    assert_same(&entries(&store.snapshot()), &lines, "from the WAL");
    assert_same(&series(&store.snapshot()), &samples, "from the WAL");

    let held = store.snapshot();
    assert_eq!(
        store.flush().unwrap().parts_flushed,
        4,
        "two signals, two days"
    );
    assert_same(&entries(&store.snapshot()), &lines, "from parts");
    assert_same(&series(&store.snapshot()), &samples, "from parts");
    assert_same(&entries(&held), &lines, "from a snapshot taken before");
    let stats = store.stats();
    assert_eq!((stats.head_entries, stats.head_samples), (0, 0));
    assert_eq!(stats.part_entries as usize, lines.len());
    assert_eq!(
        (stats.log_parts, stats.metric_parts, stats.wal_segments),
        (2, 2, 1)
    );

    drop((store, held));
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.parts, recovery.wal_entries), (4, 0));
    assert_same(
        &entries(&store.snapshot()),
        &lines,
        "from parts after a restart",
    );
    assert_same(
        &series(&store.snapshot()),
        &samples,
        "from parts after a restart",
    );
    assert_eq!(store.snapshot().warnings(), Vec::<String>::new());
}

#[test]
fn half_in_parts_and_half_in_the_head_is_one_whole() {
    let dir = tempfile::tempdir().unwrap();
    let one = tempfile::tempdir().unwrap();
    let ((split, _), (whole, _)) = (open(dir.path()), open(one.path()));
    for seed in 1..4 {
        fill(&split, seed);
        fill(&whole, seed);
        split.flush().unwrap();
    }
    fill(&split, 9);
    fill(&whole, 9);
    assert_same(
        &entries(&split.snapshot()),
        &entries(&whole.snapshot()),
        "split and whole",
    );
    assert_same(
        &series(&split.snapshot()),
        &series(&whole.snapshot()),
        "split and whole",
    );
}

#[test]
fn the_later_value_of_a_time_counts_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for (value, flush) in [(1.0, true), (2.0, true), (3.0, false)] {
        store
            .append(metric_in(samples(0, 0, "m", T0_MS, &[value])))
            .unwrap();
        if flush {
            store.flush().unwrap();
        }
        let got = SeriesSource::select(&store.snapshot(), &[], T0_MS, T0_MS, 10).unwrap();
        assert_eq!((got.len(), &got[0].values[..]), (1, &[value][..]));
    }
}

#[test]
fn selection_by_time_labels_and_needles() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, 5);
    let noise = "n0 more text of no interest ".repeat(600);
    let batch = logs(
        0,
        "needle",
        0,
        &[(T0_NS, &noise), (T0_NS + 5, "here is the Sought thing")],
    );
    store.append(log_in(batch)).unwrap();
    let check = |store: &Store| {
        let all = entries(&store.snapshot());
        let select = |matchers: Vec<Matcher>, from: i64, to: i64, needles: &[&str]| {
            let wanted = LogSelect {
                matchers,
                from_ns: from,
                to_ns: to,
                needles: needles.iter().map(|n| AnyOf::text(n.as_bytes())).collect(),
                ..wanted(Direction::Backward)
            };
            entries_of(&store.snapshot(), &wanted)
        };
        let app3 = select(vec![Matcher::equal("app", "app3")], i64::MIN, i64::MAX, &[]);
        let expected: Vec<_> = all
            .iter()
            .filter(|e| e.starts_with("{app=\"app3\"}"))
            .cloned()
            .collect();
        assert_eq!(app3, expected);
        let (from, to) = (
            T0_NS + DAY_NS - 3_000_000_000_000,
            T0_NS + DAY_NS + 1_000_000_000_000,
        );
        let time = |e: &String| e.split(' ').nth(1).unwrap().parse::<i64>().unwrap();
        let expected: Vec<_> = all
            .iter()
            .filter(|e| (from..to).contains(&time(e)))
            .cloned()
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(select(vec![], from, to, &[]), expected);
        let found = select(vec![], i64::MIN, i64::MAX, &["Sought"]);
        assert_eq!(found.iter().filter(|e| e.contains("Sought")).count(), 1);
        (
            select(vec![], i64::MIN, i64::MAX, &["absent zebra"]).len(),
            all.len(),
        )
    };
    check(&store);
    store.flush().unwrap();
    let (left, all) = check(&store);
    assert!(
        left < all / 2,
        "{left} of {all} lines lie in blocks that a filter did not rule out"
    );
}

#[test]
fn lines_with_a_needle_come_out_of_templates_with_their_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for round in 0..4u64 {
        let text = |i: u64| {
            let id = (round * 3000 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let user = ["ann", "bob", "eve"][i as usize % 3];
            format!(
                r#"{{"n":{i},"id":"{id:016x}","path":"/a/{}","user":"{user}","pad":"{}"}}"#,
                id % 5000,
                "x".repeat(60)
            )
        };
        let lines: Vec<(i64, String)> = (0..3000)
            .map(|i| (T0_NS + (round * 3000 + i) as i64 * 1_000_000, text(i)))
            .collect();
        let lines: Vec<(i64, &str)> = lines.iter().map(|(t, l)| (*t, l.as_str())).collect();
        let mut batch = logs(0, "a", 0, &lines);
        for row in (0..3000).step_by(7) {
            batch.set_text("level", row, format!("warn{row}").as_bytes());
        }
        store.append(log_in(batch)).unwrap();
        store.flush().unwrap();
    }
    let all = entries(&store.snapshot());
    assert_eq!(all.len(), 12_000);
    let check = |store: &Store| {
        for needle in [
            "\"n\":17,",
            "user\":\"bob",
            "9e3779b97f4a7c15",
            "/a/12",
            "pad",
            "no such",
        ] {
            let select = |needles: &[&str]| {
                let wanted = LogSelect {
                    needles: needles.iter().map(|n| AnyOf::text(n.as_bytes())).collect(),
                    from_ns: T0_NS + 5_000_000,
                    ..wanted(Direction::Forward)
                };
                entries_of(&store.snapshot(), &wanted)
            };
            let holds = |e: &&String| e.contains(needle);
            let every = select(&[]);
            let expected: Vec<&String> = every.iter().filter(holds).collect();
            let found = select(&[needle]);
            let kept: Vec<&String> = found.iter().filter(holds).collect();
            assert_eq!(kept, expected, "{needle}");
            let is_rare = expected.len() < 100;
            assert!(
                !is_rare || found.len() < 500,
                "{needle}: {} lines",
                found.len()
            );
        }
    };
    check(&store);
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    assert_eq!(store.stats().log_parts, 1);
    check(&store);
}

#[test]
fn names_values_and_series() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, 2);
    for _ in 0..2 {
        let snapshot = store.snapshot();
        let all = (i64::MIN, i64::MAX);
        assert_eq!(
            snapshot.metric_label_names(&[], all.0, all.1).unwrap(),
            ["__name__", "i"]
        );
        let names = snapshot
            .metric_label_values("__name__", &[], all.0, all.1)
            .unwrap();
        assert_eq!(names, ["gauge", "special"]);
        let special = vec![Matcher::equal("__name__", "special")];
        let values = snapshot
            .metric_label_values("i", &[special], all.0, all.1)
            .unwrap();
        assert_eq!(values, ["0", "1", "2", "3"]);
        let i7 = vec![Matcher::new("i", MatchOp::Regex, "7.").unwrap()];
        let none = vec![Matcher::equal("i", "no")];
        assert_eq!(
            snapshot
                .metric_series(&[i7.clone(), none], all.0, all.1)
                .unwrap()
                .len(),
            10
        );
        assert_eq!(series_of(&snapshot, &i7).len(), 10);
        assert_eq!(snapshot.metric_series(&[], 0, 1).unwrap(), []);
        assert_eq!(
            snapshot.log_label_names(&[], all.0, all.1).unwrap(),
            ["app"]
        );
        let one = vec![Matcher::new("app", MatchOp::Regex, "app[12]").unwrap()];
        assert_eq!(
            snapshot
                .log_label_values("app", &[one], all.0, all.1)
                .unwrap(),
            ["app1", "app2"]
        );
        assert_eq!(snapshot.log_series(&[], all.0, all.1).unwrap().len(), 12);
        assert_eq!(snapshot.log_series(&[], 0, 1).unwrap(), []);
        let metadata = snapshot.metric_metadata().expect("all");
        assert_eq!(
            (&*metadata[0].name, metadata[0].kind, &*metadata[0].help),
            ("gauge", MetricKind::Gauge, "help text")
        );
        store.flush().unwrap();
    }
    drop(store);
    assert_eq!(
        open(dir.path())
            .0
            .snapshot()
            .metric_metadata()
            .expect("all")
            .len(),
        2,
        "from the state file"
    );
}

#[test]
fn a_query_that_wants_too_many_samples_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, 1);
    for _ in 0..2 {
        let refused = SeriesSource::select(&store.snapshot(), &[], i64::MIN, i64::MAX, 1000);
        assert!(matches!(refused, Err(SelectError::Limit(_))), "{refused:?}");
        store.flush().unwrap();
    }
}

#[test]
fn repeats_are_dropped_across_restart_flush_and_wal_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<(i64, &str)> = (0..10).map(|i| (T0_NS + i, "line")).collect();
    let (mut expected, mut at) = (0, 0);
    for step in 0..12 {
        let (store, recovery) = open(dir.path());
        assert!(recovery.damaged.is_empty());
        // The last ten lines again, then five known and five new ones.
        let again = store.append(log_in(logs(7, "a", at, &lines))).unwrap();
        if step > 0 {
            assert_eq!(
                again,
                Appended {
                    accepted: 0,
                    duplicates: 10,
                    ..Appended::default()
                },
                "step {step}"
            );
        } else {
            assert_eq!(
                again,
                Appended {
                    accepted: 10,
                    duplicates: 0,
                    ..Appended::default()
                }
            );
            expected += 10;
        }
        let half = store.append(log_in(logs(7, "a", at + 5, &lines))).unwrap();
        assert_eq!(
            half,
            Appended {
                accepted: 5,
                duplicates: 5,
                ..Appended::default()
            },
            "step {step}"
        );
        (expected, at) = (expected + 5, at + 5);
        assert_eq!(entries(&store.snapshot()).len(), expected);
        assert_eq!(store.stats().marks, 1);
        if step % 3 == 0 {
            store.flush().unwrap();
        }
        if step % 4 == 1 {
            store.maintain(T0_MS + step as i64).unwrap();
        }
    }
}

#[test]
fn frames_are_taken_as_they_are_and_bad_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut bytes = Vec::new();
    frame::encode(
        &RecordBatch::Logs(logs(1, "a", 0, &[(T0_NS, "x")])),
        &mut bytes,
    )
    .unwrap();
    let frame = Frame::parse(&bytes).unwrap();
    let both = vec![Incoming::Frame(frame), Incoming::Frame(frame)];
    assert_eq!(
        store.append(both).unwrap(),
        Appended {
            accepted: 1,
            duplicates: 1,
            ..Appended::default()
        }
    );

    // A frame with a good checksum and a payload that is no batch.
    bytes[60] ^= 0xff;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..56]), &bytes[60..]);
    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    let bad = Frame::parse(&bytes).unwrap();
    let good = Incoming::Batch(RecordBatch::Logs(logs(2, "b", 0, &[(T0_NS, "y")])));
    let refused = store.append(vec![good, Incoming::Frame(bad)]);
    assert!(
        matches!(refused, Err(StoreError::Invalid(_))),
        "{refused:?}"
    );
    assert_eq!(entries(&store.snapshot()).len(), 1, "all or nothing");
    assert_eq!(store.append(Vec::new()).unwrap(), Appended::default());
    drop(store);
    assert!(open(dir.path()).1.damaged.is_empty());
}

#[test]
fn the_head_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options {
        memory_limit_bytes: 4 << 20,
        ..options(dir.path())
    };
    let (store, _) = Store::open(small.clone()).unwrap();
    assert!(!store.wait_for_work(Duration::ZERO));
    let line = "x".repeat(1000);
    let lines: Vec<(i64, &str)> = (0..100).map(|i| (T0_NS + i, line.as_str())).collect();
    let mut n = 0;
    let refused = loop {
        match store.append(log_in(logs(0, "a", 0, &lines))) {
            Ok(done) => n += done.accepted as usize,
            Err(e) => break e,
        }
        assert!(n < 10_000, "never refused");
    };
    assert!(matches!(refused, StoreError::Busy { .. }), "{refused}");
    assert!(store.wait_for_work(Duration::ZERO));
    drop(store);

    let (store, recovery) = Store::open(small.clone()).unwrap();
    assert_eq!(recovery.wal_records as usize, n);
    assert_eq!(store.stats().log_parts, 0, "what fitted before fits now");
    drop(store);

    // What comes back is more than fits when the limit was lowered.
    let large = Options {
        memory_limit_bytes: 16 << 20,
        ..small.clone()
    };
    let (store, _) = Store::open(large).unwrap();
    while n < 8_000 {
        n += store
            .append(log_in(logs(0, "a", 0, &lines)))
            .unwrap()
            .accepted as usize;
    }
    drop(store);
    let (store, recovery) = Store::open(small).unwrap();
    assert_eq!(recovery.wal_records as usize, n);
    assert!(
        store.stats().log_parts > 0,
        "a large WAL is written out while it is replayed"
    );
    assert!(store.stats().head_bytes < 4 << 20);
    assert_eq!(entries(&store.snapshot()).len(), n);
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    store.append(log_in(logs(0, "a", 0, &lines))).unwrap();
    assert_eq!(entries(&store.snapshot()).len(), n + 100);
}

#[test]
fn only_one_process_may_open_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path());
    let refused = Store::open(options(dir.path())).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    drop(held);
    open(dir.path());
}

/// Rows that came by their fields, and rows that came whole.
fn rows_by_fields(store: &Store, name: &str) -> (usize, usize) {
    let fields = FieldsWanted {
        of: Extraction::Json,
        names: vec![name.into()],
    };
    let (mut by_fields, mut whole) = (0, 0);
    let (mut known, mut block) = (FieldBlock::default(), LogBlock::default());
    let all = wanted(Direction::Forward);
    let snapshot = store.snapshot();
    let mut visit = |b: &dyn LogBlockRef| {
        if b.load_fields(&fields, &mut known)? {
            by_fields += known.times.len();
        } else {
            b.load(&mut block)?;
            whole += block.times.len();
        }
        Ok(ControlFlow::Continue(()))
    };
    LogSource::select(&snapshot, &all, &mut visit).unwrap();
    (by_fields, whole)
}

#[test]
fn fields_are_columns_beside_metadata_of_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let texts: Vec<String> = (0..3000)
        .map(|n| {
            format!(
                "{{\"n\":{n},\"level\":\"info\",\"path\":\"/a/b/{}\"}}",
                n % 7
            )
        })
        .collect();
    let at = |n: usize| T0_NS + n as i64;
    let lines: Vec<(i64, &str)> = (0..).zip(&texts).map(|(n, l)| (at(n), &**l)).collect();
    let mut batch = logs(0, "a", 0, &lines);
    for row in 0..3000 {
        batch.set_text("detected_level", row, b"info");
        batch.set_text("trace", row, format!("{row}").as_bytes());
        batch.set_text("user", row, b"ann");
    }
    store.append(log_in(batch)).unwrap();
    store.flush().unwrap();
    assert_eq!(rows_by_fields(&store, "n"), (3000, 0));
    // A field of such a name would be called otherwise.
    for name in ["detected_level", "trace", "user"] {
        assert_eq!(rows_by_fields(&store, name), (0, 3000), "{name}");
    }
}

#[test]
fn log_batches_are_completed_when_they_come_and_when_they_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let complete = || Options {
        complete: Complete::with(|batch| {
            for row in 0..batch.len() {
                batch.set_text("seen", row, b"yes");
            }
        }),
        ..options(dir.path())
    };
    let (store, _) = Store::open(complete()).unwrap();
    let batch = logs(1, "a", 0, &[(T0_NS, "one"), (T0_NS + 1, "two")]);
    let mut bytes = Vec::new();
    frame::encode(&RecordBatch::Logs(batch), &mut bytes).unwrap();
    let frame = Frame::parse(&bytes).unwrap();
    store.append(vec![Incoming::Frame(frame)]).unwrap();
    let before = entries(&store.snapshot());
    assert!(before.iter().all(|e| e.contains("seen")), "{before:?}");
    drop(store);
    let (store, recovery) = Store::open(complete()).unwrap();
    assert_eq!(recovery.wal_records, 2);
    assert_eq!(entries(&store.snapshot()), before);
    drop(store);
    // The WAL has what was sent.
    let (store, _) = open(dir.path());
    let plain = entries(&store.snapshot());
    assert!(plain.iter().all(|e| !e.contains("seen")), "{plain:?}");
}
