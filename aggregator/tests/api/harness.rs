//! Starts an aggregator and talks to it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kansoku_aggregator::run::{self, Running};
use kansoku_aggregator::settings::Settings;
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;

/// An aggregator for one test.
pub struct Server {
    pub running: Running,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Removed when the test ends.
    folder: TempDir,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |v| v.to_str().expect("a header of the server is text"))
    }
}

impl Server {
    /// An aggregator that takes any time and adds nothing to what comes, ready.
    pub async fn start() -> Self {
        Self::start_with(&["--query.test-mode", PLAIN]).await
    }

    /// An aggregator with these flags, ready.
    pub async fn start_with(flags: &[&str]) -> Self {
        let mut server = Self::listen_with(flags).await;
        server.running.open_store().await.expect("the store opens");
        server
    }

    /// An aggregator whose store is not open yet.
    pub async fn listen_with(flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self::listen_in(folder, flags).await
    }

    async fn listen_in(folder: TempDir, flags: &[&str]) -> Self {
        let path = format!("--storage.path={}", folder.path().display());
        let fixed = ["--web.listen-address=127.0.0.1:0", path.as_str()];
        let flags = fixed.into_iter().chain(flags.iter().copied());
        let settings = Settings::from_arguments(flags).expect("flags");
        let running = run::listen(settings).await.expect("a port");
        Self {
            running,
            client: Client::builder(TokioExecutor::new()).build_http(),
            folder,
        }
    }

    /// Stops it and gives its folder.
    pub async fn stop(self) -> TempDir {
        self.running.stop().await.expect("a clean stop");
        self.folder
    }

    /// Stops it and starts another over the same folder, ready.
    pub async fn restart(self, flags: &[&str]) -> Self {
        Self::start_in(self.stop().await, flags).await
    }

    /// An aggregator over a folder, ready.
    pub async fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        let mut server = Self::listen_in(folder, flags).await;
        server.running.open_store().await.expect("the store opens");
        server
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let uri = format!("http://{}{path}", self.running.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let response = self.client.request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.send(Method::POST, path, headers, body).await
    }

    /// Writes samples by remote write; each series is its labels in order and its samples.
    pub async fn write(&self, series: &[Series<'_>]) {
        let answer = self
            .post("/api/v1/write", WRITE, write_request(series))
            .await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Pushes lines as JSON.
    pub async fn push(&self, streams: Value) {
        let body = serde_json::json!({ "streams": streams }).to_string();
        let answer = self.post("/loki/api/v1/push", JSON, body).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

pub type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// Nothing is added to what is pushed.
pub const PLAIN: &str = concat!(
    "--config.file=",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/api/plain.yaml"
);

pub const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
pub const WRITE: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// The messages of remote write and of remote read, with the protobuf library rather than with the code under test.
#[derive(Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<TimeSeries>,
}

#[derive(Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub histograms: Vec<Vec<u8>>,
}

#[derive(Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub time_ms: i64,
}

/// A remote write body.
pub fn write_request(series: &[Series<'_>]) -> Vec<u8> {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    let sample = |&(time_ms, value): &(i64, f64)| Sample { value, time_ms };
    let series = series.iter().map(|(labels, samples)| TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
        histograms: Vec::new(),
    });
    let request = WriteRequest {
        series: series.collect(),
    };
    snappy(&request.encode_to_vec())
}

pub fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(plain)
        .expect("snappy takes any bytes")
}
