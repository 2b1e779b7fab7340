//! Power cuts: the disk stops at some operation, and what was not synced is there, is gone, or is
//! there in part and in another order. After that the store opens, and what it acknowledged is
//! there once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{entries, series};
use crate::fs::{Disk, Fault, Operation};
use crate::testing::{
    Random, T0_MS, T0_NS, by_reference, log_in, logs, metric_in, options, samples,
};
use crate::{Incoming, Options, Store, StoreError};

/// Bytes that a disk writes at once, or not.
const SECTOR_BYTES: usize = 512;

/// A change of names that the folder's next sync makes durable.
#[derive(Clone)]
enum Change {
    Put(PathBuf, usize),
    Remove(PathBuf),
}

/// What a disk holds for sure, and what it may hold.
struct Model {
    root: PathBuf,
    /// Keeps each file under its number, whatever becomes of its names.
    kept: tempfile::TempDir,
    /// By number: how many bytes are synced.
    synced: Vec<u64>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
    /// The operation that was allowed last; its effect is there when the next one asks.
    last: Option<(Operation, PathBuf)>,
    /// Operations that are allowed before the power goes.
    left: u64,
}

impl Model {
    /// A disk on `root` as it is now, all of it durable, that stops after `left` operations.
    fn disk(root: &Path, left: u64) -> (Disk, Arc<Mutex<Self>>) {
        let mut model = Self {
            root: root.to_owned(),
            kept: tempfile::tempdir().unwrap(),
            synced: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            last: None,
            left,
        };
        for folder in ["", "wal", "parts", "quarantine"] {
            for entry in fs::read_dir(root.join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_file() && !path.ends_with("LOCK") {
                    let number = model.keep(&path);
                    model.synced[number] = fs::metadata(&path).unwrap().len();
                }
            }
        }
        model.durable = model.names.clone();
        let model = Arc::new(Mutex::new(model));
        let hook = Arc::clone(&model);
        let disk = Disk::with_faults(
            root,
            Arc::new(move |operation, path| hook.lock().unwrap().ask(operation, path)),
        );
        (disk, model)
    }

    fn keep(&mut self, path: &Path) -> usize {
        let number = self.synced.len();
        fs::hard_link(path, self.kept.path().join(number.to_string())).unwrap();
        self.synced.push(0);
        self.names.insert(path.to_owned(), number);
        number
    }

    fn ask(&mut self, operation: Operation, path: &Path) -> Option<Fault> {
        self.catch_up();
        if self.left == 0 {
            return Some(Fault::Errno(5));
        }
        if operation != Operation::Read {
            self.left -= 1;
            self.last = Some((operation, path.to_owned()));
        }
        None
    }

    /// Takes down what the last operation did.
    fn catch_up(&mut self) {
        let Some((operation, path)) = self.last.take() else {
            return;
        };
        match operation {
            Operation::Create if path.is_file() => {
                let number = self.keep(&path);
                // A second name of a file of an earlier life.
                self.synced[number] = fs::metadata(&path).unwrap().len();
                self.pending.push(Change::Put(path, number));
            }
            Operation::Rename => {
                let number = self.names.remove(&path).unwrap();
                let to = path.with_extension("");
                self.names.insert(to.clone(), number);
                self.pending.push(Change::Remove(path));
                self.pending.push(Change::Put(to, number));
            }
            Operation::Remove if self.names.remove(&path).is_some() => {
                self.pending.push(Change::Remove(path));
            }
            Operation::Sync | Operation::Truncate => {
                let number = self.names[&path];
                self.synced[number] = fs::metadata(&path).unwrap().len();
            }
            Operation::SyncFolder => {
                let (now, later) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition(|change| change.path().parent() == Some(&path));
                self.pending = later;
                let now: Vec<Change> = now;
                now.into_iter().for_each(|c| c.apply(&mut self.durable));
            }
            _ => {}
        }
    }

    /// A disk as it may be after the power came back.
    fn after(&self, random: &mut Random) -> tempfile::TempDir {
        let mut names = self.durable.clone();
        let kind = random.below(4);
        for change in &self.pending {
            if kind == 0 || (kind > 1 && random.below(2) == 0) {
                change.clone().apply(&mut names);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        for folder in ["wal", "parts", "quarantine"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for (path, number) in names {
            let mut bytes = fs::read(self.kept.path().join(number.to_string())).unwrap();
            let synced = (self.synced[number] as usize).min(bytes.len());
            match random.below(4) {
                0 => bytes.truncate(synced),
                1 => {}
                2 => {
                    let more = random.below((bytes.len() - synced) as u64 + 1);
                    bytes.truncate(synced + more as usize);
                }
                _ => {
                    for sector in bytes[synced..].chunks_mut(SECTOR_BYTES) {
                        if random.below(2) == 0 {
                            sector.fill(0);
                        }
                    }
                }
            }
            let relative = path.strip_prefix(&self.root).unwrap();
            fs::write(dir.path().join(relative), bytes).unwrap();
        }
        dir
    }
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Put(path, _) | Self::Remove(path) => path,
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Put(path, number) => {
                names.insert(path, number);
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

/// Steps of the work that is cut.
const STEPS: u64 = 6;
const WAYS: u64 = 4;

/// A small store, so that segments end and parts merge within few operations.
fn small(path: &Path) -> Options {
    Options {
        wal_segment_bytes: 700,
        ..options(path)
    }
}

fn time_ms(step: u64, way: u64) -> i64 {
    T0_MS + (step * 10 + way) as i64
}

/// Stores the line, the batch or the samples by reference of a step.
fn send(store: &Store, step: u64, way: u64) -> Result<(), StoreError> {
    let time_ms = time_ms(step, way);
    let incoming = match way {
        0 => {
            let line = format!("line {step};");
            let time_ns = T0_NS + step as i64;
            log_in(logs(1, "a", step, &[(time_ns, &line)]))
        }
        1 => metric_in(samples(2, step, "batch", time_ms, &[step as f64])),
        3 => {
            // Two frames of one source in one append: the second must not stand for the first.
            let frame = |at: u64| {
                let (line, offset) = (format!("pair {step} {at};"), step * 2 + at);
                logs(3, "b", offset, &[(T0_NS + offset as i64, &line)])
            };
            [0, 1]
                .into_iter()
                .flat_map(|at| log_in(frame(at)))
                .collect()
        }
        _ => {
            // A known series and a new one.
            let own = [(0, time_ms, 1.0), (step as u32 + 1, time_ms, 2.0)];
            vec![Incoming::Samples(by_reference(&store.series(), &own))]
        }
    };
    store.append(incoming).map(drop)
}

/// Works until the disk stops; gives back what was acknowledged.
fn work(store: &Store) -> Vec<(u64, u64)> {
    let mut acknowledged = Vec::new();
    for step in 0..STEPS {
        for way in 0..WAYS {
            match send(store, step, way) {
                Ok(()) => acknowledged.push((step, way)),
                Err(_) => return acknowledged,
            }
        }
        if step % 2 == 1 && store.flush().is_err() {
            return acknowledged;
        }
        while store.maintain(T0_MS).is_ok_and(|done| !done.is_idle()) {}
    }
    acknowledged
}

/// How often the records of a step are there.
fn count(store: &Store, step: u64, way: u64) -> usize {
    let snapshot = store.snapshot();
    if way == 0 {
        let line = format!("line {step};");
        return entries(&snapshot)
            .iter()
            .filter(|e| e.contains(&line))
            .count();
    }
    if way == 3 {
        let all = entries(&snapshot);
        let of = |at: u64| {
            let line = format!("pair {step} {at};");
            all.iter().filter(|e| e.contains(&line)).count()
        };
        // One without the other was not answered.
        return match (of(0), of(1)) {
            (first, second) if first.max(second) > 1 => 2,
            (first, second) => first * second,
        };
    }
    let time = time_ms(step, way).to_string();
    let n = series(&snapshot).concat().matches(&time).count();
    if way == 1 {
        n
    } else {
        assert!(n % 2 == 0, "both samples of a request or none");
        n / 2
    }
}

#[test]
fn what_was_acknowledged_outlives_a_power_cut_at_any_operation() {
    let mut random = Random(9);
    let (mut n_cuts, mut n_acknowledged) = (0, Vec::new());
    for left in 0.. {
        let mut was_cut = false;
        for _ in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let (disk, model) = Model::disk(dir.path(), left);
            let acknowledged = match Store::open_on(disk, small(dir.path())) {
                Ok((store, _)) => work(&store),
                Err(_) => Vec::new(),
            };
            was_cut = model.lock().unwrap().left == 0;
            n_acknowledged.push(acknowledged.len());
            // A second life is cut as well, mostly while it recovers.
            let second = model.lock().unwrap().after(&mut random);
            let (disk, model) = Model::disk(second.path(), random.below(30));
            if let Ok((store, _)) = Store::open_on(disk, small(second.path())) {
                let _ = store.flush();
                let _ = store.maintain(T0_MS);
            }
            let third = model.lock().unwrap().after(&mut random);
            let (store, _) =
                Store::open(small(third.path())).unwrap_or_else(|e| panic!("cut at {left}: {e}"));
            for step in 0..STEPS {
                for way in 0..WAYS {
                    let n = count(&store, step, way);
                    let is_acknowledged = acknowledged.contains(&(step, way));
                    let what = format!("cut at {left}: step {step}, way {way}");
                    assert!(n == 1 || (n == 0 && !is_acknowledged), "{what}: {n} times");
                }
            }
            // What was not answered is sent again.
            for step in 0..STEPS {
                for way in 0..WAYS {
                    if !acknowledged.contains(&(step, way)) {
                        send(&store, step, way).unwrap();
                    }
                }
            }
            store.flush().unwrap();
            while !store.maintain(T0_MS).unwrap().is_idle() {}
            for step in 0..STEPS {
                for way in 0..WAYS {
                    let what = format!("cut at {left}: step {step}, way {way} sent again");
                    assert_eq!(count(&store, step, way), 1, "{what}");
                }
            }
        }
        if !was_cut {
            break;
        }
        n_cuts = left;
    }
    assert!(n_cuts > 100, "{n_cuts}");
    n_acknowledged.sort_unstable();
    n_acknowledged.dedup();
    assert_eq!(
        n_acknowledged.len() as u64,
        STEPS * WAYS + 1,
        "cuts between any two"
    );
}
