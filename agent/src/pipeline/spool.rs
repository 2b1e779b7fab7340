//! The thread that brings spilled batches back into the outputs' queues and syncs what was written.
//!
//! It is not the keeper, because the keeper may have to wait for an input that waits for the spill.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::StorageSpec;
use super::core::Core;
use crate::log;
use crate::spill::{Spill, SpillOptions};

/// How often room for spilled batches is looked for while some wait.
const REFILL_EVERY: Duration = Duration::from_millis(20);
/// How often what was written is synced.
const SYNC_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Spool {
    pub(super) core: Arc<Core>,
    pub(super) storage: StorageSpec,
    /// Rung when something waits in a spill.
    pub(super) bell: Receiver<()>,
    /// Ends the thread.
    pub(super) end: Receiver<()>,
}

impl Spool {
    pub(super) fn run(self) {
        let mut next_sync = Instant::now() + SYNC_EVERY;
        loop {
            let (most, most_bytes) = (self.storage.max_chunks_up, self.storage.backlog_mem_bytes);
            let more = |spill: &Spill| {
                let (n_up, bytes_up) = spill.up_now();
                n_up < most && (bytes_up < most_bytes || n_up == 0)
            };
            let mut waiting = false;
            for (output, route) in self.core.routes.iter().enumerate() {
                self.core.refill(output, more);
                waiting |= route.spill.as_ref().is_some_and(|s| s.has_unread());
            }
            let now = Instant::now();
            if now >= next_sync {
                next_sync = now + SYNC_EVERY;
                self.core.spills().for_each(|s| s.sync());
            }
            let wake = if waiting {
                crossbeam_channel::after(REFILL_EVERY)
            } else {
                crossbeam_channel::at(next_sync)
            };
            crossbeam_channel::select! {
                recv(self.end) -> _ => break,
                recv(self.bell) -> _ => {}
                recv(wake) -> _ => {}
            }
        }
        self.core.spills().for_each(|s| s.sync());
    }
}

/// The spill of an output below `storage.path`.
///
/// # Errors
/// When what an earlier life left cannot be read.
pub(super) fn open(
    storage_path: &Path,
    storage: &StorageSpec,
    output: &str,
    limit_bytes: Option<u64>,
) -> std::io::Result<Arc<Spill>> {
    let safe = |c: char| if c == '/' || c == '\0' { '_' } else { c };
    let folder: String = output.chars().map(safe).collect();
    let spill = Spill::open(SpillOptions {
        folder: storage_path.join("spill").join(folder),
        component: format!("output:{output}"),
        sync_full: storage.sync_full,
        limit_bytes,
        delete_damaged: storage.delete_irrecoverable,
        verify: storage.checksum,
    })?;
    let left = spill.status();
    if left.n_frames > 0 {
        log::info(
            &format!("output:{output}"),
            format_args!(
                "{} batches in {} bytes are left from before and will be sent",
                left.n_frames, left.bytes
            ),
        );
    }
    Ok(Arc::new(spill))
}
