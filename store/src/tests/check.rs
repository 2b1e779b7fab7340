//! Checking: a sound store has nothing to report, and a changed byte in any file that counts is found.

use std::fs;
use std::path::{Path, PathBuf};

use super::{entries, open, series};
use crate::testing::{Random, T0_MS, T0_NS, log_in, logs, metric_in, samples};
use crate::{ParseSelector, Store, check, inspect, link_files};

const PARSE: ParseSelector = |_, _| Err("no deletes".into());

fn fill(store: &Store) {
    for n in 0..6u64 {
        let text = format!("line {n} of some length, with words that repeat and words that do not");
        let lines: Vec<_> = (0..50)
            .map(|i| (T0_NS + (n * 50 + i) as i64, text.as_str()))
            .collect();
        let mut batch = logs(1, "a", n * 50, &lines);
        batch.set_text("level", 3, b"info");
        store.append(log_in(batch)).unwrap();
        for i in 0..20 {
            let batch = samples(2, n * 20 + i, "m", T0_MS + (n * 20 + i) as i64, &[1.5, 2.0]);
            store.append(metric_in(batch)).unwrap();
        }
        if n < 5 {
            store.flush().unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in ["parts", "wal", ""] {
        for file in fs::read_dir(dir.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() && !path.ends_with("LOCK") {
                all.push(path);
            }
        }
    }
    all
}

#[test]
fn a_sound_store_has_nothing_to_report_and_any_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store);
    assert!(
        check(dir.path(), PARSE)
            .unwrap_err()
            .to_string()
            .contains("in use")
    );
    drop(store);
    let sound = check(dir.path(), PARSE).unwrap();
    assert!(sound.damaged.is_empty(), "{sound:?}");
    assert_eq!((sound.parts, sound.entries, sound.samples), (10, 250, 200));
    assert!(
        sound.wal_entries >= 21 && sound.torn_bytes == 0,
        "{sound:?}"
    );
    let mut random = Random(3);
    let mut n_tried = 0;
    for path in files(dir.path()) {
        let good = fs::read(&path).unwrap();
        for _ in 0..25 {
            // Zeros of a part's header mean nothing yet.
            let at = 16 + random.below(good.len() as u64 - 16) as usize;
            let mut bad = good.clone();
            bad[at] ^= 1 << random.below(8);
            fs::write(&path, &bad).unwrap();
            n_tried += 1;
            let is_footer_padding =
                path.starts_with(dir.path().join("parts")) && (41..44).contains(&(good.len() - at));
            match check(dir.path(), PARSE) {
                Err(e) => assert!(e.to_string().contains("manifest"), "{e}"),
                Ok(found) => assert!(
                    !found.damaged.is_empty() || found.torn_bytes > 0 || is_footer_padding,
                    "{} at {at}",
                    path.display()
                ),
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(n_tried > 250);
    let victim = &files(dir.path())[0];
    fs::remove_file(victim).unwrap();
    let [gone] = &check(dir.path(), PARSE).unwrap().damaged[..] else {
        panic!("one file is missing")
    };
    assert_eq!(&gone.path, victim);
    let empty = tempfile::tempdir().unwrap();
    let error = check(empty.path(), PARSE).unwrap_err();
    assert!(error.to_string().contains("no store"), "{error}");
}

/// Filters are read by queries only, which go on without those that cannot be read.
#[test]
fn a_changed_byte_of_a_filter_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut random = Random(8);
    let lines: Vec<String> = (0..300)
        .map(|n| format!("request {n} trace_id={:032x} took {}", random.next(), n * n))
        .collect();
    let rows: Vec<(i64, &str)> = lines.iter().map(|l| (T0_NS, l.as_str())).collect();
    store.append(log_in(logs(1, "a", 0, &rows))).unwrap();
    store.flush().unwrap();
    drop(store);
    let sound = check(dir.path(), PARSE).unwrap();
    assert!(sound.damaged.is_empty(), "{sound:?}");
    let all = files(dir.path());
    let part = all
        .iter()
        .find(|p| p.extension().is_some_and(|e| e == "logs"));
    let part = part.expect("a log part");
    let good = fs::read(part).unwrap();
    let mut n_filters = 0;
    for at in (16..good.len() - 64).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(part, &bad).unwrap();
        let found = check(dir.path(), PARSE).unwrap().damaged;
        assert!(!found.is_empty(), "byte {at}");
        n_filters += found.iter().filter(|d| d.what.contains("filter")).count();
    }
    assert!(n_filters > 0, "some of the bytes are those of filters");
}

#[test]
fn inspecting_tells_what_takes_the_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store);
    let found = inspect(dir.path()).unwrap();
    assert!(found.unreadable.is_empty(), "{found:?}");
    assert_eq!(found.parts.len(), 10);
    assert!(found.wal_bytes > 0);
    let total: u64 = found.parts.iter().map(|p| p.bytes).sum();
    assert_eq!(total, store.stats().disk_bytes);
    let share = found.metrics["m"];
    assert_eq!((share.rows, share.series), (200, 2));
    let [(stream, share)] = &found.streams.iter().collect::<Vec<_>>()[..] else {
        panic!("one stream: {found:?}")
    };
    assert!(stream.contains("app=\"a\""), "{stream}");
    assert_eq!(share.rows, 250);
    let shared = found.metrics["m"].bytes + share.bytes;
    assert!((shared - total as f64).abs() < 1.0, "{shared} of {total}");
    assert_eq!(found.labels["i"], (2, 0));
    assert_eq!(found.labels["app"], (0, 1));
}

#[test]
fn linked_files_of_an_open_store_are_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store);
    let (lines, values) = (entries(&store.snapshot()), series(&store.snapshot()));
    let linked = link_files(dir.path()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for (name, len) in &linked.files {
        let to = copy.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let bytes = fs::read(linked.folder.join(name)).unwrap();
        fs::write(to, &bytes[..*len as usize]).unwrap();
    }
    let folder = linked.folder.clone();
    drop(linked);
    assert!(!folder.exists(), "no link stays");
    let sound = check(copy.path(), PARSE).unwrap();
    assert!(
        sound.damaged.is_empty() && sound.torn_bytes == 0,
        "{sound:?}"
    );
    let (copied, recovery) = open(copy.path());
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    assert_eq!(entries(&copied.snapshot()), lines);
    assert_eq!(series(&copied.snapshot()), values);
}
