//! Samples by reference: what was acknowledged is there after crashes, seals, new segments and full
//! disks, exactly as if it had come in batches.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{open, series};
use crate::fs::{Fault, Operation};
use crate::testing::{
    FailOnce, Random, T0_MS, by_reference as samples, metric_in, options, samples as batch,
};
use crate::{Incoming, Options, Store, StoreError};

fn send(store: &Store, all: &[(u32, i64, f64)]) -> Result<u64, StoreError> {
    let samples = samples(&store.series(), all);
    let done = store.append(vec![Incoming::Samples(samples)])?;
    assert_eq!(done.accepted, all.len() as u64);
    Ok(done.accepted)
}

/// The longest file of the WAL.
fn segment(dir: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir.join("wal")).unwrap();
    let paths = files.map(|e| e.unwrap().path());
    paths
        .max_by_key(|p| fs::metadata(p).unwrap().len())
        .unwrap()
}

#[test]
fn both_ways_in_end_in_one_series_after_replay_and_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    store
        .append(metric_in(batch(1, 0, "m", T0_MS, &[1.0, 2.0])))
        .unwrap();
    // Late, repeated, and replaced by a later value of the same time.
    let late = [
        (0, T0_MS + 2, 3.0),
        (0, T0_MS + 1, 2.0),
        (1, T0_MS, 2.5),
        (2, 7, stale),
    ];
    send(&store, &late).unwrap();
    store
        .append(metric_in(batch(1, 1, "m", T0_MS + 3, &[9.0])))
        .unwrap();
    let expected = series(&store.snapshot());
    let bits = |v: f64| v.to_bits();
    assert_eq!(expected.len(), 3);
    assert_eq!(
        expected[0],
        format!(
            "{{__name__=\"m\", i=\"0\"}} {:?} {:?}",
            [T0_MS, T0_MS + 1, T0_MS + 2, T0_MS + 3],
            [1.0, 2.0, 3.0, 9.0].map(bits)
        )
    );
    assert!(expected[1].ends_with(&format!("[{}]", bits(2.5))));
    assert!(expected[2].ends_with(&format!("[{}]", stale.to_bits())));
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.wal_records, recovery.damaged.len()), (7, 0));
    assert_eq!(series(&store.snapshot()), expected);
    store.flush().unwrap();
    assert_eq!(series(&store.snapshot()), expected);
    drop(store);
    assert_eq!(series(&open(dir.path()).0.snapshot()), expected);
}

#[test]
fn a_tail_torn_at_every_byte_loses_only_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    send(&store, &[(0, T0_MS, 1.0), (1, T0_MS, 1.0)]).unwrap();
    let path = segment(dir.path());
    let whole = fs::metadata(&path).unwrap().len();
    // A new definition and samples of it and of a series defined before.
    let last = [(1, T0_MS + 1, 2.0), (2, T0_MS + 1, 2.0)];
    send(&store, &last).unwrap();
    let expected = series(&store.snapshot());
    drop(store);
    let bytes = fs::read(&path).unwrap();
    let (mut whole_definitions, mut n_cuts) = (0, 0);
    for cut in whole..bytes.len() as u64 {
        let copy = tempfile::tempdir().unwrap();
        drop(open(copy.path()));
        fs::write(segment(copy.path()), &bytes[..cut as usize]).unwrap();
        let (store, recovery) = open(copy.path());
        assert!(recovery.damaged.is_empty(), "{cut}: {recovery:?}");
        assert!(recovery.torn_bytes <= cut - whole);
        whole_definitions += u64::from(recovery.wal_entries == 3);
        n_cuts += 1;
        assert_eq!(recovery.wal_records, 2, "cut at {cut}");
        assert_eq!(series(&store.snapshot()).len(), 2);
        send(&store, &last).unwrap();
        drop(store);
        let (store, recovery) = open(copy.path());
        assert_eq!(recovery.torn_bytes, 0);
        assert_eq!(series(&store.snapshot()), expected, "cut at {cut}");
    }
    assert!(whole_definitions > 8 && whole_definitions < n_cuts);
}

#[test]
fn a_damaged_definition_is_reported_and_takes_only_its_series_along() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    send(&store, &[(0, T0_MS, 1.0)]).unwrap();
    let start = fs::metadata(segment(dir.path())).unwrap().len() as usize;
    send(&store, &[(0, T0_MS + 1, 2.0), (1, T0_MS, 1.0)]).unwrap();
    drop(store);
    let path = segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[start + 20] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.wal_records, 2);
    let whats: Vec<&str> = recovery.damaged.iter().map(|d| &*d.what).collect();
    assert_eq!(whats.len(), 2, "{whats:?}");
    assert!(whats[1].contains("not defined"), "{whats:?}");
    assert_eq!(series(&store.snapshot()).len(), 1);
    assert_eq!(
        fs::read_dir(dir.path().join("quarantine")).unwrap().count(),
        1
    );
}

#[test]
fn samples_collected_before_a_seal_find_their_series_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    // Many series that the sealed head does not use: the table is replaced.
    let old = store.series();
    drop(samples(
        &old,
        &(10..50).map(|i| (i, 0, 0.0)).collect::<Vec<_>>(),
    ));
    send(&store, &[(0, T0_MS, 1.0)]).unwrap();
    let waiting = samples(&old, &[(1, T0_MS, 1.0), (0, T0_MS + 1, 2.0)]);
    store.flush().unwrap();
    assert!(!Arc::ptr_eq(&old, &store.series()), "the table is new");
    send(&store, &[(3, T0_MS, 1.0)]).unwrap();
    store.append(vec![Incoming::Samples(waiting)]).unwrap();
    let expected = series(&store.snapshot());
    assert_eq!(expected.len(), 3);
    assert!(expected[0].contains(&format!("{:?}", [T0_MS, T0_MS + 1])));
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.damaged, []);
    assert_eq!(series(&store.snapshot()), expected);
    // A table whose series are all in use stays, and with it what is known.
    send(&store, &[(0, T0_MS + 5, 1.0), (1, T0_MS + 5, 1.0)]).unwrap();
    let table = store.series();
    store.flush().unwrap();
    assert!(Arc::ptr_eq(&table, &store.series()));
    send(&store, &[(0, T0_MS + 6, 1.0)]).unwrap();
    let expected = series(&store.snapshot());
    drop(store);
    assert_eq!(series(&open(dir.path()).0.snapshot()), expected);
}

#[test]
fn each_segment_defines_what_it_uses() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        wal_segment_bytes: 400,
        ..options(dir.path())
    };
    let (store, _) = Store::open(options).unwrap();
    let mut random = Random(3);
    for i in 0..200 {
        let some: Vec<_> = (0..5)
            .map(|_| (random.below(20) as u32, T0_MS + i, i as f64))
            .collect();
        send(&store, &some).unwrap();
    }
    let expected = series(&store.snapshot());
    assert!(store.stats().wal_segments > 20);
    drop(store);
    let (store, recovery) = open(dir.path());
    assert_eq!((recovery.wal_records, recovery.damaged.len()), (1000, 0));
    assert_eq!(series(&store.snapshot()), expected);
}

#[test]
fn a_definition_that_a_full_disk_refused_is_written_again() {
    // Writes 0 and 1 are the manifest and the segment's header; each append writes definitions and
    // samples.
    for n in [4, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, once) = FailOnce::disk(dir.path(), Operation::Write, n, Fault::Short(9, 28));
        let (store, _) = Store::open_on(disk, options(dir.path())).unwrap();
        send(&store, &[(0, T0_MS, 1.0)]).unwrap();
        let refused = send(&store, &[(1, T0_MS, 1.0)]);
        assert!(
            matches!(refused, Err(StoreError::Full { .. })),
            "{n} {refused:?}"
        );
        assert!(once.happened());
        send(&store, &[(1, T0_MS, 1.0)]).unwrap();
        let expected = series(&store.snapshot());
        drop(store);
        let (store, recovery) = open(dir.path());
        assert_eq!(recovery.damaged, []);
        assert_eq!(series(&store.snapshot()), expected);
    }
}

#[test]
fn a_replay_of_more_than_one_head_gives_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let small = || Options {
        memory_limit_bytes: 4 << 20,
        ..options(dir.path())
    };
    let (store, _) = Store::open(small()).unwrap();
    for i in 0..60 {
        let some: Vec<_> = (0..1000).map(|s| (s, T0_MS + i, i as f64)).collect();
        send(&store, &some).unwrap();
    }
    let expected = series(&store.snapshot());
    drop(store);
    let (store, recovery) = Store::open(small()).unwrap();
    assert_eq!((recovery.wal_records, recovery.damaged.len()), (60_000, 0));
    assert_eq!(series(&store.snapshot()), expected);
    while !store.maintain(T0_MS).unwrap().is_idle() {}
    assert_eq!(series(&store.snapshot()), expected);
}
