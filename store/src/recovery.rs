//! Opening: manifest, state, parts, and the replay of the WAL.
//!
//! A crash at any moment leaves files that this puts in order: unfinished ones go, a torn tail is
//! cut, the WAL comes back into heads. What is damaged is reported and set aside in `quarantine/`,
//! and the rest is served. The rule: no file that may hold acknowledged data is removed here.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, RwLock, mpsc};
use std::thread;

use kansoku_model::RecordBatch;

use crate::active::Active;
use crate::changes::Changes;
use crate::commit::Queue;
use crate::deletes::{self, Delete};
use crate::fs::Disk;
use crate::head::Head;
use crate::intern::Interner;
use crate::manifest::{self, Manifest};
use crate::part::{self, Part, Shared};
use crate::records::Replayed;
use crate::references::{Samples, SeriesTable};
use crate::retention;
use crate::state::{self, State};
use crate::store::{Counters, Inner, LOCK, OpenWal, Store, View};
use crate::wal::{self, Wal};
use crate::{Damage, Options, Recovery, StoreError};

/// Where damaged files are kept for a person to look at.
pub const QUARANTINE: &str = "quarantine";
/// The checksum held, so a newer or a broken version wrote this.
const UNDECODABLE: &str = "an entry does not decode";
/// A WAL segment is never longer than one group of appends past its limit.
const SEGMENT_MAX_BYTES: u64 = 8 << 30;
/// Decoded entries that wait to be applied.
const DECODED_MAX: usize = 8;

impl Store {
    /// Opens the store on a disk; tests give one that fails on purpose.
    pub(crate) fn open_on(disk: Disk, options: Options) -> Result<(Self, Recovery), StoreError> {
        for folder in ["", wal::FOLDER, part::FOLDER, QUARANTINE] {
            disk.make_folder(folder)?;
        }
        let lock = disk.lock("LOCK")?;
        let mut recovery = Recovery::default();
        let mut manifest = read_manifest(&disk)?;
        let deletes = read_deletes(&disk, &manifest, &options)?;
        let state = read_state(&disk, &manifest, &mut recovery)?;
        let memory = options.memory();
        let active = Arc::new(Active::new(options.limits));
        let shared = Arc::new(Shared {
            disk: disk.clone(),
            store: memory.number_store(),
            memory: Arc::clone(&memory),
            damaged_blocks: 0.into(),
        });
        let interner = Interner::default();
        let parts = open_parts(&shared, &interner, &mut manifest, &mut recovery)?;
        remove_leftovers(&disk, &manifest, &mut recovery)?;

        let segments = list_segments(&disk, manifest.wal_from)?;
        let next_segment = segments.last().map_or(manifest.wal_from, |(n, _)| n + 1);
        // A store on a full disk opens, too: queries go on, and retention makes room.
        let wal = retention::in_reserve(&disk, || Wal::start(&disk, next_segment))?;
        let series = SeriesTable::within(&memory, &active);
        let view = View {
            active: Arc::new(Head::new(&memory)),
            sealed: Vec::new(),
            parts,
            deletes,
            expiring: Arc::default(),
        };
        let changes = Changes::new();
        let store = Self {
            inner: Inner {
                options,
                disk,
                shared,
                interner,
                queue: Queue::default(),
                merging: Mutex::default(),
                arrivals: Mutex::default(),
                flushing: Mutex::default(),
                wal: Mutex::new(OpenWal {
                    wal,
                    head_bytes_at_start: 0,
                    defined: Vec::new(),
                    ended: Vec::new(),
                }),
                marks: Mutex::new(state.marks),
                manifest: Mutex::new(manifest),
                series: Mutex::new(Arc::new(series)),
                view: Mutex::new(Arc::new(view)),
                metadata: Arc::new(RwLock::new(state.metadata)),
                changes,
                memory,
                active,
                exemplars: Arc::new(RwLock::new(state.exemplars)),
                is_disk_full: AtomicBool::new(false),
                poison: OnceLock::new(),
                counters: Counters::default(),
                _lock: lock,
            },
        };
        store.replay(&segments, &mut recovery)?;
        Ok((store, recovery))
    }

    /// Brings the WAL back into heads; writes them out between segments when they grow too large.
    fn replay(
        &self,
        segments: &[(u64, String)],
        recovery: &mut Recovery,
    ) -> Result<(), StoreError> {
        let mut last = None;
        let last_written = wal::last_written(&self.inner.disk, segments.iter().map(|(n, _)| *n));
        for (number, name) in segments {
            if last.is_some_and(|last| last + 1 != *number) {
                recovery.damaged.push(Damage {
                    path: self.inner.disk.path(name),
                    offset_bytes: 0,
                    len_bytes: 0,
                    what: "the WAL segment before this one is missing".into(),
                });
            }
            last = Some(*number);
            self.replay_segment(*number, name, last_written == Some(*number), recovery)?;
            let view = self.inner.view();
            if view.active.is_full(self.inner.memory.head_limit_bytes()) {
                self.seal_up_to(Some(*number), None)?;
            }
            // Heads wait for maintenance unless they are more than the store may take: a restart is
            // ready sooner. What fitted before it fits now, but may take some more.
            let memory = &self.inner.memory;
            while memory.head_bytes() >= memory.replayed_limit_bytes() {
                self.seal_up_to(Some(*number), None)?;
                if self.write_out_one()? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn replay_segment(
        &self,
        number: u64,
        name: &str,
        is_last: bool,
        recovery: &mut Recovery,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        let Some(bytes) = inner.disk.read(name, SEGMENT_MAX_BYTES)? else {
            return Ok(());
        };
        let mut marks = inner.marks.lock().expect(LOCK);
        let head: Arc<Head> = Arc::clone(&inner.view().active);
        let mut replayed = Replayed::new(self.series());
        let (mut undecodable, mut records) = (Vec::new(), 0);
        // A series is known by its second definition as well, which stands behind its first samples.
        wal::read_segment(&bytes, is_last, |entry| {
            if let wal::Entry::Definitions(body) = entry
                && replayed.define(body).is_err()
            {
                undecodable.push(UNDECODABLE);
            }
        });
        // One thread decodes what the other one applies, in the order of the segment.
        let (give, take) = mpsc::sync_channel(DECODED_MAX);
        let mut report = thread::scope(|threads| {
            let (bytes, replayed, options) = (&bytes, &replayed, &inner.options);
            let decoder = threads.spawn(move || {
                wal::read_segment(bytes, is_last, |entry| {
                    if let Some(mut decoded) = Decoded::of(&entry, replayed) {
                        if let Decoded::Batch(batch) = &mut decoded {
                            options.complete.apply(batch);
                        }
                        // The other end goes with a panic only, which comes up below.
                        let _ = give.send(decoded);
                    }
                })
            });
            for decoded in take {
                match decoded {
                    Decoded::Batch(mut batch) => {
                        inner.apply(&mut marks, &head, &mut batch);
                        records += batch.n_records() as u64;
                    }
                    Decoded::Samples(samples, n_lost) => {
                        head.apply_samples(&samples);
                        records += samples.len() as u64;
                        if n_lost > 0 {
                            undecodable.push("samples whose series is not defined");
                        }
                    }
                    Decoded::Nothing => undecodable.push(UNDECODABLE),
                }
            }
            decoder.join().expect("reading a segment does not panic")
        });
        drop(marks);
        inner.active.note(&head);
        report
            .damaged
            .extend(undecodable.iter().map(|w| (0, 0, *w)));
        recovery.wal_segments += 1;
        recovery.wal_entries += report.entries;
        recovery.wal_records += records;
        let mut len = bytes.len() as u64;
        if !report.damaged.is_empty() {
            recovery
                .damaged
                .extend(report.damage_of(&inner.disk, number));
            inner
                .disk
                .keep_as(name, &format!("{QUARANTINE}/{number:012}.wal"))?;
        }
        if let Some(torn_at) = report.torn_at {
            recovery.torn_bytes += len - torn_at;
            // A quarantined copy shares the file's bytes when it is a link, so it is cut as well;
            // what is cut was never acknowledged.
            inner.disk.truncate(name, torn_at)?;
            len = torn_at;
        }
        inner.wal.lock().expect(LOCK).ended.push((number, len));
        Ok(())
    }
}

/// An entry of the WAL on its way into the head.
enum Decoded {
    Batch(RecordBatch),
    /// Samples, and how many others name no series.
    Samples(Samples, u64),
    /// What holds its checksum and does not decode.
    Nothing,
}

impl Decoded {
    /// What a segment's entry holds; nothing for definitions, which were read before.
    fn of(entry: &wal::Entry<'_>, replayed: &Replayed) -> Option<Self> {
        match entry {
            wal::Entry::Definitions(_) | wal::Entry::Group => None,
            wal::Entry::Frame(frame) => Some(frame.decode().map_or(Self::Nothing, Self::Batch)),
            wal::Entry::Samples(body) => Some(
                replayed
                    .samples(body)
                    .map_or(Self::Nothing, |(samples, n_lost)| {
                        Self::Samples(samples, n_lost)
                    }),
            ),
        }
    }
}

fn read_manifest(disk: &Disk) -> Result<Manifest, StoreError> {
    let path = disk.path(manifest::NAME);
    if let Some(bytes) = disk.read(manifest::NAME, manifest::FILE_MAX_BYTES)? {
        return Manifest::decode(&bytes).ok_or_else(|| {
            StoreError::damaged(&path, "the manifest is damaged; restore it from a backup, or move the store's folder away to start anew")
        });
    }
    // A store's first file is its manifest. Parts without one are a store that lost it.
    if disk
        .list(part::FOLDER)?
        .iter()
        .any(|name| !name.ends_with(".tmp"))
    {
        return Err(StoreError::damaged(
            &path,
            "the manifest is missing but there are parts; restore it from a backup, or move parts/ away to start anew",
        ));
    }
    let new = Manifest::default();
    disk.write_atomically(manifest::NAME, "", &new.encode())?;
    Ok(new)
}

fn read_state(
    disk: &Disk,
    manifest: &Manifest,
    recovery: &mut Recovery,
) -> Result<State, StoreError> {
    if manifest.state == 0 {
        return Ok(State::default());
    }
    let name = manifest::state_name(manifest.state);
    let what = match disk.read(&name, state::FILE_MAX_BYTES)? {
        None => "missing".to_owned(),
        Some(bytes) => match State::decode(&bytes) {
            Ok(state) => return Ok(state),
            Err(e) => {
                disk.keep_as(&name, &format!("{QUARANTINE}/{name}"))?;
                e.0.to_owned()
            }
        },
    };
    recovery.damaged.push(Damage {
        path: disk.path(&name),
        offset_bytes: 0,
        len_bytes: 0,
        what: format!(
            "{what}: the marks of older sources are lost, what they send again is stored again"
        ),
    });
    Ok(State::default())
}

/// The deletes. A store whose deletes cannot be read is not opened: it would show what was deleted.
fn read_deletes(
    disk: &Disk,
    manifest: &Manifest,
    options: &Options,
) -> Result<Arc<[Arc<Delete>]>, StoreError> {
    if manifest.deletes == 0 {
        return Ok(Arc::default());
    }
    let name = manifest::deletes_name(manifest.deletes);
    let read = match disk.read(&name, deletes::FILE_MAX_BYTES)? {
        Some(bytes) => deletes::decode(&bytes, options.parse_selector),
        None => Err("missing".into()),
    };
    read.map(Into::into).map_err(|what| {
        let cure = "restore it from a backup: without it deleted data would be there again";
        StoreError::damaged(&disk.path(&name), format!("{what}; {cure}"))
    })
}

fn open_parts(
    shared: &Arc<Shared>,
    interner: &Interner,
    manifest: &mut Manifest,
    recovery: &mut Recovery,
) -> Result<Vec<Arc<Part>>, StoreError> {
    let disk = &shared.disk;
    let (mut parts, mut lost) = (Vec::new(), HashSet::new());
    for &entry in &manifest.parts {
        match Part::open(shared, entry, interner) {
            Ok(part) => parts.push(Arc::new(part)),
            // A part that cannot be opened now is not given up: without a place in the manifest it
            // would be removed as a leftover.
            Err(error) if !error.is_damage() => return Err(error),
            Err(error) => {
                let name = entry.file_name();
                let kept = format!(
                    "{QUARANTINE}/{}",
                    name.rsplit('/').next().unwrap_or_default()
                );
                let is_there = disk.open(&name).is_ok();
                if is_there {
                    disk.keep_as(&name, &kept)?;
                }
                recovery.damaged.push(Damage {
                    path: disk.path(&name),
                    offset_bytes: 0,
                    len_bytes: 0,
                    what: format!(
                        "{error}; {}",
                        if is_there {
                            "kept in quarantine/"
                        } else {
                            "it is gone"
                        }
                    ),
                });
                lost.insert(entry.number);
            }
        }
    }
    if !lost.is_empty() {
        manifest.parts.retain(|p| !lost.contains(&p.number));
        disk.write_atomically(manifest::NAME, "", &manifest.encode())?;
    }
    parts.sort_by_key(|p| p.entry().flushes);
    recovery.parts = parts.len();
    Ok(parts)
}

/// Removes what an interrupted flush or merge left, and WAL segments that parts have replaced.
fn remove_leftovers(
    disk: &Disk,
    manifest: &Manifest,
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    let mut named: HashSet<String> = manifest
        .parts
        .iter()
        .map(manifest::Entry::file_name)
        .collect();
    named.insert(manifest::state_name(manifest.state));
    named.insert(manifest::deletes_name(manifest.deletes));
    let in_folder = |folder: &str| -> Result<Vec<String>, StoreError> {
        let names = disk.list(folder)?;
        Ok(names.into_iter().map(|n| format!("{folder}/{n}")).collect())
    };
    let is_ours = |name: &String| {
        name.starts_with("state-") || name.starts_with("deletes-") || name.ends_with(".tmp")
    };
    let mut found: Vec<String> = disk.list("")?.into_iter().filter(is_ours).collect();
    found.extend(in_folder(part::FOLDER)?);
    for name in found.iter().filter(|n| !named.contains(*n)) {
        disk.remove(name)?;
        recovery.leftovers_removed += 1;
    }
    for name in disk.list(wal::FOLDER)? {
        if wal::segment_number(&name).is_some_and(|n| n < manifest.wal_from) {
            disk.remove(&format!("{}/{name}", wal::FOLDER))?;
            recovery.leftovers_removed += 1;
        }
    }
    Ok(())
}

/// Number and name of the segments to replay, in order.
fn list_segments(disk: &Disk, from: u64) -> Result<Vec<(u64, String)>, StoreError> {
    let mut segments: Vec<(u64, String)> = disk
        .list(wal::FOLDER)?
        .into_iter()
        .filter_map(|name| {
            Some((
                wal::segment_number(&name)?,
                format!("{}/{name}", wal::FOLDER),
            ))
        })
        .filter(|(number, _)| *number >= from)
        .collect();
    segments.sort_unstable();
    Ok(segments)
}
