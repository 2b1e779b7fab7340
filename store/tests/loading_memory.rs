//! What loading a block of lines takes in memory is never more than was promised before.
//!
//! The allocator of this file counts; blocks of lines of many shapes are loaded in every way. No other test may run
//! beside this one, so it is alone here.

use std::ops::ControlFlow;
use std::sync::Arc;

use kansoku_model::select::{Direction, LogBlock, LogBlockRef, LogSelect};
use kansoku_model::{
    AnyOf, Extraction, FieldBlock, FieldsWanted, Labels, LineAutomaton, LogBatch, LogSource,
    Needle, Position, RecordBatch, Resource, Source, SourceId,
};
use kansoku_store::{Incoming, Options, Store};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const T0_NS: i64 = 1_767_312_000_000_000_000;
/// Bytes of the lines of a stream: about a block.
const STREAM_BYTES: usize = 3 << 18;
/// Lines of one batch.
const BATCH_LINES: usize = 20_000;

/// splitmix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Names of the shapes of lines.
const SHAPES: [&str; 10] = [
    "json", "logfmt", "access", "digits", "decimals", "letters", "hex", "long", "empty", "metadata",
];

fn line(shape: &str, r: &mut Random) -> String {
    let mut many = |n: usize, one: &mut dyn FnMut(&mut Random) -> String| {
        let all: Vec<String> = (0..n).map(|_| one(r)).collect();
        all.join(" ")
    };
    match shape {
        "json" => format!(
            r#"{{"ts":"2026-11-20T00:01:32.{:06}Z","level":"{}","status":{},"dur":{}.{},"user":"u{}","id":"{:016x}"}}"#,
            r.below(1_000_000),
            ["info", "warn", "error"][r.below(3) as usize],
            200 + r.below(300),
            r.below(900),
            r.below(1000),
            r.below(5000),
            r.below(u64::MAX)
        ),
        "logfmt" => format!(
            "level=info caller=web.go:{} duration={}ms bytes={} msg=\"served page {}\"",
            r.below(900),
            r.below(5000),
            r.below(100_000),
            r.below(1000)
        ),
        "access" => format!(
            r#"10.0.{}.{} - - [20/Nov/2026:00:01:32 +0000] "GET /p/{}?q={} HTTP/1.1" {} {} "-" "curl/8.{}""#,
            r.below(9),
            r.below(256),
            r.below(5000),
            r.below(90),
            200 + r.below(4) * 100,
            r.below(100_000),
            r.below(9)
        ),
        // As many slots in as little text as can be.
        "digits" => many(30, &mut |r| r.below(10).to_string()),
        "decimals" => many(15, &mut |r| format!("{}.{}", r.below(10), r.below(10))),
        "letters" => many(20, &mut |r| {
            char::from(b'a' + r.below(26) as u8)
                .to_string()
                .repeat(r.below(3) as usize + 1)
        }),
        "hex" => format!("{:016x}{:016x}", r.below(u64::MAX), r.below(u64::MAX)),
        "long" => "no two are alike ".repeat(20 + r.below(90) as usize) + &r.below(9).to_string(),
        "empty" => "x".repeat(r.below(2) as usize),
        _ => format!("line {} of many", r.below(1_000_000)),
    }
}

fn fill(store: &Store) {
    let mut r = Random(7);
    for (at, shape) in SHAPES.iter().enumerate() {
        let resource = Resource {
            labels: Labels::from_pairs([("shape", *shape)]),
            ..Default::default()
        };
        let resource = Arc::new(resource);
        let (mut n_bytes, mut n_lines) = (0, 0);
        while n_bytes < STREAM_BYTES && n_lines < 40_000 {
            let mut batch = LogBatch::new("t".into(), Arc::clone(&resource), Vec::new());
            for i in 0..BATCH_LINES {
                let line = line(shape, &mut r);
                n_bytes += line.len();
                let time = T0_NS + (n_lines + i) as i64 * 1_000_000 + r.below(500_000) as i64;
                let row = batch.push(time, Position::at((n_lines + i) as u64 + 1));
                batch.set_text("log", row, line.as_bytes());
            }
            batch.source = Source {
                id: SourceId(at as u128 + 1),
                from: Position::at(n_lines as u64),
                to: Position::at((n_lines + BATCH_LINES) as u64),
            };
            n_lines += BATCH_LINES;
            store
                .append(vec![Incoming::Batch(RecordBatch::Logs(batch))])
                .unwrap();
        }
    }
}

/// Bytes that `load` takes at the most, with what it leaves behind.
fn taken(load: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    load();
    ALLOCATOR.peak_usage() - before
}

/// The most that loading `block` takes in any way.
fn most_taken(block: &dyn LogBlockRef) -> usize {
    let names = [
        "level", "status", "dur", "duration", "bytes", "msg", "id", "line",
    ];
    let fields = |of| FieldsWanted {
        of,
        names: names.map(String::from).into(),
    };
    let (json, logfmt) = (fields(Extraction::Json), fields(Extraction::Logfmt));
    let some = |wanted| {
        let all = taken(|| {
            block
                .load_fields(wanted, &mut FieldBlock::default())
                .unwrap();
        });
        all.max(taken(|| {
            let mut out = FieldBlock::default();
            block.load_fields_unordered(wanted, &mut out).unwrap();
        }))
    };
    let lines = taken(|| block.load(&mut LogBlock::default()).unwrap());
    let times = taken(|| block.load_times(&mut Vec::new(), &mut Vec::new()).unwrap());
    [lines, times, some(&json), some(&logfmt)]
        .into_iter()
        .max()
        .unwrap()
}

/// Loads every block in every way; gives how many there were and the most that one took of what was promised.
fn check(what: &str, store: &Store) -> (usize, f64) {
    let needle = |text: &str| AnyOf {
        needles: vec![Needle::new(text.as_bytes())],
        field: None,
    };
    let automaton = |pattern| Arc::new(LineAutomaton::new(&[pattern], true).unwrap());
    let searches = [
        (Vec::new(), Vec::new()),
        (vec![needle("1")], Vec::new()),
        (Vec::new(), vec![automaton("[0-9a-f]+.*(1|a|in)")]),
    ];
    let (mut n_blocks, mut most) = (0, 0.0f64);
    for (needles, automata) in searches {
        let wanted = LogSelect {
            matchers: Vec::new(),
            from_ns: i64::MIN,
            to_ns: i64::MAX,
            direction: Direction::Forward,
            needles,
            automata,
            counts_only: false,
        };
        let mut visit = |block: &dyn LogBlockRef| {
            let (taken, promised) = (most_taken(block), block.loading_bytes());
            let shape = block.labels().get("shape").unwrap_or("");
            assert!(
                taken <= promised,
                "{what}, {shape}: {taken} bytes, {promised} were promised"
            );
            n_blocks += 1;
            most = most.max(taken as f64 / promised as f64);
            Ok(ControlFlow::Continue(()))
        };
        store.snapshot().select(&wanted, &mut visit).unwrap();
    }
    (n_blocks, most)
}

#[test]
fn loading_takes_no_more_than_was_promised() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path());
    let (store, _) = Store::open(options.clone()).unwrap();
    fill(&store);
    check("head", &store);
    store.flush().unwrap();
    check("flushed", &store);
    store.maintain(T0_NS / 1_000_000).unwrap();
    drop(store);
    // Opened anew, nothing is remembered.
    let (store, _) = Store::open(options).unwrap();
    let (n_blocks, most) = check("merged", &store);
    assert!(n_blocks >= 3 * SHAPES.len(), "{n_blocks}");
    // A promise that is much too large would refuse queries for nothing.
    assert!(most > 0.5, "{most}");
}
