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
    let mut n_cuts = [0; 3];
    for cut in whole..bytes.len() as u64 {
        let copy = tempfile::tempdir().unwrap();
        drop(open(copy.path()));
        fs::write(segment(copy.path()), &bytes[..cut as usize]).unwrap();
        let (store, recovery) = open(copy.path());
        assert!(recovery.damaged.is_empty(), "{cut}: {recovery:?}");
        assert!(recovery.torn_bytes <= cut - whole);
        // Definitions, samples, definitions: what is whole before the cut may count already.
        let n_entries = recovery.wal_entries - 3;
        n_cuts[n_entries as usize] += 1;
        let is_known = n_entries == 2;
        assert_eq!(recovery.wal_records, 2 + 2 * u64::from(is_known), "{cut}");
        assert_eq!(series(&store.snapshot()).len(), 2 + usize::from(is_known));
        send(&store, &last).unwrap();
        drop(store);
        let (store, recovery) = open(copy.path());
        assert_eq!(recovery.torn_bytes, 0);
        assert_eq!(series(&store.snapshot()), expected, "cut at {cut}");
    }
    assert!(n_cuts.iter().all(|n| *n > 8), "{n_cuts:?}");
}

/// Where the entries of a segment with this magic start.
fn places(bytes: &[u8], magic: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(4).enumerate();
    windows
        .filter(|(_, w)| *w == magic)
        .map(|(at, _)| at - 8)
        .collect()
}

/// What opening says of a segment after the bytes at some places were changed.
fn damaged(bytes: &[u8], places: &[usize]) -> (Vec<String>, u64, Vec<String>) {
    let copy = tempfile::tempdir().unwrap();
    drop(open(copy.path()));
    let mut bad = bytes.to_vec();
    places.iter().for_each(|at| bad[at + 17] ^= 4);
    fs::write(segment(copy.path()), bad).unwrap();
    let (store, recovery) = open(copy.path());
    let whats = recovery.damaged.into_iter().map(|d| d.what).collect();
    (whats, recovery.wal_records, series(&store.snapshot()))
}

#[test]
fn a_damaged_definition_takes_nothing_along() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    send(&store, &[(0, T0_MS, 1.0)]).unwrap();
    send(&store, &[(0, T0_MS + 1, 2.0), (1, T0_MS, 1.0)]).unwrap();
    send(&store, &[(1, T0_MS + 1, 2.0), (0, T0_MS + 2, 3.0)]).unwrap();
    let expected = series(&store.snapshot());
    drop(store);
    let bytes = fs::read(segment(dir.path())).unwrap();
    let definitions = places(&bytes, b"KSD1");
    assert_eq!(definitions.len(), 4, "each twice");
    for at in &definitions {
        let (whats, n_records, all) = damaged(&bytes, &[*at]);
        assert_eq!((whats.len(), n_records), (1, 5), "{whats:?}");
        assert_eq!(all, expected, "at {at}");
    }
    // One of each series.
    let (whats, n_records, all) = damaged(&bytes, &[definitions[0], definitions[3]]);
    assert_eq!((whats.len(), n_records, all), (2, 5, expected.clone()));
    // Both of one: its samples are told of, and the other series loses none.
    let (whats, n_records, all) = damaged(&bytes, &definitions[2..]);
    assert_eq!((whats.len(), n_records), (4, 3), "{whats:?}");
    assert!(whats[3].contains("not defined"), "{whats:?}");
    assert_eq!(all, expected[..1]);
    // A damaged entry of samples loses these.
    let samples = places(&bytes, b"KSS1");
    assert_eq!(damaged(&bytes, &samples[1..2]).1, 3);
}

#[test]
fn a_reference_that_stands_for_two_series_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    send(&store, &[(0, T0_MS, 1.0)]).unwrap();
    let expected = series(&store.snapshot());
    drop(store);
    let other = tempfile::tempdir().unwrap();
    let (store, _) = open(other.path());
    send(&store, &[(7, T0_MS, 2.0)]).unwrap();
    drop(store);
    let mut bytes = fs::read(segment(dir.path())).unwrap();
    bytes.extend_from_slice(&fs::read(segment(other.path())).unwrap()[16..]);
    fs::write(segment(dir.path()), bytes).unwrap();
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.damaged.len(), 2, "{recovery:?}");
    assert_eq!(
        series(&store.snapshot()).len(),
        expected.len(),
        "no new series"
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
    // Writes 0 and 1 are the manifest and the segment's header; each append writes its mark,
    // definitions, samples, and the definitions again.
    for n in [6, 7, 8, 9] {
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

#[test]
fn a_head_of_many_samples_is_written_out_and_the_next_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    send(&store, &[(0, T0_MS, 1.0)]).unwrap();
    store.seal_up_to(None, None).unwrap();
    let at_once = 1 << 17;
    let busy = (0..64).find_map(|round| {
        let times = T0_MS + 1 + round * at_once..;
        let some: Vec<_> = times.take(at_once as usize).map(|t| (0, t, 1.0)).collect();
        send(&store, &some).err().map(|e| (round, e))
    });
    let (rounds, error) = busy.unwrap();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert_eq!(rounds, 24, "three times 2^20 samples");
    assert!(store.stats().head_bytes < 8 << 20);
    assert!(store.wait_for_work(std::time::Duration::ZERO));
    assert_eq!(store.maintain(T0_MS).unwrap().parts_flushed, 1);
    send(&store, &[(0, T0_MS, 2.0)]).unwrap();
    assert!(store.maintain(T0_MS).unwrap().parts_flushed > 0);
    assert_eq!(store.stats().head_samples, 0);
    let expected = 1 + (rounds * at_once) as u64;
    assert_eq!(store.stats().part_samples, expected + 1);
}
