//! The batches that wait for one worker of an output: in order within a source, in turns between
//! sources, so that a noisy one delays no other.
//!
//! The queue has no bound of its own: every batch in it is paid for in the ledger.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_model::{RecordBatch, SourceId};
use tokio::sync::Notify;

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
    closed: bool,
}

impl State {
    /// Takes items in turns, at least one and otherwise at most `max_bytes`.
    fn take_group(&mut self, max_bytes: usize) -> Vec<Item> {
        let mut bytes = 0usize;
        let mut group: Vec<Item> = Vec::new();
        while let Some(source) = self.turns.front() {
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

    /// The next items, at least one and otherwise at most `max_bytes`; `None` at the end.
    pub(super) async fn next_group(&self, max_bytes: usize) -> Option<Vec<Item>> {
        loop {
            {
                let mut state = self.lock();
                let group = state.take_group(max_bytes);
                if !group.is_empty() {
                    return Some(group);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// What is queued now.
    pub(super) fn take_all(&self) -> Vec<Item> {
        self.lock().take_group(usize::MAX)
    }
}
