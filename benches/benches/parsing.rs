//! Parsers beside a naive form: a stock pattern, JSON that becomes fields, multiline rules.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kansoku_model::{LogBatch, Position};
use kansoku_parsers::line::multiline::{self, Joiner, Stream};
use kansoku_parsers::line::pattern::{Groups, Pattern};
use kansoku_parsers::line::{Parsed, Parser, builtin};

const NOW: i64 = 1_795_251_600_000_000_000;
const ACCESS: &str = r#"192.168.12.34 - bob [21/Nov/2026:09:00:00 +0100] "GET /api/v1/items/12345?page=2&sort=desc HTTP/1.1" 200 5123 "https://example.org/start" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36""#;
/// The same for the regex crate, by hand.
const ACCESS_PATTERN: &str = r#"^(?P<remote>[^ ]*) (?P<host>[^ ]*) (?P<user>[^ ]*) \[(?P<time>[^\]]*)\] "(?P<method>\S+)(?: +(?P<path>[^"]*?)(?: +\S*)?)?" (?P<code>[^ ]*) (?P<size>[^ ]*) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)""#;
const JSON: &str = r#"{"ts":"2026-11-21T09:00:00.123Z","level":"info","msg":"request done","method":"GET","path":"/api/v1/cart","status":200,"duration_ms":12.5,"user":{"id":4711,"plan":"pro"}}"#;

fn built_in(name: &str) -> Parser {
    let mut all = builtin::all(&|_| None).into_iter();
    all.find(|p| p.name() == name).expect("a built-in name")
}

fn regex(c: &mut Criterion) {
    let mut group = c.benchmark_group("access_line");
    group.throughput(Throughput::Bytes(ACCESS.len() as u64));
    let parser = built_in("nginx");
    let mut parsed = Parsed::default();
    group.bench_function("parser", |b| {
        b.iter(|| parser.parse(black_box(ACCESS.as_bytes()), NOW, &mut parsed));
    });
    let pattern = Pattern::new(ACCESS_PATTERN).expect("valid");
    let mut groups = Groups::default();
    group.bench_function("program", |b| {
        b.iter(|| pattern.find_groups(black_box(ACCESS.as_bytes()), &mut groups));
    });
    let naive = regex::bytes::Regex::new(ACCESS_PATTERN).expect("valid");
    group.bench_function("peer_regex_captures", |b| {
        b.iter(|| naive.captures(black_box(ACCESS.as_bytes())));
    });
    group.finish();
}

fn json(c: &mut Criterion) {
    let mut group = c.benchmark_group("json_merge");
    group.throughput(Throughput::Bytes(JSON.len() as u64));
    let parser = built_in("json");
    let mut parsed = Parsed::default();
    group.bench_function("columns", |b| {
        b.iter(|| {
            let mut batch = LogBatch::new("t".into(), Arc::default(), JSON.as_bytes().to_vec());
            let line = kansoku_model::Slice {
                start: 0,
                len: JSON.len() as u32,
            };
            let row = batch.push(0, Position::at(1));
            let fits = parser.parse(black_box(JSON.as_bytes()), NOW, &mut parsed);
            (fits && parsed.write(&mut batch, row, line)).then_some(batch)
        });
    });
    group.bench_function("peer_serde_json_map", |b| {
        b.iter(|| {
            let value: serde_json::Value = serde_json::from_str(black_box(JSON)).expect("valid");
            let mut record = serde_json::Map::new();
            for (key, value) in value.as_object().expect("an object") {
                record.insert(key.clone(), value.clone());
            }
            record
        });
    });
    group.finish();
}

fn traces(c: &mut Criterion) {
    let lines: Vec<String> = (0..1000)
        .map(|i| match i % 50 {
            0 => "java.lang.IllegalStateException: boom".to_owned(),
            1..=9 => format!("\tat com.example.Service.handle{i}(Service.java:{i})"),
            _ => format!(
                "2026-11-21 09:00:00 INFO [worker] request {i} took {} ms",
                7 * i
            ),
        })
        .collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    let mut group = c.benchmark_group("multiline_java_python_go_ruby");
    group.throughput(Throughput::Bytes(bytes as u64));
    let all = multiline::builtin::all();
    let of_rules = all.into_iter().filter(|m| m.parser().is_none());
    let joiner = Joiner::new(of_rules.map(Arc::new).collect(), 2 << 20);
    group.bench_function("joiner", |b| {
        b.iter(|| {
            let mut stream = Stream::default();
            let push = |line: &String| joiner.push(&mut stream, line.as_bytes()).complete;
            lines.iter().map(push).filter(|complete| *complete).count()
        });
    });
    let patterns = [
        r"(?m).(?:Error|Exception|Throwable|V8 errors stack trace)[\r\n:]",
        r"(?m)^[ \t]+(?:eval )?at ",
        r"(?m)^Traceback \(most recent call last\):$",
        r"(?m)\bpanic: ",
        "(?m)http: panic serving",
        r"(?m)^.+:\d+:in\s+",
    ];
    let naive = patterns.map(|p| regex::bytes::Regex::new(p).expect("valid"));
    group.bench_function("peer_every_pattern_on_every_line", |b| {
        b.iter(|| {
            let any = |line: &&String| naive.iter().any(|p| p.is_match(line.as_bytes()));
            lines.iter().filter(any).count()
        });
    });
    group.finish();
}

criterion_group!(benches, regex, json, traces);
criterion_main!(benches);
