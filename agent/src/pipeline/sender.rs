//! One worker of an output: sends the batches of its queue in order, one request at a time, until
//! each is delivered or known to be undeliverable.
//!
//! With one request in flight per worker, and each source bound to one worker, the order within a
//! source is kept across retries.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{LogBatch, RecordBatch, Source};
use kansoku_outputs::{Outcome, Output, RecordRef, Request, RetryPolicy, request_id};

use super::intents::Intents;
use super::queue::{Item, Queue};
use super::ticket::Ticket;
use super::{DeadLetters, OutputCounters, RouteCounters};
use crate::log;

/// No request may take longer; a destination that hangs counts as one that failed.
const SEND_DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Sender {
    pub(super) name: String,
    pub(super) output: Arc<dyn Output>,
    pub(super) retry: RetryPolicy,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<OutputCounters>,
    pub(super) dead_letters: Arc<DeadLetters>,
    /// Not for destinations that drop repeats by themselves.
    pub(super) intents: Option<Arc<Intents>>,
}

/// No destination makes us wait longer, whatever its Retry-After says.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// A batch or a piece of one. The pieces share the ticket; the last to settle finishes it.
struct Part {
    batch: Arc<RecordBatch>,
    share: Arc<Ticket>,
    /// Some of the batch's records are settled and left out: names those that are not. 0 = none is.
    reduced: u64,
}

impl Part {
    fn new(batch: RecordBatch, of: &Self, reduced: u64) -> Self {
        Self {
            batch: Arc::new(batch),
            share: of.share.clone(),
            reduced,
        }
    }
}

fn settle(part: Part) {
    drop(part.batch);
    if let Some(ticket) = Arc::into_inner(part.share) {
        ticket.finish();
    }
}

/// Counts a request as under way, also when it is given up in the middle.
struct Busy<'a>(&'a OutputCounters);

impl<'a> Busy<'a> {
    fn new(counters: &'a OutputCounters) -> Self {
        counters.busy.add(1);
        Self(counters)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.subtract(1);
    }
}

/// Notes a request that is not settled with the inputs of its records, for their `rate_gate`.
struct Pressure {
    routes: Vec<Arc<RouteCounters>>,
    n: u64,
}

impl Pressure {
    fn new(parts: &[Part]) -> Self {
        let mut routes: Vec<Arc<RouteCounters>> = Vec::new();
        for route in parts.iter().filter_map(|p| p.share.route()) {
            if !routes.iter().any(|known| Arc::ptr_eq(known, route)) {
                routes.push(route.clone());
            }
        }
        let mut pressure = Self { routes, n: 0 };
        pressure.grow();
        pressure
    }

    fn grow(&mut self) {
        self.n += 1;
        self.routes.iter().for_each(|route| route.pressure.add(1));
    }
}

impl Drop for Pressure {
    fn drop(&mut self) {
        let n = self.n;
        self.routes.iter().for_each(|r| r.pressure.subtract(n));
    }
}

/// What is certain about a request.
enum Verdict {
    /// But for so many records, which the destination refused without saying which.
    Delivered(u64),
    /// All of them were refused in that way; they must not be sent again.
    Refused(String),
    TooLarge,
    Rejected(String),
    GaveUp(String),
}

impl Sender {
    pub(super) async fn run(self) {
        let let_go = |n: usize| {
            log::warn(
                &self.component(),
                format_args!(
                    "{n} requests of before the restart cannot be made again as they were; their records are sent under new ids"
                ),
            );
        };
        // What is best for the output may change with what it has seen.
        while let Some(items) = (self.queue)
            .next_group(self.output.max_request_bytes(), let_go)
            .await
        {
            let parts = items.into_iter().map(|Item { batch, ticket }| Part {
                batch,
                share: Arc::new(ticket),
                reduced: 0,
            });
            self.deliver(parts.collect()).await;
        }
    }

    async fn deliver(&self, parts: Vec<Part>) {
        // A stack, so that what a request is cut into goes out in its order, before what follows.
        let mut requests = vec![parts];
        while let Some(mut parts) = requests.pop() {
            if let Some(intents) = &self.intents {
                intents.intend(parts.iter().map(|p| (*p.batch.source(), p.share.root)));
            }
            let verdict = self.verdict(&mut parts).await;
            if let (Some(intents), Verdict::Delivered(_)) = (&self.intents, &verdict) {
                intents.done(parts.iter().map(|p| *p.batch.source()));
            }
            match verdict {
                Verdict::Delivered(mut n_refused) => {
                    for part in parts {
                        let of_part = n_refused.min(part.batch.n_records() as u64);
                        n_refused -= of_part;
                        self.delivered(part, of_part);
                    }
                }
                Verdict::Refused(reason) => parts.into_iter().for_each(|p| self.bury(p, &reason)),
                Verdict::TooLarge if parts.len() > 1 => {
                    let second = parts.split_off(parts.len() / 2);
                    requests.push(second);
                    requests.push(parts);
                }
                Verdict::TooLarge => {
                    for part in parts {
                        match halves(&part.batch) {
                            Some((first, second)) => {
                                let reduced = part.reduced;
                                requests.push(vec![Part::new(second, &part, reduced)]);
                                requests.push(vec![Part::new(first, &part, reduced)]);
                            }
                            None => self.bury(part, "a single record is too large"),
                        }
                    }
                }
                // One bad batch must not take its neighbours with it.
                Verdict::Rejected(_) if parts.len() > 1 => {
                    requests.extend(parts.into_iter().rev().map(|part| vec![part]));
                }
                Verdict::Rejected(reason) => parts.into_iter().for_each(|p| self.bury(p, &reason)),
                Verdict::GaveUp(reason) => {
                    self.counters.retries_failed.add(1);
                    parts.into_iter().for_each(|p| self.bury(p, &reason));
                }
            }
        }
    }

    fn delivered(&self, part: Part, n_refused: u64) {
        let n_records = part.batch.n_records() as u64;
        self.counters.proc_records.add(n_records - n_refused);
        self.counters.dropped_records.add(n_refused);
        self.counters.proc_bytes.add(part.batch.size_bytes() as u64);
        settle(part);
    }

    /// Sends until the outcome is final. What the destination settles record by record meanwhile
    /// leaves `parts`.
    async fn verdict(&self, parts: &mut Vec<Part>) -> Verdict {
        let mut attempt = 0;
        let mut pressure = Pressure::new(parts);
        loop {
            let (reason, after) = match self.send(parts).await {
                Outcome::Delivered => {
                    if attempt > 0 {
                        log::info(
                            &self.component(),
                            format_args!("delivers again after {attempt} retries"),
                        );
                    }
                    return Verdict::Delivered(0);
                }
                Outcome::SomeRejected { n_records, reason } => {
                    return self.some_rejected(parts, n_records, reason);
                }
                Outcome::TooLarge => return Verdict::TooLarge,
                Outcome::Rejected { reason } => {
                    self.counters.errors.add(1);
                    return Verdict::Rejected(reason);
                }
                Outcome::Retry { reason, after } => (reason, after),
                Outcome::Partial {
                    retry,
                    rejected,
                    reason,
                    after,
                } => {
                    if !rejected.is_empty() {
                        self.counters.errors.add(1);
                    }
                    self.reduce(parts, &retry, &rejected);
                    if parts.is_empty() {
                        return Verdict::Delivered(0);
                    }
                    (reason, after)
                }
            };
            attempt += 1;
            let Some(wait) = self
                .retry
                .wait(attempt, RandomState::new().hash_one(attempt))
            else {
                self.counters.errors.add(1);
                return Verdict::GaveUp(format!("{reason} (after {} retries)", attempt - 1));
            };
            let wait = wait.max(after.unwrap_or_default().min(MAX_RETRY_AFTER));
            let n_records: usize = parts.iter().map(|p| p.batch.n_records()).sum();
            self.counters.retries.add(1);
            self.counters.retried_records.add(n_records as u64);
            log::warn(
                &self.component(),
                format_args!("{reason}; retry {attempt} in {:.1} s", wait.as_secs_f64()),
            );
            pressure.grow();
            tokio::time::sleep(wait).await;
        }
    }

    /// The destination has spoken its last word, but does not say of which records.
    fn some_rejected(&self, parts: &[Part], n_refused: u64, reason: String) -> Verdict {
        let n_records: usize = parts.iter().map(|p| p.batch.n_records()).sum();
        if n_refused == 0 {
            let message = format_args!("delivered, but the destination says: {reason}");
            log::warn(&self.component(), message);
            return Verdict::Delivered(0);
        }
        self.counters.errors.add(1);
        if n_refused >= n_records as u64 {
            return Verdict::Refused(reason);
        }
        log::error(
            &self.component(),
            format_args!(
                "{n_refused} of {n_records} records refused: {reason}; the destination does not say which, so they are dropped"
            ),
        );
        Verdict::Delivered(n_refused)
    }

    async fn send(&self, parts: &[Part]) -> Outcome {
        let batches: Vec<Arc<RecordBatch>> = parts.iter().map(|p| p.batch.clone()).collect();
        let mut id = request_id(&batches);
        let reduced = (parts.iter()).fold(0u64, |all, p| all.rotate_left(7) ^ p.reduced);
        if reduced != 0 {
            // Fewer records than the batches' ranges say: another request.
            let _ = write!(id, "~{reduced:x}");
        }
        let request = Request {
            batches: &batches,
            id: &id,
        };
        let busy = Busy::new(&self.counters);
        let sent = tokio::time::timeout(SEND_DEADLINE, self.output.send(request)).await;
        drop(busy);
        sent.unwrap_or_else(|_| Outcome::Retry {
            reason: format!("no answer within {} s", SEND_DEADLINE.as_secs()),
            after: None,
        })
    }

    /// Settles what the destination has taken or refused record by record; `parts` keep what has to
    /// be sent again.
    fn reduce(&self, parts: &mut Vec<Part>, retry: &[RecordRef], rejected: &[(RecordRef, String)]) {
        let rows_of = |n: usize| {
            let of_batch = retry.iter().filter(|r| r.batch as usize == n);
            of_batch.map(|r| r.row as usize).collect::<BTreeSet<_>>()
        };
        for (n, part) in std::mem::take(parts).into_iter().enumerate() {
            let again = rows_of(n);
            let mut refused: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
            for (record, reason) in rejected.iter().filter(|(r, _)| r.batch as usize == n) {
                let rows = refused.entry(reason).or_default();
                rows.insert(record.row as usize);
            }
            let mut n_refused = 0;
            for (reason, rows) in refused {
                n_refused += rows.len();
                self.keep_rejected(&only(&part.batch, &rows), reason);
            }
            let n_records = part.batch.n_records();
            if again.len() == n_records {
                parts.push(part);
                continue;
            }
            let n_delivered = n_records - (again.len() + n_refused).min(n_records);
            self.counters.proc_records.add(n_delivered as u64);
            if again.is_empty() {
                if let Some(intents) = &self.intents {
                    intents.done(std::iter::once(*part.batch.source()));
                }
                settle(part);
            } else {
                let name = again.iter().fold(part.reduced | 1, |h, &row| {
                    (h ^ row as u64).wrapping_mul(FNV)
                });
                parts.push(Part::new(only(&part.batch, &again), &part, name));
            }
        }
    }

    fn bury(&self, part: Part, reason: &str) {
        self.keep_rejected(&part.batch, reason);
        if let Some(intents) = &self.intents {
            intents.done(std::iter::once(*part.batch.source()));
        }
        settle(part);
    }

    fn keep_rejected(&self, batch: &RecordBatch, reason: &str) {
        let n_records = batch.n_records() as u64;
        self.counters.dropped_records.add(n_records);
        let fate = match self.dead_letters.keep(batch, reason) {
            Ok(true) => {
                self.counters.dead_letter_records.add(n_records);
                "kept as dead letters".to_owned()
            }
            Ok(false) => "dropped, as there is no place for dead letters (storage.path)".to_owned(),
            Err(error) => format!("dropped, as dead letters cannot be written: {error:#}"),
        };
        log::error(
            &self.component(),
            format_args!(
                "{n_records} records of {} undeliverable: {reason}; {fate}",
                batch.tag()
            ),
        );
    }

    fn component(&self) -> String {
        format!("output:{}", self.name)
    }
}

/// Mixes the numbers of records into a name.
const FNV: u64 = 0x0100_0000_01b3;

/// The batch with these rows only.
fn only(batch: &RecordBatch, rows: &BTreeSet<usize>) -> RecordBatch {
    // Cloned because others may still hold the whole; this happens only after a partial answer.
    let mut some = batch.clone();
    match &mut some {
        RecordBatch::Logs(logs) => logs.retain(|row| rows.contains(&row)),
        RecordBatch::Metrics(metrics) => metrics.retain(|row| rows.contains(&row)),
    }
    some
}

/// The batch as two that cover the same range; `None` when it cannot be divided.
fn halves(batch: &RecordBatch) -> Option<(RecordBatch, RecordBatch)> {
    let RecordBatch::Logs(logs) = batch else {
        return None;
    };
    if logs.len() < 2 {
        return None;
    }
    let middle = logs.len() / 2;
    let cut = logs.positions()[middle - 1];
    // Cloned because others may still hold the whole; this happens only after a 413.
    let half = |keep_first: bool, source: Source| {
        let mut half: LogBatch = logs.clone();
        half.retain(|row| (row < middle) == keep_first);
        half.source = source;
        RecordBatch::Logs(half)
    };
    let (first, second) = (
        Source {
            to: cut,
            ..logs.source
        },
        Source {
            from: cut,
            ..logs.source
        },
    );
    Some((half(true, first), half(false, second)))
}
