//! Any answers of a destination over HTTP, to every output that reads them: a request ends after few
//! answers, and what is to be repeated or is refused are records of the request, each named once.
#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kansoku_model::metric::MetricKind;
use kansoku_model::{LogBatch, MetricBatch, Position, RecordBatch, Settings};
use kansoku_outputs::{ALL, Outcome, Output, OutputEnvironment, RecordRef, Request, fuzzing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const STATUSES: [&str; 16] = [
    "200 OK",
    "200 OK",
    "200 OK",
    "201 Created",
    "204 No Content",
    "307 Moved",
    "400 Bad",
    "400 Bad",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Missing",
    "409 Conflict",
    "413 Large",
    "429 Busy",
    "500 Broken",
    "503 Away",
];
const HEADERS: [&str; 6] = [
    "retry-after",
    "retry-after",
    "grpc-status",
    "content-type",
    "location",
    "etag",
];
/// Between answers; JSON and XML hold none.
const SEPARATOR: u8 = 0x1e;
/// More than any output needs for one request.
const MAX_REQUESTS: usize = 64;
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const PLUGINS: [(&str, &[(&str, &str)]); 13] = [
    ("es", &[("index", "i"), ("generate_id", "on")]),
    (
        "es",
        &[
            ("index", "i"),
            ("write_operation", "update"),
            ("id_key", "log"),
        ],
    ),
    ("opensearch", &[("index", "i")]),
    (
        "cloudwatch_logs",
        &[
            ("region", "r"),
            ("log_group_name", "g"),
            ("log_stream_prefix", "p"),
            ("auto_create_group", "on"),
            ("log_retention_days", "3"),
        ],
    ),
    ("kinesis_streams", &[("region", "r"), ("stream", "s")]),
    (
        "kinesis_firehose",
        &[("region", "r"), ("delivery_stream", "s")],
    ),
    ("loki", &[]),
    ("splunk", &[("splunk_token", "t")]),
    ("http", &[("format", "json")]),
    (
        "http",
        &[
            ("oauth2.enable", "on"),
            ("oauth2.client_id", "i"),
            ("oauth2.client_secret", "s"),
            ("oauth2.token_url", "URL/token"),
        ],
    ),
    ("opentelemetry", &[]),
    ("prometheus_remote_write", &[]),
    ("kansoku", &[]),
];

#[derive(Default)]
struct Answers {
    waiting: VecDeque<Vec<u8>>,
    last: Vec<u8>,
    n_asked: usize,
}

struct World {
    runtime: Runtime,
    url: String,
    answers: Arc<Mutex<Answers>>,
    requests: [Vec<Arc<RecordBatch>>; 2],
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let answers = Arc::<Mutex<Answers>>::default();
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = answers.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        let logs = (0..2)
            .map(|n| Arc::new(RecordBatch::Logs(logs(n))))
            .collect();
        let mut metrics = MetricBatch::new("t".into(), Arc::default(), 1);
        let family = metrics.family("m", MetricKind::Gauge, "");
        metrics.sample(family, &[], 1.0);
        let metrics = vec![Arc::new(RecordBatch::Metrics(metrics))];
        Self {
            runtime,
            url,
            answers,
            requests: [logs, metrics],
        }
    }

    fn output(&self, (name, pairs): (&str, &[(&str, &str)])) -> Box<dyn Output> {
        let url = |value: &str| value.replace("URL", &self.url);
        let mut owned: Vec<(&str, String)> = pairs.iter().map(|(k, v)| (*k, url(v))).collect();
        if pairs.iter().any(|(key, _)| *key == "region") {
            owned.push(("endpoint", self.url.clone()));
        } else {
            let port = self.url.rsplit(':').next().unwrap_or_default();
            owned.push(("host", "127.0.0.1".to_owned()));
            owned.push(("port", port.to_owned()));
        }
        let pairs: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let plugin = ALL.iter().find(|p| p.name == name).expect("a plugin");
        let settings = Settings::of(name, &pairs);
        let built = (plugin.build)(&settings, &OutputEnvironment::default());
        built.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn check(&self, outcome: &Outcome, request: &[Arc<RecordBatch>]) {
        let wait = match outcome {
            Outcome::Delivered | Outcome::TooLarge | Outcome::Rejected { .. } => None,
            Outcome::Retry { after, .. } => *after,
            Outcome::SomeRejected { n_records, .. } => {
                let n_sent: usize = request.iter().map(|batch| batch.n_records()).sum();
                assert!(*n_records <= n_sent as u64, "{outcome:?}");
                None
            }
            Outcome::Partial {
                retry,
                rejected,
                after,
                ..
            } => {
                let all: Vec<RecordRef> = retry
                    .iter()
                    .chain(rejected.iter().map(|(r, _)| r))
                    .copied()
                    .collect();
                let distinct: BTreeSet<&RecordRef> = all.iter().collect();
                assert!(
                    !all.is_empty() && distinct.len() == all.len(),
                    "{outcome:?}"
                );
                for record in all {
                    let RecordBatch::Logs(logs) = &*request[record.batch as usize] else {
                        panic!("of logs")
                    };
                    assert!((record.row as usize) < logs.len());
                }
                *after
            }
        };
        assert!(wait.is_none_or(|wait| wait <= LONGEST_WAIT), "{outcome:?}");
    }
}

fn logs(n: u64) -> LogBatch {
    let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
    for i in 1..3 {
        let row = batch.push((i * 1_000_000_000) as i64, Position::at(n * 10 + i));
        batch.set_text("log", row, format!("line {i}").as_bytes());
    }
    batch
}

/// Answers requests, one after the other, for as long as there is an answer.
async fn serve(mut stream: TcpStream, answers: Arc<Mutex<Answers>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let len = head
            .split("content-length:")
            .nth(1)
            .and_then(|l| l.lines().next());
        let len: usize = len.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
        while buffer.len() < end + len {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        buffer.drain(..end + len);
        let answer = {
            let mut answers = answers.lock().expect("whole");
            answers.n_asked += 1;
            assert!(answers.n_asked <= MAX_REQUESTS, "it asks for ever");
            if let Some(next) = answers.waiting.pop_front() {
                answers.last = next;
            }
            answers.last.clone()
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Status, a header with the first line as its value, and the body.
fn answer(bytes: &[u8]) -> Vec<u8> {
    let (status, header, body) = match bytes {
        [status, header, body @ ..] => (*status, *header, body),
        _ => (0, 255, bytes),
    };
    let status = STATUSES[usize::from(status) % STATUSES.len()];
    let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
    if let Some(name) = HEADERS.get(usize::from(header)) {
        let line = body.split(|b| *b == b'\n').next().unwrap_or_default();
        out.extend_from_slice(format!("{name}: ").as_bytes());
        out.extend(line.iter().filter(|b| matches!(b, b' '..=b'~')));
        out.extend_from_slice(b"\r\n");
    }
    let body = if status.starts_with("204") { b"" } else { body };
    out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

thread_local! {
    static WORLD: World = World::new();
}

libfuzzer_sys::fuzz_target!(
    init: {
        for key in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            // SAFETY: no other thread runs yet.
            unsafe { std::env::set_var(key, "key") };
        }
    },
    |bytes: &[u8]| {
        let Some((&which, bytes)) = bytes.split_first() else {
            return;
        };
        let _ = fuzzing::credentials(&String::from_utf8_lossy(bytes));
        WORLD.with(|world| {
            {
                let mut answers = world.answers.lock().expect("whole");
                answers.n_asked = 0;
                answers.waiting = bytes.split(|b| *b == SEPARATOR).map(answer).collect();
            }
            let Some(plugin) = PLUGINS.get(usize::from(which)) else {
                let _ = world.runtime.block_on(fuzzing::s3_upload(&world.url));
                return;
            };
            let output = world.output(*plugin);
            let batches = world.requests.iter().find(|r| output.takes(&r[0]));
            let batches = batches.expect("logs or metrics");
            let request = Request { batches, id: "1" };
            let outcome = world.runtime.block_on(output.send(request));
            world.check(&outcome, batches);
        });
    }
);
