//! The `data` object of Prometheus's HTTP API: result type and result.
//!
//! Times are seconds, whole or with three decimals; values are strings, as JSON has no NaN.

use kansoku_model::Labels;
use kansoku_model::digits::put_integer;
use kansoku_model::json::write_str;

use super::native::FloatHistogram;
use super::output::{QueryOutput, QueryValue};
use crate::number::{format_f, put_sample};

/// Appends `{"resultType":…,"result":…}`.
pub fn write_data(out: &mut Vec<u8>, output: &QueryOutput) {
    match &output.value {
        QueryValue::Scalar { time_ms, value } => {
            out.extend_from_slice(br#"{"resultType":"scalar","result":["#);
            write_time(out, *time_ms);
            out.extend_from_slice(b",\"");
            out.extend_from_slice(format_f(*value).as_bytes());
            out.extend_from_slice(b"\"]}");
        }
        QueryValue::String { time_ms, value } => {
            out.extend_from_slice(br#"{"resultType":"string","result":["#);
            write_time(out, *time_ms);
            out.push(b',');
            write_str(out, value.as_bytes());
            out.extend_from_slice(b"]}");
        }
        QueryValue::Vector(samples) => {
            out.extend_from_slice(br#"{"resultType":"vector","result":["#);
            for (i, sample) in samples.iter().enumerate() {
                out.extend_from_slice(if i == 0 {
                    b"{\"metric\":"
                } else {
                    b",{\"metric\":"
                });
                write_labels(out, &sample.labels);
                match &sample.histogram {
                    None => {
                        out.extend_from_slice(b",\"value\":");
                        write_point(out, sample.time_ms, sample.value);
                    }
                    Some(histogram) => {
                        out.extend_from_slice(b",\"histogram\":");
                        write_histogram_point(out, sample.time_ms, histogram);
                    }
                }
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
        QueryValue::Matrix(series) => {
            out.extend_from_slice(br#"{"resultType":"matrix","result":["#);
            let mut grid = Grid::default();
            for (i, one) in series.iter().enumerate() {
                out.extend_from_slice(if i == 0 {
                    b"{\"metric\":"
                } else {
                    b",{\"metric\":"
                });
                write_labels(out, &one.labels);
                if one.histograms.is_empty() || !one.times.is_empty() {
                    out.extend_from_slice(b",\"values\":");
                    grid.write(out, &one.times, &one.values);
                }
                if !one.histograms.is_empty() {
                    out.extend_from_slice(b",\"histograms\":[");
                    for (j, (time_ms, histogram)) in one.histograms.iter().enumerate() {
                        if j > 0 {
                            out.push(b',');
                        }
                        write_histogram_point(out, *time_ms, histogram);
                    }
                    out.push(b']');
                }
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
    }
}

/// What stands before the values of a series: mostly the same for all of a result, which have the same times.
#[derive(Debug, Default)]
struct Grid {
    times: Vec<i64>,
    /// `,[time,"` of each, one after the other.
    heads: Vec<u8>,
    ends: Vec<usize>,
}

impl Grid {
    /// A point with an ordinary number.
    const POINT_BYTES: usize = 40;

    /// Appends the points of a series as an array.
    fn write(&mut self, out: &mut Vec<u8>, times: &[i64], values: &[f64]) {
        self.set(times);
        out.reserve(times.len() * Self::POINT_BYTES);
        out.push(b'[');
        let mut begin = 0;
        for (&end, &value) in self.ends.iter().zip(values) {
            // No comma before the first one.
            out.extend_from_slice(&self.heads[begin.max(1)..end]);
            put_sample(out, value);
            out.extend_from_slice(b"\"]");
            begin = end;
        }
        out.push(b']');
    }

    fn set(&mut self, times: &[i64]) {
        if self.times == times {
            return;
        }
        self.times.clear();
        self.heads.clear();
        self.ends.clear();
        self.times.extend_from_slice(times);
        for time_ms in times {
            self.heads.extend_from_slice(b",[");
            write_time(&mut self.heads, *time_ms);
            self.heads.extend_from_slice(b",\"");
            self.ends.push(self.heads.len());
        }
    }
}

/// Appends a label set as an object.
pub fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_str(out, name.as_bytes());
        out.push(b':');
        write_str(out, value.as_bytes());
    }
    out.push(b'}');
}

/// Appends `[time,"value"]`.
pub fn write_point(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    out.push(b'[');
    write_time(out, time_ms);
    out.extend_from_slice(b",\"");
    put_sample(out, value);
    out.extend_from_slice(b"\"]");
}

/// Appends `[time,{"count":…,"sum":…,"buckets":[[boundaries,"lower","upper","count"],…]}]`. Boundaries: 0 the upper
/// one is inclusive, 1 the lower one, 2 neither, 3 both. Empty buckets are left out.
fn write_histogram_point(out: &mut Vec<u8>, time_ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    write_time(out, time_ms);
    out.extend_from_slice(b",{\"count\":");
    write_number(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    write_number(out, histogram.sum);
    let mut before: &[u8] = b",\"buckets\":[[";
    for bucket in histogram.buckets().filter(|b| b.count != 0.0) {
        out.extend_from_slice(before);
        let boundaries = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.push(boundaries);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            write_number(out, number);
        }
        out.push(b']');
        before = b",[";
    }
    if before == b",[" {
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

fn write_number(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    put_sample(out, value);
    out.push(b'"');
}

/// Appends seconds: whole, or with three decimals.
pub fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    let magnitude = time_ms.unsigned_abs();
    let rest = (magnitude % 1000) as i64;
    if time_ms < 0 {
        out.push(b'-');
    }
    put_integer(out, (magnitude / 1000) as i64, 1);
    if rest > 0 {
        out.push(b'.');
        put_integer(out, rest, 3);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::promql::output::{QueryStats, Sample, Series};

    fn text(value: QueryValue) -> String {
        let mut out = Vec::new();
        let output = QueryOutput {
            value,
            warnings: Vec::new(),
            infos: Vec::new(),
            stats: QueryStats::default(),
        };
        write_data(&mut out, &output);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_what_prometheus_writes() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]);
        let histogram = Arc::new(FloatHistogram {
            count: 9.0,
            sum: 0.5,
            zero_threshold: 0.25,
            zero_count: 3.0,
            positive: vec![(0, 5.0), (1, 0.0)],
            negative: vec![(1, 1.0)],
            ..FloatHistogram::empty(0, &[])
        });
        let cases = [
            (
                QueryValue::Scalar {
                    time_ms: 1500,
                    value: 1e-7,
                },
                r#"{"resultType":"scalar","result":[1.500,"0.0000001"]}"#,
            ),
            (
                QueryValue::String {
                    time_ms: -1,
                    value: "x\n".into(),
                },
                r#"{"resultType":"string","result":[-0.001,"x\n"]}"#,
            ),
            (
                QueryValue::Vector(vec![Sample {
                    labels: labels.clone(),
                    time_ms: 2000,
                    value: f64::INFINITY,
                    histogram: None,
                }]),
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[2,"+Inf"]}]}"#,
            ),
            (
                QueryValue::Matrix(vec![Series {
                    labels: Labels::default(),
                    times: vec![0, 10],
                    values: vec![1e21, -0.5],
                    histograms: Vec::new(),
                }]),
                r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1e+21"],[0.010,"-0.5"]]}]}"#,
            ),
            (
                QueryValue::Vector(vec![Sample {
                    labels: Labels::default(),
                    time_ms: 2000,
                    value: 0.0,
                    histogram: Some(histogram.clone()),
                }]),
                r#"{"resultType":"vector","result":[{"metric":{},"histogram":[2,{"count":"9","sum":"0.5","buckets":[[1,"-2","-1","1"],[3,"-0.25","0.25","3"],[0,"0.5","1","5"]]}]}]}"#,
            ),
            (
                QueryValue::Matrix(vec![Series {
                    labels: Labels::default(),
                    times: Vec::new(),
                    values: Vec::new(),
                    histograms: vec![(1500, Arc::new(FloatHistogram::empty(0, &[])))],
                }]),
                r#"{"resultType":"matrix","result":[{"metric":{},"histograms":[[1.500,{"count":"0","sum":"0"}]]}]}"#,
            ),
            (
                // Times as before, others, and fewer.
                QueryValue::Matrix(
                    [vec![0, 10], vec![0, 10], vec![0, 20], vec![20], vec![]]
                        .into_iter()
                        .map(|times| Series {
                            labels: Labels::default(),
                            values: vec![3.0; times.len()],
                            times,
                            histograms: Vec::new(),
                        })
                        .collect(),
                ),
                r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"3"],[0.010,"3"]]},{"metric":{},"values":[[0,"3"],[0.010,"3"]]},{"metric":{},"values":[[0,"3"],[0.020,"3"]]},{"metric":{},"values":[[0.020,"3"]]},{"metric":{},"values":[]}]}"#,
            ),
            (
                QueryValue::Matrix(vec![]),
                r#"{"resultType":"matrix","result":[]}"#,
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }
}
