//! Crashes and failing disks: at every step of every write, what was acknowledged stays.

use std::fs;

use super::{entries, open, series};
use crate::fs::{Fault, Operation};
use crate::testing::{
    FailOnce, T0_MS, T0_NS, WRITES, by_reference, log_in, logs, metric_in, options, samples,
};
use crate::{Incoming, Store, StoreError};

/// The only WAL segment with entries.
fn segment(dir: &std::path::Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir.join("wal"))
        .unwrap()
        .map(|e| e.unwrap().path());
    files
        .max_by_key(|p| fs::metadata(p).unwrap().len())
        .unwrap()
}

/// Before each append stands its mark.
const MARK_BYTES: u64 = 16;

#[test]
fn a_wal_torn_at_every_byte_of_the_last_entry_loses_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store
        .append(log_in(logs(1, "a", 0, &[(T0_NS, "first")])))
        .unwrap();
    let path = segment(dir.path());
    let whole = fs::metadata(&path).unwrap().len();
    store
        .append(log_in(logs(1, "a", 1, &[(T0_NS + 1, "second")])))
        .unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    for cut in whole..bytes.len() as u64 {
        let copy = tempfile::tempdir().unwrap();
        let (fresh, _) = open(copy.path());
        drop(fresh);
        fs::write(segment(copy.path()), &bytes[..cut as usize]).unwrap();
        let (store, recovery) = open(copy.path());
        // The mark of an append, when it is whole, is left.
        let torn = cut - whole;
        assert_eq!(
            recovery.torn_bytes,
            if torn < MARK_BYTES {
                torn
            } else {
                torn - MARK_BYTES
            }
        );
        assert!(recovery.damaged.is_empty(), "{recovery:?}");
        assert_eq!(entries(&store.snapshot()).len(), 1);
        // The sender repeats what was not acknowledged.
        let done = store
            .append(log_in(logs(1, "a", 1, &[(T0_NS + 1, "second")])))
            .unwrap();
        assert_eq!(done.accepted, 1);
        drop(store);
        let (store, recovery) = open(copy.path());
        assert_eq!(
            (recovery.torn_bytes, entries(&store.snapshot()).len()),
            (0, 2),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_damaged_entry_in_the_middle_is_reported_and_its_segment_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut ends = Vec::new();
    for i in 0..5 {
        store
            .append(log_in(logs(1, "a", i, &[(T0_NS + i as i64, "line")])))
            .unwrap();
        ends.push(fs::metadata(segment(dir.path())).unwrap().len() as usize);
    }
    drop(store);
    let path = segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[1] + 50] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let (store, recovery) = open(dir.path());
    assert_eq!(
        (
            recovery.wal_entries,
            recovery.damaged.len(),
            recovery.torn_bytes
        ),
        (4, 1, 0)
    );
    assert_eq!(
        recovery.damaged[0].offset_bytes,
        ends[1] as u64 + MARK_BYTES
    );
    assert_eq!(entries(&store.snapshot()).len(), 4);
    store.flush().unwrap();
    drop(store);
    assert_eq!(
        fs::read_dir(dir.path().join("quarantine")).unwrap().count(),
        1
    );
    let (store, recovery) = open(dir.path());
    assert!(
        recovery.damaged.is_empty(),
        "the damaged segment has been written out"
    );
    assert_eq!(entries(&store.snapshot()).len(), 4);
}

/// Enough for one merge, and few enough that every operation can be made to fail in turn.
const STEPS: u64 = 5;

/// Appends, flushes and merges with one operation failing, then restarts on a good disk. Whatever
/// was acknowledged must be there once; what was refused may be repeated. Returns whether the
/// fault was met.
fn survive(operation: Operation, n: i64, fault: Fault) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (disk, once) = FailOnce::disk(dir.path(), operation, n, fault);
    let mut acknowledged = Vec::new();
    let line = |i: u64| format!("line {i}");
    let referenced_ms = |i: u64| T0_MS + 1000 + i as i64;
    let send = |store: &Store, i: u64| {
        let lines = [(T0_NS + i as i64, &*line(i))];
        let sent = store.append(log_in(logs(1, "a", i, &lines)));
        sent.and_then(|_| {
            store.append(metric_in(samples(2, i, "m", T0_MS + i as i64, &[i as f64])))
        })
        .and_then(|_| {
            let own = [(0, referenced_ms(i), i as f64)];
            let own = by_reference(&store.series(), &own);
            store.append(vec![Incoming::Samples(own)])
        })
    };
    if let Ok((store, _)) = Store::open_on(disk, options(dir.path())) {
        for i in 0..STEPS {
            match send(&store, i) {
                Ok(_) => acknowledged.push(i),
                Err(StoreError::Full { .. } | StoreError::Poisoned(_)) => {}
                Err(other) => panic!("{operation:?} {n}: {other}"),
            }
            // A failing flush keeps its head; the data stays visible.
            let _ = store.flush();
            let _ = store.maintain(T0_MS);
            let seen = entries(&store.snapshot());
            for i in &acknowledged {
                assert!(
                    seen.iter().any(|e| e.ends_with(&line(*i))),
                    "{operation:?} {n}: {i} not visible"
                );
            }
            if store.stats().poisoned {
                assert!(matches!(send(&store, 100), Err(StoreError::Poisoned(_))));
                assert!(matches!(
                    store.maintain(T0_MS),
                    Err(StoreError::Poisoned(_))
                ));
            }
        }
    }
    let (store, recovery) = open(dir.path());
    assert!(
        recovery.damaged.is_empty(),
        "{operation:?} {n}: {recovery:?}"
    );
    let seen = entries(&store.snapshot());
    for i in &acknowledged {
        let found = seen.iter().filter(|e| e.ends_with(&line(*i))).count();
        assert_eq!(
            found, 1,
            "{operation:?} {n} {fault:?}: line {i} is there {found} times"
        );
        let time = referenced_ms(*i).to_string();
        let samples = series(&store.snapshot()).concat();
        assert_eq!(
            samples.matches(&time).count(),
            1,
            "{operation:?} {n} {fault:?}: sample {i} in {samples}"
        );
    }
    // A sender that repeats everything since its last acknowledgement makes it whole.
    for i in 0..STEPS {
        if !acknowledged.contains(&i) {
            send(&store, i).unwrap();
        }
    }
    store.flush().unwrap();
    let seen = entries(&store.snapshot());
    for i in acknowledged {
        assert_eq!(seen.iter().filter(|e| e.ends_with(&line(i))).count(), 1);
    }
    assert_eq!(series(&store.snapshot()).len(), 1);
    once.happened()
}

#[test]
fn every_failing_operation_is_survived() {
    for operation in WRITES {
        let faults: &[Fault] = match operation {
            Operation::Write => &[Fault::Errno(5), Fault::Short(7, 28), Fault::Short(20, 5)],
            _ => &[Fault::Errno(5), Fault::Errno(28)],
        };
        for fault in faults {
            // Each operation of that kind in turn, until none is left to fail.
            let met = (0..300)
                .take_while(|n| survive(operation, *n, *fault))
                .count();
            let expected = if operation == Operation::Truncate {
                0
            } else {
                5
            };
            assert!(
                met >= expected && met < 300,
                "{operation:?} {fault:?}: {met}"
            );
        }
    }
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Write 0 and 1 are the manifest and the segment's header; each append writes its mark first.
    let (disk, once) = FailOnce::disk(dir.path(), Operation::Write, 5, Fault::Short(9, 28));
    let (store, _) = Store::open_on(disk, options(dir.path())).unwrap();
    let send = |i: u64| store.append(log_in(logs(1, "a", i, &[(T0_NS, "x")])));
    send(0).unwrap();
    assert!(matches!(send(1), Err(StoreError::Full { .. })));
    assert!(once.happened());
    assert_eq!(
        send(1).unwrap().accepted,
        1,
        "nothing of the refused call was kept"
    );
    assert!(!store.stats().poisoned);
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.wal_entries, recovery.torn_bytes), (2, 0));
    assert_eq!(entries(&store.snapshot()).len(), 2);
}

#[test]
fn after_a_failed_sync_writes_are_refused_and_queries_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = FailOnce::disk(dir.path(), Operation::Sync, 3, Fault::Errno(5));
    let (store, _) = Store::open_on(disk, options(dir.path())).unwrap();
    store
        .append(log_in(logs(1, "a", 0, &[(T0_NS, "kept")])))
        .unwrap();
    for _ in 0..2 {
        let refused = store
            .append(log_in(logs(1, "a", 1, &[(T0_NS, "lost")])))
            .unwrap_err();
        assert!(matches!(refused, StoreError::Poisoned(_)), "{refused}");
        assert!(refused.to_string().contains("restart"), "{refused}");
    }
    assert_eq!(entries(&store.snapshot()).len(), 1);
}
