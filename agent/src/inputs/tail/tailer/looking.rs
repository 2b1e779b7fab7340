//! Which generations a name has: what events and rescans make the tail look at.
//!
//! It decides that a generation is new, rotated or gone, and which names are forgotten; opening a
//! file and choosing where to begin in it is `opening`, its content is `reading`. The rule: an event
//! is only a hint where to look, and what is done follows from what the folder holds.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::opening::SKIPPED_NS;
use super::{CHORES_EVERY, Key, POLL_EVERY, Tailer};
use crate::inputs::tail::content::Content;
use crate::inputs::tail::discover;
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::FileId;
use crate::inputs::tail::watch::Changes;
use crate::log;
use crate::offsets::{Checkpoint, nanoseconds};

impl Tailer {
    pub(super) fn look(&mut self, changes: Changes) {
        if changes.overflow {
            log::warn(
                &self.component,
                "file events were lost; looking through all folders",
            );
            self.next_scan = Instant::now();
            self.heat_all();
        }
        for path in &changes.written {
            if let Some(key) = self.by_real.get(path)
                && let Some(generation) = self.generations.get_mut(key)
            {
                generation.heat();
            } else if let Some(followed) = self.followed.get(path)
                && !followed.generations.is_empty()
            {
                for key in &followed.generations {
                    if let Some(generation) = self.generations.get_mut(key) {
                        generation.heat();
                    }
                }
            } else if self.options.wants(path) {
                self.reconcile(path);
            }
        }
        let mut again = false;
        for path in &changes.renamed {
            again |= self.look_at_name(path);
        }
        if again {
            self.next_scan = Instant::now();
        }
    }

    /// Something happened to a name; true when all folders should be looked through.
    pub(super) fn look_at_name(&mut self, path: &Path) -> bool {
        if let Some(key) = self.by_real.get(path)
            && let Some(generation) = self.generations.get_mut(key)
        {
            generation.hot = true;
            let name = generation.checkpoint.path.clone();
            self.reconcile(&name);
            return false;
        }
        if self.options.wants(path) {
            self.reconcile(path);
            return false;
        }
        // The name behind a followed symbolic link may have come back.
        let of_real = |f: &&PathBuf| self.followed[*f].real == path;
        if let Some(name) = self.followed.keys().find(of_real).cloned() {
            self.reconcile(&name);
            return false;
        }
        if !path.exists() {
            self.watch.forget(path);
            return false;
        }
        path.is_dir()
    }

    pub(super) fn heat_all(&mut self) {
        let main = |g: &&mut Generation| g.lag.is_none();
        (self.generations.values_mut().filter(main)).for_each(Generation::heat);
    }

    /// `watcher_interval` and `progress_check_interval`.
    pub(super) fn look_besides_events(&mut self, now: Instant) {
        if let Some(every) = self.options.watcher_interval
            && self.next_watch.is_none_or(|at| now >= at)
        {
            let names: Vec<PathBuf> = self.followed.keys().cloned().collect();
            for name in names {
                self.reconcile(&name);
            }
            self.next_watch = Some(now + every);
        }
        if let Some(every) = self.options.progress_interval
            && self.next_progress.is_none_or(|at| now >= at)
        {
            self.heat_all();
            self.next_progress = Some(now + every);
        }
    }

    /// `ignore_active_older_files`: lets go of files that have not changed for `ignore_older`.
    fn release_old(&mut self) {
        if !self.options.ignore_active {
            return;
        }
        for generation in self.generations.values_mut() {
            let metadata = generation.file.metadata();
            let too_old = metadata.is_ok_and(|m| self.options.is_too_old(&m));
            if too_old
                && generation.lag.is_none()
                && generation.quiet_turns >= 2
                && !generation.is_waiting()
            {
                generation.released = true;
                generation.closed = true;
            }
        }
    }

    /// Looks through all folders.
    pub(super) fn scan(&mut self) {
        for folder in discover::folders(&self.options) {
            self.watch.add(&folder);
        }
        let mut names: BTreeSet<PathBuf> = discover::matching(&self.options);
        names.extend(self.followed.keys().cloned());
        if !self.started {
            // A name may be gone while its last generation, renamed, is still to be finished.
            let rows = self.rows.values().flatten();
            let mine = rows.filter(|r| self.options.wants(&r.path));
            names.extend(mine.map(|r| r.path.clone()));
        }
        self.undecided.clear();
        self.look_again = false;
        for name in names {
            self.reconcile(&name);
            self.open_missed(&name);
        }
        if self.options.inotify
            && let Some(failure) = self.watch.failure.take()
        {
            log::warn(
                &self.component,
                format_args!(
                    "cannot watch {failure}; looking every second instead (raise fs.inotify.max_user_watches and max_user_instances)"
                ),
            );
            self.watch.failure = Some(failure);
        }
        self.release_old();
        let failed = self.generations.values_mut().filter(|g| g.failed);
        failed.for_each(Generation::heat);
        let every = if self.watch.is_complete() {
            self.options.refresh_interval
        } else {
            self.heat_all();
            POLL_EVERY.min(self.options.refresh_interval)
        };
        self.forget_rows();
        if !self.started {
            self.started = true;
            self.unseen_since_ns = Some(self.started_ns);
        }
        let every = if self.look_again {
            POLL_EVERY.min(every)
        } else {
            every
        };
        self.next_scan = Instant::now() + every;
        self.save();
    }

    /// Something is not complete yet: it is looked at soon.
    pub(super) fn look_again(&mut self) {
        self.look_again = true;
        self.next_scan = self.next_scan.min(Instant::now() + POLL_EVERY);
    }

    /// Drops rows of files that no longer exist.
    pub(super) fn forget_rows(&mut self) {
        let mut present: HashSet<u64> = HashSet::new();
        let folders: HashSet<&Path> = (self.followed.values())
            .filter_map(|f| f.real.parent())
            .collect();
        for folder in folders {
            let entries = fs::read_dir(folder).into_iter().flatten();
            let inodes = entries.filter_map(|e| e.ok()?.metadata().ok().map(|m| m.ino()));
            present.extend(inodes);
        }
        let options = &self.options;
        let removed = &mut self.removed_rows;
        let undecided = &self.undecided;
        // A file may just be compressed: its row is given up when it was missing twice, so that the
        // compressed one could be looked at in between.
        let missed_before = std::mem::take(&mut self.missed_rows);
        let missed = &mut self.missed_rows;
        self.rows.retain(|inode, rows| {
            rows.retain(|row| {
                let kept = present.contains(inode) || undecided.contains(&row.path);
                if kept || !options.wants(&row.path) {
                    return true;
                }
                missed.insert(row.id);
                let keep = !missed_before.contains(&row.id);
                if !keep {
                    removed.push(row.id);
                }
                keep
            });
            !rows.is_empty()
        });
        // A name is remembered as long as a file of its log exists: its rows say what is read.
        let named: HashSet<&PathBuf> = self.rows.values().flatten().map(|r| &r.path).collect();
        self.followed
            .retain(|name, f| !f.generations.is_empty() || named.contains(name) || name.exists());
    }

    /// Makes the generations of a name what its folder says they are.
    pub(super) fn reconcile(&mut self, name: &Path) {
        let target = Content::open(name).and_then(|f| Ok((f.metadata()?, f)));
        let target = match target {
            Ok((metadata, file)) if metadata.is_file() => Some((metadata, file)),
            Ok(_) => return,
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                log::warn(
                    &self.component,
                    format_args!("cannot open {}: {e}", name.display()),
                );
                return;
            }
        };
        let id = target.as_ref().map(|(metadata, _)| FileId::of(metadata));
        let current = self.current(name);
        if let (Some(id), Some((_, current_id))) = (id, current)
            && id == current_id
        {
            return;
        }
        if let Some((key, _)) = current {
            if self.notice_truncation(name) {
                return;
            }
            self.mark_rotated(key);
        }
        let mut since_ns = self.followed.get(name).and_then(|f| f.since_ns);
        let mine = |r: &&Checkpoint| r.path == name && r.created_ns != SKIPPED_NS;
        let rows_of_name = || self.rows.values().flatten().filter(mine);
        if since_ns.is_none() {
            // Fluent Bit forgets what it has read to the end: only what was written after its time
            // can be unread.
            let alive_ns = self.offsets.last_alive.map_or(0, nanoseconds);
            let since = |r: &Checkpoint| {
                if r.foreign {
                    r.created_ns.max(alive_ns)
                } else {
                    r.created_ns
                }
            };
            since_ns = rows_of_name().map(since).min().or(self.unseen_since_ns);
        }
        // Before the very first look there was nobody to see the log's other files: they are old
        // files like the one that has the name, and follow `read_from_head`.
        let first_look = since_ns.is_none();
        // A clock that was put back says nothing of what is older. What was not to be read is known.
        let went_back = |since_ns: &i64| *since_ns > nanoseconds(SystemTime::now());
        let since_ns = since_ns.unwrap_or(self.started_ns);
        let since_ns = if went_back(&since_ns) {
            i64::MIN
        } else {
            since_ns
        };
        let siblings_since_ns = if first_look && self.options.read_from_head {
            i64::MIN
        } else {
            since_ns
        };
        if target.is_none() && current.is_none() && !self.is_known(name) {
            return;
        }
        let real = fs::canonicalize(name).unwrap_or_else(|_| {
            let known = self.followed.get(name).map(|f| f.real.clone());
            known.unwrap_or_else(|| name.to_owned())
        });
        if let Some(folder) = real.parent() {
            self.watch.add(folder);
        }
        let followed = self.followed.entry(name.to_owned()).or_default();
        let was_real = std::mem::replace(&mut followed.real, real.clone());
        followed.since_ns = Some(since_ns);
        self.open_strays(name, &real, id);
        if was_real != real && !was_real.as_os_str().is_empty() {
            self.open_behind_old_link(name, &was_real, siblings_since_ns, id);
        }
        self.open_siblings(name, &real, siblings_since_ns, id);
        if let Some((metadata, file)) = target {
            self.open_target(name, &real, &metadata, file);
        }
    }

    /// Whether an earlier generation of the name was followed: then this one is new as a whole.
    pub(super) fn was_tracked(&self, name: &Path) -> bool {
        let open = self.followed.get(name);
        let was_read = |r: &Checkpoint| r.path == name && r.created_ns != SKIPPED_NS;
        open.is_some_and(|f| f.tracked) || self.rows.values().flatten().any(was_read)
    }

    pub(super) fn is_known(&self, name: &Path) -> bool {
        self.followed.contains_key(name) || self.rows.values().flatten().any(|r| r.path == name)
    }

    /// The generation that the name stood for last, unless it is known to be rotated.
    pub(super) fn current(&self, name: &Path) -> Option<(Key, FileId)> {
        let key = *self.followed.get(name)?.generations.last()?;
        let generation = self.generations.get(&key)?;
        let id = FileId {
            device: generation.checkpoint.device,
            inode: generation.checkpoint.inode,
        };
        generation.rotated.is_none().then_some((key, id))
    }

    pub(super) fn mark_rotated(&mut self, key: Key) {
        let Some(generation) = self.generations.get_mut(&key) else {
            return;
        };
        generation.rotated = Some(Instant::now());
        generation.checkpoint.rotated = true;
        generation.dirty = true;
        generation.hot = true;
        generation.quiet_turns = 0;
        if self.by_real.get(&generation.real) == Some(&key) {
            self.by_real.remove(&generation.real);
        }
        self.link.counters.files_rotated.add(1);
        self.next_chores
            .get_or_insert(Instant::now() + CHORES_EVERY);
        self.want_save();
    }
}
