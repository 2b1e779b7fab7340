//! Any text as a PromQL query over a few series: it ends in an answer or an error, and soon after it
//! was told to stop.
#![no_main]

use std::time::{Duration, Instant};

use kansoku_model::select::{SelectError, SeriesData};
use kansoku_model::{Labels, Matcher, SeriesSource};
use kansoku_query::promql::{Engine, Options, QueryError, json, parse};

/// The last time that the API lets through.
const END_OF_TIME_MS: i64 = i64::MAX / 1_000_000;

/// Four series of a minute; two of them are buckets of a histogram, one holds odd values.
struct Few;

impl SeriesSource for Few {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let mut found = Vec::new();
        for (n, le) in [(0, "0.1"), (1, "+Inf"), (2, ""), (3, "")] {
            let labels = Labels::from_pairs([("__name__", "x"), ("n", &n.to_string()), ("le", le)]);
            let times: Vec<i64> = (0..60)
                .map(|s| s * 1000)
                .filter(|t| (from_ms..=to_ms).contains(t))
                .collect();
            if (found.len() + 1) * times.len() > max_samples {
                return Err(SelectError::Limit("more than may be".into()));
            }
            if !times.is_empty() && matchers.iter().all(|m| m.matches_labels(&labels)) {
                let odd = [f64::NAN, f64::INFINITY, -0.0, f64::MIN, 1e308];
                let value = |t: &i64| match n {
                    3 => odd[(*t / 1000) as usize % odd.len()],
                    _ => (t % 40_000 * (n + 1)) as f64,
                };
                let values = times.iter().map(value).collect();
                found.push(SeriesData {
                    labels,
                    times,
                    values,
                    ..SeriesData::default()
                });
            }
        }
        Ok(found)
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(query) = parse(text) else { return };
    let engine = Engine::new(Options {
        max_samples: 100_000,
        ..Options::default()
    });
    let begun = Instant::now();
    let check = || {
        if begun.elapsed() > Duration::from_secs(1) {
            return Err(QueryError::Timeout("late".into()));
        }
        Ok(())
    };
    let answers = [
        engine.instant(&Few, &query, 30_000, &check),
        engine.range(&Few, &query, 0, 59_000, 7_000, &check),
        engine.instant(&Few, &query, END_OF_TIME_MS, &check),
        engine.range(
            &Few,
            &query,
            -END_OF_TIME_MS,
            END_OF_TIME_MS,
            END_OF_TIME_MS / 5,
            &check,
        ),
    ];
    for answer in answers.into_iter().flatten() {
        let mut out = Vec::new();
        json::write_data(&mut out, &answer);
        serde_json::from_slice::<serde_json::Value>(&out).expect("an answer is JSON");
    }
});
