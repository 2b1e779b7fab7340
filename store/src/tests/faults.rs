//! Faults where a crash test does not look: while the store is opened, and disks that stay full.
//! It refuses clearly or goes on; nothing that was acknowledged is lost or there twice.
//!
//! Where the store writes, and which test makes each n-th operation there fail:
//!
//! | site | operations of `fs.rs` | short write, EIO, ENOSPC | power cut | full for long |
//! |---|---|---|---|---|
//! | WAL segment, started and ended | create, write, sync, sync folder | `crash` | `power_cut` | here |
//! | WAL entries | write, sync, truncate after a full disk | `crash` | `power_cut` | here |
//! | parts of flushes and merges | create, write, sync, rename, sync folder, remove | `crash` | `power_cut` | here |
//! | state file, manifest | create, write, sync, rename, sync folder, remove | `crash` | `power_cut` | here |
//! | opening: folders, torn tails, leftovers | create, truncate, remove, read | here | `power_cut` | here |
//! | quarantine | create (link) | `damage` has the damage | | |

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{entries, open, series};
use crate::fs::{Disk, Fault, Operation};
use crate::testing::{
    FailOnce, T0_MS, T0_NS, WRITES, by_reference, log_in, logs, metric_in, options, samples,
};
use crate::{Incoming, Options, Store, StoreError};

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

fn small(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 300,
        ..options(path)
    }
}

/// A line, a batch and samples by reference.
fn send(store: &Store, step: u64) -> Result<(), StoreError> {
    let line = format!("line {step};");
    let time_ms = T0_MS + step as i64;
    let mut all = log_in(logs(1, "a", step, &[(T0_NS + step as i64, &line)]));
    all.append(&mut metric_in(samples(2, step, "batch", time_ms, &[1.0])));
    let own = [(0, time_ms, 1.0), (step as u32 + 1, time_ms, 2.0)];
    all.push(Incoming::Samples(by_reference(&store.series(), &own)));
    store.append(all).map(drop)
}

fn content(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot();
    let mut all = entries(&snapshot);
    all.append(&mut series(&snapshot));
    all
}

/// A folder as a crash leaves it: parts, heads in several segments, a torn tail, leftovers.
fn crashed(path: &Path) -> Vec<String> {
    let (store, _) = Store::open(small(path)).unwrap();
    for step in 0..8 {
        send(&store, step).unwrap();
        if step < 4 {
            store.flush().unwrap();
        }
    }
    let expected = content(&store);
    assert!(store.stats().wal_segments > 3);
    drop(store);
    let newest = fs::read_dir(path.join("wal")).unwrap();
    let newest = newest.map(|e| e.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
    fs::write(newest, bytes).unwrap();
    for leftover in [
        "parts/000000000099.logs",
        "state-000000000098",
        "MANIFEST.tmp",
    ] {
        fs::write(path.join(leftover), b"unfinished").unwrap();
    }
    expected
}

fn copy(from: &Path, to: &Path) {
    for folder in ["", "wal", "parts", "quarantine"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, to.join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
}

#[test]
fn a_fault_while_opening_is_told_and_the_next_opening_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let expected = crashed(dir.path());
    for operation in WRITES.into_iter().chain([Operation::Read]) {
        let faults: &[Fault] = match operation {
            // A part on a broken medium is set aside, which `damage.rs` looks at.
            Operation::Read => &[Fault::Errno(EMFILE)],
            Operation::Write => &[Fault::Short(9, ENOSPC), Fault::Errno(EIO)],
            _ => &[Fault::Errno(ENOSPC), Fault::Errno(EIO)],
        };
        for fault in faults {
            let mut n_met = 0;
            for n in 0.. {
                let what = format!("{operation:?} {n} {fault:?}");
                let copied = tempfile::tempdir().unwrap();
                copy(dir.path(), copied.path());
                let (disk, once) = FailOnce::disk(copied.path(), operation, n, *fault);
                let opened = Store::open_on(disk, small(copied.path()));
                if !once.happened() {
                    break;
                }
                match opened {
                    Ok((store, recovery)) => {
                        assert_eq!(recovery.damaged, [], "{what}");
                        assert_eq!(content(&store), expected, "{what}");
                    }
                    Err(error) => {
                        let folder = copied.path().display().to_string();
                        assert!(error.to_string().contains(&folder), "{what}: {error}");
                    }
                }
                let (store, recovery) = Store::open(small(copied.path())).unwrap();
                assert_eq!(recovery.damaged, [], "{what}");
                assert_eq!(content(&store), expected, "{what}");
                send(&store, 8).unwrap();
                store.flush().unwrap();
                n_met += 1;
            }
            // Opening renames nothing while the manifest is whole.
            assert_eq!(n_met > 0, operation != Operation::Rename, "{operation:?}");
        }
    }
}

/// A disk that is full from its `n`th write on, until it is not.
struct Full {
    left: AtomicI64,
    is_freed: AtomicBool,
}

impl Full {
    fn disk(path: &Path, n: i64) -> (Disk, Arc<Self>) {
        let full = Arc::new(Self {
            left: AtomicI64::new(n),
            is_freed: AtomicBool::new(false),
        });
        let hook = Arc::clone(&full);
        let disk = Disk::with_faults(path, Arc::new(move |operation, _| hook.ask(operation)));
        (disk, full)
    }

    fn ask(&self, operation: Operation) -> Option<Fault> {
        let takes_room = matches!(operation, Operation::Create | Operation::Write);
        let is_full = takes_room && self.left.fetch_sub(1, Ordering::SeqCst) <= 0;
        (is_full && !self.is_freed.load(Ordering::SeqCst)).then_some(Fault::Short(11, ENOSPC))
    }
}

#[test]
fn a_disk_that_stays_full_refuses_and_goes_on_once_there_is_room() {
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (disk, full) = Full::disk(dir.path(), n);
        let Ok((store, _)) = Store::open_on(disk, small(dir.path())) else {
            let (store, _) = open(dir.path());
            send(&store, 0).unwrap();
            continue;
        };
        let (mut acknowledged, mut n_refused) = (Vec::new(), 0);
        for step in 0..6 {
            match send(&store, step) {
                Ok(()) => acknowledged.push(step),
                Err(StoreError::Full { .. }) => n_refused += 1,
                Err(error) => panic!("full from {n} on: {error}"),
            }
            if step % 2 == 1 {
                let _ = store.flush();
            }
            let _ = store.maintain(T0_MS);
        }
        full.is_freed.store(true, Ordering::SeqCst);
        // In any order: positions of logs only grow, so the refused ones go as new lines.
        let before = content(&store);
        for step in 10..13 {
            send(&store, step).unwrap_or_else(|e| panic!("freed after {n}: {e}"));
            acknowledged.push(step);
        }
        store.flush().unwrap();
        while !store.maintain(T0_MS).unwrap().is_idle() {}
        let lines = |store: &Store| entries(&store.snapshot());
        for step in &acknowledged {
            let line = format!("line {step};");
            let found = lines(&store).iter().filter(|e| e.contains(&line)).count();
            assert_eq!(found, 1, "full from {n} on: {line}");
        }
        assert_eq!(lines(&store).len(), acknowledged.len());
        assert!(before.len() <= content(&store).len());
        let expected = content(&store);
        drop(store);
        let (store, recovery) = open(dir.path());
        assert_eq!(recovery.damaged, []);
        assert_eq!(content(&store), expected, "full from {n} on");
        if n_refused == 0 && full.left.load(Ordering::SeqCst) > 40 {
            assert!(n > 60, "{n}");
            return;
        }
    }
}
