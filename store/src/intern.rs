//! One copy of each stream's labels, however many parts the stream is in.
//!
//! Only memory is saved by it; nothing depends on two label sets being the same copy.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use kansoku_model::Labels;

/// The label sets in use.
#[derive(Debug, Default)]
pub struct Interner {
    /// Held while one set is looked up, and while unused ones are swept out.
    known: Mutex<HashSet<Arc<Labels>>>,
}

const LOCK: &str = "no thread panics while it holds the labels";

impl Interner {
    /// The common copy of `labels`.
    pub fn get(&self, labels: Labels) -> Arc<Labels> {
        let mut known = self.known.lock().expect(LOCK);
        if let Some(found) = known.get(&labels) {
            return Arc::clone(found);
        }
        let labels = Arc::new(labels);
        known.insert(Arc::clone(&labels));
        labels
    }

    /// Drops the sets that nobody else holds.
    pub fn sweep(&self) {
        self.known
            .lock()
            .expect(LOCK)
            .retain(|l| Arc::strong_count(l) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_labels_are_one_copy_until_nobody_holds_them() {
        let interner = Interner::default();
        let labels = || Labels::from_pairs([("a", "1")]);
        let one = interner.get(labels());
        assert!(Arc::ptr_eq(&one, &interner.get(labels())));
        drop(one);
        interner.sweep();
        assert!(interner.known.lock().unwrap().is_empty());
    }
}
