//! The store: WAL, head, immutable parts, merge and retention, for samples and log entries.
//!
//! It is synchronous, knows no HTTP, no JSON and no clock (time is an argument), and only `fs.rs`
//! touches the disk. The rule above all others: what `append` has acknowledged is on the disk and
//! is there exactly once. The files are drawn in FORMAT.md.
#![forbid(unsafe_code)]

mod active;
mod backup;
mod bytes;
mod cache;
mod changes;
mod check;
mod column;
mod commit;
mod deletes;
mod deleting;
mod error;
mod exemplars;
mod flush;
mod fs;
mod head;
mod inspect;
mod intern;
mod maintain;
mod manifest;
mod marks;
mod memory;
mod merge;
mod options;
mod part;
mod records;
mod recovery;
mod references;
mod retention;
mod rows;
mod samples;
mod sealed;
mod snapshot;
mod spread;
mod state;
mod store;
pub mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wal;

pub use active::{Limits, Reason, Refused};
pub use backup::{Linked, link_files};
pub use changes::{ChangeMark, Changed};
pub use check::{Checked, check};
#[doc(hidden)]
pub use column::{Effort, decode_ints, encode_ints};
pub use deletes::{DeleteInfo, DeleteKind, DeleteRequest, LineTest, ParseSelector, Selector};
pub use error::StoreError;
pub use exemplars::{Exemplar, SeriesExemplars};
pub use inspect::{Inspected, PartInfo, Share, inspect};
pub use memory::Memory;
pub use options::{Appended, Complete, Damage, Maintained, Options, Recovery, Stats};
#[doc(hidden)]
pub use part::PageFilters;
pub use references::{SampleWriter, Samples, SeriesTable};
pub use retention::RetentionRule;
pub use snapshot::{HeadBounds, MetricMetadata, SampleBlock, Snapshot};
pub use store::{Incoming, Store};
