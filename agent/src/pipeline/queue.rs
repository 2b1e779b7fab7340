//! The batches that wait for one worker of an output, in order.
//!
//! The queue has no bound of its own: every batch in it is paid for by its input's byte budget.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kansoku_model::RecordBatch;
use tokio::sync::Notify;

use super::delivery::Delivery;

/// A batch for one output.
pub(super) struct Item {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) delivery: Arc<Delivery>,
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
    items: VecDeque<Item>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, item: Item) {
        self.lock().items.push_back(item);
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
                let group = take_group(&mut state.items, max_bytes);
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

    /// What is queued now, for inputs under test.
    pub(super) fn take_all(&self) -> Vec<Item> {
        take_group(&mut self.lock().items, usize::MAX)
    }
}

fn take_group(items: &mut VecDeque<Item>, max_bytes: usize) -> Vec<Item> {
    let mut bytes = 0usize;
    let mut n = 0;
    for item in items.iter() {
        bytes = bytes.saturating_add(item.batch.size_bytes());
        if n > 0 && bytes > max_bytes {
            break;
        }
        n += 1;
    }
    items.drain(..n).collect()
}
