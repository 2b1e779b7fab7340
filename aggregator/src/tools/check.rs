//! `check`: says what of a store is damaged.

use std::path::Path;

use crate::api::deletes::parse_selector;
use crate::output::line;

/// Checks and prints; false when something is damaged.
///
/// # Errors
/// When the store is in use, or is none.
pub fn run(path: &Path) -> Result<bool, String> {
    let found = kansoku_store::check(path, parse_selector)
        .map_err(|e| format!("failed to check the store {}: {e}", path.display()))?;
    for damage in &found.damaged {
        let place = match damage.len_bytes {
            0 => String::new(),
            len => format!(" at byte {}, {len} bytes", damage.offset_bytes),
        };
        line(format_args!(
            "damaged: {}{place}: {}",
            damage.path.display(),
            damage.what
        ));
    }
    if found.torn_bytes > 0 {
        line(format_args!(
            "{} bytes at the end of the WAL were never acknowledged; the next start cuts them off",
            found.torn_bytes
        ));
    }
    line(format_args!(
        "{} parts of {} bytes with {} log entries and {} samples, {} entries in {} WAL segments, {} deletes: {}",
        found.parts,
        found.part_bytes,
        found.entries,
        found.samples,
        found.wal_entries,
        found.wal_segments,
        found.deletes,
        match found.damaged.len() {
            0 => "all is well".to_owned(),
            n => format!("{n} damages"),
        }
    ));
    Ok(found.damaged.is_empty())
}
