//! Limits, cancellation, errors of the source and costs, over a source of plain vectors.

use std::sync::atomic::{AtomicUsize, Ordering};

use kansoku_model::select::{SelectError, SeriesData};
use kansoku_model::{Labels, Matcher, SeriesSource};

use super::*;

/// `n` series `x{n="…"}` with a sample each second from 0 to 59.
struct Plain {
    n_series: usize,
    fails: Option<SelectError>,
}

impl SeriesSource for Plain {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        let mut found = Vec::new();
        for n in 0..self.n_series {
            let labels = Labels::from_pairs([("__name__", "x"), ("n", &n.to_string())]);
            let times: Vec<i64> = (0..60)
                .map(|s| s * 1000)
                .filter(|t| (from_ms..=to_ms).contains(t))
                .collect();
            if (found.len() + 1) * times.len() > max_samples {
                return Err(SelectError::Limit("more than may be".into()));
            }
            if !times.is_empty() && matchers.iter().all(|m| m.matches_labels(&labels)) {
                found.push(SeriesData {
                    labels,
                    values: times.iter().map(|t| *t as f64).collect(),
                    times,
                    ..SeriesData::default()
                });
            }
        }
        Ok(found)
    }
}

const FEW: Plain = Plain {
    n_series: 3,
    fails: None,
};

/// The value of a query that needs no series.
pub(crate) fn scalar(text: &str) -> f64 {
    let query = parse(text).unwrap();
    let output = Engine::default()
        .instant(&FEW, &query, 0, &|| Ok(()))
        .unwrap();
    match output.value {
        QueryValue::Scalar { value, .. } => value,
        other => panic!("{text}: {other:?}"),
    }
}

fn limited(max_samples: usize, text: &str) -> Result<QueryOutput, QueryError> {
    let engine = Engine::new(Options {
        max_samples,
        ..Options::default()
    });
    engine.range(&FEW, &parse(text).unwrap(), 0, 59_000, 1000, &|| Ok(()))
}

#[test]
fn samples_are_limited_whoever_makes_them() {
    for text in [
        "x",
        "rate(x[30s])",
        "sum(x)",
        "x * on(n) x",
        "time()",
        "avg_over_time(time()[1h:1s])",
    ] {
        let text = text.replace("time()[", "vector(time())[");
        assert!(
            matches!(limited(50, &text), Err(QueryError::Limit(_))),
            "{text}"
        );
        assert!(limited(10_000, &text).is_ok(), "{text}");
    }
    let message = limited(50, "x").unwrap_err().to_string();
    assert_eq!(
        message,
        "query processing would load too many samples into memory in query execution"
    );
}

#[test]
fn a_query_stops_when_told() {
    for text in [
        "x",
        "rate(x[30s])",
        "sum(x)",
        "x * on(n) x",
        "x and x",
        "quantile(0.5, x)",
    ] {
        let query = parse(text).unwrap();
        let n_calls = AtomicUsize::new(0);
        let count = || {
            n_calls.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let engine = Engine::default();
        engine.range(&FEW, &query, 0, 59_000, 1000, &count).unwrap();
        let n_calls = n_calls.into_inner();
        assert!(n_calls > 2, "{text}: asked {n_calls} times");
        // Stop at each of these moments in turn.
        for stop_at in 1..=n_calls {
            let left = AtomicUsize::new(stop_at);
            let check = || {
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    return Err(QueryError::Timeout("late".into()));
                }
                Ok(())
            };
            let result = engine.range(&FEW, &query, 0, 59_000, 1000, &check);
            assert_eq!(result, Err(QueryError::Timeout("late".into())), "{text}");
        }
    }
}

#[test]
fn errors_of_the_source_keep_their_kind() {
    let cases = [
        (
            SelectError::Storage("disk".into()),
            QueryError::Storage("disk".into()),
        ),
        (
            SelectError::Cancelled("gone".into()),
            QueryError::Cancelled("gone".into()),
        ),
    ];
    for (error, expected) in cases {
        let source = Plain {
            n_series: 1,
            fails: Some(error),
        };
        let result = Engine::default().instant(&source, &parse("x").unwrap(), 0, &|| Ok(()));
        assert_eq!(result, Err(expected));
    }
}

#[test]
fn costs_are_counted() {
    let query = parse("sum(x)").unwrap();
    let output = Engine::default()
        .range(&FEW, &query, 0, 59_000, 1000, &|| Ok(()))
        .unwrap();
    assert_eq!(output.stats.samples_read, 180);
    // The column of each series, and the samples of one at a time.
    assert!(output.stats.peak_samples >= 240, "{:?}", output.stats);
}

#[test]
fn wrong_ranges_are_refused() {
    let engine = Engine::default();
    let query = parse("x").unwrap();
    for (start_ms, end_ms, step_ms) in [(0, 10, 0), (10, 0, 1), (0, i64::MAX, 1)] {
        assert!(
            engine
                .range(&FEW, &query, start_ms, end_ms, step_ms, &|| Ok(()))
                .is_err()
        );
    }
    let matrix = parse("x[5m]").unwrap();
    let error = engine
        .range(&FEW, &matrix, 0, 10, 1, &|| Ok(()))
        .unwrap_err();
    assert!(matches!(error, QueryError::Parse(_)), "{error}");
}

#[test]
fn extreme_times_do_not_overflow() {
    let engine = Engine::default();
    for text in [
        "x",
        "rate(x[100y])",
        "x offset 290y",
        "x offset -290y",
        "x @ 9000000000000",
        "sum_over_time(x[290y:290y])",
        "year(vector(1e300))",
        "predict_linear(x[1m] @ 59, 1e300)",
    ] {
        let query = parse(text).unwrap();
        for time_ms in [i64::MIN, -1, 0, i64::MAX] {
            // Any answer will do.
            let _ = engine.instant(&FEW, &query, time_ms, &|| Ok(()));
        }
    }
}

#[test]
fn the_deepest_trees_fit_the_stack() {
    let n = usize::from(ast::MAX_DEPTH) - 2;
    let deep = [
        "(".repeat(n / 2) + "x" + &")".repeat(n / 2),
        "x or ".repeat(n) + "x",
        "abs(".repeat(n / 2) + "x" + &")".repeat(n / 2),
        "sum(".repeat(n / 2) + "x" + &")".repeat(n / 2),
        "-(".repeat(n / 2 - 1) + "x" + &")".repeat(n / 2 - 1),
        "max_over_time(".repeat(n / 3) + "x" + &"[2s:1s])".repeat(n / 3),
    ];
    for text in deep {
        let query = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", &text[..20]));
        let output = Engine::default().instant(&FEW, &query, 0, &|| Ok(()));
        assert!(output.is_ok(), "{}: {output:?}", &text[..20]);
        assert!(parse(&query.to_string()).is_ok());
    }
}

#[test]
fn labels_that_double_are_bounded() {
    for (open, close) in [
        ("label_replace(", r#", "n", "$1$1", "n", "(.*)")"#),
        ("label_join(", r#", "n", "", "n", "n")"#),
    ] {
        let doubled = |times: usize| {
            let query = parse(&format!("{}x{}", open.repeat(times), close.repeat(times))).unwrap();
            Engine::default().instant(&FEW, &query, 0, &|| Ok(()))
        };
        assert!(doubled(10).is_ok());
        assert!(matches!(doubled(40), Err(QueryError::Limit(_))), "{open}");
    }
}

/// One counter `c_total` of a sample a minute, each with the time at which what it counts began.
struct Started(Vec<(i64, f64)>);

impl SeriesSource for Started {
    fn select(
        &self,
        _: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        _: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let mut one = SeriesData {
            labels: Labels::from_pairs([("__name__", "c_total")]),
            ..SeriesData::default()
        };
        for (minute, (start_ms, value)) in (0..).zip(&self.0) {
            let time_ms = minute * 60_000;
            if (from_ms..=to_ms).contains(&time_ms) {
                one.times.push(time_ms);
                one.values.push(*value);
                one.starts.push(*start_ms);
            }
        }
        Ok(vec![one])
    }
}

#[test]
fn a_counter_that_began_anew_is_known_by_its_start() {
    // It rises from 60 to 120 although it was reset in between.
    let reset = [
        (-60_000, 0.0),
        (-60_000, 60.0),
        (90_000, 120.0),
        (90_000, 180.0),
    ];
    // Nothing before the only sample of the range.
    let young = [(0, f64::from_bits(0x7ff0_0000_0000_0002)), (30_000, 9.0)];
    // A start before the sample before which is not its own.
    let overlapping = [(-60_000, 1.0), (-60_000, 2.0), (30_000, 3.0)];
    let cases: [(&[(i64, f64)], &str, i64, Option<f64>, usize); 9] = [
        (&reset, "resets(c_total[5m])", 3, Some(1.0), 0),
        (&reset, "irate(c_total[5m])", 2, Some(2.0), 0),
        (&reset, "irate(c_total[5m])", 3, Some(1.0), 0),
        (
            &reset,
            "round(increase(c_total[1m1ms]), 10)",
            2,
            Some(120.0),
            0,
        ),
        (&reset, "start_timestamp(c_total)", 3, Some(90.0), 0),
        (&reset, "start_timestamp(c_total + 1)", 3, None, 0),
        (&young, "increase(c_total[1m])", 1, Some(9.0), 0),
        (&young, "irate(c_total[1m])", 1, None, 0),
        (
            &overlapping,
            "resets(rate(c_total[2m1ms])[1m:])",
            2,
            Some(0.0),
            1,
        ),
    ];
    for (samples, text, minute, expected, n_warnings) in cases {
        for wants_starts in [false, true] {
            let engine = Engine::new(Options {
                start_timestamps: wants_starts,
                ..Options::default()
            });
            let query = parse(text).unwrap();
            let source = Started(samples.to_vec());
            let output = engine.instant(&source, &query, minute * 60_000, &|| Ok(()));
            let output = output.unwrap();
            let QueryValue::Vector(found) = output.value else {
                panic!("{text}");
            };
            let value = found.first().map(|s| s.value);
            if wants_starts {
                assert_eq!(value, expected, "{text}");
                assert_eq!(output.warnings.len(), n_warnings, "{text}");
            } else if text.starts_with("resets(c") {
                assert_eq!(value, Some(0.0), "nobody asked");
            }
        }
    }
}
