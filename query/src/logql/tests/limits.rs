//! Limits, interruption and early stop.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kansoku_model::Labels;
use kansoku_model::select::{
    Direction, LogBlockRef, LogSelect, LogSource, SelectError, VisitBlock,
};

use super::source::{MemorySource, TestEntry};
use crate::logql::{Context, Engine, Expr, Limits, LogExpr, MetricExpr, QueryError, parse};
use crate::memory::{Memory, Share};

const SECOND: i64 = 1_000_000_000;

fn source(n_streams: usize, n_entries: usize, block_size: usize) -> MemorySource {
    let mut source = MemorySource::default();
    for stream in 0..n_streams {
        source.add_stream(Labels::from_pairs([
            ("app", "api"),
            ("n", stream.to_string().as_str()),
        ]));
        for i in 0..n_entries {
            source.push(TestEntry {
                time_ns: (i as i64 + 1) * SECOND,
                line: format!("v={i}").into_bytes(),
                metadata: Labels::default(),
            });
        }
    }
    source.in_blocks_of(block_size)
}

fn metric(query: &str) -> MetricExpr {
    match parse(query).unwrap() {
        Expr::Metric(metric) => metric,
        Expr::Log(_) => panic!("{query} is a log query"),
    }
}

fn log(query: &str) -> LogExpr {
    match parse(query).unwrap() {
        Expr::Log(log) => log,
        Expr::Metric(_) => panic!("{query} is a metric query"),
    }
}

#[test]
fn limits_end_a_query_with_what_to_do() {
    let source = source(5, 10, 3);
    let limits = Limits {
        max_series: 4,
        max_entries: 10,
        max_steps: 100,
        max_points: 1000,
        max_samples: 20,
    };
    let engine = Engine { limits };
    let ctx = Context::uninterrupted();
    let instant = |query: &str| {
        let answer = engine.metric_instant(&source, &metric(query), 60 * SECOND, &ctx);
        answer.map(|_| ()).unwrap_err()
    };
    let QueryError::Limit(message) = instant(r#"count_over_time({app="api"}[1m])"#) else {
        panic!("no limit error");
    };
    assert!(message.starts_with("maximum number of series (4) reached for a single query;"));
    assert!(matches!(
        instant(r#"quantile_over_time(0.5, {app="api"} | logfmt | unwrap v [1m])"#),
        QueryError::Limit(m) if m.contains("more than 20 values")
    ));
    let range = |step: i64| {
        let expr = metric(r#"avg_over_time({app="api"} | logfmt | unwrap v [1m])"#);
        engine
            .metric_range(&source, &expr, 0, 99 * SECOND, step, &ctx)
            .map(|_| ())
            .unwrap_err()
    };
    assert!(
        matches!(range(SECOND / 2), QueryError::BadRequest(m) if m.contains("maximum resolution of 100"))
    );
    assert!(matches!(range(0), QueryError::BadRequest(_)));
    assert!(matches!(range(-1), QueryError::BadRequest(_)));
    let few_points = Engine {
        limits: Limits {
            max_points: 399,
            ..Limits::default()
        },
    };
    let expr = metric(r#"rate({app="api"}[1m])"#);
    let answer = few_points.metric_range(&source, &expr, 0, 99 * SECOND, SECOND, &ctx);
    assert!(matches!(answer, Err(QueryError::Limit(m)) if m.contains("more than 399 points")));
    let expr = log(r#"{app="api"}"#);
    let answer = engine.log_query(
        &source,
        &expr,
        0,
        100 * SECOND,
        Direction::Forward,
        11,
        &ctx,
    );
    assert_eq!(
        answer.unwrap_err().to_string(),
        "max entries limit per query exceeded, limit > max_entries_limit_per_query (11 > 10)"
    );
}

#[test]
fn the_caller_may_interrupt_between_blocks_and_within_them() {
    for (n_entries, block_size) in [(100, 1), (20_000, 20_000)] {
        let source = source(1, n_entries, block_size);
        let asked = AtomicUsize::new(0);
        let check = || match asked.fetch_add(1, Ordering::Relaxed) {
            0..=1 => Ok(()),
            _ => Err(QueryError::Cancelled("enough".into())),
        };
        let ctx = Context {
            memory: None,
            check: &check,
        };
        let engine = Engine::default();
        let answer = engine.metric_instant(
            &source,
            &metric(r#"sum(count_over_time({app="api"} | logfmt [1d]))"#),
            86_400 * SECOND,
            &ctx,
        );
        assert_eq!(answer, Err(QueryError::Cancelled("enough".into())));
        asked.store(0, Ordering::Relaxed);
        let answer = engine.log_query(
            &source,
            &log(r#"{app="api"} | logfmt | v="none""#),
            0,
            i64::MAX,
            Direction::Backward,
            10,
            &ctx,
        );
        assert_eq!(answer, Err(QueryError::Cancelled("enough".into())));
        assert_eq!(
            asked.load(Ordering::Relaxed),
            3,
            "asked again after the error"
        );
    }
}

/// What a query of 50 streams of 200 entries answers when it may hold so many bytes.
fn within(query: &str, limit: usize, max_bytes: usize) -> Result<usize, QueryError> {
    let source = source(50, 200, 64);
    let memory = Arc::new(Memory::default());
    let share = Share::new(Arc::clone(&memory), max_bytes);
    let ctx = Context {
        memory: Some(&share),
        check: &|| Ok(()),
    };
    let limits = Limits {
        max_series: usize::MAX,
        max_entries: usize::MAX,
        ..Limits::default()
    };
    let engine = Engine { limits };
    let answered = match parse(query).unwrap() {
        Expr::Log(log) => {
            let direction = Direction::Forward;
            let answer = engine.log_query(&source, &log, 0, i64::MAX, direction, limit, &ctx);
            answer.map(|a| a.n_bytes())
        }
        Expr::Metric(metric) => {
            let (end, step) = (999 * SECOND, SECOND);
            let answer = engine.metric_range(&source, &metric, 0, end, step, &ctx);
            answer.map(|a| a.n_bytes())
        }
    };
    drop(share);
    assert_eq!(memory.held_bytes(), 0, "all is given back");
    answered
}

#[test]
fn a_query_that_would_hold_too_much_is_refused_wherever_its_memory_grows() {
    const KIB: usize = 1 << 10;
    // What it needs lies between the two.
    for (query, limit, few, enough) in [
        // Kept lines, their number being the limit's; the streams of their labels.
        (r#"{app="api"}"#, 10_000, 500 * KIB, 3000 * KIB),
        (r#"{app="api"}"#, 10, 0, 300 * KIB),
        (r#"{app="api"} | logfmt"#, 10_000, 1000 * KIB, 8000 * KIB),
        // Entries that give way to better ones, and their streams, are forgotten.
        (r#"{app="api"} | logfmt"#, 10, 0, 300 * KIB),
        // A thousand steps of each series.
        (r#"rate({app="api"}[1m])"#, 0, 700 * KIB, 4000 * KIB),
        (r#"sum(rate({app="api"}[1m]))"#, 0, 0, 300 * KIB),
        (
            r#"sum by (v) (count_over_time({app="api"} | logfmt [1m]))"#,
            0,
            1500 * KIB,
            20_000 * KIB,
        ),
        (
            r#"avg_over_time({app="api"} | logfmt | unwrap v [1m])"#,
            0,
            1000 * KIB,
            8000 * KIB,
        ),
        // Values that are kept, and ranked.
        (
            r#"quantile_over_time(0.5, {app="api"} | logfmt | unwrap v [1m]) by (app)"#,
            0,
            300 * KIB,
            1500 * KIB,
        ),
        // What is made of series: with a number, of each other, fewer of them.
        (r#"rate({app="api"}[1m]) * 2"#, 0, 700 * KIB, 4000 * KIB),
        (
            r#"rate({app="api"}[1m]) + rate({app="api"}[2m])"#,
            0,
            1500 * KIB,
            6000 * KIB,
        ),
        (
            r#"topk(1, rate({app="api"}[1m]))"#,
            0,
            700 * KIB,
            4000 * KIB,
        ),
        (
            r#"label_replace(rate({app="api"}[1m]), "m", "$1", "n", "(.*)")"#,
            0,
            700 * KIB,
            4000 * KIB,
        ),
    ] {
        if few > 0 {
            let error = within(query, limit, few).unwrap_err();
            let QueryError::Limit(text) = error else {
                panic!("{query}: {error}");
            };
            assert_eq!(
                text,
                format!(
                    "the query needs more than {few} bytes of memory, which --query.max-memory allows; consider adding more specific stream selectors, reducing the time range or the limit, or grouping by fewer labels"
                )
            );
        }
        let n_bytes = within(query, limit, enough).unwrap_or_else(|e| panic!("{query}: {e}"));
        assert!(n_bytes > 0, "{query}");
    }
}

#[test]
fn the_block_that_is_read_counts_whatever_is_kept_of_it() {
    let mut source = MemorySource::default();
    source.add_stream(Labels::from_pairs([("app", "api")]));
    for i in 0..1000 {
        source.push(TestEntry {
            time_ns: (i + 1) * SECOND,
            line: format!("v={i} {}", "x".repeat(1000)).into_bytes(),
            metadata: Labels::default(),
        });
    }
    // A megabyte of lines, at once or by and by.
    for (block_size, max_bytes, is_answered) in [
        (1000, 900_000, false),
        (1000, 4 << 20, true),
        (10, 900_000, true),
    ] {
        let source = source.clone().in_blocks_of(block_size);
        for query in [
            r#"{app="api"} |= "none""#,
            r#"{app="api"} | logfmt | v="5""#,
            r#"sum(count_over_time({app="api"} |= "none" [1000s]))"#,
            r#"sum by (v) (count_over_time({app="api"} | logfmt | v="5" [1000s]))"#,
        ] {
            let memory = Arc::new(Memory::default());
            let share = Share::new(Arc::clone(&memory), max_bytes);
            let ctx = Context {
                memory: Some(&share),
                check: &|| Ok(()),
            };
            let answered = match parse(query).unwrap() {
                Expr::Log(log) => Engine::default()
                    .log_query(&source, &log, 0, i64::MAX, Direction::Forward, 10, &ctx)
                    .map(|_| ()),
                Expr::Metric(metric) => Engine::default()
                    .metric_range(&source, &metric, 0, 1000 * SECOND, 1000 * SECOND, &ctx)
                    .map(|_| ()),
            };
            match answered {
                Err(QueryError::Limit(text)) if !is_answered => {
                    assert!(text.contains("--query.max-memory allows"), "{text}");
                }
                other => assert_eq!(other.is_ok(), is_answered, "{query}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_query_that_all_queries_together_leave_nothing_is_refused() {
    let source = source(50, 200, 64);
    let memory = Arc::new(Memory::new(2 << 20));
    let of = || Share::new(Arc::clone(&memory), usize::MAX);
    let ask = |step: i64| {
        let share = of();
        let ctx = Context {
            memory: Some(&share),
            check: &|| Ok(()),
        };
        let expr = metric(r#"rate({app="api"}[1m])"#);
        let answer = Engine::default().metric_range(&source, &expr, 0, 999 * SECOND, step, &ctx);
        answer.map(|a| a.series.len())
    };
    let other = of();
    other.grow_to(1 << 20).unwrap();
    let refused = ask(SECOND).unwrap_err();
    assert!(matches!(&refused, QueryError::Limit(m) if m.contains("--query.max-memory-total")));
    assert_eq!(ask(100 * SECOND), Ok(50), "others go on");
    drop(other);
    assert_eq!(memory.held_bytes(), 0);
}

#[test]
fn reading_stops_when_no_block_can_hold_a_better_entry() {
    let source = source(3, 100, 5);
    let engine = Engine::default();
    let ctx = Context::uninterrupted();
    for direction in [Direction::Forward, Direction::Backward] {
        let answer = engine
            .log_query(
                &source,
                &log(r#"{app="api"}"#),
                0,
                i64::MAX,
                direction,
                6,
                &ctx,
            )
            .unwrap();
        assert_eq!(answer.statistics.entries_returned, 6);
        assert!(
            answer.statistics.blocks_read <= 6,
            "read {} of 60 blocks",
            answer.statistics.blocks_read
        );
    }
}

/// A source that fails when a block is read in full.
struct TimesOnly<'a>(&'a MemorySource, Cell<usize>);

// Only one thread at a time uses a source in these tests.
struct Shared<'a>(std::sync::Mutex<TimesOnly<'a>>);

struct NoLoad<'a>(&'a dyn LogBlockRef);

impl LogBlockRef for NoLoad<'_> {
    fn labels(&self) -> &Labels {
        self.0.labels()
    }
    fn time_range_ns(&self) -> (i64, i64) {
        self.0.time_range_ns()
    }
    fn load(&self, _: &mut kansoku_model::select::LogBlock) -> Result<(), SelectError> {
        Err(SelectError::Storage("a full block was asked for".into()))
    }
    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        self.0.load_times(times, lens)
    }
    fn loading_bytes(&self) -> usize {
        self.0.loading_bytes()
    }
    fn has_metadata(&self) -> bool {
        self.0.has_metadata()
    }
}

impl LogSource for Shared<'_> {
    fn select(&self, wanted: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        let inner = self.0.lock().unwrap();
        inner.0.select(wanted, &mut |block| {
            inner.1.set(inner.1.get() + 1);
            visit(&NoLoad(block))
        })
    }
}

#[test]
fn counting_reads_times_only() {
    let source = source(2, 10, 4);
    let shared = Shared(std::sync::Mutex::new(TimesOnly(&source, Cell::new(0))));
    let engine = Engine::default();
    let ctx = Context::uninterrupted();
    for (query, full) in [
        (r#"sum(count_over_time({app="api"}[1m]))"#, false),
        (r#"sum by (n) (bytes_rate({app="api"}[1m]))"#, false),
        (r#"rate({app="api"}[1m])"#, false),
        (r#"absent_over_time({app="api"}[1m])"#, false),
        (r#"count_over_time({app="api"} |= "v" [1m])"#, true),
    ] {
        let answer = engine.metric_instant(&shared, &metric(query), 60 * SECOND, &ctx);
        assert_eq!(answer.is_err(), full, "{query}");
    }
    assert!(shared.0.lock().unwrap().1.get() > 0);
}

#[test]
fn a_block_that_does_not_fit_is_not_read() {
    let source = source(1, 1000, 1000);
    let shared = Shared(std::sync::Mutex::new(TimesOnly(&source, Cell::new(0))));
    let engine = Engine::default();
    let answer = |query: &str, max_bytes| {
        let share = Share::new(Arc::new(Memory::default()), max_bytes);
        let ctx = Context {
            memory: Some(&share),
            check: &|| Ok(()),
        };
        match parse(query).unwrap() {
            Expr::Log(log) => engine
                .log_query(&shared, &log, 0, i64::MAX, Direction::Forward, 10, &ctx)
                .map(|_| ()),
            Expr::Metric(metric) => engine
                .metric_range(&shared, &metric, 0, 1000 * SECOND, 1000 * SECOND, &ctx)
                .map(|_| ()),
        }
    };
    for query in [
        r#"{app="api"}"#,
        r#"{app="api"} |= "v""#,
        r#"sum(count_over_time({app="api"} |= "v" [1000s]))"#,
        r#"sum by (n) (count_over_time({app="api"} | logfmt [1000s]))"#,
    ] {
        let refused = answer(query, 10_000).unwrap_err();
        assert!(
            matches!(refused, QueryError::Limit(_)),
            "{query}: {refused}"
        );
        let read = answer(query, 1 << 20).unwrap_err();
        assert!(matches!(read, QueryError::Storage(_)), "{query}: {read}");
    }
}
