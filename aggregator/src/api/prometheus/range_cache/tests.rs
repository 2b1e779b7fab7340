//! Answers with and without the cache are the same bytes, whatever is written, deleted and dropped between them.

use std::path::Path;

use kansoku_model::metric::STALE_BITS;
use kansoku_model::{MetricBatch, MetricKind, RecordBatch};
use kansoku_query::promql::{self, Engine, Options, json};
use kansoku_store::{DeleteKind, DeleteRequest, Incoming, RetentionRule, Store};

use super::*;
use crate::api::deletes;

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

const QUERIES: &[&str] = &[
    "g",
    "g{n=~\"1|3\"}",
    "rate(c_total[2m])",
    "sum(rate(c_total[2m]))",
    "sum by (job) (rate(c_total[1m]))",
    "sum by (job) (rate(c_total[2m])) / sum by (job) (g)",
    "avg(g) by (job)",
    "topk(2, g)",
    "bottomk by (job) (1, g * 3)",
    "limitk(2, g)",
    "quantile(0.7, g)",
    "stddev(g)",
    "count by (job) (g > 4)",
    "count_values(\"v\", g)",
    "min_over_time(g[3m]) - g offset 1m",
    "g and on (n) c_total",
    "g or c_total",
    "c_total unless on (n) g",
    "g / on (n) group_left () c_total",
    "absent(g{n=\"1\"})",
    "changes(g[5m])",
    "last_over_time(g[1m])",
    "quantile_over_time(0.5, g[4m])",
    "label_replace(g, \"m\", \"$1\", \"n\", \"(.*)\")",
    "increase(c_total[90s]) > bool 2",
    "timestamp(g)",
    "irate(c_total[3m])",
    "predict_linear(g[5m], 60)",
    "{job=\"a\"}",
    // With a note, and with an error: not kept.
    "rate(g[2m])",
    "g + on (job) c_total",
    // Of which steps do not stand alone.
    "sum(sum by (job) (g))",
    "sum_over_time(g[3m])",
    "g @ end()",
    "g offset -1m",
    "max_over_time(sum(g)[3m:30s])",
];

const T0_MS: i64 = 1_700_000_000_000;

struct Run {
    random: Random,
    store: Store,
    cache: RangeCache,
    now_ms: i64,
    n_deletes: u64,
    n_answers: [usize; 2],
}

fn open(folder: &Path) -> Store {
    let rule = RetentionRule {
        name: "short".into(),
        matchers: vec![kansoku_model::Matcher::equal("n", "4")],
        period_ms: 15 * 60_000,
    };
    let options = kansoku_store::Options {
        parse_selector: deletes::parse_selector,
        retention_ms: Some(60 * 60_000),
        retention_rules: vec![rule],
        ..kansoku_store::Options::new(folder)
    };
    Store::open(options).unwrap().0
}

impl Run {
    fn write(&mut self) {
        let late = self.random.below(8) == 0;
        let late_ms = if late {
            self.random.below(40 * 60_000)
        } else {
            0
        };
        let mut batch = MetricBatch::new("m".into(), Arc::default(), self.now_ms - late_ms as i64);
        let gauge = batch.family("g", MetricKind::Gauge, "");
        let counter = batch.family("c_total", MetricKind::Counter, "");
        for n in 0..6u64 {
            if self.random.below(6) == 0 {
                continue;
            }
            let (job, n) = (if n % 2 == 0 { "a" } else { "b" }, n.to_string());
            let labels = [("job", job), ("n", n.as_str())];
            let value = match self.random.below(40) {
                0 => f64::from_bits(STALE_BITS),
                1 => f64::NAN,
                2 => -0.0,
                _ => self.random.below(90) as f64 / 10.0,
            };
            batch.sample(gauge, &labels, value);
            let counted = (self.now_ms - T0_MS) / 1000 % 1700;
            batch.sample(counter, &labels, counted as f64 * 0.1);
        }
        let batch = Incoming::Batch(RecordBatch::Metrics(batch));
        self.store.append(vec![batch]).unwrap();
    }

    fn delete(&mut self) {
        self.n_deletes += 1;
        let from = self.now_ms - self.random.below(50 * 60_000) as i64;
        let request = DeleteRequest {
            id: self.n_deletes.to_string(),
            kind: DeleteKind::Samples,
            selector: self
                .random
                .one_of(&["g", "{n=\"2\"}", "c_total{job=\"b\"}"])
                .to_string(),
            from,
            to: from + self.random.below(10 * 60_000) as i64,
            now_ms: self.now_ms,
            can_be_cancelled: self.random.below(2) == 0,
        };
        self.store.delete(request).unwrap();
    }

    fn ask(&mut self, panels: &[(&str, i64, i64)]) {
        let (text, step_ms, length) = *self.random.one_of(panels);
        // Most often aligned, as Grafana asks.
        let at_ms = match self.random.below(5) {
            0 => self.now_ms - self.random.below(20 * 60_000) as i64,
            1 => self.now_ms,
            _ => self.now_ms.div_euclid(step_ms) * step_ms,
        };
        let range = Range {
            start_ms: at_ms - length * step_ms,
            end_ms: at_ms + self.random.below(step_ms as u64) as i64,
            step_ms,
        };
        let query = promql::parse(text).unwrap();
        let engine = Engine::new(Options::default());
        let lookback_ms = engine.options.lookback_ms;
        let mark = self.store.change_mark();
        let snapshot = self.store.snapshot();
        let evaluate = |r: &Range| {
            engine.range(&snapshot, &query, r.start_ms, r.end_ms, r.step_ms, &|| {
                Ok(())
            })
        };
        let shown = |output: Result<QueryOutput, QueryError>| {
            output.map(|output| {
                let mut data = Vec::new();
                json::write_data(&mut data, &output);
                let text = String::from_utf8(data).unwrap();
                (text, output.warnings, output.infos)
            })
        };
        let expected = shown(evaluate(&range));
        let Some(reach_ms) = reuse::reach_ms(&query, lookback_ms) else {
            self.n_answers[0] += 1;
            return;
        };
        self.n_answers[1] += 1;
        let key = Key::new("", text, lookback_ms, &range);
        let changed_since = |mark| self.store.changed_since(mark);
        let got = self
            .cache
            .answer(key, &range, reach_ms, mark, changed_since, evaluate);
        assert_eq!(shown(got), expected, "{text} {range:?}");
    }
}

fn run(seed: u64) -> (Run, [u64; 4]) {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run {
        random: Random(seed),
        store: open(folder.path()),
        cache: RangeCache::new(300_000),
        now_ms: T0_MS,
        n_deletes: 0,
        n_answers: [0; 2],
    };
    let panels: Vec<_> = (0..12)
        .map(|_| {
            let text = *run.random.one_of(QUERIES);
            let step_ms = *run.random.one_of(&[15_000, 30_000, 47_000, 60_000]);
            (text, step_ms, 10 + run.random.below(60) as i64)
        })
        .collect();
    for _ in 0..600 {
        run.now_ms += run.random.below(30_000) as i64;
        match run.random.below(60) {
            0 => run.delete(),
            1 => {
                let id = run.n_deletes.to_string();
                run.store.cancel_delete(&id).unwrap();
            }
            2 => {
                run.store.flush().unwrap();
            }
            3 => {
                run.store.maintain(run.now_ms).unwrap();
            }
            4 => {
                // What was kept is of another opening, and of no use.
                let other = tempfile::tempdir().unwrap();
                drop(std::mem::replace(&mut run.store, open(other.path())));
                run.store = open(folder.path());
            }
            5..30 => run.write(),
            _ => run.ask(&panels),
        }
        assert!(run.cache.n_bytes() <= 300_000);
    }
    let counters = &run.cache.counters;
    let counts = [
        &counters.hits,
        &counters.misses,
        &counters.steps_reused,
        &counters.steps_evaluated,
    ]
    .map(|counter| counter.load(Ordering::Relaxed));
    (run, counts)
}

#[test]
fn answers_are_those_of_a_whole_evaluation() {
    let (mut all, mut n_answers) = ([0; 4], [0; 2]);
    for seed in 1..=12 {
        let (run, counts) = run(seed * 7919);
        (0..4).for_each(|at| all[at] += counts[at]);
        (0..2).for_each(|at| n_answers[at] += run.n_answers[at]);
    }
    let [hits, misses, reused, evaluated] = all;
    assert!(hits > 200 && misses > 200, "{all:?}");
    assert!(reused > 5_000 && evaluated > 5_000, "{all:?}");
    assert!(n_answers[0] > 20 && n_answers[1] > 1000, "{n_answers:?}");
}

#[test]
fn a_small_cache_gives_up_the_oldest_and_keeps_no_large_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let cache = RangeCache::new(8 * 2000);
    let range = Range {
        start_ms: 0,
        end_ms: 60_000,
        step_ms: 1000,
    };
    let ask = |text: &str, n_points: i64| {
        let output = || QueryOutput {
            value: QueryValue::Matrix(vec![Series {
                labels: kansoku_model::Labels::default(),
                times: (0..n_points).map(|n| n * 1000).collect(),
                values: vec![1.0; n_points as usize],
                histograms: Vec::new(),
            }]),
            warnings: Vec::new(),
            infos: Vec::new(),
            stats: QueryStats::default(),
        };
        let key = Key::new("", text, 1, &range);
        let (mark, since) = (store.change_mark(), |mark| store.changed_since(mark));
        let mut n_asked = 0;
        let evaluate = |_: &Range| {
            n_asked += 1;
            Ok(output())
        };
        let answer = cache.answer(key, &range, 0, mark, since, evaluate).unwrap();
        assert_eq!(answer.value, output().value);
        n_asked
    };
    assert_eq!((ask("a", 61), ask("a", 61)), (1, 0));
    assert_eq!((ask("large", 200), ask("large", 200)), (1, 1));
    let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| assert_eq!(ask(name, 61), 1));
    assert!(cache.n_bytes() <= 8 * 2000);
    assert_eq!((ask("9", 61), ask("a", 61)), (0, 1), "the oldest went");
}
