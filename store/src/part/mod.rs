//! Parts: immutable files of one signal and (mostly) one UTC day, and their directories in memory.
//!
//! A part is written once, read by many, and removed whole. Small things (labels of streams, where
//! pages lie) are in memory while it is open; everything else is read when asked for.

mod file;
mod filter;
mod fuse;
mod ids;
mod lines;
pub mod log_writer;
pub mod logs;
mod postings;
mod sample_reader;
pub mod samples;
mod trigrams;

use std::sync::Arc;

pub use filter::Filters as PageFilters;
pub use sample_reader::{SampleReader, TimesRun};

pub use file::{FOLDER, PartFile, Shared, Totals, temporary_name};

use crate::StoreError;
use crate::intern::Interner;
use crate::manifest::{Entry, Signal};

/// What the directory of a part says.
#[derive(Debug)]
pub enum Body {
    Logs(logs::LogIndex),
    Samples(samples::SampleIndex),
}

/// An open part. The file goes when the part is doomed and the last holder lets go.
#[derive(Debug)]
pub struct Part {
    pub file: PartFile,
    pub body: Body,
}

impl Part {
    /// Opens the part that `entry` names and verifies its directory.
    pub fn open(shared: &Arc<Shared>, entry: Entry, labels: &Interner) -> Result<Self, StoreError> {
        let (file, directory) = PartFile::open(shared, entry)?;
        let body = match entry.signal {
            Signal::Logs => {
                logs::LogIndex::decode(&directory, file.version, labels).map(Body::Logs)
            }
            Signal::Samples => samples::SampleIndex::decode(&directory).map(Body::Samples),
        };
        let body = body.map_err(|e| file.damaged(&format!("directory: {}", e.0)))?;
        Ok(Self { file, body })
    }

    pub fn entry(&self) -> &Entry {
        &self.file.entry
    }

    pub fn totals(&self) -> &Totals {
        &self.file.totals
    }

    /// The newest time in Unix milliseconds, rounded up.
    pub fn newest_ms(&self) -> i64 {
        match self.body {
            Body::Logs(_) => self.totals().max_time.div_euclid(1_000_000) + 1,
            Body::Samples(_) => self.totals().max_time,
        }
    }
}
