//! The pipeline's stop, for inputs that run on a runtime: it cannot wait for the link's channel.

use std::io;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::pipeline::Link;

/// Notifies once the pipeline wants to stop; `thread` is the name of the thread that waits for it.
///
/// # Errors
/// When there is no thread to be had.
pub fn stop_notice(link: &Link, thread: &str) -> io::Result<Arc<Notify>> {
    let stopped = Arc::new(Notify::new());
    let (stop, notify) = (link.stop.clone(), stopped.clone());
    std::thread::Builder::new()
        .name(thread.to_owned())
        .spawn(move || {
            // Closed, never sent to.
            let _ = stop.recv();
            notify.notify_one();
        })?;
    Ok(stopped)
}
