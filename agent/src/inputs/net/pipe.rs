//! The way from connections (async) to the pipeline (blocking), with back-pressure and receipts.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use kansoku_model::RecordBatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::pipeline::{Acknowledge, Link, Stopped};

/// Batches that may wait for the input's own thread: enough to keep it busy.
const MAX_WAITING_BATCHES: usize = 8;

/// How far the agent's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing new is begun; what was begun is finished.
    Stopping,
    /// Nothing is taken any more.
    Closed,
}

/// A batch on its way to the input's own thread.
struct Job {
    batch: RecordBatch,
    done: Option<Acknowledge>,
    /// Given back once the pipeline has the batch.
    _permit: OwnedSemaphorePermit,
}

/// The connections' end of the pipeline.
#[derive(Clone)]
pub struct Pipe {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
    /// For tag, flush time, counters and whether there is room; batches go through `jobs`.
    pub link: Arc<Link>,
    phase: watch::Receiver<Phase>,
}

/// Comes true when all batches of one [`Pipe::send`] are delivered; fails when the agent leaves first.
pub type Receipt = oneshot::Receiver<()>;

/// What the batches of one call share.
struct Pending {
    n: AtomicUsize,
    /// Taken by the last batch.
    sender: Mutex<Option<oneshot::Sender<()>>>,
}

impl Pending {
    fn finish(&self) {
        if self.n.fetch_sub(1, Ordering::AcqRel) == 1 {
            let sender = self
                .sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(sender) = sender {
                // Nobody waits when the client has gone.
                let _ = sender.send(());
            }
        }
    }
}

impl Pipe {
    /// Whether a batch would be taken now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room.available_permits() > 0 && self.link.has_room()
    }

    /// Hands over the batches in order, waiting for room: that is the back-pressure.
    ///
    /// # Errors
    /// When the agent is leaving.
    pub async fn send(&self, batches: Vec<RecordBatch>) -> Result<Receipt, Stopped> {
        let (sender, receipt) = oneshot::channel();
        let pending = Arc::new(Pending {
            n: AtomicUsize::new(batches.len() + 1),
            sender: Mutex::new(Some(sender)),
        });
        for batch in batches {
            let pending = pending.clone();
            self.put(batch, Some(Box::new(move || pending.finish())))
                .await?;
        }
        pending.finish();
        Ok(receipt)
    }

    /// Hands over the batches of a protocol that knows no answers.
    ///
    /// # Errors
    /// When the agent is leaving.
    pub async fn send_unanswered(&self, batches: Vec<RecordBatch>) -> Result<(), Stopped> {
        for batch in batches {
            self.put(batch, None).await?;
        }
        Ok(())
    }

    async fn put(&self, batch: RecordBatch, done: Option<Acknowledge>) -> Result<(), Stopped> {
        let permit = self.room.clone().acquire_owned().await;
        let job = Job {
            batch,
            done,
            _permit: permit.map_err(|_| Stopped)?,
        };
        self.jobs.send(job).map_err(|_| Stopped)
    }

    /// Ends when the agent wants to stop: accept nothing new, finish what was begun.
    pub async fn stopping(&self) {
        let mut phase = self.phase.clone();
        // An error means that the input's own thread has gone: that is a stop, too.
        let _ = phase.wait_for(|p| *p != Phase::Running).await;
    }

    async fn closed(&self) {
        let mut phase = self.phase.clone();
        let _ = phase.wait_for(|p| *p == Phase::Closed).await;
    }
}

/// What a listening input gets to work with.
pub struct Net {
    pub pipe: Pipe,
}

/// Runs a listening input: `serve` on a runtime of its own, the pipeline on this thread.
///
/// # Errors
/// When `serve` fails, mostly because the address cannot be had.
pub fn run<F>(link: Link, serve: impl FnOnce(Net) -> F + Send + 'static) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let link = Arc::new(link);
    // Bounded by the permits.
    let (jobs, waiting) = crossbeam_channel::unbounded();
    let (phase_sender, phase) = watch::channel(Phase::Running);
    let room = Arc::new(Semaphore::new(MAX_WAITING_BATCHES));
    let pipe = Pipe {
        jobs,
        room: room.clone(),
        link: link.clone(),
        phase,
    };
    let name = std::thread::current().name().unwrap_or("net").to_owned();
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let watched = pipe.clone();
            runtime.block_on(async move {
                tokio::select! {
                    served = serve(Net { pipe }) => served,
                    () = watched.closed() => Ok(()),
                }
            })
        })?;
    pump(&link, &waiting, &phase_sender);
    room.close();
    drop(waiting);
    drop(phase_sender);
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread of the connections panicked")))
}

/// Hands jobs to the pipeline until all connections are gone or the agent leaves.
fn pump(link: &Link, jobs: &Receiver<Job>, phase: &watch::Sender<Phase>) {
    let mut stop = link.stop.clone();
    loop {
        crossbeam_channel::select! {
            recv(jobs) -> job => {
                let Ok(Job { batch, done, _permit }) = job else {
                    return;
                };
                if link.send(batch, done).is_err() {
                    phase.send_replace(Phase::Closed);
                    return;
                }
            }
            recv(stop) -> _ => {
                stop = crossbeam_channel::never();
                phase.send_replace(Phase::Stopping);
            }
            recv(link.closed) -> _ => {
                phase.send_replace(Phase::Closed);
                return;
            }
        }
    }
}
