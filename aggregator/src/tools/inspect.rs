//! `inspect`: shows what a store holds and what takes the room.

use std::collections::BTreeMap;
use std::path::Path;

use kansoku_store::{DeleteKind, Share};

use crate::clock;
use crate::output::line;

/// Prints the tables, each list cut after `top` lines.
///
/// # Errors
/// When the folder is no store.
pub fn run(path: &Path, top: usize) -> Result<(), String> {
    let found = kansoku_store::inspect(path)
        .map_err(|e| format!("failed to inspect the store {}: {e}", path.display()))?;
    line(format_args!(
        "part                         from                      to                        rows       series   bytes      flushes"
    ));
    for part in &found.parts {
        let ms = match part.kind {
            DeleteKind::Logs => 1_000_000,
            DeleteKind::Samples => 1,
        };
        let time = |t: i64| clock::rfc3339_ms(t.div_euclid(ms));
        line(format_args!(
            "{:28} {:25} {:25} {:<10} {:<8} {:<10} {}-{}",
            part.name,
            time(part.oldest),
            time(part.newest),
            part.rows,
            part.series,
            part.bytes,
            part.flushes.0,
            part.flushes.1
        ));
    }
    line(format_args!(
        "\n{} bytes are in the WAL only",
        found.wal_bytes
    ));
    list("stream", "entries", &found.streams, top);
    list("metric", "samples", &found.metrics, top);
    line(format_args!(
        "\nlabel                            values in metrics   values in streams"
    ));
    let mut labels: Vec<_> = found.labels.iter().collect();
    labels.sort_by_key(|(name, (a, b))| (std::cmp::Reverse(a.max(b)), name.as_str()));
    for (name, (metrics, streams)) in labels.iter().take(top) {
        line(format_args!("{name:32} {metrics:<19} {streams}"));
    }
    for text in &found.unreadable {
        line(format_args!("not read: {text}"));
    }
    Ok(())
}

/// The largest first.
fn list(what: &str, rows: &str, shares: &BTreeMap<String, Share>, top: usize) {
    let mut all: Vec<_> = shares.iter().collect();
    all.sort_by(|a, b| b.1.bytes.total_cmp(&a.1.bytes).then(a.0.cmp(b.0)));
    line(format_args!(
        "\nbytes       {rows:11} text        series   {what}"
    ));
    for (name, share) in all.iter().take(top) {
        let bytes = share.bytes.round();
        let (rows, text, series) = (share.rows, share.raw_bytes, share.series);
        line(format_args!(
            "{bytes:<11} {rows:<11} {text:<11} {series:<8} {name}"
        ));
    }
    if all.len() > top {
        line(format_args!("... and {} more", all.len() - top));
    }
}
