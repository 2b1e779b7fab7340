//! Prometheus's own cases over a whole aggregator: loaded by remote write 1.0 and 2.0, asked over HTTP.
//!
//! The query engine's tests hold each answer to what the case expects; here the HTTP API must give what the engine gives, value,
//! error and annotations, so that a case which passes there passes here. Vectors may come in another order and sums of them may
//! round otherwise, as the store gives series in its own order.

#[path = "../api/harness.rs"]
#[allow(dead_code)] // shared with the tests of the API
mod harness;
#[path = "../../../query/tests/promql_language/runner.rs"]
mod runner;

use std::path::Path;

use kansoku_model::protobuf;
use kansoku_model::select::SeriesData;
use kansoku_query::promql::{QueryError, QueryOutput, json};
use serde_json::Value;
use tokio::runtime::Runtime;

use harness::{Answer, Server, WRITE, snappy};
use runner::{Question, Witness, run_file, test_files};

/// What has a test of its own, to run beside the others.
const LONG: [&str; 4] = [
    "extended_vectors",
    "functions",
    "histograms",
    "native_histograms",
];

#[test]
fn answers_about_native_histograms_are_those_of_the_engine() {
    compare(|name| name == "native_histograms");
}

#[test]
fn answers_of_functions_are_those_of_the_engine() {
    compare(|name| name == "functions" || name == "extended_vectors");
}

#[test]
fn answers_about_histograms_are_those_of_the_engine() {
    compare(|name| name == "histograms");
}

#[test]
fn other_answers_are_those_of_the_engine() {
    compare(|name| !LONG.contains(&name));
}

/// Runs the files with the chosen names.
fn compare(chosen: impl Fn(&str) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/promql_prometheus");
    let mut client = Client {
        runtime: Runtime::new().expect("a runtime"),
        server: None,
        n_loads: 0,
        n_asked: 0,
        differing: Vec::new(),
    };
    let mut n_cases = 0;
    for path in test_files(&folder) {
        let name = path.file_stem().and_then(|name| name.to_str());
        if !name.is_some_and(&chosen) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file of the list");
        n_cases += text
            .lines()
            .filter(|l| l.trim().starts_with("eval"))
            .count();
        run_file(&path, true, &mut client);
    }
    client.stop();
    assert!(client.differing.is_empty(), "{:#?}", client.differing);
    assert!(n_cases > 0, "no file was chosen");
    assert_eq!(client.n_asked, n_cases);
}

/// Asks an aggregator what the engine is asked.
struct Client {
    runtime: Runtime,
    /// None when nothing was loaded or asked since the last clear.
    server: Option<Server>,
    n_loads: usize,
    n_asked: usize,
    differing: Vec<String>,
}

impl Client {
    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    fn post(&mut self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let handle = self.runtime.handle().clone();
        let server = self
            .server
            .get_or_insert_with(|| handle.block_on(Server::start()));
        handle.block_on(server.post(path, headers, body))
    }
}

impl Witness for Client {
    fn cleared(&mut self) {
        self.stop();
    }

    fn loaded(&mut self, series: &[SeriesData]) {
        self.n_loads += 1;
        // A line of gaps alone is a series without samples, which nobody sends.
        let series: Vec<SeriesData> = series
            .iter()
            .filter(|s| !s.times.is_empty())
            .cloned()
            .collect();
        let series = &series[..];
        let has_starts = series.iter().any(|s| s.starts.iter().any(|t| *t != 0));
        // Only the second version has times of starts; the rest goes both ways in turn.
        let (kind, body) = match has_starts || self.n_loads.is_multiple_of(2) {
            true => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                version_2(series),
            ),
            false => ("application/x-protobuf", version_1(series)),
        };
        let headers = [("content-type", kind), WRITE[1]];
        let answer = self.post("/api/v1/write", &headers, snappy(&body));
        if answer.status != 204 {
            self.differing.push(format!("a load: {}", answer.text()));
        }
    }

    fn answered(
        &mut self,
        question: &Question<'_>,
        answer: &Result<QueryOutput, QueryError>,
    ) -> Result<(), String> {
        self.n_asked += 1;
        let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
        let start = seconds(question.start_ms);
        let (path, times) = match question.range {
            None => ("/api/v1/query", format!("time={start}")),
            Some((end_ms, step_ms)) => (
                "/api/v1/query_range",
                format!(
                    "start={start}&end={}&step={}",
                    seconds(end_ms),
                    seconds(step_ms)
                ),
            ),
        };
        let form = format!("query={}&{times}", escaped(question.query));
        let got = self.post(path, &[], form.into_bytes()).json();
        let wanted = expected(answer);
        if !fits(&got, &wanted) {
            let query = question.query;
            self.differing
                .push(format!("{query}: got {got}, the engine gave {wanted}"));
        }
        Ok(())
    }
}

/// What the API should answer.
fn expected(answer: &Result<QueryOutput, QueryError>) -> Value {
    match answer {
        Err(error) => serde_json::json!({"status": "error", "error": error.to_string()}),
        Ok(output) => {
            let mut data = Vec::new();
            json::write_data(&mut data, output);
            let data: Value = serde_json::from_slice(&data).expect("the writer writes JSON");
            serde_json::json!({
                "status": "success", "data": data, "warnings": output.warnings, "infos": output.infos,
            })
        }
    }
}

fn fits(got: &Value, wanted: &Value) -> bool {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let notes = |v: &Value, kind: &str| {
        let notes = v[kind].as_array().cloned().unwrap_or_default();
        let mut notes: Vec<String> = notes.iter().map(text).collect();
        notes.sort();
        notes
    };
    got["status"] == wanted["status"]
        // The API tells of which parameter a mistake is.
        && text(&got["error"]).ends_with(&text(&wanted["error"]))
        && notes(got, "warnings") == notes(wanted, "warnings")
        && notes(got, "infos") == notes(wanted, "infos")
        && are_alike(&sorted(&got["data"]), &sorted(&wanted["data"]))
}

/// The data with its series in order of their labels.
fn sorted(data: &Value) -> Value {
    let mut data = data.clone();
    if let Some(result) = data.get_mut("result").and_then(Value::as_array_mut) {
        result.sort_by_key(|one| one["metric"].to_string());
    }
    data
}

/// Equal but for the rounding of numbers, which are texts there.
fn are_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(k, a)| b.get(k).is_some_and(|b| are_alike(a, b)))
        }
        (Value::String(x), Value::String(y)) if x != y => {
            match (x.parse::<f64>(), y.parse::<f64>()) {
                (Ok(x), Ok(y)) => (x - y).abs() <= 1e-9 * x.abs().max(y.abs()),
                _ => false,
            }
        }
        _ => a == b,
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A `prometheus.WriteRequest`.
fn version_1(series: &[SeriesData]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in series {
        protobuf::message(&mut out, 1, |out| {
            for (name, value) in &one.labels {
                protobuf::message(out, 1, |out| {
                    protobuf::bytes(out, 1, name.as_bytes());
                    protobuf::bytes(out, 2, value.as_bytes());
                });
            }
            write_samples(out, one, (2, 4));
        });
    }
    out
}

/// An `io.prometheus.write.v2.Request`.
fn version_2(series: &[SeriesData]) -> Vec<u8> {
    let mut symbols = vec![""];
    for (name, value) in series.iter().flat_map(|s| &s.labels) {
        symbols.extend([name, value]);
    }
    let mut out = Vec::new();
    for symbol in &symbols {
        protobuf::bytes_always(&mut out, 4, symbol.as_bytes());
    }
    let mut next = 1;
    for one in series {
        protobuf::message(&mut out, 5, |out| {
            protobuf::message(out, 1, |out| {
                for _ in 0..one.labels.len() * 2 {
                    protobuf::varint(out, next);
                    next += 1;
                }
            });
            write_samples(out, one, (2, 3));
        });
    }
    out
}

/// The samples as fields of the two numbers: floats and histograms.
fn write_samples(out: &mut Vec<u8>, series: &SeriesData, fields: (u32, u32)) {
    for (i, &time_ms) in series.times.iter().enumerate() {
        let start_ms = series.starts.get(i).copied().unwrap_or(0);
        match series.histograms.get(i) {
            Some(Some(histogram)) => protobuf::message(out, fields.1, |out| {
                histogram.write_remote(out, time_ms);
                if start_ms != 0 {
                    protobuf::int(out, 17, start_ms.cast_unsigned());
                }
            }),
            _ => protobuf::message(out, fields.0, |out| {
                protobuf::double(out, 1, series.values[i]);
                protobuf::int(out, 2, time_ms.cast_unsigned());
                if start_ms != 0 {
                    protobuf::int(out, 3, start_ms.cast_unsigned());
                }
            }),
        }
    }
}
