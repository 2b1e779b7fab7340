//! The way from connections (async) to the pipeline (blocking), with back-pressure and receipts.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use kansoku_model::RecordBatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::pipeline::{Acknowledge, Link, Stopped};

/// Calls that may wait for the input's own thread: enough to keep it busy.
const MAX_WAITING_JOBS: usize = 8;

/// How far the agent's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing new is begun; what was begun is finished.
    Stopping,
    /// Nothing is taken any more.
    Closed,
}

/// The batches of one call on their way to the input's own thread: all of them or none.
struct Job {
    batches: Vec<(RecordBatch, Option<Acknowledge>)>,
    /// Given back once the pipeline has the batches.
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

    /// Hands over the batches in order, waiting for room: that is the back-pressure. Given up while
    /// it waits, none of them has been handed over.
    ///
    /// # Errors
    /// When the agent is leaving.
    pub async fn send(&self, batches: Vec<RecordBatch>) -> Result<Receipt, Stopped> {
        let (sender, receipt) = oneshot::channel();
        let pending = Arc::new(Pending {
            n: AtomicUsize::new(batches.len() + 1),
            sender: Mutex::new(Some(sender)),
        });
        let with_receipt = |batch| -> (RecordBatch, Option<Acknowledge>) {
            let pending = pending.clone();
            (batch, Some(Box::new(move || pending.finish())))
        };
        self.put(batches.into_iter().map(with_receipt).collect())
            .await?;
        pending.finish();
        Ok(receipt)
    }

    /// Hands over the batches of a protocol that knows no answers.
    ///
    /// # Errors
    /// When the agent is leaving.
    pub async fn send_unanswered(&self, batches: Vec<RecordBatch>) -> Result<(), Stopped> {
        self.put(batches.into_iter().map(|b| (b, None)).collect())
            .await
    }

    async fn put(&self, batches: Vec<(RecordBatch, Option<Acknowledge>)>) -> Result<(), Stopped> {
        if batches.is_empty() {
            return Ok(());
        }
        let permit = self.room.clone().acquire_owned().await;
        let job = Job {
            batches,
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
    let room = Arc::new(Semaphore::new(MAX_WAITING_JOBS));
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
                let Ok(Job { batches, _permit }) = job else {
                    return;
                };
                for (batch, done) in batches {
                    if link.send(batch, done).is_err() {
                        phase.send_replace(Phase::Closed);
                        return;
                    }
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

#[cfg(test)]
mod tests {
    use kansoku_model::{LogBatch, RecordBatch};

    use super::*;

    #[tokio::test]
    async fn a_call_hands_over_all_batches_or_none() {
        let (link, _captured) = Link::captured("t", std::time::Duration::ZERO);
        let (jobs, waiting) = crossbeam_channel::unbounded();
        let (_phase, phase) = watch::channel(Phase::Running);
        let pipe = Pipe {
            jobs,
            room: Arc::new(Semaphore::new(1)),
            link: Arc::new(link),
            phase,
        };
        let batches = || vec![RecordBatch::Logs(LogBatch::default()); 3];
        let mut receipt = pipe.send(batches()).await.unwrap();
        // There is no room for the second call, and its client goes away.
        let second = pipe.send(batches());
        tokio::select! {
            biased;
            _ = second => panic!("there is no room"),
            () = std::future::ready(()) => {}
        }
        let Job { batches, _permit } = waiting.try_recv().unwrap();
        assert!(waiting.is_empty());
        let mut done: Vec<Acknowledge> = batches.into_iter().filter_map(|b| b.1).collect();
        assert_eq!(done.len(), 3);
        let last = done.pop().unwrap();
        done.into_iter().for_each(|done| done());
        assert!(receipt.try_recv().is_err(), "not all of them are delivered");
        last();
        assert_eq!(receipt.try_recv(), Ok(()));
        drop(_permit);
        assert_eq!(
            pipe.room.available_permits(),
            1,
            "the second call took nothing"
        );
    }
}
