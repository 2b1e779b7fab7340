//! A thread that runs collectors, so that whoever scrapes waits for none of them for ever.
//!
//! One worker runs all collectors of the fresh tier; each collector of the background tier has one
//! of its own. The rule: a worker gets one request at a time, and whoever asks waits no longer than
//! the deadline. What hangs then keeps its thread, and the others get a new one (see `node`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use kansoku_model::MetricBatch;

use super::Collector;

/// The chosen collectors that are due, by their place in the list of those chosen.
pub(super) type Due = Arc<[bool]>;

/// What one collector's run came to.
pub(super) struct Outcome {
    /// Its place in the list of chosen collectors.
    pub at: usize,
    pub duration: Duration,
    pub result: anyhow::Result<()>,
}

/// What a request gives back.
pub(super) struct Answer {
    pub batch: MetricBatch,
    pub outcomes: Vec<Outcome>,
}

struct Request {
    due: Due,
    /// Set once the others have moved to another worker.
    only: Option<usize>,
    batch: MetricBatch,
}

/// The asking side.
pub(super) struct Worker {
    /// Places in the list of chosen collectors.
    pub members: Vec<usize>,
    /// The one member that is left after [`Self::give_up`].
    only: Option<usize>,
    requests: Sender<Request>,
    answers: Receiver<Answer>,
    shared: Arc<Shared>,
    /// Set while a request is under way.
    asked: Option<Instant>,
    /// Whether the answer to come holds samples that others have given meanwhile.
    is_answer_stale: bool,
}

/// What the asking side sees of a request under way.
struct Shared {
    /// The place of the collector that runs now.
    running: AtomicUsize,
    /// Told to leave out the collectors after the one that runs.
    is_given_up: AtomicBool,
}

impl Worker {
    /// Starts a thread for the collectors, each with its place in the list of chosen ones.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        collectors: Vec<(usize, Box<dyn Collector>)>,
    ) -> std::io::Result<Self> {
        let (requests, work) = bounded(1);
        let (done, answers) = bounded(1);
        let members = collectors.iter().map(|(at, _)| *at).collect();
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
        });
        let seen = shared.clone();
        std::thread::Builder::new()
            .name(format!("col:{name}"))
            .spawn(move || run(collectors, &work, &done, &seen))?;
        Ok(Self {
            members,
            only: None,
            requests,
            answers,
            shared,
            asked: None,
            is_answer_stale: false,
        })
    }

    /// Asks for samples of the members that are due, to be appended to `batch`, which is taken.
    /// While the last request is under way nothing is asked or taken; `false` says so.
    pub fn ask(&mut self, due: &Due, batch: &mut MetricBatch) -> bool {
        if self.asked.is_some() {
            return false;
        }
        self.shared.is_given_up.store(false, Ordering::SeqCst);
        let request = Request {
            due: due.clone(),
            only: self.only,
            batch: std::mem::take(batch),
        };
        let is_sent = self.requests.try_send(request).is_ok();
        if is_sent {
            self.asked = Some(Instant::now());
        }
        is_sent
    }

    /// Since when a request is under way.
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// The answer, once it is there.
    pub fn answer(&mut self, until: Instant) -> Option<Answer> {
        self.asked?;
        match self.answers.recv_deadline(until) {
            Ok(answer) => {
                self.asked = None;
                (!std::mem::take(&mut self.is_answer_stale)).then_some(answer)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Keeps only the collector that runs now; gives its place and those of the others, whose part
    /// of the request is dropped.
    pub fn give_up(&mut self) -> (usize, Vec<usize>) {
        self.is_answer_stale = true;
        self.shared.is_given_up.store(true, Ordering::SeqCst);
        let stuck = self.shared.running.load(Ordering::SeqCst);
        let others = self
            .members
            .iter()
            .copied()
            .filter(|at| *at != stuck)
            .collect();
        self.members = vec![stuck];
        self.only = Some(stuck);
        (stuck, others)
    }
}

/// Answers requests until the asking side is gone.
fn run(
    mut collectors: Vec<(usize, Box<dyn Collector>)>,
    work: &Receiver<Request>,
    done: &Sender<Answer>,
    shared: &Shared,
) {
    for Request {
        due,
        only,
        mut batch,
    } in work
    {
        let mut outcomes = Vec::with_capacity(collectors.len());
        for (at, collector) in &mut collectors {
            let is_member = only.is_none_or(|only| only == *at);
            if !is_member || !due.get(*at).copied().unwrap_or(false) {
                continue;
            }
            shared.running.store(*at, Ordering::SeqCst);
            if shared.is_given_up.load(Ordering::SeqCst) {
                break;
            }
            let start = Instant::now();
            // A collector that panics has met a file nobody thought of; the others go on.
            let result = catch_unwind(AssertUnwindSafe(|| collector.collect(&mut batch)));
            outcomes.push(Outcome {
                at: *at,
                duration: start.elapsed(),
                result: result.unwrap_or_else(|_| Err(anyhow::anyhow!("the collector panicked"))),
            });
        }
        if done.send(Answer { batch, outcomes }).is_err() {
            return;
        }
    }
}
