//! Appends, maintenance and queries at once: counts only grow, and end exact.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use super::{assert_same, entries, open, series, wanted};
use crate::testing::{T0_MS, T0_NS, log_in, logs, metric_in, options, samples};
use crate::{Incoming, Options, SampleWriter, Store, StoreError};
use kansoku_model::select::{Direction, LogBlock};
use kansoku_model::{Labels, LogSource, SeriesSource};
use std::ops::ControlFlow;

fn count_lines(store: &Store) -> u64 {
    let (mut n, mut block) = (0, LogBlock::default());
    let snapshot = store.snapshot();
    LogSource::select(&snapshot, &wanted(Direction::Backward), &mut |b| {
        b.load(&mut block)?;
        n += block.times.len() as u64;
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
    n
}

fn count_samples(store: &Store) -> u64 {
    let found =
        SeriesSource::select(&store.snapshot(), &[], i64::MIN, i64::MAX, usize::MAX).unwrap();
    found.iter().map(|s| s.times.len() as u64).sum()
}

#[test]
fn counts_are_exact_while_flushes_and_merges_run() {
    const WRITERS: u64 = 4;
    const BATCHES: u64 = 120;
    const LINES: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let small = Options {
        memory_limit_bytes: 4 << 20,
        busy_wait: Duration::from_secs(60),
        ..options(dir.path())
    };
    let (store, _) = Store::open(small).unwrap();
    let text = "some text that takes room in the head ".repeat(8);
    let is_done = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (store, text, is_done, acknowledged) = (&store, &text, &is_done, &acknowledged);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for batch in 0..BATCHES {
                        let lines: Vec<(i64, &str)> = (0..LINES)
                            .map(|i| (T0_NS + (batch * LINES + i) as i64, text.as_str()))
                            .collect();
                        let from = batch * LINES;
                        let sent =
                            logs(1 + u128::from(writer), &format!("w{writer}"), from, &lines);
                        // Twice, as a sender does that missed the answer.
                        for _ in 0..2 {
                            store.append(log_in(sent.clone())).unwrap();
                        }
                        let metrics = samples(
                            100 + u128::from(writer),
                            batch,
                            &format!("m{writer}"),
                            T0_MS + batch as i64,
                            &[1.5; 20],
                        );
                        store.append(metric_in(metrics)).unwrap();
                        acknowledged.fetch_add(LINES, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            let mut round = 0;
            while !is_done.load(Ordering::SeqCst) {
                store.maintain(T0_MS).unwrap();
                round += 1;
                if round % 3 == 0 {
                    store.flush().unwrap();
                }
            }
        });
        scope.spawn(move || {
            let mut last = 0;
            while !is_done.load(Ordering::SeqCst) {
                let before = acknowledged.load(Ordering::SeqCst);
                let seen = count_lines(store);
                assert!(
                    seen >= before,
                    "{seen} lines seen, {before} acknowledged before"
                );
                assert!(seen >= last && seen <= WRITERS * BATCHES * LINES);
                last = seen;
                count_samples(store);
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        is_done.store(true, Ordering::SeqCst);
    });
    let all = WRITERS * BATCHES * LINES;
    assert_eq!(
        (count_lines(&store), count_samples(&store)),
        (all, WRITERS * BATCHES * 20)
    );
    let stats = store.stats();
    assert!(stats.flushes > 1, "{stats:?}");
    assert_eq!(stats.duplicates, all);
    let (lines, samples) = (entries(&store.snapshot()), series(&store.snapshot()));
    drop(store);
    let (store, recovery) = open(dir.path());
    assert!(recovery.damaged.is_empty());
    assert_same(&entries(&store.snapshot()), &lines, "unchanged");
    assert_same(&series(&store.snapshot()), &samples, "unchanged");
}

#[test]
fn many_callers_share_few_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    std::thread::scope(|scope| {
        for caller in 0..16u64 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..20 {
                    let name = format!("c{caller}");
                    let done = store.append(log_in(logs(
                        1 + u128::from(caller),
                        &name,
                        i,
                        &[(T0_NS, "x")],
                    )));
                    assert_eq!(done.unwrap().accepted, 1);
                }
            });
        }
    });
    assert_eq!(count_lines(&store), 320);
    assert!(store.stats().wal_syncs <= 320);
    let refused = Store::open(options(dir.path()));
    assert!(matches!(refused, Err(StoreError::Locked { .. })));
}

#[test]
fn new_series_by_reference_and_the_count_of_active_ones_do_not_wait_for_each_other() {
    const WRITERS: u64 = 3;
    const REQUESTS: u64 = 300;
    const SERIES: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let roomy = Options {
        memory_limit_bytes: 1 << 30,
        ..Options::new(dir.path())
    };
    let (store, _) = Store::open(roomy).unwrap();
    let is_done = AtomicBool::new(false);
    let labels = |id: &str| Labels::from_pairs([("__name__", "m"), ("id", id)]);
    std::thread::scope(|scope| {
        let (store, is_done) = (&store, &is_done);
        let write = |writer| {
            move || {
                for request in 0..REQUESTS {
                    let table = store.series();
                    let mut samples = SampleWriter::new(&table);
                    for i in 0..SERIES {
                        let id = format!("{writer} {request} {i}");
                        let series = samples.define(id.as_bytes(), labels(&id));
                        samples.push(series.expect("room for it"), T0_MS, 1.0);
                    }
                    let samples = samples.finish();
                    store.append(vec![Incoming::Samples(samples)]).unwrap();
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(write(writer)))
            .collect();
        // Who only defines series keeps the table and the count busy while others append.
        for definer in 0..2 {
            scope.spawn(move || {
                let mut n = 0;
                while !is_done.load(Ordering::SeqCst) {
                    let table = store.series();
                    let mut samples = SampleWriter::new(&table);
                    for i in 0..SERIES {
                        let id = format!("defined {definer} {} {i}", n % 5000);
                        if samples.define(id.as_bytes(), labels(&id)).is_none() {
                            break;
                        }
                    }
                    n += 1;
                }
            });
        }
        let ends: Vec<_> = writers.into_iter().map(ScopedJoinHandle::join).collect();
        is_done.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok));
    });
    assert_eq!(count_samples(&store), WRITERS * REQUESTS * SERIES);
}
