//! Opening a generation: the row that speaks of a file, and where reading of it begins.
//!
//! It does not decide when to look (that is `looking`) and reads no lines. The rule: a row is
//! believed only when the file still holds what the row speaks of, whatever its name or inode says.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kansoku_model::{Position, Resource};

use super::{ALIVE_SLACK, CLOCK_SLACK, Key, Tailer};
use crate::inputs::tail::content::Content;
use crate::inputs::tail::discover::{Packing, Sibling};
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::{self, FileId};
use crate::inputs::tail::tag::tag_of;
use crate::log;
use crate::offsets::{Checkpoint, nanoseconds};

/// A short file that begins like the one with the name is taken for a copy of it for so long after
/// its last write.
const COPY_SLACK: Duration = Duration::from_secs(5);
/// Stands for the time when a generation was seen first, of one that is not to be read: it says
/// nothing of the log's other files.
pub(super) const SKIPPED_NS: i64 = i64::MAX / 2;

impl Tailer {
    /// Opens the generations of a log that have other names by now and are not read to their end.
    pub(super) fn open_siblings(
        &mut self,
        name: &Path,
        real: &Path,
        since_ns: i64,
        target: Option<FileId>,
    ) {
        let siblings = self.listings.siblings(real);
        for sibling in &siblings {
            if self.by_file.contains_key(&sibling.id) || Some(sibling.id) == target {
                continue;
            }
            if sibling.packing != Packing::None {
                self.open_compressed(name, sibling, since_ns);
                continue;
            }
            let Ok(file) = Content::open(&sibling.path) else {
                continue;
            };
            // First, as a copy may be remembered as one that need not be read, from the time when its
            // original was still there.
            if let Some(row) = self.take_copied_row(name, sibling, &siblings, &file) {
                self.open_rotated(name, sibling, file, row);
                continue;
            }
            if let Some(row) = self.take_row(sibling.id, &file, name) {
                if row.finished && row.offset >= sibling.size {
                    self.keep_row(row);
                } else {
                    self.open_rotated(name, sibling, file, row);
                }
                continue;
            }
            if sibling.modified_ns >= since_ns && !self.is_copy(name, sibling, &siblings, &file) {
                if self.may_be_copy_of_current(name, sibling, &file) {
                    self.undecided.insert(name.to_owned());
                    continue;
                }
                match self.new_checkpoint(name, sibling.id, 0) {
                    Ok(row) => self.open_rotated(name, sibling, file, row),
                    Err(e) => self.complain(&sibling.path, &e),
                }
            } else if sibling.size > 0 && self.remember_skipped(name, sibling, &file).is_err() {
                self.want_save();
            }
        }
        self.put_in_order(name, &siblings);
    }

    /// Files of a log that are not read to their end and have names by now that tell nothing: they
    /// are known by their inodes.
    pub(super) fn open_strays(&mut self, name: &Path, real: &Path, target: Option<FileId>) {
        let unread = |r: &&Checkpoint| r.path == name && !r.finished && r.offset > 0;
        let rows = self.rows.values().flatten().filter(unread);
        let mut inodes: HashSet<u64> = rows.map(|r| r.inode).collect();
        if let Some(target) = target {
            inodes.remove(&target.inode);
        }
        let Some(folder) = real.parent().filter(|_| !inodes.is_empty()) else {
            return;
        };
        let siblings = self.listings.siblings(real);
        siblings.iter().for_each(|s| {
            inodes.remove(&s.id.inode);
        });
        if inodes.is_empty() {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let id = FileId::of(&metadata);
            let known = self.by_file.contains_key(&id) || self.options.wants(&entry.path());
            if known || !metadata.is_file() || !inodes.contains(&id.inode) {
                continue;
            }
            self.open_known(name, Sibling::of(entry.path(), &metadata));
        }
    }

    /// A symbolic link stands for another file now: the one behind it may have been rotated before
    /// that, without anybody having seen it.
    pub(super) fn open_behind_old_link(
        &mut self,
        name: &Path,
        old: &Path,
        since_ns: i64,
        target: Option<FileId>,
    ) {
        self.open_siblings(name, old, since_ns, target);
        let Ok(metadata) = fs::symlink_metadata(old) else {
            return;
        };
        let last = Sibling::of(old.to_owned(), &metadata);
        let known = self.by_file.contains_key(&last.id) || Some(last.id) == target;
        if known || !metadata.is_file() || self.followed.contains_key(old) {
            return;
        }
        if self.rows.contains_key(&last.id.inode) {
            self.open_known(name, last);
        } else if last.modified_ns >= since_ns
            && let Ok(file) = Content::open(old)
            && let Ok(row) = self.new_checkpoint(name, last.id, 0)
        {
            self.open_rotated(name, &last, file, row);
        }
    }

    /// Goes on with a file that has a row.
    fn open_known(&mut self, name: &Path, sibling: Sibling) {
        let Ok(file) = Content::open(&sibling.path) else {
            return;
        };
        match self.take_row(sibling.id, &file, name) {
            Some(row) if row.finished && row.offset >= sibling.size => self.keep_row(row),
            Some(row) => self.open_rotated(name, &sibling, file, row),
            None => {}
        }
    }

    /// A file that is not to be read gets a row that says so: compressed it has another inode and a
    /// new time, and would be taken for news.
    fn remember_skipped(
        &mut self,
        name: &Path,
        sibling: &Sibling,
        file: &Content,
    ) -> anyhow::Result<()> {
        let known = self.rows.get(&sibling.id.inode);
        if known.is_some_and(|rows| rows.iter().any(|r| r.path == name)) {
            return Ok(());
        }
        let mut row = self.new_checkpoint(name, sibling.id, sibling.size)?;
        row.head = identity::head_print(file)?;
        row.marker = identity::marker_print(file, sibling.size)?;
        row.created_ns = SKIPPED_NS;
        row.rotated = true;
        row.finished = true;
        self.offsets.save([&mut row], SystemTime::now())?;
        self.keep_row(row);
        Ok(())
    }

    /// A generation may have been copied and truncated between two looks: then only the copy tells
    /// of it. A file that begins like a known generation, or may be the beginning of a copy of the
    /// file that has the name now, is left alone.
    pub(super) fn open_missed(&mut self, name: &Path) {
        let Some(followed) = self.followed.get(name) else {
            return;
        };
        let (real, Some(since_ns)) = (followed.real.clone(), followed.since_ns) else {
            return;
        };
        let current = self
            .current(name)
            .and_then(|(key, _)| self.generations.get(&key));
        let unnamed = |g: &Generation| g.checkpoint.head.size == 0 && !g.is_empty();
        if current.is_some_and(unnamed) {
            self.undecided.insert(name.to_owned());
            return;
        }
        let siblings = self.listings.siblings(&real);
        for sibling in &siblings {
            let known =
                self.by_file.contains_key(&sibling.id) || self.followed.contains_key(&sibling.path);
            if sibling.packing != Packing::None {
                self.open_compressed(name, sibling, since_ns);
                continue;
            }
            if known || sibling.modified_ns < since_ns {
                continue;
            }
            if sibling.size == 0 {
                continue;
            }
            let version = (sibling.size, sibling.modified_ns);
            if self.settled.get(&sibling.id) == Some(&version) {
                continue;
            }
            let Ok(file) = Content::open(&sibling.path) else {
                continue;
            };
            // Its inode may be that of an older generation which is gone.
            let mine = |r: &Checkpoint| {
                identity::says_something(r) && identity::holds(&file, r).unwrap_or(true)
            };
            let rows = self.rows.get(&sibling.id.inode);
            if rows.is_some_and(|rows| rows.iter().any(mine)) {
                self.settled.insert(sibling.id, version);
                continue;
            }
            if self.is_copy(name, sibling, &siblings, &file) {
                continue;
            }
            if self.notice_truncation(name) {
                return;
            }
            if self.may_be_copy_of_current(name, sibling, &file) {
                self.undecided.insert(name.to_owned());
                continue;
            }
            match self.new_checkpoint(name, sibling.id, 0) {
                Ok(row) => self.open_rotated(name, sibling, file, row),
                Err(e) => self.complain(&sibling.path, &e),
            }
        }
        self.put_in_order(name, &siblings);
    }

    pub(super) fn open_rotated(
        &mut self,
        name: &Path,
        sibling: &Sibling,
        file: Content,
        mut row: Checkpoint,
    ) {
        row.device = sibling.id.device;
        row.inode = sibling.id.inode;
        row.finished = false;
        log::info(
            &self.component,
            format_args!(
                "reading rotated {} from offset {}",
                sibling.path.display(),
                row.offset
            ),
        );
        let Some(key) = self.open(name, &sibling.path, file, row) else {
            return;
        };
        self.mark_rotated(key);
        // It is older than the file that has the name now.
        let generations = &self.generations;
        if let Some(followed) = self.followed.get_mut(name) {
            let is_rotated = |k: &Key| generations.get(k).is_none_or(|g| g.rotated.is_some());
            followed.generations.sort_by_key(|k| !is_rotated(k));
        }
    }

    pub(super) fn open_target(
        &mut self,
        name: &Path,
        real: &Path,
        metadata: &fs::Metadata,
        file: Content,
    ) {
        let id = FileId::of(metadata);
        if self.by_file.contains_key(&id) {
            return;
        }
        if file.is_gzip()
            && !self.rows.contains_key(&id.inode)
            && self.is_packed_copy(name, &file, &Sibling::of(real.to_owned(), metadata))
        {
            return;
        }
        let too_old = self.options.is_too_old(metadata);
        if too_old && self.options.ignore_active && self.rows.contains_key(&id.inode) {
            return;
        }
        if let Some(row) = self.take_row(id, &file, name) {
            let was_read = identity::says_something(&row) && row.offset >= metadata.len();
            if row.finished && row.rotated && was_read {
                self.keep_row(row);
                return;
            }
            let row = Checkpoint {
                device: id.device,
                finished: false,
                ..row
            };
            self.open(name, real, file, row);
            return;
        }
        if too_old {
            self.ignored.insert(id, metadata.len());
            return;
        }
        let ignored = self.ignored.remove(&id);
        let start = match ignored.filter(|size| *size <= metadata.len()) {
            Some(size) => size,
            None => self.start_offset(name, metadata),
        };
        if file.is_gzip() && start > 0 {
            // Nothing is added to a packed file.
            return;
        }
        match self.new_checkpoint(name, id, start) {
            Ok(row) => {
                self.replace_rows(name, id);
                self.open(name, real, file, row);
            }
            Err(e) => self.complain(name, &e),
        }
    }

    /// Where to begin with a file that was never seen.
    pub(super) fn start_offset(&self, name: &Path, metadata: &fs::Metadata) -> u64 {
        let seen_before = self.was_tracked(name);
        let from_head = if self.started || seen_before {
            self.options.read_new_from_head || seen_before
        } else {
            // Where the file system knows no birth the whole file is read: rather too much than too
            // little.
            let born_since = |alive: SystemTime| {
                metadata
                    .created()
                    .map_or(true, |born| born + ALIVE_SLACK >= alive)
            };
            self.options.read_from_head || self.offsets.last_alive.is_some_and(born_since)
        };
        if from_head { 0 } else { metadata.len() }
    }

    pub(super) fn new_checkpoint(
        &self,
        name: &Path,
        id: FileId,
        offset: u64,
    ) -> io::Result<Checkpoint> {
        Ok(Checkpoint {
            id: 0,
            path: name.to_owned(),
            device: id.device,
            inode: id.inode,
            source: identity::new_source()?,
            // File times may lag behind the clock by a timer tick.
            created_ns: nanoseconds(SystemTime::now() - CLOCK_SLACK),
            offset,
            sent: Position::at(offset),
            head: crate::offsets::Print::default(),
            marker: crate::offsets::Print::default(),
            cuts: Vec::new(),
            cursors: Vec::new(),
            rotated: false,
            finished: false,
            foreign: false,
            moved: false,
        })
    }

    /// The row of a file, if the file still holds what the row speaks of.
    pub(super) fn take_row(
        &mut self,
        id: FileId,
        file: &Content,
        name: &Path,
    ) -> Option<Checkpoint> {
        let rows = self.rows.get_mut(&id.inode)?;
        let compare = self.options.compare_filename;
        let fits = |r: &Checkpoint| {
            (!compare || r.path == name) && identity::holds(file, r).unwrap_or(false)
        };
        // A row of which nothing was ever read holds for any content: another one is better proof.
        let index = (0..rows.len())
            .filter(|at| fits(&rows[*at]))
            .max_by_key(|at| (rows[*at].head.size > 0, rows[*at].offset))?;
        let mut row = rows.swap_remove(index);
        if rows.is_empty() {
            self.rows.remove(&id.inode);
        }
        if !row.source.is_some() {
            // From a database of Fluent Bit's.
            row.source = identity::new_source().ok()?;
        }
        Some(row)
    }

    /// A row of `name` whose own file was truncated and whose content lies in `file`.
    fn take_copied_row(
        &mut self,
        name: &Path,
        sibling: &Sibling,
        siblings: &[Sibling],
        file: &Content,
    ) -> Option<Checkpoint> {
        let own = self.rows.get(&sibling.id.inode);
        let mut own = own.into_iter().flatten().filter(|r| r.path == name);
        let was_read = |r: &Checkpoint| {
            let says_something = identity::says_something(r) && r.created_ns != SKIPPED_NS;
            says_something && identity::holds(file, r).unwrap_or(false)
        };
        // It is a generation of its own, however like the others.
        if own.clone().any(was_read) {
            return None;
        }
        let is_known = own.next().is_some();
        let is_copy = |r: &Checkpoint| {
            r.path == name
                && r.inode != sibling.id.inode
                && r.head.size > 0
                && !r.finished
                // Many files may begin alike.
                && (r.offset > 0 || !is_known)
                && identity::holds(file, r).unwrap_or(false)
                && own_file(r, siblings).is_none()
        };
        let inode = self
            .rows
            .values()
            .flatten()
            .find(|r| is_copy(r))
            .map(|r| r.inode)?;
        let rows = self.rows.get_mut(&inode)?;
        let index = rows.iter().position(is_copy)?;
        let row = rows.swap_remove(index);
        if rows.is_empty() {
            self.rows.remove(&inode);
        }
        Some(row)
    }

    /// Whether the file is a copy of a generation of `name` that is known under another file. Of the
    /// one that has the name now there may be incomplete ones, see `may_be_copy_of_current`.
    fn is_copy(
        &self,
        name: &Path,
        sibling: &Sibling,
        siblings: &[Sibling],
        file: &Content,
    ) -> bool {
        let holds = |c: &Checkpoint| c.head.size > 0 && identity::holds(file, c).unwrap_or(true);
        let begins = |own: &Content| identity::is_beginning(file, sibling.size, own);
        // What was read to its end has no more than that, and a file that is still there begins with
        // its copy: news may well begin with the same banner.
        let is_of_row = |r: &Checkpoint| {
            let fits = r.path == name && holds(r);
            fits && match r.finished {
                true => r.offset == sibling.size,
                false => own_file(r, siblings).is_none_or(|own| begins(&own).unwrap_or(true)),
            }
        };
        let is_copy_of = |g: &Generation| {
            if !g.is_intact() {
                return holds(&g.read_checkpoint());
            }
            let is_as_long = || {
                let size = g.file.metadata().map(|m| m.len());
                g.file.is_gzip() || size.is_ok_and(|size| size == sibling.size)
            };
            g.rotated.is_some() && is_as_long() && begins(&g.file).unwrap_or(true)
        };
        let mut open = (self.generations.values()).filter(|g| g.checkpoint.path == name);
        self.rows.values().flatten().any(is_of_row) || open.any(is_copy_of)
    }

    /// Whether the generation that has the name turns out to have been truncated: nothing younger
    /// may be opened before the rest of it is.
    pub(super) fn notice_truncation(&mut self, name: &Path) -> bool {
        let Some((key, _)) = self.current(name) else {
            return false;
        };
        let truncated = (self.generations.get(&key)).is_some_and(|g| !g.is_intact());
        if truncated {
            self.truncated(key);
        }
        truncated
    }

    /// Whether a file that is known by nothing may be a copy, perhaps not complete yet, of what has the
    /// name now: that is read under the name, and from the copy once the original is truncated.
    fn may_be_copy_of_current(&self, name: &Path, sibling: &Sibling, file: &Content) -> bool {
        let written =
            SystemTime::UNIX_EPOCH + Duration::from_nanos(sibling.modified_ns.max(0) as u64);
        let is_young = written + COPY_SLACK >= SystemTime::now();
        let Ok(current) = Content::open(name) else {
            return false;
        };
        // Short files may well be equal without being copies.
        if sibling.size < identity::HEAD_BYTES as u64 && !is_young {
            return false;
        }
        identity::is_beginning(file, sibling.size, &current).unwrap_or(false)
    }

    /// Forgets rows of this name and file whose content is no longer there.
    pub(super) fn replace_rows(&mut self, name: &Path, id: FileId) {
        // The inode may have been given to a new file before it is known which packed file holds the
        // old content.
        if self.undecided.contains(name) {
            return;
        }
        let Some(rows) = self.rows.get_mut(&id.inode) else {
            return;
        };
        let stale = rows.extract_if(.., |r| r.path == name).map(|r| r.id);
        self.removed_rows.extend(stale);
        if rows.is_empty() {
            self.rows.remove(&id.inode);
        }
    }

    pub(super) fn keep_row(&mut self, row: Checkpoint) {
        self.rows.entry(row.inode).or_default().push(row);
    }

    pub(super) fn open(
        &mut self,
        name: &Path,
        real: &Path,
        file: Content,
        row: Checkpoint,
    ) -> Option<Key> {
        let shown = name.to_string_lossy();
        let tag = tag_of(&self.link.tag, self.options.tag_regex.as_ref(), &shown)?;
        let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let resource = Resource {
            attributes: vec![
                attribute("host.name", &self.options.host_name),
                attribute("log.file.path", &shown),
            ],
            ..Resource::default()
        };
        let id = FileId {
            device: row.device,
            inode: row.inode,
        };
        let created_ns = row.created_ns;
        let stored = row.clone();
        let outputs = self.link.outputs();
        let (tag, resource) = (tag.into(), Arc::new(resource));
        let opened = Generation::new(row, file, real.to_owned(), tag, resource, outputs);
        let mut generation = match opened {
            Ok(generation) => generation,
            Err(e) => {
                self.complain(name, &e);
                return None;
            }
        };
        if let Err(e) = generation.update_head() {
            self.complain(name, &e);
        }
        generation.ends = self.link.cuts(stored.source).into();
        generation.ranges = self.link.ranges(stored.source).into();
        generation.partners = self.link.partners(stored.source).into();
        let key = self.next_key;
        self.next_key += 1;
        log::debug(
            &self.component,
            format_args!("following {shown} from offset {}", generation.offset()),
        );
        self.generations.insert(key, generation);
        if !stored.cursors.is_empty() {
            self.open_cursors(key, &stored);
        }
        self.by_file.insert(id, key);
        self.by_real.insert(real.to_owned(), key);
        let followed = self.followed.entry(name.to_owned()).or_default();
        followed.generations.push(key);
        followed.since_ns.get_or_insert(created_ns);
        followed.tracked = true;
        self.link.counters.files_opened.add(1);
        self.want_save();
        Some(key)
    }

    pub(super) fn complain(&self, path: &Path, error: &io::Error) {
        log::error(
            &self.component,
            format_args!("cannot read {}: {error}", path.display()),
        );
    }
}

/// The file of a row, if it still has a name of its log and holds what the row speaks of.
pub(super) fn own_file(row: &Checkpoint, siblings: &[Sibling]) -> Option<Content> {
    let renamed = siblings.iter().filter(|s| s.id.inode == row.inode);
    let paths = renamed.map(|s| s.path.as_path()).chain([&*row.path]);
    let mut files = paths.filter_map(|path| Content::open(path).ok());
    files.find(|file| {
        let is_same = file.metadata().is_ok_and(|m| m.ino() == row.inode);
        is_same && identity::holds(file, row).unwrap_or(true)
    })
}
