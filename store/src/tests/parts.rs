//! Merging and retention: nothing changes but the number of files, until it is too old.

use std::fs;
use std::sync::Arc;

use super::{assert_same, entries, entries_of, open, series, wanted};
use crate::testing::{DAY_NS, Random, T0_MS, T0_NS, log_in, logs, metric_in, options, samples};
use crate::{Options, Store};
use kansoku_model::select::Direction;
use kansoku_model::{Labels, MatchOp, Matcher, MetricBatch, MetricKind, SeriesSource};

const DAY_MS: i64 = DAY_NS / 1_000_000;

fn settle(store: &Store, now_ms: i64) {
    while !store.maintain(now_ms).unwrap().is_idle() {}
}

fn files(dir: &std::path::Path, folder: &str) -> usize {
    fs::read_dir(dir.join(folder)).unwrap().count()
}

#[test]
fn merging_changes_nothing_but_the_number_of_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut random = Random(8);
    let long = "a long line that is cut into blocks ".repeat(40);
    for round in 0..16i64 {
        for app in 0..40 {
            let lines: Vec<(i64, String)> = (0..20)
                .map(|i| {
                    let late = if random.below(4) == 0 {
                        random.below(900) as i64
                    } else {
                        0
                    };
                    (
                        T0_NS + (round * 20 + i) * 1000 - late * 100,
                        format!("{} {long}", random.next()),
                    )
                })
                .collect();
            let lines: Vec<(i64, &str)> = lines.iter().map(|(t, l)| (*t, l.as_str())).collect();
            let mut batch = logs(0, &format!("app{app}"), 0, &lines);
            if round % 2 == 0 {
                batch.set_text("level", 3, b"info");
            }
            store.append(log_in(batch)).unwrap();
        }
        for i in 0..150 {
            let values: Vec<f64> = (0..30)
                .map(|v| f64::from(v) + (round * i) as f64 / 3.0)
                .collect();
            // Every other round repeats times of the one before with other values.
            let time = T0_MS + (round / 2 * 150 + i) * 1000;
            store
                .append(metric_in(samples(0, 0, "m", time, &values)))
                .unwrap();
        }
        store.flush().unwrap();
    }
    let (lines, samples) = (entries(&store.snapshot()), series(&store.snapshot()));
    let before = store.stats();
    // Some of the late entries lie in the day before.
    assert!(before.log_parts > 16, "{before:?}");
    assert_eq!(before.metric_parts, 16);
    let held = store.snapshot();
    settle(&store, T0_MS);
    let after = store.stats();
    assert!(after.log_parts <= 8 && after.metric_parts <= 4, "{after:?}");
    assert!(after.merges > 0 && after.disk_bytes < before.disk_bytes);
    assert_eq!(after.part_entries, before.part_entries);
    assert_same(&entries(&store.snapshot()), &lines, "unchanged");
    assert_same(&series(&store.snapshot()), &samples, "unchanged");
    assert_same(
        &entries(&held),
        &lines,
        "a query keeps the files it started with",
    );
    assert!(files(dir.path(), "parts") > 12);
    drop(held);
    assert_eq!(
        files(dir.path(), "parts") as u64,
        after.log_parts + after.metric_parts
    );
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.leftovers_removed, 0);
    assert_same(&entries(&store.snapshot()), &lines, "unchanged");
    assert_same(&series(&store.snapshot()), &samples, "unchanged");
}

#[test]
fn the_index_finds_what_the_matchers_pass_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut batch = MetricBatch::new("m".into(), Arc::default(), T0_MS);
    let names = ["a", "b"].map(|name| batch.family(name, MetricKind::Gauge, ""));
    let mut all = Vec::new();
    for i in 0..4000u32 {
        // Several sections of values, of which some begin alike.
        let pod = format!(
            "{}-{i:05}-{}",
            ["web", "api", "日本"][i as usize % 3],
            "x".repeat(20)
        );
        let labels = [
            ("pod", pod.as_str()),
            ("zone", if i % 5 == 0 { "" } else { "z" }),
        ];
        batch.sample(names[i as usize % 2], &labels, f64::from(i));
        let name = ["a", "b"][i as usize % 2];
        all.push(Labels::from_pairs(
            [("__name__", name)].into_iter().chain(labels),
        ));
    }
    store.append(metric_in(batch)).unwrap();
    let m = |name, op, value: &str| Matcher::new(name, op, value).unwrap();
    let (first, last) = (
        "web-00000-xxxxxxxxxxxxxxxxxxxx",
        "日本-03998-xxxxxxxxxxxxxxxxxxxx",
    );
    let cases = [
        vec![m("pod", MatchOp::Regex, &format!("{last}|{first}|none"))],
        vec![m("pod", MatchOp::Regex, "web-01.*")],
        vec![m("pod", MatchOp::Regex, "日本-.*9x*")],
        vec![m("pod", MatchOp::Regex, "zzz.*")],
        vec![m("pod", MatchOp::Regex, ".*-0000[1-9]-.*")],
        vec![
            m("pod", MatchOp::Regex, "(web|api)-0001.*"),
            Matcher::equal("__name__", "a"),
        ],
        vec![
            m("__name__", MatchOp::Regex, "a|c"),
            m("pod", MatchOp::NotRegex, "web.*"),
        ],
        vec![
            m("zone", MatchOp::Regex, "z?"),
            m("pod", MatchOp::Regex, "api-02.*"),
        ],
        vec![m("zone", MatchOp::Regex, "")],
        vec![Matcher::equal("zone", ""), Matcher::equal("__name__", "b")],
        vec![m("zone", MatchOp::NotEqual, "")],
        vec![m("none", MatchOp::Regex, "a|b")],
    ];
    for is_flushed in [false, true] {
        if is_flushed {
            store.flush().unwrap();
        }
        for matchers in &cases {
            let snapshot = store.snapshot();
            let found = snapshot
                .select(matchers, i64::MIN, i64::MAX, usize::MAX)
                .unwrap();
            let mut found: Vec<Labels> = found.into_iter().map(|s| s.labels).collect();
            found.sort();
            let passes = |l: &&Labels| matchers.iter().all(|m| m.matches_labels(l));
            let mut expected: Vec<Labels> = all.iter().filter(passes).cloned().collect();
            expected.sort();
            assert_eq!(found, expected, "{matchers:?} {is_flushed}");
        }
    }
}

#[test]
fn the_order_of_entries_of_one_time_survives_flush_and_merge() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let order = |store: &Store| {
        let mut lines = Vec::new();
        let mut block = kansoku_model::select::LogBlock::default();
        kansoku_model::LogSource::select(
            &store.snapshot(),
            &wanted(Direction::Forward),
            &mut |b| {
                b.load(&mut block)?;
                lines.extend(
                    block
                        .lines
                        .iter()
                        .map(|&l| String::from_utf8_lossy(block.bytes(l)).into_owned()),
                );
                Ok(std::ops::ControlFlow::Continue(()))
            },
        )
        .unwrap();
        lines
    };
    for i in 0..40 {
        store
            .append(log_in(logs(0, "a", 0, &[(T0_NS, &format!("{i:02}"))])))
            .unwrap();
        if i % 10 == 9 {
            store.flush().unwrap();
        }
    }
    let expected: Vec<String> = (0..40).map(|i| format!("{i:02}")).collect();
    assert_eq!(order(&store), expected);
    settle(&store, T0_MS);
    assert_eq!(store.stats().log_parts, 1);
    assert_eq!(order(&store), expected);
}

#[test]
fn a_day_that_is_over_becomes_one_part_by_itself_or_when_asked() {
    const HOUR_MS: i64 = 3_600_000;
    for asks in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        let fill = |from: i64, to: i64| {
            for i in from..to {
                let lines = [(T0_NS + i, "a line")];
                store.append(log_in(logs(0, "a", 0, &lines))).unwrap();
                let sample = samples(0, 0, "m", T0_MS + i, &[i as f64]);
                store.append(metric_in(sample)).unwrap();
                store.flush().unwrap();
            }
        };
        fill(0, 3);
        settle(&store, T0_MS);
        settle(&store, T0_MS + HOUR_MS - 1);
        // One more flush: the hour begins anew.
        fill(3, 4);
        let expected = (entries(&store.snapshot()), series(&store.snapshot()));
        if asks {
            assert!(store.compact().unwrap() > 0);
            assert_eq!(store.compact().unwrap(), 0);
        } else {
            settle(&store, T0_MS + HOUR_MS);
            assert_eq!(store.stats().log_parts, 1, "four parts of one size");
            fill(4, 6);
            settle(&store, T0_MS + HOUR_MS);
            assert_eq!(store.stats().log_parts, 3);
            settle(&store, T0_MS + 2 * HOUR_MS);
        }
        let after = store.stats();
        assert_eq!((after.log_parts, after.metric_parts), (1, 1), "{asks}");
        if asks {
            let got = (entries(&store.snapshot()), series(&store.snapshot()));
            assert_same(&got.0, &expected.0, "unchanged");
            assert_same(&got.1, &expected.1, "unchanged");
        } else {
            assert_eq!(after.part_entries, 6);
        }
    }
}

#[test]
fn retention_drops_whole_days_and_old_marks() {
    let dir = tempfile::tempdir().unwrap();
    let three_days = Options {
        retention_ms: Some(3 * DAY_MS),
        ..options(dir.path())
    };
    let (store, _) = Store::open(three_days.clone()).unwrap();
    for day in 0..10i64 {
        let lines = [(T0_NS + day * DAY_NS + 5, "x")];
        store
            .append(log_in(logs(1 + day as u128, "a", 0, &lines)))
            .unwrap();
        store
            .append(metric_in(samples(0, 0, "m", T0_MS + day * DAY_MS, &[1.0])))
            .unwrap();
        // The head is dated and written out ten minutes later.
        settle(&store, T0_MS + day * DAY_MS);
        settle(&store, T0_MS + day * DAY_MS + 600_000);
    }
    let stats = store.stats();
    assert_eq!((stats.log_parts, stats.metric_parts), (3, 3), "{stats:?}");
    assert_eq!(stats.parts_expired, 14);
    // The mark of the seventh day moved exactly three days ago.
    assert_eq!(stats.marks, 4);
    assert_eq!(entries(&store.snapshot()).len(), 3);
    assert_eq!(files(dir.path(), "parts"), 6);
    drop(store);
    let (store, _) = Store::open(three_days).unwrap();
    settle(&store, T0_MS + 100 * DAY_MS);
    assert_eq!(store.stats().log_parts, 0);
    assert!(entries(&store.snapshot()).is_empty() && series(&store.snapshot()).is_empty());
}

#[test]
fn an_old_head_is_written_out_however_small() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store
        .append(log_in(logs(0, "a", 0, &[(T0_NS, "x")])))
        .unwrap();
    assert!(store.maintain(T0_MS).unwrap().is_idle(), "dated now");
    assert!(store.maintain(T0_MS + 599_999).unwrap().is_idle());
    assert_eq!(store.maintain(T0_MS + 600_000).unwrap().parts_flushed, 1);
    assert!(store.maintain(T0_MS + 9_000_000).unwrap().is_idle());
    assert_eq!(store.stats().wal_segments, 1);
}

#[test]
fn hostile_times_make_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut random = Random(3);
    let lines: Vec<(i64, &str)> = (0..5000).map(|_| (random.next() as i64, "x")).collect();
    store.append(log_in(logs(0, "a", 0, &lines))).unwrap();
    for i in 0..500 {
        store
            .append(metric_in(samples(0, i, "m", random.next() as i64, &[1.0])))
            .unwrap();
    }
    store
        .append(log_in(logs(
            0,
            "a",
            0,
            &[(i64::MIN, "first"), (i64::MAX - 1, "last")],
        )))
        .unwrap();
    let (all, samples) = (entries(&store.snapshot()), series(&store.snapshot()));
    assert_eq!(all.len(), 5002);
    store.flush().unwrap();
    assert!(store.stats().log_parts + store.stats().metric_parts <= 128);
    assert_same(&entries(&store.snapshot()), &all, "unchanged");
    assert_same(&series(&store.snapshot()), &samples, "unchanged");
    let mut newest = wanted(Direction::Backward);
    newest.from_ns = 0;
    assert_eq!(
        entries_of(&store.snapshot(), &newest).len(),
        all.iter().filter(|e| !e.contains(" -")).count()
    );
}

#[test]
fn what_repeats_far_apart_takes_no_more_than_zstd_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut random = Random(7);
    // Longer than the piece of text by which rows are estimated.
    let once: Vec<String> = (0..9000)
        .map(|i| format!("request {i} has come from {:016x}", random.next()))
        .collect();
    let lines: Vec<(i64, &str)> = (0..20_000)
        .map(|i| (T0_NS + i as i64 * 1000, once[i % 9000].as_str()))
        .collect();
    store.append(log_in(logs(0, "a", 0, &lines))).unwrap();
    store.flush().unwrap();
    let text: String = lines.iter().map(|(_, line)| *line).collect();
    let rows = zstd::bulk::compress(text.as_bytes(), 1).unwrap().len() as u64;
    // The times, the lengths and the filter lie beside the lines.
    let disk_bytes = store.stats().disk_bytes;
    assert!(
        disk_bytes < rows + 16_000,
        "{disk_bytes} bytes, {rows} as rows"
    );
}

#[test]
fn large_blocks_are_taken_over_as_they_are_encoded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut random = Random(3);
    let mut n_flushes = 0;
    let mut flush = |round: i64| {
        n_flushes += 1;
        let mut text = || -> String {
            (0..64)
                .map(|_| format!("{:016x} ", random.next()))
                .collect()
        };
        let lines: Vec<(i64, String)> = (0..700)
            .map(|i| (T0_NS + round * 1000 + i, text()))
            .collect();
        let lines: Vec<(i64, &str)> = lines.iter().map(|(t, l)| (*t, l.as_str())).collect();
        let mut batch = logs(1, "a", n_flushes * 1000, &lines);
        batch.set_text("level", 3, b"info");
        store.append(log_in(batch)).unwrap();
        store.flush().unwrap();
    };
    let only_part = || {
        let mut parts = fs::read_dir(dir.path().join("parts")).unwrap();
        let part = fs::read(parts.next().unwrap().unwrap().path()).unwrap();
        assert!(parts.next().is_none());
        part
    };
    (0..4).for_each(&mut flush);
    settle(&store, T0_MS);
    let first = only_part();
    // Several columns of the block: nothing else has them one behind the other.
    let sample = &first[500_000..600_000];
    // (what comes later, whether the first block is as it was); the last one's lines fall into it.
    for (later, hours, is_copied) in [(&[4, 5, 6][..], 3, true), (&[2, 8], 6, false)] {
        later.iter().for_each(|round| flush(*round));
        let before = entries(&store.snapshot());
        settle(&store, T0_MS);
        settle(&store, T0_MS + hours * 3_600_000);
        let merged = only_part();
        let found = memchr::memmem::find(&merged, sample);
        assert_eq!(found.is_some(), is_copied, "the bytes of the first merge");
        assert_same(&entries(&store.snapshot()), &before, "after the merge");
        assert!(store.snapshot().warnings().is_empty());
    }
    assert_eq!(entries(&store.snapshot()).len(), 9 * 700);
}
