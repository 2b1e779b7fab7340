//! Where batches go that a destination will never take: kept with the reason, never in the way.
//!
//! `FOLDER/NAME.frames` holds the batches as frames, one after the other; `FOLDER/NAME.jsonl` has one
//! line per batch: when, why, and where its frame lies. Both are synced before the batch counts as
//! kept. Without a folder the batch is only counted and reported.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use kansoku_model::{RecordBatch, frame, json};

/// The dead letters of one output.
pub struct DeadLetters {
    folder: Option<PathBuf>,
    name: String,
    /// They stop growing here: a destination that refuses everything must not fill the node's disk.
    /// What comes later is counted and reported only.
    limit_bytes: u64,
    /// Workers of one output take turns; held while a batch is written and synced.
    writing: Mutex<()>,
}

impl DeadLetters {
    /// Dead letters of the output `name` in `folder`, which is made when the first one comes.
    #[must_use]
    pub fn new(folder: Option<PathBuf>, name: &str, limit_bytes: u64) -> Self {
        let safe = |c: char| if c == '/' || c == '\0' { '_' } else { c };
        Self {
            folder,
            name: name.chars().map(safe).collect(),
            limit_bytes,
            writing: Mutex::new(()),
        }
    }

    /// Keeps a batch; false when there is no place for dead letters.
    ///
    /// # Errors
    /// When the files cannot be written or are full.
    pub fn keep(&self, batch: &RecordBatch, reason: &str) -> anyhow::Result<bool> {
        let Some(folder) = &self.folder else {
            return Ok(false);
        };
        let mut bytes = Vec::new();
        frame::encode(batch, &mut bytes)?;
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.frames", self.name));
        let mut frames = append_to(&path)?;
        let start = frames.metadata()?.len();
        anyhow::ensure!(
            start + bytes.len() as u64 <= self.limit_bytes,
            "{} has reached {} bytes; look into the reasons and remove it",
            path.display(),
            self.limit_bytes
        );
        frames.write_all(&bytes)?;
        frames.sync_data()?;
        let line = describe(batch, reason, start, bytes.len());
        let mut index = append_to(&folder.join(format!("{}.jsonl", self.name)))?;
        index.write_all(&line)?;
        index.sync_data()?;
        Ok(true)
    }
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn describe(batch: &RecordBatch, reason: &str, start: u64, len: usize) -> Vec<u8> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let time_ms = since_epoch.map_or(0, |d| d.as_millis());
    let mut line = format!("{{\"time_ms\":{time_ms},\"reason\":").into_bytes();
    json::write_str(&mut line, reason.as_bytes());
    line.extend_from_slice(b",\"tag\":");
    json::write_str(&mut line, batch.tag().as_bytes());
    let tail = format!(
        ",\"records\":{},\"frame_offset\":{start},\"frame_bytes\":{len}}}\n",
        batch.n_records()
    );
    line.extend_from_slice(tail.as_bytes());
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Frame, LogBatch, Position};

    use super::*;

    #[test]
    fn a_dead_letter_can_be_read_back_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("rejected");
        let letters = DeadLetters::new(Some(folder.clone()), "http.0", 1 << 20);
        for n in 0..2 {
            let mut logs = LogBatch::new("t".into(), Arc::default(), Vec::new());
            let row = logs.push(7, Position::at(n));
            logs.set_text("log", row, b"hello");
            let batch = RecordBatch::Logs(logs);
            assert!(letters.keep(&batch, "status 400: \"no\"").unwrap());
        }
        let frames = fs::read(folder.join("http.0.frames")).unwrap();
        let index = fs::read_to_string(folder.join("http.0.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(index.lines().last().unwrap()).unwrap();
        assert_eq!(last["reason"], "status 400: \"no\"");
        let start = last["frame_offset"].as_u64().unwrap() as usize;
        let batch = Frame::parse(&frames[start..]).unwrap().decode().unwrap();
        assert_eq!(batch.n_records(), 1);
        assert!(!DeadLetters::new(None, "x", 0).keep(&batch, "r").unwrap());
    }
}
