//! Logs through a whole store: appended, written out, merged, searched. Everything that lies on the
//! disk counts: timestamps, line lengths, filters, labels, directories.
//!
//!     log_store FOLDER STORE
//!
//! FOLDER holds logs as a container runtime writes them (see `log_codec`); STORE is made, filled and
//! left behind. CPU seconds are those of the whole process, from `/proc/self/stat`; appending
//! includes the write-ahead log and its syncs.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use kansoku_benches::container_logs::{self, Stream, thread_cpu_s};
use kansoku_model::select::{Direction, LogBlock, LogSelect};
use kansoku_model::{
    AnyOf, Labels, LogBatch, LogSource, Position, RecordBatch, Resource, Source, SourceId,
};
use kansoku_store::{Incoming, Options, Store};

/// Text of one batch.
const BATCH_BYTES: usize = 1 << 20;
/// How many times a query is asked; the fastest counts.
const ROUNDS: usize = 3;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, path] = &arguments[..] else {
        return Err(io::Error::other("usage: log_store FOLDER STORE"));
    };
    let streams = container_logs::read(Path::new(folder))?;
    let n_lines: usize = streams.iter().map(|s| s.lines.len()).sum();
    let n_bytes: usize = streams.iter().map(|s| s.text.len()).sum();
    println!(
        "{n_lines} lines, {n_bytes} bytes, {} streams",
        streams.len()
    );
    let (store, _) = Store::open(Options::new(path)).map_err(io::Error::other)?;
    println!("| step | CPU-s per GB | bytes per line on disk |");
    println!("|---|---|---|");
    let mut start = cpu_s();
    let mut step = |name: &str, store: &Store| {
        let now = cpu_s();
        println!(
            "| {name} | {:.1} | {:.2} |",
            (now - start) * 1e9 / n_bytes as f64,
            store.stats().disk_bytes as f64 / n_lines as f64
        );
        start = now;
    };
    append(&store, &streams)?;
    step("append", &store);
    store.flush().map_err(io::Error::other)?;
    step("write out", &store);
    while !store.maintain(0).map_err(io::Error::other)?.is_idle() {}
    step("merge", &store);
    println!("{:?}", store.stats());

    println!("| lines with | found | rebuilt | CPU-s per GB of text | GB/s |");
    println!("|---|---|---|---|---|");
    for needle in [
        "xq7Needle9zk",
        "Connection reset by peer",
        "5f3a9c1e77b04d2e8c6a1f0b9d3e4a57",
        "\"status\":503",
        "GET",
        "",
    ] {
        let mut best = f64::MAX;
        let (mut found, mut rebuilt) = (0, 0);
        for _ in 0..ROUNDS {
            let start = thread_cpu_s();
            (found, rebuilt) = search(&store, needle.as_bytes())?;
            best = best.min(thread_cpu_s() - start);
        }
        println!(
            "| `{needle}` | {found} | {rebuilt} | {:.3} | {:.2} |",
            best * 1e9 / n_bytes as f64,
            n_bytes as f64 / 1e9 / best
        );
    }
    Ok(())
}

fn append(store: &Store, streams: &[Stream]) -> io::Result<()> {
    // All streams advance together, as they do on a node.
    let mut next = vec![0; streams.len()];
    let mut ordinals = vec![0u64; streams.len()];
    loop {
        let mut is_done = true;
        for (at, stream) in streams.iter().enumerate() {
            let resource = Resource {
                labels: Labels::from_pairs([
                    ("file", stream.file.as_str()),
                    ("stream", stream.name.as_str()),
                ]),
                ..Default::default()
            };
            let mut batch = LogBatch::new("b".into(), Arc::new(resource), Vec::new());
            let mut n = 0;
            let from = ordinals[at];
            while next[at] < stream.lines.len() && n < BATCH_BYTES / 16 {
                let line = stream.line(next[at]);
                ordinals[at] += 1;
                let row = batch.push(stream.times[next[at]], Position::at(ordinals[at]));
                batch.set_text("log", row, line);
                next[at] += 1;
                n += line.len();
            }
            if n == 0 {
                continue;
            }
            is_done = false;
            batch.source = Source {
                id: SourceId(at as u128 + 1),
                from: Position::at(from),
                to: Position::at(ordinals[at]),
            };
            let batch = vec![Incoming::Batch(RecordBatch::Logs(batch))];
            store.append(batch).map_err(io::Error::other)?;
        }
        if is_done {
            return Ok(());
        }
        if store.stats().head_bytes > 100 << 20 {
            store.flush().map_err(io::Error::other)?;
        }
    }
}

/// Lines that hold the needle, and lines that were looked at for it.
fn search(store: &Store, needle: &[u8]) -> io::Result<(u64, u64)> {
    let finder = memchr::memmem::Finder::new(needle);
    let wanted = LogSelect {
        matchers: Vec::new(),
        from_ns: i64::MIN,
        to_ns: i64::MAX,
        direction: Direction::Backward,
        needles: vec![AnyOf::text(needle)],
        automata: Vec::new(),
        counts_only: false,
    };
    let (mut found, mut rebuilt, mut block) = (0, 0, LogBlock::default());
    let snapshot = store.snapshot();
    snapshot
        .select(&wanted, &mut |b| {
            b.load(&mut block)?;
            rebuilt += block.lines.len() as u64;
            let lines = block.lines.iter();
            found += lines
                .filter(|line| finder.find(block.bytes(**line)).is_some())
                .count() as u64;
            Ok(ControlFlow::Continue(()))
        })
        .map_err(io::Error::other)?;
    match snapshot.warnings().first() {
        Some(warning) => Err(io::Error::other(warning.clone())),
        None => Ok((found, rebuilt)),
    }
}

/// CPU seconds of the process; ticks of a hundredth.
fn cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / 100.0
}
