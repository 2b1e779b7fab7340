//! Queries and lines with bytes changed at random (the same every time): nothing may panic, and a
//! log query that is written back must read as the same query.

use kansoku_model::Labels;
use kansoku_model::select::Direction;

use super::source::{MemorySource, TestEntry};
use super::{Context, Engine, Expr, folder, parse};

/// A small generator; the numbers only have to be varied.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// The lines of all case files: queries with a `: ` before them, entries indented.
fn case_lines() -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn queries() -> Vec<String> {
    case_lines()
        .iter()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_once(": "))
        .map(|(_, query)| query.to_owned())
        .collect()
}

fn mutate(random: &mut Random, text: &[u8], other: &[u8]) -> Vec<u8> {
    const SPICE: &[u8] = b"{}()[]|=!~<>\"`\\,.:%-0159 amsKB\n\xff$";
    let mut out = text.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(out.len() + 1);
        match random.below(4) {
            0 => out.insert(at, SPICE[random.below(SPICE.len())]),
            1 if at < out.len() => {
                out.remove(at);
            }
            2 if at < out.len() => out[at] = SPICE[random.below(SPICE.len())],
            _ => {
                let from = random.below(other.len() + 1);
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
        }
    }
    out
}

#[test]
fn queries_parse_or_fail_and_read_back() {
    let queries = queries();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut n_good, mut n_bad) = (0, 0);
    for _ in 0..20_000 {
        let query = queries[random.below(queries.len())].as_bytes();
        let other = queries[random.below(queries.len())].as_bytes();
        let mutated = mutate(&mut random, query, other);
        match parse(&String::from_utf8_lossy(&mutated)) {
            Ok(Expr::Log(log)) => {
                let written = log.to_string();
                let Ok(Expr::Log(again)) = parse(&written) else {
                    panic!("{written} does not read back");
                };
                assert_eq!(again.to_string(), written);
                n_good += 1;
            }
            Ok(Expr::Metric(_)) => n_good += 1,
            Err(error) => {
                assert!(!error.message.is_empty());
                n_bad += 1;
            }
        }
    }
    assert!(n_good > 1000 && n_bad > 1000, "{n_good} good, {n_bad} bad");
}

#[test]
fn lines_pass_every_stage() {
    let lines = case_lines();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut source = MemorySource::default();
    source.add_stream(Labels::from_pairs([
        ("app", "a"),
        ("foo", "bar"),
        ("a", "b"),
    ]));
    for time_ns in 0..400 {
        let line = lines[random.below(lines.len())].trim();
        let other = lines[random.below(lines.len())].trim();
        source.push(TestEntry {
            time_ns,
            line: mutate(&mut random, line.as_bytes(), other.as_bytes()),
            metadata: Labels::default(),
        });
    }
    let source = source.in_blocks_of(100);
    let (engine, ctx) = (Engine::default(), Context::uninterrupted());
    for query in queries() {
        match parse(&query) {
            Ok(Expr::Log(log)) => {
                let answer =
                    engine.log_query(&source, &log, 0, i64::MAX, Direction::Forward, 1000, &ctx);
                assert!(answer.is_ok(), "{query}: {answer:?}");
            }
            Ok(Expr::Metric(metric)) => {
                // Lines with `__error__` may fail the query, but nothing else may happen.
                let _ = engine.metric_range(&source, &metric, 0, 400, 50, &ctx);
            }
            Err(_) => {}
        }
    }
}

#[test]
fn nesting_is_bounded() {
    for query in [
        "(".repeat(100_000),
        format!("{}1{}", "(".repeat(90), ")".repeat(90)),
        format!("rate({}", "(".repeat(50_000)),
        "sum(".repeat(20_000),
        "1 ^ ".repeat(20_000),
        format!("{{a=\"b\"}} | {}", "(".repeat(50_000)),
        format!("{{a=\"b\"}} | {}", "a=1,".repeat(20_000)),
        format!("{{a=\"b\"}} {}", "|= \"x\" ".repeat(10_000)),
        "x".repeat(200_000),
    ] {
        let _ = parse(&query);
    }
    let error = parse(&"(".repeat(200)).unwrap_err();
    assert!(error.message.contains("nested deeper than 100"));
}
