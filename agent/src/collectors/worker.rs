//! A thread that runs collectors, so that whoever scrapes waits for none of them for ever.
//!
//! One worker runs all collectors of the fresh tier; each collector of the background tier has one
//! of its own. The rule: a worker gets one request at a time, and whoever asks waits no longer than
//! the deadline. What hangs then keeps its thread, and the others get a new one (see `node`).
//!
//! Requests and answers are handed over under a lock with condition variables: channels spin before
//! they sleep, which would cost as much as a collector.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    shared: Arc<Shared>,
    /// Set while a request is under way.
    asked: Option<Instant>,
    /// Whether the answer to come holds samples that others have given meanwhile.
    is_answer_stale: bool,
}

/// What both sides share.
struct Shared {
    /// Held for moments only, never while a collector runs.
    handover: Mutex<Handover>,
    /// Told when there is a request, or nobody asks any more.
    asked: Condvar,
    /// Told when there is an answer.
    answered: Condvar,
    /// The place of the collector that runs now.
    running: AtomicUsize,
    /// Told to leave out the collectors after the one that runs.
    is_given_up: AtomicBool,
}

#[derive(Default)]
struct Handover {
    request: Option<Request>,
    answer: Option<Answer>,
    /// The asking side is gone.
    is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Handover> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let members = collectors.iter().map(|(at, _)| *at).collect();
        let shared = Arc::new(Shared {
            handover: Mutex::default(),
            asked: Condvar::new(),
            answered: Condvar::new(),
            running: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
        });
        let seen = shared.clone();
        std::thread::Builder::new()
            .name(format!("col:{name}"))
            .spawn(move || run(collectors, &seen))?;
        Ok(Self {
            members,
            only: None,
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
        self.shared.lock().request = Some(Request {
            due: due.clone(),
            only: self.only,
            batch: std::mem::take(batch),
        });
        self.shared.asked.notify_one();
        self.asked = Some(Instant::now());
        true
    }

    /// Since when a request is under way.
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// Waits for the answer without taking it; whether nothing is under way any more.
    pub fn is_answered_by(&self, until: Instant) -> bool {
        if self.asked.is_none() {
            return true;
        }
        let mut handover = self.shared.lock();
        while handover.answer.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.answered.wait_timeout(handover, left);
            handover = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The answer, once it is there.
    pub fn answer(&mut self, until: Instant) -> Option<Answer> {
        self.asked?;
        let mut handover = self.shared.lock();
        let answer = loop {
            if let Some(answer) = handover.answer.take() {
                break answer;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.shared.answered.wait_timeout(handover, left);
            handover = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(handover);
        self.asked = None;
        (!std::mem::take(&mut self.is_answer_stale)).then_some(answer)
    }

    /// Keeps only the collector that runs now; gives its place and those of the others, whose part
    /// of the request is dropped.
    pub fn give_up(&mut self) -> (usize, Vec<usize>) {
        self.is_answer_stale = true;
        self.shared.is_given_up.store(true, Ordering::SeqCst);
        let stuck = self.shared.running.load(Ordering::SeqCst);
        let members = self.members.iter().copied();
        let others = members.filter(|at| *at != stuck).collect();
        self.members = vec![stuck];
        self.only = Some(stuck);
        (stuck, others)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.asked.notify_one();
    }
}

/// Answers requests until the asking side is gone.
fn run(mut collectors: Vec<(usize, Box<dyn Collector>)>, shared: &Shared) {
    while let Some(request) = next(shared) {
        let answer = answer(&mut collectors, request, shared);
        shared.lock().answer = Some(answer);
        shared.answered.notify_one();
    }
}

fn next(shared: &Shared) -> Option<Request> {
    let mut handover = shared.lock();
    loop {
        if handover.is_closed {
            return None;
        }
        if let Some(request) = handover.request.take() {
            return Some(request);
        }
        let waited = shared.asked.wait(handover);
        handover = waited.unwrap_or_else(PoisonError::into_inner);
    }
}

fn answer(
    collectors: &mut [(usize, Box<dyn Collector>)],
    request: Request,
    shared: &Shared,
) -> Answer {
    let Request {
        due,
        only,
        mut batch,
    } = request;
    let mut outcomes = Vec::with_capacity(collectors.len());
    for (at, collector) in collectors {
        let is_member = only.is_none_or(|only| only == *at);
        if !is_member || !due.get(*at).copied().unwrap_or(false) {
            continue;
        }
        shared.running.store(*at, Ordering::SeqCst);
        if shared.is_given_up.load(Ordering::SeqCst) {
            break;
        }
        outcomes.push(collect(*at, &mut **collector, &mut batch));
    }
    Answer { batch, outcomes }
}

/// Runs one collector, here and now.
pub(super) fn collect(
    at: usize,
    collector: &mut dyn Collector,
    batch: &mut MetricBatch,
) -> Outcome {
    let start = Instant::now();
    // A collector that panics has met a file nobody thought of; the others go on.
    let result = catch_unwind(AssertUnwindSafe(|| collector.collect(batch)));
    Outcome {
        at,
        duration: start.elapsed(),
        result: result.unwrap_or_else(|_| Err(anyhow::anyhow!("the collector panicked"))),
    }
}
