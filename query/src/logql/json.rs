//! Loki's JSON of an answer: the `data` object of a query response.
//!
//! Writing only. The statistics hold what was measured and nothing else; how long the query took
//! is the caller's to say, because nothing here asks a clock.

use std::collections::BTreeMap;
use std::io::Write;

use kansoku_model::Labels;
use kansoku_model::json::write_str;

use super::output::{Entry, Instant, InstantValue, Matrix, Statistics, Stream, Streams};

/// Writes `{"resultType":"streams",...}`. With `categorize_labels` (the client sent
/// `X-Loki-Response-Encoding-Flags: categorize-labels`) the stream holds only its own labels and
/// each entry has a third element with the rest.
pub fn write_streams(
    out: &mut Vec<u8>,
    answer: &Streams,
    categorize_labels: bool,
    exec_seconds: f64,
) {
    out.extend_from_slice(br#"{"resultType":"streams","#);
    if categorize_labels {
        out.extend_from_slice(br#""encodingFlags":["categorize-labels"],"#);
    }
    out.extend_from_slice(br#""result":["#);
    write_result(out, answer, categorize_labels);
    write_end(out, &answer.statistics, exec_seconds);
}

/// Writes `{"streams":[...]}`, a message of a tail.
pub fn write_tail(out: &mut Vec<u8>, answer: &Streams, categorize_labels: bool) {
    out.extend_from_slice(br#"{"streams":["#);
    write_result(out, answer, categorize_labels);
    out.push(b']');
    if categorize_labels {
        out.extend_from_slice(br#","encodingFlags":["categorize-labels"]"#);
    }
    out.push(b'}');
}

fn write_result(out: &mut Vec<u8>, answer: &Streams, categorize_labels: bool) {
    if categorize_labels {
        write_categorized(out, answer);
    } else {
        separated(out, &answer.streams, |out, stream| {
            out.extend_from_slice(br#"{"stream":"#);
            write_labels(out, &stream.labels.all);
            out.extend_from_slice(br#","values":["#);
            separated(out, &stream.entries, |out, entry| {
                write_entry(out, entry, None);
            });
            out.extend_from_slice(b"]}");
        });
    }
}

/// Writes `{"resultType":"vector",...}`, or `"scalar"` for a bare number.
pub fn write_instant(out: &mut Vec<u8>, answer: &Instant, exec_seconds: f64) {
    match &answer.value {
        InstantValue::Scalar { time_ns, value } => {
            out.extend_from_slice(br#"{"resultType":"scalar","result":"#);
            write_point(out, *time_ns, *value);
            write_statistics(out, &answer.statistics, exec_seconds);
        }
        InstantValue::Vector(samples) => {
            out.extend_from_slice(br#"{"resultType":"vector","result":["#);
            separated(out, samples, |out, sample| {
                out.extend_from_slice(br#"{"metric":"#);
                write_labels(out, &sample.labels);
                out.extend_from_slice(br#","value":"#);
                write_point(out, sample.time_ns, sample.value);
                out.push(b'}');
            });
            write_end(out, &answer.statistics, exec_seconds);
        }
    }
}

/// Writes `{"resultType":"matrix",...}`.
pub fn write_matrix(out: &mut Vec<u8>, answer: &Matrix, exec_seconds: f64) {
    out.extend_from_slice(br#"{"resultType":"matrix","result":["#);
    separated(out, &answer.series, |out, series| {
        out.extend_from_slice(br#"{"metric":"#);
        write_labels(out, &series.labels);
        out.extend_from_slice(br#","values":["#);
        separated(out, &series.points, |out, (time_ns, value)| {
            write_point(out, *time_ns, *value);
        });
        out.extend_from_slice(b"]}");
    });
    write_end(out, &answer.statistics, exec_seconds);
}

/// Writes a label set as a JSON object.
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

/// Writes a number as Go's `strconv.FormatFloat(v, 'f', -1, 64)` prints it.
pub fn write_number(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        // Rust's `Display` is the shortest text that reads back, without an exponent: the same.
        let _ = write!(out, "{value}");
    }
}

/// Entries of streams that differ only in metadata or parsed labels are merged by time.
fn write_categorized(out: &mut Vec<u8>, answer: &Streams) {
    let mut by_stream: BTreeMap<&Labels, Vec<&Stream>> = BTreeMap::new();
    for stream in &answer.streams {
        by_stream
            .entry(&stream.labels.stream)
            .or_default()
            .push(stream);
    }
    let groups: Vec<_> = by_stream.into_iter().collect();
    separated(out, &groups, |out, (labels, streams)| {
        let mut entries: Vec<(&Entry, &Stream)> = streams
            .iter()
            .flat_map(|s| s.entries.iter().map(move |e| (e, *s)))
            .collect();
        entries.sort_by_key(|(entry, _)| entry.time_ns);
        if answer.backward {
            entries.reverse();
        }
        out.extend_from_slice(br#"{"stream":"#);
        write_labels(out, labels);
        out.extend_from_slice(br#","values":["#);
        separated(out, &entries, |out, (entry, stream)| {
            write_entry(out, entry, Some(stream));
        });
        out.extend_from_slice(b"]}");
    });
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry, categories: Option<&Stream>) {
    let _ = write!(out, "[\"{}\",", entry.time_ns);
    write_str(out, &entry.line);
    if let Some(stream) = categories {
        out.extend_from_slice(b",{");
        let mut owed = false;
        for (name, labels) in [
            ("structuredMetadata", &stream.labels.metadata),
            ("parsed", &stream.labels.parsed),
        ] {
            if labels.is_empty() {
                continue;
            }
            if owed {
                out.push(b',');
            }
            owed = true;
            let _ = write!(out, "\"{name}\":");
            write_labels(out, labels);
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// `[seconds,"value"]`, with milliseconds as the smallest part of the time.
fn write_point(out: &mut Vec<u8>, time_ns: i64, value: f64) {
    let time_ms = time_ns.div_euclid(1_000_000);
    let (seconds, millis) = (time_ms / 1000, (time_ms % 1000).abs());
    let sign = if time_ms < 0 && seconds == 0 { "-" } else { "" };
    let _ = write!(out, "[{sign}{seconds}");
    if millis != 0 {
        let text = format!("{millis:03}");
        let _ = write!(out, ".{}", text.trim_end_matches('0'));
    }
    out.extend_from_slice(b",\"");
    write_number(out, value);
    out.extend_from_slice(b"\"]");
}

fn write_end(out: &mut Vec<u8>, statistics: &Statistics, exec_seconds: f64) {
    out.push(b']');
    write_statistics(out, statistics, exec_seconds);
}

fn write_statistics(out: &mut Vec<u8>, statistics: &Statistics, exec_seconds: f64) {
    let per_second = |n: u64| {
        if exec_seconds > 0.0 {
            (n as f64 / exec_seconds) as u64
        } else {
            0
        }
    };
    let _ = write!(
        out,
        concat!(
            r#","stats":{{"summary":{{"bytesProcessedPerSecond":{},"linesProcessedPerSecond":{},"#,
            r#""totalBytesProcessed":{},"totalLinesProcessed":{},"execTime":{},"queueTime":0,"#,
            r#""subqueries":0,"totalEntriesReturned":{},"splits":0,"shards":0,"#,
            r#""totalPostFilterLines":{},"totalStructuredMetadataBytesProcessed":{}}},"#,
            r#""querier":{{"store":{{"totalChunksRef":{},"totalChunksDownloaded":{}}}}}}}}}"#
        ),
        per_second(statistics.bytes_read),
        per_second(statistics.entries_read),
        statistics.bytes_read,
        statistics.entries_read,
        if exec_seconds.is_finite() {
            exec_seconds
        } else {
            0.0
        },
        statistics.entries_returned,
        statistics.entries_passed,
        statistics.metadata_bytes_read,
        statistics.blocks_read,
        statistics.blocks_read,
    );
}

fn separated<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}
