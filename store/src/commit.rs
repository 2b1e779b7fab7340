//! Group commit: callers that come while a sync is running share the next one.
//!
//! It knows neither WAL nor head. One caller leads: it takes all waiting requests, commits them in
//! the order in which they came, and lets the next leader start as soon as the log is free. Nobody
//! waits for a timer. The rule: every request is answered exactly once, even if a leader panics.

use std::sync::{Arc, Condvar, Mutex};

use kansoku_model::RecordBatch;

use crate::records;
use crate::references::{Samples, SeriesTable};
use crate::{Appended, StoreError};

type Answer = Result<Appended, StoreError>;

/// Data on its way into the log.
#[derive(Debug)]
pub struct Request {
    /// WAL entries.
    pub entries: Vec<u8>,
    /// The same, decoded.
    pub batches: Vec<RecordBatch>,
    /// WAL entries of `samples`, behind the others.
    pub sample_entries: Vec<u8>,
    pub samples: Vec<Samples>,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl Request {
    pub fn new(entries: Vec<u8>, batches: Vec<RecordBatch>) -> Self {
        Self {
            entries,
            batches,
            sample_entries: Vec::new(),
            samples: Vec::new(),
            answer: Arc::default(),
        }
    }

    /// The same with samples by reference.
    pub fn with_samples(mut self, samples: Vec<Samples>) -> Self {
        let out = &mut self.sample_entries;
        samples.iter().for_each(|s| records::put_samples(out, s));
        self.samples = samples;
        self
    }

    /// Makes the references those of `table`, which may have become the current one only after the
    /// samples were collected.
    pub fn move_to(&mut self, table: &Arc<SeriesTable>) {
        if self.samples.iter().all(|s| Arc::ptr_eq(&s.table, table)) {
            return;
        }
        self.sample_entries.clear();
        for samples in &mut self.samples {
            if !Arc::ptr_eq(&samples.table, table) {
                samples.move_to(table);
            }
            records::put_samples(&mut self.sample_entries, samples);
        }
    }

    /// The oldest of the times of its samples, those of duplicates included.
    pub fn first_sample_ms(&self) -> Option<i64> {
        let of_batches = self.batches.iter().filter_map(|batch| match batch {
            RecordBatch::Metrics(metrics) => metrics
                .samples()
                .map(|(point, _)| metrics.time_of(point))
                .min(),
            RecordBatch::Logs(_) => None,
        });
        let by_reference = self.samples.iter();
        let by_reference = by_reference.filter_map(|samples| samples.times.iter().copied().min());
        of_batches.chain(by_reference).min()
    }

    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().expect(LOCK) = Some(answer);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut answer = self.answer.lock().expect(LOCK);
        answer.get_or_insert_with(|| Err(StoreError::Poisoned("a writer panicked".into())));
    }
}

const LOCK: &str = "nothing panics while it holds an answer or the queue";

#[derive(Debug, Default)]
struct Waiting {
    requests: Vec<Request>,
    /// Somebody is writing to the log.
    is_led: bool,
}

/// The callers that wait to be committed.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// The log became free, or requests were answered.
    changed: Condvar,
}

/// The right to write to the log; dropping it lets the next leader start.
#[derive(Debug)]
pub struct Lead<'a>(&'a Queue);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().expect(LOCK).is_led = false;
        self.0.changed.notify_all();
    }
}

impl Queue {
    /// Waits until the request is answered; `commit` is called when it is this caller's turn to
    /// commit for all.
    pub fn submit(&self, request: Request, commit: impl Fn(Vec<Request>, Lead<'_>)) -> Answer {
        let answer = Arc::clone(&request.answer);
        let mut waiting = self.waiting.lock().expect(LOCK);
        waiting.requests.push(request);
        loop {
            if let Some(answer) = answer.lock().expect(LOCK).take() {
                return answer;
            }
            if waiting.is_led || waiting.requests.is_empty() {
                waiting = self.changed.wait(waiting).expect(LOCK);
                continue;
            }
            waiting.is_led = true;
            let group = std::mem::take(&mut waiting.requests);
            drop(waiting);
            commit(group, Lead(self));
            waiting = self.waiting.lock().expect(LOCK);
            // Answered requests of others: their callers sleep.
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn all_are_answered_in_order_and_groups_never_overlap() {
        let queue = Queue::default();
        let (log, groups) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8u8 {
                let (queue, log, groups) = (&queue, &log, &groups);
                scope.spawn(move || {
                    for n in 0..200u8 {
                        let request = Request::new(vec![thread, n], Vec::new());
                        let answer = queue.submit(request, |group, lead| {
                            let mut log = log.try_lock().expect("one leader at a time");
                            groups.fetch_add(1, Ordering::Relaxed);
                            group.iter().for_each(|r| log.push(r.entries.clone()));
                            drop(log);
                            drop(lead);
                            for r in &group {
                                let accepted = u64::from(r.entries[1]);
                                r.answer(Ok(Appended {
                                    accepted,
                                    duplicates: 0,
                                    ..Appended::default()
                                }));
                            }
                        });
                        assert_eq!(answer.unwrap().accepted, u64::from(n));
                    }
                });
            }
        });
        let log = log.into_inner().unwrap();
        assert_eq!(log.len(), 1600);
        for thread in 0..8 {
            let own: Vec<u8> = log
                .iter()
                .filter(|e| e[0] == thread)
                .map(|e| e[1])
                .collect();
            assert_eq!(own, (0..200).collect::<Vec<u8>>());
        }
        assert!(groups.into_inner() <= 1600);
    }

    #[test]
    fn a_request_that_is_lost_is_answered_with_an_error() {
        let queue = Queue::default();
        let answer = queue.submit(Request::new(vec![1], Vec::new()), |group, _lead| {
            drop(group);
        });
        assert!(matches!(answer, Err(StoreError::Poisoned(_))));
        let answer = queue.submit(Request::new(vec![1], Vec::new()), |group, _lead| {
            group.iter().for_each(|r| r.answer(Ok(Appended::default())));
        });
        assert!(answer.is_ok(), "the next one can lead");
    }
}
