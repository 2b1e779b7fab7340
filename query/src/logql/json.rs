//! Loki's JSON of an answer: the `data` object of a query response.
//!
//! Writing only. The statistics hold what was measured and nothing else; how long the query took
//! is the caller's to say, because nothing here asks a clock.

use std::collections::BTreeMap;
use std::io::Write;

use kansoku_model::Labels;
use kansoku_model::json::write_str;
use serde_json::{Map, Value, json};

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

/// In the shape of Loki's `stats.Result`: clients read single numbers out of it and mind a missing object. What this
/// store has no part for (ingesters, caches, an index of chunks) is 0.
fn write_statistics(out: &mut Vec<u8>, statistics: &Statistics, exec_seconds: f64) {
    let seconds = match exec_seconds.is_finite() {
        true => exec_seconds,
        false => 0.0,
    };
    let per_second = |n: u64| match seconds > 0.0 {
        true => (n as f64 / seconds) as u64,
        false => 0,
    };
    let s = statistics;
    let stats = json!({
        "summary": {
            "bytesProcessedPerSecond": per_second(s.bytes_read),
            "linesProcessedPerSecond": per_second(s.entries_read),
            "totalBytesProcessed": s.bytes_read,
            "totalLinesProcessed": s.entries_read,
            "execTime": seconds,
            "queueTime": 0,
            "subqueries": 0,
            "totalEntriesReturned": s.entries_returned,
            "splits": 0,
            "shards": 0,
            "totalPostFilterLines": s.entries_passed,
            "totalStructuredMetadataBytesProcessed": s.metadata_bytes_read,
        },
        "querier": {"store": store(s), "querierExecTime": seconds},
        "ingester": {
            "totalReached": 0,
            "totalChunksMatched": 0,
            "totalBatches": 0,
            "totalLinesSent": 0,
            "recvWaitTime": 0,
            "store": store(&Statistics::default()),
        },
        "cache": CACHES.iter().map(|name| ((*name).to_owned(), cache())).collect::<Map<_, _>>(),
        "index": {
            "totalChunks": 0,
            "postFilterChunks": 0,
            "shardsDuration": 0,
            "usedBloomFilters": false,
            "totalStreams": 0,
            "chunkRefsLookupTime": 0,
            "bloomFilterTime": 0,
        },
    });
    let _ = write!(out, r#","stats":{stats}}}"#);
}

/// Loki's caches.
const CACHES: [&str; 10] = [
    "chunk",
    "index",
    "result",
    "statsResult",
    "volumeResult",
    "seriesResult",
    "labelResult",
    "instantMetricResult",
    "logResult",
    "taskResult",
];

fn cache() -> Value {
    json!({
        "entriesFound": 0,
        "entriesRequested": 0,
        "entriesStored": 0,
        "bytesReceived": 0,
        "bytesSent": 0,
        "requests": 0,
        "downloadTime": 0,
        "queryLengthServed": 0,
    })
}

fn store(s: &Statistics) -> Value {
    json!({
        "totalChunksRef": s.blocks_read,
        "totalChunksDownloaded": s.blocks_read,
        "chunksDownloadTime": 0,
        "queryReferencedStructuredMetadata": s.metadata_bytes_read > 0,
        "queryUsedV2Engine": false,
        "chunk": {
            "headChunkBytes": 0,
            "headChunkLines": 0,
            "decompressedBytes": s.bytes_read,
            "decompressedLines": s.entries_read,
            "compressedBytes": 0,
            "totalDuplicates": 0,
            "postFilterLines": s.entries_passed,
            "headChunkStructuredMetadataBytes": 0,
            "decompressedStructuredMetadataBytes": s.metadata_bytes_read,
        },
        "chunkRefsFetchTime": 0,
        "congestionControlLatency": 0,
        "pipelineWrapperFilteredLines": 0,
        "dataobj": {
            "prePredicateDecompressedRows": 0,
            "prePredicateDecompressedBytes": 0,
            "prePredicateDecompressedStructuredMetadataBytes": 0,
            "postPredicateRows": 0,
            "postPredicateDecompressedBytes": 0,
            "postPredicateStructuredMetadataBytes": 0,
            "postFilterRows": 0,
            "pagesScanned": 0,
            "pagesDownloaded": 0,
            "pagesDownloadedBytes": 0,
            "pageBatches": 0,
            "totalRowsAvailable": 0,
            "totalPageDownloadTime": 0,
            "wireBytesTransferred": 0,
        },
    })
}

fn separated<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}
