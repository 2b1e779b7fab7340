//! Generations that were compressed: which known one it is, and whether anything of it is unread.
//!
//! A compressed file has a new inode and often a new time, so it is known by its content alone. The
//! rule: what was read before it was compressed is not read again, what was not is read to its end.

use std::path::Path;

use super::Tailer;
use crate::inputs::tail::content::Content;
use crate::inputs::tail::discover::{Packing, Sibling};
use crate::inputs::tail::generation::Generation;
use crate::inputs::tail::identity::{self, FileId};
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
        match self.row_of_compressed(Some(name), &file, sibling.id) {
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
    pub(super) fn is_packed_copy(&mut self, name: &Path, file: &Content, id: FileId) -> bool {
        if name.with_extension("").exists() || self.is_open_copy(file) {
            // The next look may find it complete, or the other one closed.
            return true;
        }
        let Some(row) = self.row_of_compressed(None, file, id) else {
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

    /// Whether this file holds all that was read of an open generation: then that one is read. Its
    /// first bytes alone would not do, as all generations may begin with the same banner.
    fn is_open_copy(&self, file: &Content) -> bool {
        let alike = |c: &Checkpoint| c.head.size > 0 && identity::holds(file, c).unwrap_or(false);
        let mut open = self.generations.values().filter(|g| !g.gone);
        open.any(|g| alike(&g.read_checkpoint()))
    }

    /// The row of the generation that was compressed, made one of the compressed file.
    fn row_of_compressed(
        &mut self,
        name: Option<&Path>,
        file: &Content,
        id: FileId,
    ) -> Option<Checkpoint> {
        let fits = |r: &Checkpoint| {
            let named = name.is_none_or(|name| r.path == name);
            named && r.head.size > 0 && identity::holds(file, r).unwrap_or(false)
        };
        let inode = (self.rows.values().flatten())
            .find(|r| fits(r))
            .map(|r| r.inode)?;
        let rows = self.rows.get_mut(&inode)?;
        let mut row = rows.swap_remove(rows.iter().position(fits)?);
        if rows.is_empty() {
            self.rows.remove(&inode);
        }
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
