//! Decompressed sections of parts that several blocks or queries share, within a bound of bytes.
//!
//! Parts are immutable, so nothing here ever becomes stale; a section of a dropped part is never
//! asked for again and falls out by age.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Part number and offset in its file.
type Key = (u64, u64);

#[derive(Debug, Default)]
struct Inner {
    sections: HashMap<Key, (Arc<Vec<u8>>, u64)>,
    bytes: usize,
    /// Counts uses; tells old sections from young ones.
    tick: u64,
}

/// The cache of one store.
#[derive(Debug)]
pub struct Cache {
    limit_bytes: usize,
    /// Held only while a section is looked up or put in, never while one is read.
    inner: Mutex<Inner>,
}

const LOCK: &str = "no thread panics while it holds the cache";

impl Cache {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            inner: Mutex::default(),
        }
    }

    pub fn get(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        let mut inner = self.inner.lock().expect(LOCK);
        inner.tick += 1;
        let tick = inner.tick;
        let (section, used) = inner.sections.get_mut(&key)?;
        *used = tick;
        Some(Arc::clone(section))
    }

    /// Puts a section in, unless it alone would take much of the cache.
    pub fn put(&self, key: Key, section: &Arc<Vec<u8>>) {
        if section.len() > self.limit_bytes / 8 {
            return;
        }
        let mut inner = self.inner.lock().expect(LOCK);
        inner.tick += 1;
        let tick = inner.tick;
        if inner
            .sections
            .insert(key, (Arc::clone(section), tick))
            .is_none()
        {
            inner.bytes += section.len();
        }
        if inner.bytes > self.limit_bytes {
            inner.drop_older_half();
        }
    }

    pub fn bytes(&self) -> usize {
        self.inner.lock().expect(LOCK).bytes
    }
}

impl Inner {
    /// Half at once, so that finding the oldest is paid for once in many insertions.
    fn drop_older_half(&mut self) {
        let mut ticks: Vec<u64> = self.sections.values().map(|(_, used)| *used).collect();
        let middle = ticks.len() / 2;
        let (_, &mut limit, _) = ticks.select_nth_unstable(middle);
        self.sections.retain(|_, (_, used)| *used >= limit);
        self.bytes = self.sections.values().map(|(s, _)| s.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_within_its_bound_and_forgets_the_oldest() {
        let cache = Cache::new(1000);
        for i in 0..100 {
            cache.put((1, i), &Arc::new(vec![0; 100]));
            assert!(cache.bytes() <= 1000);
            assert!(cache.get((1, 0)).is_some(), "used all the time");
        }
        assert!(cache.get((1, 99)).is_some());
        assert!(cache.get((1, 50)).is_none());
        cache.put((2, 0), &Arc::new(vec![0; 500]));
        assert!(cache.get((2, 0)).is_none(), "too large for the cache");
    }
}
