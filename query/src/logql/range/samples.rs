//! Functions that need every value of a range.

use super::Range;

/// The per-second increase of a counter, carried on to the ends of the range where its first and
/// last values lie near enough, as Prometheus's `rate`.
pub fn rate_counter(samples: &[(i64, f64)], range: Range) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return 0.0;
    };
    if samples.len() < 2 || first.0 == last.0 {
        return 0.0;
    }
    let mut increase = last.1 - first.1;
    for pair in samples.windows(2) {
        if pair[1].1 < pair[0].1 {
            increase += pair[0].1;
        }
    }
    let seconds = |ns: i64| ns as f64 / 1e9;
    let sampled = seconds(last.0 - first.0);
    let between = sampled / (samples.len() - 1) as f64;
    let near = between * 1.1;
    let mut to_start = seconds(first.0 - (range.end_ns - range.range_ns));
    let mut to_end = seconds(range.end_ns - last.0);
    if to_start >= near {
        to_start = between / 2.0;
    }
    if to_end >= near {
        to_end = between / 2.0;
    }
    if increase > 0.0 && first.1 >= 0.0 {
        // A counter is never below zero: do not carry it back further than that.
        to_start = to_start.min(sampled * (first.1 / increase));
    }
    increase * ((sampled + to_start + to_end) / sampled) / seconds(range.range_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    const RANGE: Range = Range {
        end_ns: 60 * SECOND,
        range_ns: 60 * SECOND,
    };

    #[test]
    fn counters() {
        let at = |s: i64, v: f64| (s * SECOND, v);
        let steady = [
            at(10, 100.0),
            at(20, 110.0),
            at(30, 120.0),
            at(40, 130.0),
            at(50, 140.0),
        ];
        assert!((rate_counter(&steady, RANGE) - 1.0).abs() < 1e-12);
        let reset = [
            at(10, 5.0),
            at(20, 10.0),
            at(30, 5.0),
            at(40, 10.0),
            at(50, 15.0),
        ];
        // 5 to 10, 0 to 5 and so on: 20 in 40 seconds, carried on by 10 seconds at each side.
        assert!((rate_counter(&reset, RANGE) - 0.5).abs() < 1e-12);
        assert_eq!(rate_counter(&steady[..1], RANGE), 0.0);
    }
}
