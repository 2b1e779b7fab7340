//! What the fuzz targets reach of this crate that nobody else needs: readers of network inputs, files
//! and databases, without the threads and sockets around them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hyper::{HeaderMap, Method};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kansoku_model::{ConfigError, LogBatch, MetricBatch, Position, Settings, Source, SourceId};
use kansoku_parsers::config::routes::Route;
use kansoku_parsers::journal::{self, Entry};
use kansoku_parsers::line::Parser;
use kansoku_parsers::wire::records::{Records, Stream};
use kansoku_web::jwt;
use kube::core::WatchEvent;
use kube::runtime::watcher::Event;

pub use crate::filters::accessor::Accessor;
pub use crate::filters::kubernetes_tag::TagReader;
pub use crate::filters::template::Template;
pub use crate::filters::words::split as split_words;
pub use crate::inputs::forward_handshake::{Handshake, User};
use crate::inputs::net::form::Form;
use crate::inputs::net::http::Call;
use crate::inputs::net::stream::Framing;
use crate::inputs::net::tls::acceptor;
use crate::inputs::systemd::cursors::Cursors;
use crate::inputs::systemd::file::JournalFile;
use crate::inputs::{
    elasticsearch, exec, http, kmsg, kubernetes_events, opentelemetry, statsd, stdin, syslog, tail,
};
use crate::kubernetes::runtime::{self, Known};
use crate::kubernetes::{Namespace, Pod, Pods, watch};
use crate::pipeline::intents::{self, Intents};
use crate::plugin::Environment;

/// The records of a POST request to the `http` input.
///
/// # Errors
/// Why it is refused.
pub fn http_call(
    content_type: &str,
    path: &str,
    tag_key: Option<&str>,
    body: &[u8],
) -> Result<Vec<LogBatch>, String> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| text.parse().map_err(|_| "no header".to_owned());
    headers.insert("content-type", value(content_type)?);
    headers.insert("x-forwarded-for", value("10.0.0.1")?);
    let call = Call {
        method: Method::POST,
        path: path.to_owned(),
        headers,
        body: body.to_vec(),
    };
    http::read_call(&call, tag_key, &mut Stream::new(SourceId(1)))
}

/// What a connection to the `tcp` input brings in pieces, and whether it was read to its end.
#[must_use]
pub fn tcp(pairs: &[(&str, &str)], pieces: &[&[u8]]) -> Option<(Vec<LogBatch>, bool)> {
    let form = Form::of(&Settings::of("tcp", pairs), &Environment::default()).ok()?;
    Some(feed(form.of_peer("10.0.0.1"), pieces))
}

/// What a connection to the `syslog` input brings in pieces, and whether it was read to its end.
#[must_use]
pub fn syslog(parser: Arc<Parser>, counts_only: bool, pieces: &[&[u8]]) -> (Vec<LogBatch>, bool) {
    feed(syslog::messages(parser, counts_only), pieces)
}

fn feed(mut framing: impl Framing, pieces: &[&[u8]]) -> (Vec<LogBatch>, bool) {
    let mut stream = Stream::new(SourceId(1));
    let mut records = Records::new(&mut stream, "t".into(), Arc::default());
    let mut buffer = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        buffer.extend_from_slice(piece);
        let is_end = i + 1 == pieces.len();
        let (n, cut) = framing.cut(&buffer, is_end, &mut records);
        buffer.drain(..n);
        if cut.is_err() {
            return (records.finish(), false);
        }
        assert!(!is_end || buffer.is_empty(), "the end leaves nothing");
    }
    (records.finish(), true)
}

/// Reads the certificates and the key that a listener is told to use.
///
/// # Errors
/// Why they are refused.
pub fn listener_tls(settings: &Settings) -> Result<(), ConfigError> {
    acceptor(settings, &Environment::default(), &[]).map(|_| ())
}

/// Reads a key set and a token, and checks that with each key: how many keys there are, and whether the
/// token was read.
///
/// # Panics
/// When a token is good that nobody has signed.
#[must_use]
pub fn bearer(keys: &[u8], token: &str) -> (usize, bool) {
    let keys = jwt::KeySet::read(keys).unwrap_or_default();
    let n_keys = keys.iter().count();
    let is_token = jwt::Token::read(token, &jwt::Algorithm::ALL).is_ok();
    for key in keys.iter() {
        let read = jwt::Token::read(token, &jwt::Algorithm::ALL);
        assert!(read.is_ok() == is_token);
        if let Ok(token) = read {
            let _ = keys.find(&token);
            assert!(token.verify(key).is_err());
        }
    }
    (n_keys, is_token)
}

/// A record of /dev/kmsg.
#[must_use]
pub fn kmsg(record: &[u8]) -> Option<LogBatch> {
    kmsg::read_record(record)
}

/// A line of standard input.
#[must_use]
pub fn stdin_line(line: &[u8]) -> LogBatch {
    stdin::read_line(line)
}

/// An event of the Kubernetes API.
#[must_use]
pub fn kubernetes_event(event: &[u8]) -> Option<LogBatch> {
    kubernetes_events::read_event(event)
}

/// The lines of a command's output.
#[must_use]
pub fn exec_lines(mut output: &[u8], max_line_bytes: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| exec::next_line(&mut output, max_line_bytes)).collect()
}

/// What a StatsD datagram becomes, as log records and as metrics.
#[must_use]
pub fn statsd(datagram: &[u8]) -> (Vec<LogBatch>, MetricBatch) {
    statsd::read_datagram(datagram)
}

/// The records of a bulk request of Elasticsearch, and the answers to its items.
///
/// # Errors
/// Why it is refused.
pub fn elasticsearch_bulk(body: &[u8]) -> Result<(Vec<LogBatch>, String), String> {
    elasticsearch::read_bulk(body)
}

/// The one message of a gRPC request, unpacked.
///
/// # Errors
/// Why it is refused.
pub fn grpc_message<'a>(
    encoding: &str,
    body: &'a [u8],
    max_plain: usize,
) -> Result<Cow<'a, [u8]>, String> {
    opentelemetry::grpc_message(encoding, body, max_plain)
}

/// What the instance metadata service at an address tells of everything there is, and whether it told
/// all of it.
#[must_use]
pub fn ec2_fields(address: String, is_v1: bool) -> (Vec<(String, String)>, bool) {
    crate::filters::aws::ask_all(address, is_v1)
}

/// What routes make of records, for outputs `a`, `b` and `c`.
///
/// # Errors
/// Why they are refused.
pub fn routed(routes: &[Route], batch: LogBatch) -> Result<Vec<LogBatch>, ConfigError> {
    crate::config::routing::routed(routes, batch)
}

/// Whether an event of a watch on pods was read, and brings the table to what it says.
pub fn watch_event(event: &[u8], pods: &Pods) -> bool {
    let Ok(event) = serde_json::from_slice::<WatchEvent<ApiPod>>(event) else {
        return false;
    };
    let event = match event {
        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Event::Apply(pod),
        WatchEvent::Deleted(pod) => Event::Delete(pod),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => return true,
    };
    watch::take(event, pods, &mut Vec::new(), "n");
    true
}

/// The labels and annotations of a namespace, by its name.
#[must_use]
pub fn namespace(object: &[u8]) -> Option<(String, Namespace)> {
    let namespace = serde_json::from_slice(object).ok()?;
    Some(crate::kubernetes::namespaces::reduce(namespace))
}

/// The containers that four answers of a container runtime tell of, by id: the lists of sandboxes, of
/// containers and of their sizes; the second is a sandbox's status, whose image comes with them.
#[must_use]
pub fn runtime_answers(answers: [&[u8]; 4]) -> Option<(HashMap<String, Known>, Option<String>)> {
    runtime::read_answers(answers).ok()
}

/// What a log of requests under way says: how far each source is, and the requests.
pub type Intended = (Vec<(SourceId, Position)>, Vec<Vec<Source>>);

/// Opens the log of the output `o` in a folder.
///
/// # Errors
/// When it cannot be read or written.
pub fn open_intents(folder: &Path) -> std::io::Result<Intended> {
    let (_, recovered) = Intents::open(folder, "o")?;
    let mut marks: Vec<_> = recovered.marks.into_iter().collect();
    marks.sort_unstable();
    let requests = recovered.requests.into_iter().map(|i| i.members);
    Ok((marks, requests.collect()))
}

/// A record of such a log, whatever its payload.
#[must_use]
pub fn intent(payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(&intents::checksum(payload));
    out.extend_from_slice(payload);
    out
}

/// Up to `most` entries of a journal file behind the sequence number `after`, with the number of their
/// fields that can be read.
///
/// # Errors
/// When the file is damaged; what stands before is lost.
pub fn journal_entries(
    path: &Path,
    after: u64,
    most: usize,
) -> anyhow::Result<(u64, Vec<(Entry, usize)>)> {
    let mut file = JournalFile::open(path)?;
    if after > 0 {
        file.skip(|entry| entry.seqnum <= after)?;
    }
    let mut entries = Vec::new();
    while entries.len() < most
        && let Some(entry) = file.next()?
    {
        let fields = entry.items.iter().filter(|offset| {
            let field = file.field(**offset);
            field.is_ok_and(|field| journal::split(&field).is_some())
        });
        let n = fields.count();
        entries.push((entry, n));
    }
    Ok((file.header.n_entries, entries))
}

/// What the inputs `cpu`, `mem`, `disk`, `netif` and `proc` read in `folder`, twice with a change
/// between: how many values each reading gave, `None` where it failed.
pub fn periodic(folder: &Path, change: impl FnOnce()) -> Vec<Option<usize>> {
    let told = crate::inputs::periodic::ask_all(folder, change);
    told.into_iter().map(|r| r.ok().map(|r| r.len())).collect()
}

/// How many journal files a database of the `systemd` input knows.
///
/// # Errors
/// When it cannot be used.
pub fn journal_cursors(path: &Path) -> anyhow::Result<usize> {
    Ok(Cursors::open(Some(path), "off")?.delivered.len())
}

/// The pods in a kubelet's answer.
#[must_use]
pub fn kubelet_pods(answer: &[u8]) -> Option<Vec<Pod>> {
    crate::kubernetes::kubelet_pods(answer)
}

/// A file that is read by the `tail` input; see [`TailReader::read`].
pub struct TailReader(tail::fuzzing::Reader);

impl TailReader {
    /// `None` when the settings are refused.
    #[must_use]
    pub fn new(pairs: &[(&str, &str)], path: &Path) -> Option<Self> {
        tail::fuzzing::Reader::new(pairs, path).map(Self)
    }

    /// The records of what the file holds now and did not hold in the last call, as by an agent that was
    /// started anew; `last` says that nothing will follow.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self, turn_bytes: u64, last: bool) -> std::io::Result<Vec<LogBatch>> {
        self.0.read(turn_bytes, last)
    }
}

/// blackbox_exporter's configuration: how many modules it has.
///
/// # Errors
/// The first mistake.
pub fn blackbox_config(bytes: &[u8]) -> Result<usize, String> {
    let config = crate::blackbox::config::Config::parse("f", bytes);
    config.map(|c| c.modules.len()).map_err(|e| e.to_string())
}

/// process-exporter's configuration: how many rules it has.
///
/// # Errors
/// The first mistake.
pub fn process_names(bytes: &[u8]) -> Result<usize, String> {
    let names = crate::inputs::processes::names::Names::parse("f", bytes);
    names.map(|n| n.len()).map_err(|e| e.to_string())
}

/// A relabelling rule applied to a few labels: how many are left.
///
/// # Errors
/// Why it is none.
pub fn relabel_rule(bytes: &[u8]) -> Result<usize, String> {
    use crate::inputs::scrape::relabel::{relabel, rules};
    let text = String::from_utf8_lossy(bytes);
    let settings = Settings::of("x", &[("relabel_configs", &text)]);
    let rules = rules(&settings, "relabel_configs").map_err(|e| e.to_string())?;
    let pairs = [("__address__", "h:1"), ("a", "b c"), ("é", "観")];
    let mut labels = pairs.into_iter().collect();
    Ok(usize::from(relabel(&rules, &mut labels)) * labels.len())
}
