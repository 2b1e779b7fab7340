//! Metric queries answered by columns of fields give what they give line by line, to the last bit.
//!
//! Random lines of many shapes in a real store, random pipelines over them; each query is asked twice,
//! once with a source that hides the columns. Errors must be the same, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kansoku_model::select::{LogBlock, LogBlockRef, LogSelect, SelectError, VisitBlock};
use kansoku_model::{
    FieldBlock, FieldsWanted, Labels, LogBatch, LogSource, Position, RecordBatch, Resource, Source,
    SourceId,
};
use kansoku_query::logql::{Context, Engine, Expr, MetricExpr, parse};
use kansoku_store::{Incoming, Options, Store};

const T0_NS: i64 = 1_767_312_000_000_000_000;
const STEP_NS: i64 = 1_000_000_000;
const LINES: u64 = 400;

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

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A line of one of the shapes of its stream.
fn line(shape: u64, r: &mut Random) -> String {
    let status = r.pick(&["200", "200", "404", "500", "503"]);
    let level = r.pick(&["info", "warn", "error"]);
    let took = format!("{}.{:03}", r.below(900), r.below(1000));
    let (n, wide) = (r.below(40), r.below(1 << 60));
    let unit = r.pick(&["ms", "s", "us", "parsecs"]);
    let size = r.pick(&["1KB", "10MB", "", "7"]);
    match shape {
        0 => format!(
            r#"{{"ts":"2026-11-20T00:01:32Z","level":"{level}","status":{status},"dur":{took},"path":"/api/v1/users/{n}","ok":true}}"#
        ),
        1 => format!(
            r#"{{"level":"{level}","status":"{status}","dur":"{n}{unit}","size":"{size}","user":{{"id":{n}}}}}"#
        ),
        2 => {
            format!(r#"{{"level":null,"status":{wide},"dur":-{took},"path":"say \"{n}\" \u00e9"}}"#)
        }
        3 => format!(r#"{{"status":{status},"dur":{took},"status":{n}}}"#),
        4 => format!(r#"{{"sta-tus":1,"dur":{n},"app":"x{n}","path":"a\qb"}}"#),
        5 => format!(r#"{{"status":{status}, "dur":[{n}], "level":"{level}""#),
        6 => format!("level={level} status={status} dur={took} path=\"/a b/{n}\" size={size} done"),
        7 => format!("level={level} status={n}x dur= dur={n}{unit} path=/x?a={n}"),
        8 => format!(
            r#"10.1.{n}.7 - - [20/Nov/2026:00:01:32 +0000] "GET /p/{n}?q={level} HTTP/1.1" {status} {n} "-" "curl/8.{n}" {took}"#
        ),
        9 => format!(r#"10.1.{n}.7 - "{level}" {status} "#),
        _ => format!("plain text {level} number {n} took {took}"),
    }
}

/// Streams of one shape each and two mixed ones, each in a part of its own.
fn fill(store: &Store, r: &mut Random) {
    for stream in 0..14u64 {
        let app = format!("app{}", stream % 4);
        let resource = Resource {
            labels: Labels::from_pairs([("app", app.as_str()), ("stream", &stream.to_string())]),
            ..Default::default()
        };
        let mut batch = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
        for i in 0..LINES {
            let shape = match stream {
                0..11 => stream,
                11 => r.below(6),
                12 => 6 + r.below(2),
                _ => r.below(11),
            };
            let time = T0_NS + (i * 90 + r.below(90)) as i64 * STEP_NS / 100;
            let row = batch.push(time, Position::at(i + 1));
            batch.set_text("log", row, line(shape, r).as_bytes());
        }
        batch.source = Source {
            id: SourceId(u128::from(stream) + 1),
            from: Position::at(0),
            to: Position::at(LINES),
        };
        let batch = RecordBatch::Logs(batch);
        store.append(vec![Incoming::Batch(batch)]).unwrap();
        store.flush().unwrap();
    }
}

/// The same entries without their columns.
struct Whole<'a>(&'a dyn LogSource);

struct WholeBlock<'a>(&'a dyn LogBlockRef);

impl LogSource for Whole<'_> {
    fn select(&self, wanted: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        self.0
            .select(wanted, &mut |block| visit(&WholeBlock(block)))
    }
}

impl LogBlockRef for WholeBlock<'_> {
    fn labels(&self) -> &Labels {
        self.0.labels()
    }
    fn time_range_ns(&self) -> (i64, i64) {
        self.0.time_range_ns()
    }
    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        self.0.load(out)
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

/// Counts the entries that came as fields, and those that came as lines among them.
struct Counted<'a> {
    inner: &'a dyn LogSource,
    n_fields: &'a AtomicUsize,
    n_lines: &'a AtomicUsize,
    n_unordered: &'a AtomicUsize,
}

impl LogSource for Counted<'_> {
    fn select(&self, wanted: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError> {
        self.inner.select(wanted, &mut |inner| {
            visit(&CountedBlock {
                inner,
                counts: self,
            })
        })
    }
}

struct CountedBlock<'a> {
    inner: &'a dyn LogBlockRef,
    counts: &'a Counted<'a>,
}

impl LogBlockRef for CountedBlock<'_> {
    fn labels(&self) -> &Labels {
        self.inner.labels()
    }
    fn time_range_ns(&self) -> (i64, i64) {
        self.inner.time_range_ns()
    }
    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError> {
        self.inner.load(out)
    }
    fn load_fields(
        &self,
        wanted: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, SelectError> {
        let known = self.inner.load_fields(wanted, out)?;
        let n_lines = out.line_rows.len();
        self.counts.n_lines.fetch_add(n_lines, Ordering::Relaxed);
        let n_fields = out.times.len() - n_lines;
        self.counts.n_fields.fetch_add(n_fields, Ordering::Relaxed);
        Ok(known)
    }
    fn load_fields_unordered(
        &self,
        wanted: &FieldsWanted,
        out: &mut FieldBlock,
    ) -> Result<bool, SelectError> {
        let known = self.inner.load_fields_unordered(wanted, out)?;
        if known {
            let n_rows = out.groups.iter().map(|group| group.n_rows).sum();
            self.counts.n_unordered.fetch_add(n_rows, Ordering::Relaxed);
        }
        Ok(known)
    }
    fn totals(&self) -> Option<(u64, u64)> {
        self.inner.totals()
    }
    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError> {
        self.inner.load_times(times, lens)
    }
    fn loading_bytes(&self) -> usize {
        self.inner.loading_bytes()
    }
    fn has_metadata(&self) -> bool {
        self.inner.has_metadata()
    }
}

/// A random query over fields.
fn query(r: &mut Random) -> String {
    let selector = match r.below(3) {
        0 => format!("{{stream=\"{}\"}}", r.below(14)),
        1 => format!("{{app=\"app{}\"}}", r.below(4)),
        _ => r#"{app=~".+"}"#.into(),
    };
    let parser = r.pick(&[
        "json",
        "json",
        "json",
        "logfmt",
        "logfmt",
        "logfmt --strict",
        "logfmt --keep-empty",
        r#"pattern `<_>" <status> <_>`"#,
        r#"pattern `<addr> - <_>" <status> <dur> <_> "<path>"`"#,
        r#"pattern `plain text <level> number <status> took <dur>`"#,
        r#"pattern `level=<level> status=<status> dur=<dur> `"#,
    ]);
    let mut pipeline = format!("| {parser}");
    for _ in 0..r.below(3) {
        let filter = r.pick(&[
            r#"level="error""#,
            r#"level!="info""#,
            r#"level=~"e.*|warn""#,
            r#"status="404""#,
            "status >= 500",
            "status = 200",
            "status != 503",
            "dur > 100",
            "dur > 5ms",
            "dur <= 0.5",
            "size > 1KB",
            r#"path!="" "#,
            r#"app="app1""#,
            r#"__error__="""#,
            r#"__error__!="""#,
            r#"__error__!~".*Parser.*""#,
            r#"(status >= 500 or level="warn")"#,
            r#"(level="warn" and dur < 50) or status = 404"#,
            r#"(dur > 5 and level="nothing") or app=~"app.""#,
            r#"(level="error", __error__="") or dur > 800"#,
            r#"addr=ip("10.1.3.0/24")"#,
        ]);
        pipeline.push_str(&format!(" | {filter}"));
    }
    let by = r.pick(&[
        "",
        "level",
        "status",
        "app, level",
        "path",
        "dur",
        "stream, status, level",
        "nothing",
    ]);
    let range = r.pick(&["1h", "3m", "7s"]);
    if r.below(2) == 0 {
        let function = r.pick(&[
            "count_over_time",
            "rate",
            "bytes_over_time",
            "absent_over_time",
        ]);
        return format!("sum by ({by}) ({function}({selector} {pipeline} [{range}]))");
    }
    let unwrap = r.pick(&["dur", "status", "duration(dur)", "bytes(size)", "level"]);
    let after = r.pick(&[
        "",
        r#" | __error__="""#,
        r#" | __error__="""#,
        r#" | dur > 10 | __error__="""#,
    ]);
    let log = format!("{selector} {pipeline} | unwrap {unwrap}{after} [{range}]");
    if r.below(4) == 0 {
        return format!("sum by ({by}) (sum_over_time({log}))");
    }
    let function = r.pick(&[
        "quantile_over_time(0.9, ",
        "avg_over_time(",
        "max_over_time(",
        "first_over_time(",
        "last_over_time(",
        "stddev_over_time(",
    ]);
    format!("{function}{log}) by ({by})")
}

fn answer(source: &dyn LogSource, expr: &MetricExpr, seconds: i64, is_range: bool) -> String {
    let (engine, context) = (Engine::default(), Context::uninterrupted());
    let end = T0_NS + seconds * STEP_NS;
    if is_range {
        let step = 20 * STEP_NS;
        let matrix = engine.metric_range(source, expr, T0_NS, end, step, &context);
        return format!("{:?}", matrix.map(|m| m.series));
    }
    let instant = engine.metric_instant(source, expr, end, &context);
    format!("{:?}", instant.map(|i| i.value))
}

#[test]
fn columns_of_fields_answer_as_lines_do() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(Options::new(dir.path())).unwrap();
    let mut r = Random(7);
    fill(&store, &mut r);
    let snapshot = store.snapshot();
    let [n_fields, n_lines, n_unordered] = [const { AtomicUsize::new(0) }; 3];
    let (mut n_values, mut n_errors) = (0, 0);
    for _ in 0..250 {
        let text = query(&mut r);
        let Expr::Metric(expr) = parse(&text).unwrap_or_else(|e| panic!("{text}: {e}")) else {
            panic!("{text} is no metric query");
        };
        let (seconds, is_range) = (300 + r.below(500) as i64, r.below(3) == 0);
        let expected = answer(&Whole(&snapshot), &expr, seconds, is_range);
        let counted = Counted {
            inner: &snapshot,
            n_fields: &n_fields,
            n_lines: &n_lines,
            n_unordered: &n_unordered,
        };
        let found = answer(&counted, &expr, seconds, is_range);
        assert_eq!(found, expected, "{text}");
        n_errors += usize::from(found.starts_with("Err"));
        n_values += usize::from(found.contains("labels"));
    }
    let [n_fields, n_lines, n_unordered] =
        [n_fields, n_lines, n_unordered].map(AtomicUsize::into_inner);
    assert!(
        n_values > 60 && n_errors > 20,
        "{n_values} with values, {n_errors} errors"
    );
    assert!(
        n_fields > 50_000 && n_lines > 1000 && n_unordered > 10_000,
        "{n_fields} by fields, {n_unordered} without order, {n_lines} by lines"
    );
}
