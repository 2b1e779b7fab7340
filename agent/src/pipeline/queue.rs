//! The batches that wait for one worker of an output: in order within a source, in turns between
//! sources, so that a noisy one delays no other.
//!
//! The queue has no bound of its own: every batch in it is paid for in the ledger.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{RecordBatch, Source, SourceId};
use tokio::sync::Notify;

use super::intents::Members;
use super::ticket::Ticket;

/// A batch for one output.
pub(super) struct Item {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) ticket: Ticket,
}

#[derive(Default)]
pub(super) struct Queue {
    /// Taken for a few instructions by inputs and by the worker.
    state: Mutex<State>,
    /// Wakes the worker; it is the only one who waits.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Never empty ones.
    sources: HashMap<SourceId, VecDeque<Item>>,
    /// The sources in the order of their turns, each once.
    turns: VecDeque<SourceId>,
    /// Requests of an earlier life, to be made again from the same batches.
    expected: Vec<Members>,
    /// When they are waited for no longer.
    patience: Option<Instant>,
    closed: bool,
}

/// How the batches of an expected request stand.
enum Expected {
    Complete,
    /// Some are still to come.
    Waiting,
    /// They have been cut otherwise and will never come.
    Impossible,
}

impl State {
    fn look_for(&self, members: &Members) -> Expected {
        let mut seen: HashMap<SourceId, usize> = HashMap::new();
        let mut complete = true;
        for member in members {
            let at = seen.entry(member.id).or_default();
            let item = self
                .sources
                .get(&member.id)
                .and_then(|items| items.get(*at));
            *at += 1;
            match item.map(|i| *i.batch.source()) {
                Some(source) if source == *member => {}
                // Something before it, which goes first.
                Some(source) if source.to <= member.from => complete = false,
                Some(_) => return Expected::Impossible,
                None => complete = false,
            }
        }
        if complete {
            Expected::Complete
        } else {
            Expected::Waiting
        }
    }

    fn take_member(&mut self, source: SourceId) -> Option<Item> {
        let items = self.sources.get_mut(&source)?;
        let item = items.pop_front();
        if items.is_empty() {
            self.sources.remove(&source);
            self.turns.retain(|s| *s != source);
        }
        item
    }

    /// The batches of an expected request that are all there; requests that cannot be made again are
    /// given up.
    fn take_expected(&mut self, let_go: &mut usize) -> Option<Vec<Item>> {
        let is_over = self.closed || self.patience.is_some_and(|at| Instant::now() >= at);
        let mut number = 0;
        while let Some(members) = self.expected.get(number) {
            match self.look_for(members) {
                Expected::Complete => {
                    let members = self.expected.remove(number);
                    let take = |m: &Source| self.take_member(m.id);
                    return Some(members.iter().filter_map(take).collect());
                }
                Expected::Waiting if !is_over => number += 1,
                Expected::Waiting | Expected::Impossible => {
                    self.expected.remove(number);
                    *let_go += 1;
                }
            }
        }
        None
    }

    /// Whether the next batch of a source belongs to a request that is waited for.
    fn is_held(&self, source: SourceId) -> bool {
        let mut members = self.expected.iter().flatten();
        let Some(member) = members.find(|m| m.id == source) else {
            return false;
        };
        let next = self.sources.get(&source).and_then(VecDeque::front);
        next.is_some_and(|i| i.batch.source().to > member.from)
    }

    /// Takes items in turns, at least one and otherwise at most `max_bytes`.
    fn take_group(&mut self, max_bytes: usize) -> Vec<Item> {
        let mut bytes = 0usize;
        let mut group: Vec<Item> = Vec::new();
        let mut held = Vec::new();
        while let Some(source) = self.turns.front() {
            if !self.expected.is_empty() && self.is_held(*source) {
                held.extend(self.turns.pop_front());
                continue;
            }
            let Some(items) = self.sources.get_mut(source) else {
                self.turns.pop_front();
                continue;
            };
            let next = items.front().map_or(0, |i| i.batch.size_bytes());
            bytes = bytes.saturating_add(next);
            if !group.is_empty() && bytes > max_bytes {
                break;
            }
            group.extend(items.pop_front());
            let is_empty = items.is_empty();
            if let Some(source) = self.turns.pop_front() {
                if is_empty {
                    self.sources.remove(&source);
                } else {
                    self.turns.push_back(source);
                }
            }
        }
        self.turns.extend(held);
        group
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, item: Item) {
        let mut state = self.lock();
        let source = item.batch.source().id;
        let items = state.sources.entry(source).or_default();
        items.push_back(item);
        if items.len() == 1 {
            state.turns.push_back(source);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// No more items will come; the worker ends when it has sent what is there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Makes these requests again before anything else of their sources is sent.
    pub(super) fn expect(&self, requests: Vec<Members>, patience: Duration) {
        let mut state = self.lock();
        state.patience = (!requests.is_empty()).then(|| Instant::now() + patience);
        state.expected = requests;
    }

    /// The next items, at least one and otherwise at most `max_bytes`; `None` at the end. `let_go`
    /// is told how many expected requests could not be made again.
    pub(super) async fn next_group(
        &self,
        max_bytes: usize,
        let_go: impl Fn(usize),
    ) -> Option<Vec<Item>> {
        loop {
            let patience = {
                let mut state = self.lock();
                let mut n_let_go = 0;
                let expected = state.take_expected(&mut n_let_go);
                if n_let_go > 0 {
                    let_go(n_let_go);
                }
                if expected.is_some() {
                    return expected;
                }
                let group = state.take_group(max_bytes);
                if !group.is_empty() {
                    return Some(group);
                }
                if state.closed {
                    return None;
                }
                state.patience.filter(|_| !state.expected.is_empty())
            };
            match patience {
                None => self.changed.notified().await,
                Some(at) => {
                    // Either way it is looked again.
                    let _ = tokio::time::timeout_at(at.into(), self.changed.notified()).await;
                }
            }
        }
    }

    /// What is queued now.
    pub(super) fn take_all(&self) -> Vec<Item> {
        self.lock().take_group(usize::MAX)
    }
}
