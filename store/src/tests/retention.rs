//! Retention by size, by labels, and on a disk that is full.

use std::path::Path;
use std::sync::Arc;

use kansoku_model::{Matcher, SeriesSource};

use super::{entries, open as reopen, series};
use crate::fs::{Disk, Fault, Operation};
use crate::testing::{DAY_NS, Random, T0_MS, T0_NS, log_in, logs, metric_in, options, samples};
use crate::{Options, RetentionRule, Store, StoreError};

const DAY_MS: i64 = DAY_NS / 1_000_000;
const ENOSPC: i32 = 28;

/// A flush a day, the oldest first.
fn days(store: &Store, n: i64) {
    for day in 0..n {
        let text = format!("{day} {}", "words of the day ".repeat(200));
        let time = T0_NS + day * DAY_NS;
        store
            .append(log_in(logs(0, "a", 0, &[(time, &text)])))
            .unwrap();
        store
            .append(log_in(logs(0, "dev", 0, &[(time, &text)])))
            .unwrap();
        let mut batch = samples(0, 0, "m", T0_MS + day * DAY_MS, &[1.0]);
        batch.tag = "m".into();
        store.append(metric_in(batch)).unwrap();
        store.flush().unwrap();
    }
}

fn settle(store: &Store, now_ms: i64) {
    while !store.maintain(now_ms).unwrap().is_idle() {}
}

#[test]
fn the_oldest_go_when_there_is_more_than_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = reopen(dir.path());
    days(&store, 6);
    let whole = store.stats().disk_bytes;
    drop(store);
    let limited = Options {
        retention_bytes: Some(whole / 2),
        ..options(dir.path())
    };
    let (store, _) = Store::open(limited).unwrap();
    settle(&store, T0_MS);
    let stats = store.stats();
    assert!(stats.disk_bytes + stats.wal_bytes <= whole / 2, "{stats:?}");
    assert!(
        stats.disk_bytes > whole / 4,
        "and no more than needed: {stats:?}"
    );
    let left = entries(&store.snapshot());
    assert!(
        left.iter().any(|l| l.contains(" 5 words")),
        "the newest stay"
    );
    assert!(
        !left.iter().any(|l| l.contains(" 0 words")),
        "the oldest went"
    );
    drop(store);
    let (store, recovery) = reopen(dir.path());
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert_eq!(entries(&store.snapshot()), left);
}

#[test]
fn merges_leave_parts_that_retention_by_size_can_drop_one_by_one() {
    const LIMIT: u64 = 400_000;
    let dir = tempfile::tempdir().unwrap();
    let limited = Options {
        retention_bytes: Some(LIMIT),
        ..options(dir.path())
    };
    let (store, _) = Store::open(limited).unwrap();
    let mut random = Random(4);
    for round in 0..200i64 {
        // One day, as a busy store has it.
        let noise: Vec<String> = (0..400)
            .map(|_| format!("{:016x}", random.next()))
            .collect();
        let line = noise.join(" ");
        store
            .append(log_in(logs(0, "a", 0, &[(T0_NS + round, &line)])))
            .unwrap();
        store.flush().unwrap();
        settle(&store, T0_MS);
        let held = store.stats();
        assert!(held.disk_bytes + held.wal_bytes <= LIMIT, "{held:?}");
        let fills_it = round > 150;
        assert!(!fills_it || held.disk_bytes > LIMIT / 2, "{held:?}");
    }
    assert!(store.stats().merges > 10);
}

/// A disk on which nothing can be written while it holds this file.
fn full_while(dir: &Path, file: &'static str) -> Disk {
    let ballast = dir.join(file);
    let hook = move |operation, _: &Path| {
        let writes = matches!(operation, Operation::Create | Operation::Write);
        (writes && ballast.exists()).then_some(Fault::Errno(ENOSPC))
    };
    Disk::with_faults(dir, Arc::new(hook))
}

#[test]
fn a_delete_on_a_full_disk_uses_what_is_kept_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let parse: crate::ParseSelector = |_, text| {
        Ok(crate::Selector {
            matchers: vec![Matcher::equal("app", text)],
            lines: None,
        })
    };
    let kept = Options {
        parse_selector: parse,
        ..options(dir.path())
    };
    let (store, _) = Store::open(kept.clone()).unwrap();
    for app in ["dev", "a"] {
        let line = [(T0_NS, "old")];
        store.append(log_in(logs(0, app, 0, &line))).unwrap();
    }
    store.flush().unwrap();
    let line = [(T0_NS, "not written out")];
    store.append(log_in(logs(0, "dev", 0, &line))).unwrap();
    settle(&store, T0_MS);
    let reserve = dir.path().join("RESERVE");
    assert!(reserve.exists(), "also without any retention");
    drop(store);
    // It is what fills the disk.
    let hidden = dir.path().join("hidden");
    std::fs::rename(&reserve, &hidden).unwrap();
    let (store, _) = Store::open_on(full_while(dir.path(), "RESERVE"), kept.clone()).unwrap();
    std::fs::rename(&hidden, &reserve).unwrap();
    let request = || crate::DeleteRequest {
        id: "x".into(),
        kind: crate::DeleteKind::Logs,
        selector: "dev".into(),
        from: 0,
        to: i64::MAX,
        now_ms: T0_MS,
        can_be_cancelled: false,
    };
    store.delete(request()).unwrap();
    assert!(!reserve.exists());
    let lines = entries(&store.snapshot());
    assert!(
        lines.len() == 1 && lines[0].contains("app=\"a\""),
        "{lines:?}"
    );
    drop(store);
    let (store, _) = Store::open(kept.clone()).unwrap();
    settle(&store, T0_MS);
    assert!(reserve.exists(), "it is made again when there is room");
    assert_eq!(entries(&store.snapshot()).len(), 1);
    drop(store);
    std::fs::remove_file(&reserve).unwrap();
    // Without it there is nothing to be done, and that is said.
    let ballast = dir.path().join("ballast");
    let (store, _) = Store::open_on(full_while(dir.path(), "ballast"), kept).unwrap();
    std::fs::write(&ballast, "").unwrap();
    let refused = store.delete(request()).unwrap_err().to_string();
    assert!(refused.contains("free some"), "{refused}");
    std::fs::remove_file(&ballast).unwrap();
    store.delete(request()).unwrap();
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Options {
        retention_ms: Some(2 * DAY_MS),
        ..options(dir.path())
    };
    let (store, _) = Store::open(kept.clone()).unwrap();
    days(&store, 4);
    // Nothing is too old yet: the reserve is made.
    settle(&store, T0_MS);
    assert!(dir.path().join("RESERVE").exists());
    store
        .append(log_in(logs(0, "a", 0, &[(T0_NS + 3 * DAY_NS, "late")])))
        .unwrap();
    drop(store);
    // The reserve is what fills it: what retention does not free itself, it cannot write.
    let (disk, hidden) = (full_while(dir.path(), "RESERVE"), dir.path().join("hidden"));
    std::fs::rename(dir.path().join("RESERVE"), &hidden).unwrap();
    let (store, _) = Store::open_on(disk, kept).unwrap();
    std::fs::rename(&hidden, dir.path().join("RESERVE")).unwrap();
    let refused = store.append(log_in(logs(0, "a", 0, &[(T0_NS, "refused")])));
    assert!(
        matches!(refused, Err(StoreError::Full { .. })),
        "{refused:?}"
    );
    let n_before = entries(&store.snapshot()).len();
    assert_eq!(n_before, 9, "queries go on");
    // The head is old enough to be written out, which fails; retention goes on nevertheless.
    let now_ms = T0_MS + 4 * DAY_MS;
    assert!(matches!(
        store.maintain(T0_MS),
        Ok(_) | Err(StoreError::Full { .. })
    ));
    let done = store.maintain(now_ms).unwrap();
    assert!(done.parts_dropped > 0, "{done:?}");
    assert!(
        !dir.path().join("RESERVE").exists(),
        "that is what it was kept for"
    );
    assert!(entries(&store.snapshot()).len() < n_before);
    store
        .append(log_in(logs(0, "a", 0, &[(T0_NS + 4 * DAY_NS, "taken")])))
        .unwrap();
    settle(&store, now_ms);
    assert!(
        entries(&store.snapshot())
            .iter()
            .any(|l| l.contains("taken"))
    );
}

/// A store that keeps lines of `dev` and samples of `m` for two days.
fn two_days_of_some(path: &Path) -> Options {
    let rule = |name: &str, value: &str| RetentionRule {
        name: value.into(),
        matchers: vec![Matcher::equal(name, value)],
        period_ms: 2 * DAY_MS,
    };
    Options {
        retention_rules: vec![rule("app", "dev"), rule("__name__", "m")],
        ..options(path)
    }
}

#[test]
fn rules_reach_what_is_not_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let ruled = two_days_of_some(dir.path());
    let (store, _) = Store::open(ruled).unwrap();
    for day in 0..4 {
        for app in ["dev", "a"] {
            let line = [(T0_NS + day * DAY_NS, "late")];
            store.append(log_in(logs(0, app, 0, &line))).unwrap();
        }
        for name in ["m", "other"] {
            let batch = samples(0, 0, name, T0_MS + day * DAY_MS, &[1.0]);
            store.append(metric_in(batch)).unwrap();
        }
    }
    let n_samples = |name: &str| -> usize {
        let matchers = [Matcher::equal("__name__", name)];
        let found = SeriesSource::select(&store.snapshot(), &matchers, i64::MIN, i64::MAX, 99);
        found.unwrap().iter().map(|s| s.times.len()).sum()
    };
    let n_lines = |app: &str| {
        let all = entries(&store.snapshot());
        let label = format!("app=\"{app}\"");
        all.iter().filter(|l| l.contains(&label)).count()
    };
    let now_ms = T0_MS + 3 * DAY_MS;
    store.maintain(now_ms).unwrap();
    assert_eq!(store.stats().flushes, 0, "all of it is in the head");
    assert_eq!((n_lines("dev"), n_lines("a")), (3, 4));
    assert_eq!((n_samples("m"), n_samples("other")), (3, 4));
    // Wholly old, so that names are gone, too.
    let snapshot = |now_ms: i64| {
        store.expire_by_rule(now_ms).unwrap();
        store.snapshot()
    };
    let later = snapshot(now_ms + 9 * DAY_MS);
    let streams = later.log_series(&[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(streams.len(), 1, "{streams:?}");
    let known = later.metric_series(&[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(known.len(), 1, "{known:?}");
    store.flush().unwrap();
    settle(&store, now_ms + 9 * DAY_MS);
    assert_eq!((n_lines("dev"), n_lines("a")), (0, 4));
}

#[test]
fn rules_take_some_labels_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let ruled = two_days_of_some(dir.path());
    let (store, _) = Store::open(ruled).unwrap();
    days(&store, 5);
    let n_lines = |app: &str| {
        let all = entries(&store.snapshot());
        all.iter()
            .filter(|l| l.contains(&format!("app=\"{app}\"")))
            .count()
    };
    assert_eq!(
        (n_lines("a"), n_lines("dev")),
        (5, 5),
        "maintenance has not run"
    );
    let now_ms = T0_MS + 4 * DAY_MS;
    store.maintain(now_ms).unwrap();
    assert_eq!((n_lines("a"), n_lines("dev")), (5, 3), "hidden at once");
    settle(&store, now_ms);
    assert_eq!((n_lines("a"), n_lines("dev")), (5, 3));
    assert_eq!(store.stats().part_entries, 8, "and gone from the disk");
    assert_eq!(store.stats().part_samples, 3);
    assert_eq!(series(&store.snapshot()).len(), 1);
    settle(&store, now_ms + DAY_MS);
    assert_eq!((n_lines("a"), n_lines("dev")), (5, 2));
    settle(&store, now_ms + 9 * DAY_MS);
    assert_eq!((n_lines("a"), n_lines("dev")), (5, 0));
    assert!(series(&store.snapshot()).is_empty());
}
