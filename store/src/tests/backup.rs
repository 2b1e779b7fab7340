//! Snapshots: a store of its own with the same answers, whatever becomes of the first.

use super::{assert_same, entries, open, series};
use crate::testing::{T0_MS, T0_NS, log_in, logs, metric_in, samples};

#[test]
fn a_snapshot_is_a_store_with_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for n in 0..5 {
        let line = format!("line {n}");
        let batch = logs(1, "a", n, &[(T0_NS + n as i64, &line)]);
        store.append(log_in(batch)).unwrap();
        let batch = samples(2, n, "m", T0_MS + n as i64, &[1.0, 2.0]);
        store.append(metric_in(batch)).unwrap();
        if n < 4 {
            store.flush().unwrap();
        }
    }
    let (lines, values) = (entries(&store.snapshot()), series(&store.snapshot()));
    let parts_only = store.link_snapshot("parts_only", false).unwrap();
    let whole = store.link_snapshot("20260102T000000Z-1f", true).unwrap();
    for wrong in ["", "..", "a/b"] {
        assert!(store.link_snapshot(wrong, true).is_err(), "{wrong}");
    }
    // The first goes on and merges; a snapshot in it hinders no restart.
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    assert!(store.stats().merges > 0);
    drop(store);
    let (store, recovery) = open(dir.path());
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert_same(&entries(&store.snapshot()), &lines, "the first");
    let (copy, recovery) = open(&whole);
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert_same(&entries(&copy.snapshot()), &lines, "the snapshot");
    assert_same(&series(&copy.snapshot()), &values, "the snapshot");
    // Marks came along: what the source sends again is known.
    let again = logs(1, "a", 4, &[(T0_NS + 4, "line 4")]);
    assert_eq!(copy.append(log_in(again)).unwrap().duplicates, 1);
    copy.append(log_in(logs(1, "a", 5, &[(T0_NS + 5, "new")])))
        .unwrap();
    drop(copy);
    assert_eq!(entries(&open(&whole).0.snapshot()).len(), 6);
    assert_eq!(entries(&open(&parts_only).0.snapshot()).len(), 4);
}
