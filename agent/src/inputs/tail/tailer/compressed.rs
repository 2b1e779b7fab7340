//! Generations that were compressed: which known one it is, and whether anything of it is unread.
//!
//! A compressed file has a new inode and often a new time, so it is known by its content alone. The
//! rule: what was read before it was compressed is not read again, what was not is read to its end.

use std::path::Path;

use super::Tailer;
use super::opening::own_file;
use crate::inputs::tail::content::Content;
use crate::inputs::tail::discover::{Packing, Sibling};
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::{self, HEAD_BYTES};
use crate::log;
use crate::offsets::Checkpoint;

impl Tailer {
    /// Looks at a compressed sibling of `name`, and opens it when anything in it is unread.
    pub(super) fn open_compressed(&mut self, name: &Path, sibling: &Sibling, since_ns: i64) {
        let version = (sibling.size, sibling.modified_ns);
        let known = self.by_file.contains_key(&sibling.id)
            || self.followed.contains_key(&sibling.path)
            || self.settled.get(&sibling.id) == Some(&version);
        if known {
            return;
        }
        if sibling.packing == Packing::Unreadable {
            self.warn_unreadable(name, sibling, since_ns);
            return;
        }
        // While the original is there it is the one to read.
        if sibling.path.with_extension("").exists() {
            self.undecided.insert(name.to_owned());
            return;
        }
        let file = match Content::open(&sibling.path) {
            Ok(file) => file,
            Err(e) => return self.complain(&sibling.path, &e),
        };
        self.learn_heads(name);
        if self.is_open_copy(&file) {
            self.undecided.insert(name.to_owned());
            return;
        }
        if !file.is_complete().unwrap_or(true) {
            // What is missing may be what tells it from news.
            self.undecided.insert(name.to_owned());
            self.look_again();
            return;
        }
        if self.notice_truncation(name) {
            // Which generation it holds is known now.
            self.undecided.insert(name.to_owned());
            return;
        }
        self.settled.insert(sibling.id, version);
        if file.is_empty().unwrap_or(false) {
            // Nothing tells it from others, and there is nothing to read.
            return;
        }
        match self.row_of_compressed(Some(name), &file, sibling) {
            Some(row) if row.finished => self.keep_row(row),
            Some(row) => self.open_rotated(name, sibling, file, row),
            None if sibling.modified_ns >= since_ns => {
                match self.new_checkpoint(name, sibling.id, 0) {
                    Ok(row) => self.open_rotated(name, sibling, file, row),
                    Err(e) => self.complain(&sibling.path, &e),
                }
            }
            None => {}
        }
    }

    /// Whether a packed file that has a name of its own in `path` is a generation that is read, or
    /// was, under another; what is left of it is then read as that one.
    pub(super) fn is_packed_copy(&mut self, name: &Path, file: &Content, packed: &Sibling) -> bool {
        if name.with_extension("").exists() || self.is_open_copy(file) {
            // The next look may find it complete, or the other one closed.
            return true;
        }
        let Some(row) = self.row_of_compressed(None, file, packed) else {
            return false;
        };
        let finished = row.finished;
        self.keep_row(row);
        // Found again under its inode by whoever opens the file.
        finished
    }

    /// An open generation may have been renamed and compressed before anything of it was read: then
    /// only its descriptor tells how it begins.
    fn learn_heads(&mut self, name: &Path) {
        let unknown = |g: &&mut Generation| {
            g.checkpoint.path == name && g.checkpoint.head.size == 0 && !g.gone
        };
        let mut failed = None;
        for generation in self.generations.values_mut().filter(unknown) {
            failed = generation.update_head().err().or(failed);
        }
        if let Some(e) = failed {
            self.complain(name, &e);
        }
    }

    /// Whether this file is an open generation, compressed: then that one is read. It holds all that
    /// was read of it, which may be no more than a banner that all files of the log begin with, and
    /// nothing that is not in the generation's own file.
    fn is_open_copy(&self, file: &Content) -> bool {
        let is_copy = |g: &Generation| {
            let read = g.read_checkpoint();
            if read.head.size == 0 || !identity::holds(file, &read).unwrap_or(false) {
                return false;
            }
            let end = match g.file.is_gzip() {
                false => g.known_size(),
                true => g.offset(),
            };
            let is_known = g.is_intact() && g.file.ends_at(end).unwrap_or(false);
            !is_known || file.ends_at(end).unwrap_or(true)
        };
        let mut open = self.generations.values().filter(|g| !g.gone);
        open.any(is_copy)
    }

    /// The row of the generation that was compressed, made one of the compressed file. Of several
    /// that fit, as files of a log may begin alike, the one that says most.
    fn row_of_compressed(
        &mut self,
        name: Option<&Path>,
        file: &Content,
        packed: &Sibling,
    ) -> Option<Checkpoint> {
        let listings = &mut self.listings;
        let mut proof = |r: &Checkpoint| {
            let named = name.is_none_or(|name| r.path == name);
            if !named || r.head.size == 0 || !identity::holds(file, r).unwrap_or(false) {
                return None;
            }
            let is_own = r.inode == packed.id.inode;
            // Another file has what the row speaks of.
            if !is_own && own_file(r, &listings.siblings(&r.path)).is_some() {
                return None;
            }
            let is_whole = file.ends_at(r.offset).unwrap_or(false);
            // As much as a short banner can be that all files of the log begin with.
            if r.finished && !is_whole && (r.head.size as usize) < HEAD_BYTES {
                return None;
            }
            Some((is_own, is_whole, r.head.size, r.offset))
        };
        let rows = self.rows.iter().flat_map(|(inode, rows)| {
            let at = 0..rows.len();
            at.map(move |at| (*inode, at, &rows[at]))
        });
        let fitting = rows.filter_map(|(inode, at, r)| Some((proof(r)?, inode, at)));
        let ((_, is_whole, ..), inode, at) = fitting.max()?;
        let rows = self.rows.get_mut(&inode)?;
        let mut row = rows.swap_remove(at);
        if rows.is_empty() {
            self.rows.remove(&inode);
        }
        // Something was added to it before it was compressed.
        row.finished &= is_whole;
        let id = packed.id;
        if row.foreign {
            row.source = identity::new_source().ok()?;
        }
        if (row.device, row.inode) != (id.device, id.inode) {
            (row.device, row.inode) = (id.device, id.inode);
            if row.finished {
                self.moved_rows.push(row.clone());
                self.want_save();
            }
        }
        Some(row)
    }

    fn warn_unreadable(&mut self, name: &Path, sibling: &Sibling, since_ns: i64) {
        let unread = self.rows.values().flatten();
        let unread = unread.filter(|r| r.path == name && !r.finished).count();
        if sibling.modified_ns < since_ns || unread == 0 {
            return;
        }
        let version = (sibling.size, sibling.modified_ns);
        self.settled.insert(sibling.id, version);
        self.link.counters.files_lost.add(1);
        log::warn(
            &self.component,
            format_args!(
                "{} was compressed before all of it was read, and only .gz files can be read on",
                sibling.path.display()
            ),
        );
    }
}
