//! The PromQL queries under way, in a file: which ones ran when the program was killed is told at the next start,
//! for one of them may have been the reason.
//!
//! ```text
//! so many slots of 1024 bytes as queries may run at a time; each: zeros, or one line of JSON filled up with spaces
//! ```
//! The rule: no query fails or waits because this file cannot be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kansoku_model::json::write_str;

/// The name of the file, as Prometheus calls it.
pub const FILE: &str = "queries.active";
const SLOT_BYTES: usize = 1024;
/// Of a longer query the beginning is kept.
const QUERY_MAX_BYTES: usize = 480;

/// The file and its free slots.
#[derive(Debug)]
pub struct ActiveQueries {
    file: File,
    /// Held while a slot is taken or given back.
    free: Mutex<Vec<u32>>,
}

/// A query under way; its slot becomes free when this is dropped.
#[derive(Debug)]
pub struct Active<'a> {
    queries: &'a ActiveQueries,
    slot: u32,
}

impl ActiveQueries {
    /// Makes the file anew in `folder` and returns what an earlier run left in it: a line of JSON for each query.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(folder: &Path, n_slots: u32) -> io::Result<(Self, Vec<String>)> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(folder.join(FILE))?;
        let mut bytes = Vec::new();
        // Whatever lies there: no more than the largest number of slots is of this program.
        let longest = (SLOT_BYTES * 1024) as u64;
        Read::by_ref(&mut file)
            .take(longest)
            .read_to_end(&mut bytes)?;
        let left = bytes.chunks(SLOT_BYTES).filter(|slot| slot[0] == b'{');
        let left = left.map(|slot| String::from_utf8_lossy(slot).trim_end().to_owned());
        let left = left.collect();
        file.set_len(0)?;
        file.set_len(u64::from(n_slots) * SLOT_BYTES as u64)?;
        let free = Mutex::new((0..n_slots).rev().collect());
        Ok((Self { file, free }, left))
    }

    /// Notes a query that begins now; nothing when no slot is free or the file cannot be written.
    pub fn begin(&self, query: &str, now_ms: i64) -> Option<Active<'_>> {
        let slot = self.free().pop()?;
        let active = Active {
            queries: self,
            slot,
        };
        let end = query.floor_char_boundary(QUERY_MAX_BYTES);
        let mut line = b"{\"query\":".to_vec();
        write_str(&mut line, &query.as_bytes()[..end]);
        line.extend_from_slice(format!(",\"timestamp_sec\":{}}}", now_ms / 1000).as_bytes());
        if line.len() < SLOT_BYTES {
            line.resize(SLOT_BYTES - 1, b' ');
            line.push(b'\n');
        } else {
            // Of nothing but characters that are escaped.
            line = format!("{{\"timestamp_sec\":{}}}\n", now_ms / 1000).into_bytes();
        }
        self.file.write_all_at(&line, place(slot)).ok()?;
        Some(active)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        // One byte tells a slot in use from a free one.
        let _ = self.queries.file.write_all_at(&[0], place(self.slot));
        self.queries.free().push(self.slot);
    }
}

fn place(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_end_is_told_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let (queries, left) = ActiveQueries::open(folder.path(), 2).unwrap();
        assert!(left.is_empty());
        let first = queries.begin("up", 1_700_000_000_123);
        let long = "é\"".repeat(1000);
        let second = queries.begin(&long, 5_000);
        assert!(first.is_some() && second.is_some());
        assert!(queries.begin("no slot is left", 0).is_none());
        drop(first);
        let third = queries.begin("sum(x)", 7_000);
        // As if the program had been killed here.
        std::mem::forget((second, third));
        let (queries, left) = ActiveQueries::open(folder.path(), 2).unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!(left[0], r#"{"query":"sum(x)","timestamp_sec":7}"#);
        assert!(left[1].starts_with(r#"{"query":"é\"é\""#));
        assert!(left[1].ends_with(r#","timestamp_sec":5}"#), "{}", left[1]);
        drop(queries.begin("ends", 0));
        drop(queries);
        let (_, left) = ActiveQueries::open(folder.path(), 1).unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}
