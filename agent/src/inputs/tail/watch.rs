//! Tells the tail which files changed: one watch per folder, changes collected until asked for.
//!
//! Events only say where to look; nothing is derived from their order. When they cannot be had
//! (limits, overflow) the caller is told so and looks everywhere instead.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// More changed paths than that and the whole set is dropped in favour of one look at everything.
const MAX_PATHS: usize = 65_536;

/// What happened since the last call.
#[derive(Default)]
pub(super) struct Changes {
    /// Files that were written to.
    pub(super) written: HashSet<PathBuf>,
    /// Names that appeared, went or now stand for something else.
    pub(super) renamed: HashSet<PathBuf>,
    /// Events were lost: look at everything.
    pub(super) overflow: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.written.is_empty() && self.renamed.is_empty() && !self.overflow
    }

    fn add(&mut self, event: notify::Result<notify::Event>) {
        let Ok(event) = event else {
            self.overflow = true;
            return;
        };
        self.overflow |= event.need_rescan();
        match event.kind {
            EventKind::Access(_) => {}
            EventKind::Modify(ModifyKind::Data(_)) => self.written.extend(event.paths),
            _ => self.renamed.extend(event.paths),
        }
        if self.written.len() + self.renamed.len() > MAX_PATHS {
            *self = Self {
                overflow: true,
                ..Self::default()
            };
        }
    }
}

/// The watched folders.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    /// Shared with the watcher's thread, which adds; taken for a few instructions.
    changes: Arc<Mutex<Changes>>,
    /// Holds a message when there are changes.
    pub(super) wake: Receiver<()>,
    /// Why a folder could not be watched, once.
    pub(super) failure: Option<String>,
}

impl Watch {
    /// Starts the watcher, unless `enabled` is false.
    pub(super) fn new(enabled: bool) -> Self {
        let changes = Arc::new(Mutex::new(Changes::default()));
        let (waker, wake) = crossbeam_channel::bounded(1);
        let mut failure = None;
        let watcher = if enabled {
            let collect = collector(changes.clone(), waker);
            notify::recommended_watcher(collect)
                .map_err(|e| failure = Some(e.to_string()))
                .ok()
        } else {
            None
        };
        Self {
            watcher,
            folders: HashSet::new(),
            changes,
            wake,
            failure,
        }
    }

    /// Whether every folder is watched, so that no polling is needed.
    pub(super) fn is_complete(&self) -> bool {
        self.watcher.is_some() && self.failure.is_none()
    }

    /// Watches a folder, if it is not watched yet.
    pub(super) fn add(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        if self.folders.contains(folder) {
            return;
        }
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.folders.insert(folder.to_owned());
            }
            // It may have gone meanwhile; then there is nothing to watch.
            Err(_) if !folder.is_dir() => {}
            Err(e) => self.failure = Some(format!("{}: {e}", folder.display())),
        }
    }

    /// Forgets a folder that has gone, so that one of the same name is watched again.
    pub(super) fn forget(&mut self, folder: &Path) {
        if self.folders.remove(folder)
            && let Some(watcher) = &mut self.watcher
        {
            // The kernel has dropped the watch already; this is for the watcher's own table.
            let _ = watcher.unwatch(folder);
        }
    }

    /// The changes since the last call.
    pub(super) fn take(&self) -> Changes {
        let _ = self.wake.try_recv();
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn collector(
    changes: Arc<Mutex<Changes>>,
    waker: Sender<()>,
) -> impl FnMut(notify::Result<notify::Event>) + Send + 'static {
    move |event| {
        let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.add(event);
        if !changes.is_empty() {
            // Full means that the tail has not looked since the last message.
            let _ = waker.try_send(());
        }
    }
}
