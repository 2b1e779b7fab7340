//! One worker of an output: sends the batches of its queue in order, one request at a time, until
//! each is delivered or known to be undeliverable.
//!
//! With one request in flight per worker, and each source bound to one worker, the order within a
//! source is kept across retries.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{LogBatch, RecordBatch, Source};
use kansoku_outputs::{Outcome, Output, Request, RetryPolicy, request_id};

use super::delivery::Delivery;
use super::queue::{Item, Queue};
use super::{DeadLetters, OutputCounters};
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
}

/// A batch or a piece of one. The pieces share the delivery; the last to settle finishes it.
struct Part {
    batch: Arc<RecordBatch>,
    share: Arc<Share>,
}

struct Share(Arc<Delivery>);

fn settle(part: Part) {
    drop(part.batch);
    if let Some(share) = Arc::into_inner(part.share) {
        share.0.finish();
    }
}

/// What is certain about a request.
enum Verdict {
    Delivered,
    TooLarge,
    Rejected(String),
    GaveUp(String),
}

impl Sender {
    pub(super) async fn run(self) {
        let max_bytes = self.output.max_request_bytes();
        while let Some(items) = self.queue.next_group(max_bytes).await {
            let parts = items.into_iter().map(|Item { batch, delivery }| Part {
                batch,
                share: Arc::new(Share(delivery)),
            });
            self.deliver(parts.collect()).await;
        }
    }

    async fn deliver(&self, parts: Vec<Part>) {
        // A stack, so that what a request is cut into goes out in its order, before what follows.
        let mut requests = vec![parts];
        while let Some(mut parts) = requests.pop() {
            let batches: Vec<Arc<RecordBatch>> = parts.iter().map(|p| p.batch.clone()).collect();
            let verdict = self.verdict(&batches).await;
            drop(batches);
            match verdict {
                Verdict::Delivered => {
                    for part in parts {
                        self.counters
                            .proc_records
                            .add(part.batch.n_records() as u64);
                        self.counters.proc_bytes.add(part.batch.size_bytes() as u64);
                        settle(part);
                    }
                }
                Verdict::TooLarge if parts.len() > 1 => {
                    let second = parts.split_off(parts.len() / 2);
                    requests.push(second);
                    requests.push(parts);
                }
                Verdict::TooLarge => {
                    for part in parts {
                        match halves(&part.batch) {
                            Some((first, second)) => {
                                for half in [second, first] {
                                    requests.push(vec![Part {
                                        batch: Arc::new(half),
                                        share: part.share.clone(),
                                    }]);
                                }
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

    /// Sends until the outcome is final.
    async fn verdict(&self, batches: &[Arc<RecordBatch>]) -> Verdict {
        let id = request_id(batches);
        let mut attempt = 0;
        loop {
            let sent = tokio::time::timeout(
                SEND_DEADLINE,
                self.output.send(Request { batches, id: &id }),
            )
            .await;
            let outcome = sent.unwrap_or_else(|_| Outcome::Retry {
                reason: format!("no answer within {} s", SEND_DEADLINE.as_secs()),
                after: None,
            });
            let (reason, after) = match outcome {
                Outcome::Delivered => {
                    if attempt > 0 {
                        log::info(
                            &self.component(),
                            format_args!("delivers again after {attempt} retries"),
                        );
                    }
                    return Verdict::Delivered;
                }
                Outcome::TooLarge => return Verdict::TooLarge,
                Outcome::Rejected { reason } => {
                    self.counters.errors.add(1);
                    return Verdict::Rejected(reason);
                }
                Outcome::Retry { reason, after } | Outcome::Partial { reason, after, .. } => {
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
            let wait = wait.max(after.unwrap_or_default().min(self.retry.cap));
            let n_records: usize = batches.iter().map(|b| b.n_records()).sum();
            self.counters.retries.add(1);
            self.counters.retried_records.add(n_records as u64);
            log::warn(
                &self.component(),
                format_args!("{reason}; retry {attempt} in {:.1} s", wait.as_secs_f64()),
            );
            tokio::time::sleep(wait).await;
        }
    }

    fn bury(&self, part: Part, reason: &str) {
        let n_records = part.batch.n_records() as u64;
        self.counters.dropped_records.add(n_records);
        let fate = match self.dead_letters.keep(&part.batch, reason) {
            Ok(true) => {
                self.counters.dead_letter_records.add(n_records);
                "kept as dead letters".to_owned()
            }
            Ok(false) => "dropped, as storage.path is not set".to_owned(),
            Err(error) => format!("dropped, as dead letters cannot be written: {error:#}"),
        };
        log::error(
            &self.component(),
            format_args!(
                "{n_records} records of {} undeliverable: {reason}; {fate}",
                part.batch.tag()
            ),
        );
        settle(part);
    }

    fn component(&self) -> String {
        format!("output:{}", self.name)
    }
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
