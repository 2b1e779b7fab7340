//! Deletes: what was stored before goes at once and for good, what comes later stays, and nothing else
//! is touched, whatever is flushed, merged, reopened or fails meanwhile.

use std::path::Path;

use kansoku_model::Matcher;

use super::{assert_same, entries, entries_of, open as open_plainly, series, wanted};
use crate::fs::{Fault, Operation};
use crate::testing::{
    FailOnce, Random, T0_MS, T0_NS, log_in, logs, metric_in, options as plain_options, samples,
};
use crate::{DeleteKind, DeleteRequest, Options, Selector, Store};
use kansoku_model::select::Direction;

const HOUR_MS: i64 = 3_600_000;

/// `name=value`, or `name=value|word` for lines that contain the word.
fn parse(_: DeleteKind, text: &str) -> Result<Selector, String> {
    let (labels, word) = match text.split_once('|') {
        Some((labels, word)) => (labels, Some(word.to_owned())),
        None => (text, None),
    };
    let (name, value) = labels.split_once('=').ok_or("expected name=value")?;
    Ok(Selector {
        matchers: vec![Matcher::equal(name, value)],
        lines: word.map(|word| -> crate::LineTest {
            std::sync::Arc::new(move |line| memchr::memmem::find(line, word.as_bytes()).is_some())
        }),
    })
}

fn options(path: &Path) -> Options {
    Options {
        parse_selector: parse,
        delete_cancel_ms: HOUR_MS,
        ..plain_options(path)
    }
}

fn open(path: &Path) -> Store {
    Store::open(options(path)).unwrap().0
}

fn request(kind: DeleteKind, selector: &str, from: i64, to: i64) -> DeleteRequest {
    DeleteRequest {
        id: format!("{selector} {from}"),
        kind,
        selector: selector.into(),
        from,
        to,
        now_ms: T0_MS,
        can_be_cancelled: kind == DeleteKind::Logs,
    }
}

fn put(store: &Store, app: &str, lines: &[(i64, &str)]) {
    let lines: Vec<_> = lines.iter().map(|(t, l)| (T0_NS + t, *l)).collect();
    store.append(log_in(logs(0, app, 0, &lines))).unwrap();
}

fn settle(store: &Store, now_ms: i64) {
    while !store.maintain(now_ms).unwrap().is_idle() {}
}

/// `app time line` of what is there.
fn lines(store: &Store) -> Vec<String> {
    let strip = |text: &String| {
        let (labels, rest) = text.split_once(' ').unwrap();
        let (time, line) = rest.split_once(' ').unwrap();
        let time = time.parse::<i64>().unwrap() - T0_NS;
        let app = labels.split("app=\"").nth(1).unwrap();
        format!("{} {time} {line}", app.split('"').next().unwrap())
    };
    entries(&store.snapshot()).iter().map(strip).collect()
}

#[test]
fn entries_go_at_once_and_later_ones_of_the_same_time_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(
        &store,
        "a",
        &[(1, "good"), (2, "bad one"), (3, "bad two"), (9, "bad late")],
    );
    put(&store, "b", &[(2, "bad of another")]);
    store.flush().unwrap();
    put(&store, "a", &[(3, "bad in the head")]);
    let bad = request(DeleteKind::Logs, "app=a|bad", T0_NS + 2, T0_NS + 3);
    store.delete(bad).unwrap();
    let left = ["a 1 good", "a 9 bad late", "b 2 bad of another"];
    assert_eq!(lines(&store), left);
    put(&store, "a", &[(3, "bad again")]);
    let left = [
        "a 1 good",
        "a 3 bad again",
        "a 9 bad late",
        "b 2 bad of another",
    ];
    assert_eq!(lines(&store), left);
    drop(store);
    let store = open(dir.path());
    assert_eq!(lines(&store), left, "and after a restart");
    store.flush().unwrap();
    settle(&store, T0_MS);
    assert_eq!(lines(&store), left, "and when what came later is in a part");
    // Nothing is rewritten while it can be taken back.
    assert_eq!(store.stats().part_entries, 7);
    settle(&store, T0_MS + HOUR_MS);
    assert_eq!(store.stats().part_entries, 4);
    assert_eq!(lines(&store), left);
    let [delete] = &store.deletes()[..] else {
        panic!("it is still listed")
    };
    assert!(delete.is_done && delete.is_settled, "{delete:?}");
    drop(store);
    assert_eq!(lines(&open(dir.path())), left);
}

#[test]
fn a_delete_can_be_taken_back_until_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // As many small parts as make a merge worth while, on both sides of the delete.
    for n in 0..6 {
        if n == 3 {
            store
                .delete(request(DeleteKind::Logs, "app=a", i64::MIN, i64::MAX))
                .unwrap();
        }
        put(&store, "a", &[(n, "line")]);
        store.flush().unwrap();
        settle(&store, T0_MS);
    }
    assert_eq!(lines(&store), ["a 3 line", "a 4 line", "a 5 line"]);
    let snapshot = store.snapshot();
    assert_eq!(
        snapshot.log_series(&[], i64::MIN, i64::MAX).unwrap().len(),
        1
    );
    let id = format!("app=a {}", i64::MIN);
    assert!(!store.cancel_delete("another").unwrap());
    assert!(store.cancel_delete(&id).unwrap());
    assert_eq!(lines(&store).len(), 6, "all are there again");
    assert!(store.deletes().is_empty());
    store
        .delete(request(DeleteKind::Logs, "app=a", T0_NS, T0_NS + 1))
        .unwrap();
    settle(&store, T0_MS + HOUR_MS);
    assert!(!store.cancel_delete(&format!("app=a {T0_NS}")).unwrap());
    assert_eq!(lines(&store).len(), 4);
    assert_eq!(store.stats().part_entries, 4);
    store
        .delete(request(DeleteKind::Logs, "app=a", i64::MIN, i64::MAX))
        .unwrap();
    let snapshot = store.snapshot();
    assert!(
        snapshot
            .log_series(&[], i64::MIN, i64::MAX)
            .unwrap()
            .is_empty()
    );
    settle(&store, T0_MS + HOUR_MS);
    let stats = store.stats();
    assert_eq!(
        (stats.log_parts, stats.disk_bytes),
        (0, 0),
        "no empty part stays"
    );
}

#[test]
fn samples_go_with_the_next_merge_or_when_they_are_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let put = |name: &str, at: i64, value: f64| {
        let batch = samples(0, 0, name, T0_MS + at, &[value]);
        store.append(metric_in(batch)).unwrap();
    };
    for at in 0..5 {
        put("m", at, 1.0);
        put("n", at, 1.0);
        store.flush().unwrap();
    }
    let all = series(&store.snapshot());
    assert_eq!(all.len(), 2);
    let kind = DeleteKind::Samples;
    store
        .delete(request(kind, "__name__=m", T0_MS + 1, T0_MS + 3))
        .unwrap();
    let left = series(&store.snapshot());
    assert_eq!(left[1], all[1], "the other series is untouched");
    assert!(
        left[0].contains(&format!("[{}, {}]", T0_MS, T0_MS + 4)),
        "{left:?}"
    );
    put("m", 2, 7.0);
    let later = series(&store.snapshot());
    assert!(later[0].contains(&7f64.to_bits().to_string()), "{later:?}");
    assert_eq!(store.clean_deleted_samples().unwrap(), 3);
    assert_eq!(series(&store.snapshot()), later);
    assert!(store.deletes().is_empty());
    assert_eq!(store.stats().part_samples, 7);
    store
        .delete(request(kind, "__name__=n", i64::MIN, i64::MAX))
        .unwrap();
    let snapshot = store.snapshot();
    let named = snapshot.metric_series(&[], i64::MIN, i64::MAX).unwrap();
    assert_eq!(named.len(), 1, "{named:?}");
    settle(&store, T0_MS);
    assert!(store.stats().part_samples < 8, "a merge left some out");
    store.clean_deleted_samples().unwrap();
    assert_eq!(store.stats().part_samples, 3);
    assert!(store.deletes().is_empty());
    assert_eq!(series(&store.snapshot()).len(), 1);
}

#[test]
fn a_store_whose_deletes_are_unreadable_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "a", &[(1, "secret")]);
    store
        .delete(request(DeleteKind::Logs, "app=a", i64::MIN, i64::MAX))
        .unwrap();
    let refused = store
        .delete(request(DeleteKind::Logs, "app", 1, 2))
        .unwrap_err();
    assert_eq!(refused.to_string(), "refused: app: expected name=value");
    assert!(
        store
            .delete(request(DeleteKind::Logs, "app=a", 2, 1))
            .is_err()
    );
    drop(store);
    let error = Store::open(plain_options(dir.path())).unwrap_err();
    assert!(
        error.to_string().contains("nothing can be deleted here"),
        "{error}"
    );
    let name = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap());
    let name = name
        .map(|e| e.path())
        .find(|p| p.display().to_string().contains("deletes-"));
    std::fs::remove_file(name.unwrap()).unwrap();
    let error = Store::open(options(dir.path())).unwrap_err();
    assert!(error.to_string().contains("missing; restore it"), "{error}");
}

#[test]
fn a_failure_at_any_step_of_a_delete_takes_all_or_nothing() {
    let operations = [
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::SyncFolder,
        Operation::Rename,
        Operation::Remove,
    ];
    let (mut n_met, mut n_failed) = (0, 0);
    for operation in operations {
        for nth in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            put(&store, "a", &[(1, "one"), (2, "two")]);
            drop(store);
            let (disk, once) = FailOnce::disk(dir.path(), operation, nth, Fault::Errno(5));
            let Ok((store, _)) = Store::open_on(disk, options(dir.path())) else {
                continue;
            };
            let asked = request(DeleteKind::Logs, "app=a|one", i64::MIN, i64::MAX);
            let done = store.delete(asked);
            let is_poisoned = store.stats().poisoned;
            n_met += usize::from(once.happened());
            n_failed += usize::from(done.is_err());
            if !is_poisoned {
                let n = lines(&store).len();
                assert_eq!(n, 2 - usize::from(done.is_ok()), "{operation:?} {nth}");
            }
            drop(store);
            let (reopened, recovery) = Store::open(options(dir.path())).unwrap();
            assert!(recovery.damaged.is_empty(), "{recovery:?}");
            let n = lines(&reopened).len();
            match done {
                Ok(()) => assert_eq!(n, 1, "{operation:?} {nth}"),
                Err(_) => assert!((1..=2).contains(&n), "{operation:?} {nth}"),
            }
        }
    }
    assert!(n_met > 20 && n_failed > 10, "{n_met} {n_failed}");
}

/// What a plain list would hold after the same steps.
#[test]
fn any_order_of_steps_leaves_what_a_plain_list_would() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut now_ms = T0_MS;
        // App, time, line, and the deletes that took it.
        let mut model: Vec<(String, i64, String, Vec<usize>)> = Vec::new();
        // Identifier, whether it can still be taken back.
        let mut deletes: Vec<(String, bool, i64)> = Vec::new();
        for step in 0..120 {
            match random.below(12) {
                0..=5 => {
                    let app = format!("app{}", random.below(3));
                    let mut new: Vec<(i64, String)> = (0..=random.below(5))
                        .map(|_| {
                            (
                                random.below(50) as i64,
                                format!("{} {step}", ["red", "blue"][random.below(2) as usize]),
                            )
                        })
                        .collect();
                    new.sort();
                    let rows: Vec<(i64, &str)> =
                        new.iter().map(|(t, l)| (*t, l.as_str())).collect();
                    put(&store, &app, &rows);
                    model.extend(
                        new.into_iter()
                            .map(|(t, l)| (app.clone(), t, l, Vec::new())),
                    );
                }
                6 => drop(store.flush().unwrap()),
                7 | 8 => {
                    settle(&store, now_ms);
                }
                9 => {
                    let app = format!("app{}", random.below(3));
                    let from = random.below(50) as i64;
                    let to = from + random.below(30) as i64;
                    let word = ["", "|red", "|blue"][random.below(3) as usize];
                    let selector = format!("app={app}{word}");
                    let mut asked = request(DeleteKind::Logs, &selector, T0_NS + from, T0_NS + to);
                    asked.id = format!("delete {step}");
                    asked.now_ms = now_ms;
                    let word = word.trim_start_matches('|');
                    for row in &mut model {
                        if row.0 == app && (from..=to).contains(&row.1) && row.2.contains(word) {
                            row.3.push(deletes.len());
                        }
                    }
                    deletes.push((asked.id.clone(), true, now_ms));
                    store.delete(asked).unwrap();
                }
                10 => {
                    if let Some(at) = random.next().checked_rem(deletes.len() as u64) {
                        let at = at as usize;
                        let is_taken_back = store.cancel_delete(&deletes[at].0).unwrap();
                        if is_taken_back {
                            assert!(deletes[at].1, "taken back once");
                            deletes[at].1 = false;
                            model.iter_mut().for_each(|row| row.3.retain(|d| *d != at));
                        }
                    }
                }
                _ => {
                    now_ms += HOUR_MS / 2;
                    if random.below(2) == 0 {
                        drop(store);
                        store = open(dir.path());
                    }
                }
            }
            let left = model.iter().filter(|row| row.3.is_empty());
            let mut left: Vec<String> = left.map(|(a, t, l, _)| format!("{a} {t} {l}")).collect();
            let mut found = lines(&store);
            left.sort();
            found.sort();
            assert_same(&found, &left, &format!("seed {seed}, step {step}"));
        }
        let needle = kansoku_model::select::LogSelect {
            needles: vec![kansoku_model::AnyOf::text(b"red")],
            ..wanted(Direction::Forward)
        };
        let red = entries_of(&store.snapshot(), &needle);
        let n_red = lines(&store).iter().filter(|l| l.contains("red")).count();
        assert_eq!(red.iter().filter(|l| l.contains("red")).count(), n_red);
        settle(&store, now_ms + HOUR_MS);
        store.flush().unwrap();
        settle(&store, now_ms + HOUR_MS);
        let n_left = model.iter().filter(|row| row.3.is_empty()).count() as u64;
        assert_eq!(
            store.stats().part_entries,
            n_left,
            "seed {seed}: gone from the disk"
        );
        assert!(store.deletes().iter().all(|d| d.is_done));
    }
}

#[test]
fn a_store_without_deletes_is_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "a", &[(1, "x")]);
    let asked = request(DeleteKind::Logs, "app=a", i64::MIN, i64::MAX);
    let id = asked.id.clone();
    store.delete(asked).unwrap();
    let manifest = |dir: &Path| std::fs::read_to_string(dir.join("MANIFEST")).unwrap();
    assert!(manifest(dir.path()).starts_with("kansoku-store 2\n"));
    store.cancel_delete(&id).unwrap();
    assert!(
        manifest(dir.path()).starts_with("kansoku-store 1\n"),
        "an older program reads it"
    );
    drop(store);
    let (store, _) = open_plainly(dir.path());
    assert_eq!(entries(&store.snapshot()).len(), 1);
}

#[test]
fn a_query_of_few_fields_shows_no_deleted_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let text = |n: i64| {
        let who = if n % 3 == 0 { "secret" } else { "public" };
        format!(
            "{{\"n\":{n},\"who\":\"{who}\",\"path\":\"/a/b/{}\"}}",
            n % 7
        )
    };
    let all: Vec<(i64, String)> = (0..3000).map(|n| (n, text(n))).collect();
    let rows: Vec<(i64, &str)> = all.iter().map(|(t, l)| (*t, l.as_str())).collect();
    put(&store, "a", &rows);
    store.flush().unwrap();
    store
        .delete(request(
            DeleteKind::Logs,
            "app=a|secret",
            i64::MIN,
            i64::MAX,
        ))
        .unwrap();
    let fields = kansoku_model::FieldsWanted {
        of: kansoku_model::Extraction::Json,
        names: vec!["n".into()],
    };
    let (mut n_rows, mut known) = (0, kansoku_model::FieldBlock::default());
    let mut block = kansoku_model::select::LogBlock::default();
    let all = wanted(Direction::Forward);
    kansoku_model::LogSource::select(&store.snapshot(), &all, &mut |b| {
        if b.load_fields(&fields, &mut known)? {
            n_rows += known.times.len();
        } else {
            b.load(&mut block)?;
            n_rows += block.times.len();
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(n_rows, 2000);
}
