//! kansoku-aggregator as a child process on a port of its own, and the questions tests ask it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::http::{self, Reply};
use crate::program::{Program, free_port, wait_for};

/// How many lines a query is asked for: the most that one may give.
const PAGE_LINES: usize = 5000;

/// A log line as a query gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub time_ns: i64,
    pub pod: String,
    pub stream: String,
    pub text: String,
}

/// An aggregator and where it listens.
pub struct Aggregator {
    pub program: Program,
    pub port: u16,
}

impl Aggregator {
    /// An aggregator over `FOLDER/store`, not started yet.
    #[must_use]
    pub fn new(folder: &Path, flags: &[&str]) -> Self {
        let port = free_port();
        let fixed = [
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--storage.path={}", folder.join("store").display()),
        ];
        let arguments: Vec<&str> = fixed.iter().map(String::as_str).collect();
        let arguments = [arguments.as_slice(), flags].concat();
        Self {
            program: Program::new("kansoku-aggregator", folder, &arguments),
            port,
        }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(&mut self) {
        self.program.start();
        self.wait_until_ready();
    }

    /// # Panics
    /// When it does not become ready.
    pub fn wait_until_ready(&mut self) {
        let port = self.port;
        wait_for("the aggregator to be ready", || {
            assert!(self.program.is_running(), "the aggregator ended");
            http::get(port, "/-/ready").ok().filter(|r| r.status == 200)
        });
    }

    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        http::get(self.port, &http::url(path, parameters)).expect("the aggregator answers")
    }

    /// The result of a query that must succeed; none while the aggregator is away.
    fn result(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let reply = http::get(self.port, &http::url(path, parameters)).ok()?;
        if reply.status == 503 {
            return None;
        }
        assert_eq!(reply.status, 200, "{parameters:?}: {}", reply.text());
        Some(reply.json()["data"]["result"].take())
    }

    /// An instant query of PromQL: label sets and values.
    #[must_use]
    pub fn promql(&self, query: &str) -> Vec<(Value, f64)> {
        vector(self.result("/api/v1/query", &[("query", query)]))
    }

    /// The only value of an instant query of PromQL, if it has exactly one.
    #[must_use]
    pub fn promql_value(&self, query: &str) -> Option<f64> {
        match self.promql(query).as_slice() {
            [(_, value)] => Some(*value),
            _ => None,
        }
    }

    /// Lines of the last day by pod and stream.
    #[must_use]
    pub fn counts(&self, selector: &str) -> BTreeMap<(String, String), u64> {
        let query = format!("sum by (pod, stream) (count_over_time({selector}[24h]))");
        let result = self.result("/loki/api/v1/query", &[("query", &query)]);
        let text = |metric: &Value, name| metric[name].as_str().unwrap_or("").to_owned();
        vector(result)
            .into_iter()
            .map(|(metric, n)| ((text(&metric, "pod"), text(&metric, "stream")), n as u64))
            .collect()
    }

    /// One answer of `query_range`, in its order.
    #[must_use]
    pub fn range(&self, parameters: &[(&str, &str)]) -> Vec<Found> {
        let result = self.result("/loki/api/v1/query_range", parameters);
        let mut found = Vec::new();
        for stream in array(result) {
            for value in stream["values"].as_array().into_iter().flatten() {
                let labels = &stream["stream"];
                found.push(Found {
                    time_ns: value[0].as_str().and_then(|t| t.parse().ok()).unwrap_or(0),
                    pod: labels["pod"].as_str().unwrap_or("").to_owned(),
                    stream: labels["stream"].as_str().unwrap_or("").to_owned(),
                    text: value[1].as_str().unwrap_or("").to_owned(),
                });
            }
        }
        found
    }

    /// All lines from `start_ns` on, page by page in `direction`; lines of one selector must have
    /// different times.
    #[must_use]
    pub fn all(&self, selector: &str, start_ns: i64, end_ns: i64, direction: &str) -> Vec<Found> {
        let (mut start, mut end) = (start_ns, end_ns);
        let mut all = Vec::new();
        loop {
            let page = self.range(&[
                ("query", selector),
                ("start", &start.to_string()),
                ("end", &end.to_string()),
                ("limit", &PAGE_LINES.to_string()),
                ("direction", direction),
            ]);
            let n = page.len();
            let times = || page.iter().map(|found| found.time_ns);
            if direction == "forward" {
                start = times().max().map_or(end, |t| t + 1);
            } else {
                end = times().min().unwrap_or(start);
            }
            all.extend(page);
            if n < PAGE_LINES {
                all.sort();
                return all;
            }
        }
    }

    /// A value of its `/metrics`, found by the beginning of its line.
    #[must_use]
    pub fn metric(&self, series: &str) -> Option<f64> {
        metric(&self.get("/metrics", &[]).text(), series)
    }

    /// SIGTERM must end it with 0.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn end(&mut self) {
        let status = self.program.terminate();
        assert_eq!(status.code(), Some(0), "the aggregator ended with {status}");
    }
}

/// The value of a series of an exposition.
#[must_use]
pub fn metric(exposition: &str, series: &str) -> Option<f64> {
    exposition.lines().find_map(|line| {
        let rest = line.strip_prefix(series)?.strip_prefix(' ')?;
        rest.split(' ').next()?.parse().ok()
    })
}

fn array(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn vector(result: Option<Value>) -> Vec<(Value, f64)> {
    let items = array(result).into_iter();
    let sample = |mut item: Value| {
        let value = item["value"][1].as_str()?.parse().ok()?;
        Some((item["metric"].take(), value))
    };
    items.filter_map(sample).collect()
}
