//! Damaged files: what can be read is served, the rest is reported and set aside.

use std::fs;
use std::path::{Path, PathBuf};

use super::{entries, open, series};
use crate::testing::{T0_MS, T0_NS, log_in, logs, metric_in, options, samples};
use crate::{Store, StoreError};

fn part(dir: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(dir.join("parts"))
        .unwrap()
        .map(|e| e.unwrap().path());
    files
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .min()
        .unwrap()
}

/// A store with one part of each signal.
fn filled(dir: &Path) -> Store {
    let (store, _) = open(dir);
    for app in ["a", "b"] {
        let line = app.repeat(300);
        let lines: Vec<(i64, &str)> = (0..2000).map(|i| (T0_NS + i, line.as_str())).collect();
        store.append(log_in(logs(0, app, 0, &lines))).unwrap();
    }
    for i in 0..10 {
        let values: Vec<f64> = (0..200).map(|v| f64::from(v * i).sqrt()).collect();
        store
            .append(metric_in(samples(0, 0, "m", T0_MS + i64::from(i), &values)))
            .unwrap();
    }
    store.flush().unwrap();
    store
}

#[test]
fn a_damaged_byte_anywhere_in_a_part_never_breaks_a_query() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    for extension in ["logs", "samples"] {
        let path = part(dir.path(), extension);
        let good = fs::read(&path).unwrap();
        let (store, _) = open(dir.path());
        let (lines, samples) = (entries(&store.snapshot()), series(&store.snapshot()));
        drop(store);
        for at in (16..good.len() - 64).step_by(good.len() / 40) {
            let copy = tempfile::tempdir().unwrap();
            for folder in ["parts", "wal"] {
                fs::create_dir(copy.path().join(folder)).unwrap();
            }
            for name in ["MANIFEST", "parts/"] {
                let from = dir.path().join(name);
                let files: Vec<PathBuf> = match from.is_dir() {
                    true => fs::read_dir(&from)
                        .unwrap()
                        .map(|e| e.unwrap().path())
                        .collect(),
                    false => vec![from],
                };
                for file in files {
                    let to = copy.path().join(file.strip_prefix(dir.path()).unwrap());
                    fs::copy(file, to).unwrap();
                }
            }
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(part(copy.path(), extension), &bad).unwrap();
            let (store, _) = open(copy.path());
            let snapshot = store.snapshot();
            let (got_lines, got_samples) = (entries(&snapshot), series(&snapshot));
            assert!(
                got_lines.iter().all(|l| lines.contains(l)),
                "only true lines"
            );
            assert!(
                got_samples.iter().all(|s| samples.contains(s)),
                "only true samples"
            );
            let missing = got_lines.len() < lines.len() || got_samples.len() < samples.len();
            // Filters and postings may be damaged without any loss here; a loss is never silent.
            let is_reported = !snapshot.warnings().is_empty()
                || store.stats().log_parts + store.stats().metric_parts < 2;
            assert!(!missing || is_reported, "{extension} byte {at}");
            store.flush().unwrap();
        }
    }
}

#[test]
fn one_damaged_block_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let path = part(dir.path(), "logs");
    let mut bytes = fs::read(&path).unwrap();
    // The first page follows the header at once.
    bytes[18] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (store, recovery) = open(dir.path());
    assert!(
        recovery.damaged.is_empty(),
        "opening reads directories only"
    );
    let snapshot = store.snapshot();
    let left = entries(&snapshot);
    assert_eq!(left.len(), 2000, "the other stream is there");
    assert!(left.iter().all(|l| l.starts_with("{app=\"b\"}")));
    assert_eq!(snapshot.warnings().len(), 1, "{:?}", snapshot.warnings());
    entries(&snapshot);
    assert!(
        (1..=2).contains(&store.stats().damaged_blocks),
        "counted once, not with each query"
    );
}

#[test]
fn a_part_that_cannot_be_opened_is_set_aside() {
    for (extension, cut) in [("logs", 30), ("samples", 1), ("logs", 1 << 40)] {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let path = part(dir.path(), extension);
        let bytes = fs::read(&path).unwrap();
        if cut < bytes.len() {
            fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let (store, recovery) = open(dir.path());
        assert_eq!((recovery.parts, recovery.damaged.len()), (1, 1));
        assert_eq!(recovery.damaged[0].path, path);
        assert_eq!(entries(&store.snapshot()).is_empty(), extension == "logs");
        assert_eq!(series(&store.snapshot()).is_empty(), extension == "samples");
        store
            .append(log_in(logs(0, "new", 0, &[(T0_NS, "x")])))
            .unwrap();
        drop(store);
        let kept = fs::read_dir(dir.path().join("quarantine")).unwrap().count();
        assert_eq!(kept, usize::from(cut < bytes.len()));
        assert!(open(dir.path()).1.damaged.is_empty(), "reported once");
    }
}

#[test]
fn a_lost_or_damaged_manifest_is_an_error_and_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let manifest = dir.path().join("MANIFEST");
    let good = fs::read(&manifest).unwrap();
    for bad in [Some(&good[..good.len() - 1]), Some(b"".as_slice()), None] {
        match bad {
            Some(bytes) => fs::write(&manifest, bytes).unwrap(),
            None => fs::remove_file(&manifest).unwrap(),
        }
        let refused = Store::open(options(dir.path())).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("manifest is"), "{refused}");
    }
    fs::write(&manifest, good).unwrap();
    assert_eq!(entries(&open(dir.path()).0.snapshot()).len(), 4000);
}

#[test]
fn a_damaged_state_file_loses_marks_but_no_data() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
    let state = names
        .into_iter()
        .find(|p| p.to_string_lossy().contains("state-"))
        .unwrap();
    fs::write(&state, b"nonsense").unwrap();
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.damaged.len(), 1);
    assert!(recovery.damaged[0].what.contains("marks"), "{recovery:?}");
    assert_eq!(entries(&store.snapshot()).len(), 4000);
}
