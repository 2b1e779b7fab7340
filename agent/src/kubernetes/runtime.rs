//! What the node's container runtime knows of its containers, over CRI: names where no API tells them,
//! a sandbox's image, which no list of pods has, and the size of writable layers.
//!
//! Source: `k8s.io/cri-api` runtime/v1/api.proto, spoken by containerd, CRI-O and cri-dockerd on a
//! socket of the node. Readers look into a table that a task fills: nobody waits for the runtime, and
//! a runtime that is away leaves the table as it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kansoku_parsers::wire::WireError;
use kansoku_parsers::wire::protobuf::Message;
use tokio::net::UnixStream;

use crate::log;

const COMPONENT: &str = "cri";
/// Where runtimes listen, the usual ones first.
const SOCKETS: [&str; 4] = [
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "run/cri-dockerd.sock",
];
/// How often the runtime is asked when nobody misses a container.
const EVERY: Duration = Duration::from_secs(60);
/// How often at the most.
const NOT_BEFORE: Duration = Duration::from_secs(2);
/// A runtime that takes longer is as good as away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Larger answers are refused: a node's containers take a few hundred kilobytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Containers that are remembered.
const MAX_CONTAINERS: usize = 4096;

/// A container or a sandbox as the runtime knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    /// Empty for a sandbox.
    pub container: String,
    pub image: String,
    /// Size of what the container has written into its root; `None` for a sandbox, or not told.
    pub writable_bytes: Option<u64>,
    sandbox: String,
}

impl Known {
    /// Whether it holds its pod's network and runs nothing.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.container.is_empty()
    }
}

/// Where the runtime listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimePlace {
    /// Where the node's / is mounted: the usual sockets are looked for there.
    pub rootfs: PathBuf,
    /// Instead of those.
    pub socket: Option<PathBuf>,
}

/// Containers by id.
#[derive(Debug, Default)]
pub struct RuntimeTable {
    /// Held for single look-ups.
    known: Mutex<HashMap<String, Arc<Known>>>,
    /// Told when a reader misses a container.
    missing: tokio::sync::Notify,
}

impl RuntimeTable {
    /// The container with that id; one that is missing is asked for.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<Arc<Known>> {
        let found = self.lock().get(id).cloned();
        if found.is_none() {
            self.missing.notify_one();
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a complete list in place.
    pub fn replace(&self, all: HashMap<String, Known>) {
        let all = all.into_iter().take(MAX_CONTAINERS);
        *self.lock() = all.map(|(id, known)| (id, Arc::new(known))).collect();
    }

    /// Fills the table for as long as the task lives.
    pub async fn poll(&self, place: &RuntimePlace) {
        let mut is_well = true;
        loop {
            if let Some(socket) = place.socket.clone().or_else(|| find_socket(&place.rootfs)) {
                let asked = tokio::time::timeout(TIMEOUT, self.ask(&socket)).await;
                let answer = asked.unwrap_or_else(|_| Err(anyhow!("no answer in ten seconds")));
                match &answer {
                    Err(error) if is_well => log::warn(
                        COMPONENT,
                        format_args!(
                            "cannot list the containers at {}: {error:#}",
                            socket.display()
                        ),
                    ),
                    Ok(()) if !is_well => {
                        log::info(
                            COMPONENT,
                            format_args!("{} answers again", socket.display()),
                        );
                    }
                    _ => {}
                }
                is_well = answer.is_ok();
            }
            tokio::time::sleep(NOT_BEFORE).await;
            // Either way, whichever comes first.
            let _ = tokio::time::timeout(EVERY, self.missing.notified()).await;
        }
    }

    async fn ask(&self, socket: &Path) -> anyhow::Result<()> {
        let mut runtime = Runtime::connect(socket).await?;
        let sandboxes = runtime.call("ListPodSandbox", Vec::new()).await?;
        let mut all = read_sandboxes(&sandboxes)?;
        for (id, known) in &mut all {
            // Asked once for each: it does not change.
            known.image = match self.lock().get(id) {
                Some(before) => before.image.clone(),
                None => String::new(),
            };
            if known.image.is_empty() {
                let status = runtime.call("PodSandboxStatus", status_request(id)).await;
                // One that is gone meanwhile has no status.
                known.image = status.ok().and_then(|s| read_image(&s)).unwrap_or_default();
            }
        }
        let containers = runtime.call("ListContainers", Vec::new()).await?;
        read_containers(&containers, &mut all)?;
        // Older runtimes count for some of their stores only.
        if let Ok(stats) = runtime.call("ListContainerStats", Vec::new()).await {
            read_stats(&stats, &mut all)?;
        }
        self.replace(all);
        Ok(())
    }
}

fn find_socket(rootfs: &Path) -> Option<PathBuf> {
    let paths = SOCKETS.iter().map(|socket| rootfs.join(socket));
    paths.into_iter().find(|path| path.exists())
}

/// A connection to the runtime.
struct Runtime {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Runtime {
    async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)
            .await
            .context("failed to connect")?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Ends with the sender.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Calls a method of the runtime's service; the answer is its message's bytes.
    async fn call(&mut self, method: &str, message: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        body.extend_from_slice(&message);
        let request = Request::post(format!(
            "http://localhost/runtime.v1.RuntimeService/{method}"
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let mut headers = response.headers().clone();
        let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        let answer = answer.map_err(|e| anyhow!("{method}: {e}"))?;
        headers.extend(answer.trailers().cloned().unwrap_or_default());
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or("")
        };
        match text("grpc-status") {
            "0" => {}
            status => bail!("{method}: status {status}: {}", text("grpc-message")),
        }
        let bytes = answer.to_bytes();
        // One message, as the method is unary: a flag, its length, itself.
        match bytes.get(..5) {
            Some([0, ..]) => Ok(bytes[5..].to_vec()),
            _ => bail!("{method}: the answer is compressed or empty"),
        }
    }
}

fn status_request(id: &str) -> Vec<u8> {
    let mut out = vec![1 << 3 | 2, id.len() as u8];
    out.extend_from_slice(id.as_bytes());
    out.extend([2 << 3, 1]); // verbose
    out
}

/// What four answers of a runtime tell: its containers by id, and an image.
///
/// # Errors
/// When a list cannot be read.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_answers(
    [sandboxes, status, containers, stats]: [&[u8]; 4],
) -> Result<(HashMap<String, Known>, Option<String>), WireError> {
    let mut all = read_sandboxes(sandboxes)?;
    read_containers(containers, &mut all)?;
    read_stats(stats, &mut all)?;
    Ok((all, read_image(status)))
}

type Found = Result<HashMap<String, Known>, WireError>;

/// ListPodSandboxResponse: sandboxes by id.
fn read_sandboxes(bytes: &[u8]) -> Found {
    let mut all = HashMap::new();
    let mut list = Message::new(bytes);
    while let Some((number, field)) = list.next()? {
        if number != 1 {
            continue;
        }
        let (mut id, mut known) = (String::new(), Known::default());
        let mut sandbox = field.message()?;
        while let Some((number, field)) = sandbox.next()? {
            match number {
                1 => id = field.text()?.to_owned(),
                2 => {
                    let mut metadata = field.message()?;
                    while let Some((number, field)) = metadata.next()? {
                        match number {
                            1 => known.pod = field.text()?.to_owned(),
                            2 => known.uid = field.text()?.to_owned(),
                            3 => known.namespace = field.text()?.to_owned(),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        // The length of an id is one byte of the request for its status.
        if id.len() <= 127 {
            all.insert(id, known);
        }
    }
    Ok(all)
}

/// PodSandboxStatusResponse: the image of the sandbox's process, in the verbose part.
fn read_image(bytes: &[u8]) -> Option<String> {
    let mut status = Message::new(bytes);
    while let Some((number, field)) = status.next().ok()? {
        if number != 2 {
            continue;
        }
        let mut entry = field.message().ok()?;
        while let Some((number, field)) = entry.next().ok()? {
            if number == 2 {
                let info: serde_json::Value = serde_json::from_str(field.text().ok()?).ok()?;
                if let Some(image) = info.get("image").and_then(|i| i.as_str()) {
                    return Some(image.to_owned());
                }
            }
        }
    }
    None
}

/// ListContainersResponse: adds containers to the sandboxes they belong to.
fn read_containers(bytes: &[u8], all: &mut HashMap<String, Known>) -> Result<(), WireError> {
    let mut list = Message::new(bytes);
    while let Some((number, field)) = list.next()? {
        if number != 1 {
            continue;
        }
        let (mut id, mut known) = (String::new(), Known::default());
        let mut container = field.message()?;
        while let Some((number, field)) = container.next()? {
            match number {
                1 => id = field.text()?.to_owned(),
                2 => known.sandbox = field.text()?.to_owned(),
                3 => known.container = first_text(field.message()?)?,
                4 => {
                    let mut image = field.message()?;
                    while let Some((number, field)) = image.next()? {
                        // What the pod asked for says more than the digest.
                        if number == 18 || number == 1 && known.image.is_empty() {
                            known.image = field.text()?.to_owned();
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(sandbox) = all.get(&known.sandbox) {
            known.namespace.clone_from(&sandbox.namespace);
            known.pod.clone_from(&sandbox.pod);
            known.uid.clone_from(&sandbox.uid);
        }
        if !known.container.is_empty() {
            all.insert(id, known);
        }
    }
    Ok(())
}

/// ListContainerStatsResponse: adds the sizes of writable layers.
fn read_stats(bytes: &[u8], all: &mut HashMap<String, Known>) -> Result<(), WireError> {
    let mut list = Message::new(bytes);
    while let Some((number, field)) = list.next()? {
        if number != 1 {
            continue;
        }
        let (mut id, mut used) = (String::new(), None);
        let mut stats = field.message()?;
        while let Some((number, field)) = stats.next()? {
            match number {
                1 => id = first_text(field.message()?)?,
                4 => {
                    let mut layer = field.message()?;
                    while let Some((number, field)) = layer.next()? {
                        if number == 3 {
                            let value = field.message()?.next()?;
                            let bytes = value.map(|(_, v)| v.int()).transpose()?.unwrap_or(0);
                            used = Some(u64::try_from(bytes).unwrap_or(0));
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(known) = all.get_mut(&id) {
            known.writable_bytes = used;
        }
    }
    Ok(())
}

/// Field 1 of a message as text.
fn first_text(mut message: Message<'_>) -> Result<String, WireError> {
    while let Some((number, field)) = message.next()? {
        if number == 1 {
            return Ok(field.text()?.to_owned());
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::{Frame, Incoming};
    use hyper::{HeaderMap, Response};

    fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
        let key = u64::from(number) << 3 | 2;
        for mut n in [key, bytes.len() as u64] {
            while n >= 0x80 {
                out.push(n as u8 & 0x7f | 0x80);
                n >>= 7;
            }
            out.push(n as u8);
        }
        out.extend_from_slice(bytes);
    }

    /// Fields of text or messages.
    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, bytes) in fields {
            field(&mut out, *number, bytes);
        }
        out
    }

    /// The answers of a runtime with one pod of two containers.
    fn answer(method: &str) -> Vec<u8> {
        match method {
            "ListPodSandbox" => {
                let metadata = message(&[(1, b"web-1"), (2, b"uid-1"), (3, b"shop")]);
                message(&[(1, &message(&[(1, b"s1"), (2, &metadata)]))])
            }
            "PodSandboxStatus" => {
                let info = br#"{"pid":77,"image":"registry.k8s.io/pause:3.10"}"#;
                message(&[(1, b""), (2, &message(&[(1, b"info"), (2, info)]))])
            }
            "ListContainers" => {
                let container = |id: &[u8], name: &[u8], image: &[u8]| {
                    message(&[(1, id), (2, b"s1"), (3, &message(&[(1, name)])), (4, image)])
                };
                let tagged = message(&[(1, b"sha256:12"), (18, b"shop/web:2")]);
                let digest = message(&[(1, b"sha256:12")]);
                message(&[
                    (1, &container(b"c1", b"web", &tagged)),
                    (1, &container(b"c2", b"sidecar", &digest)),
                ])
            }
            "ListContainerStats" => {
                // used_bytes { value: 300 }
                let layer = message(&[(3, &[8, 0xac, 2])]);
                message(&[(1, &message(&[(1, &message(&[(1, b"c1")])), (4, &layer)]))])
            }
            other => panic!("{other} is not expected"),
        }
    }

    /// Serves one connection as a runtime does.
    fn serve(listener: tokio::net::UnixListener) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(asked[0], 0);
                let message = answer(&method);
                let mut body = vec![0];
                body.extend_from_slice(&(message.len() as u32).to_be_bytes());
                body.extend_from_slice(&message);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let frames = [Frame::data(Bytes::from(body)), Frame::trailers(trailers)];
                let frames = frames.map(Ok::<_, std::convert::Infallible>);
                let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
                Ok::<_, std::convert::Infallible>(Response::new(body))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // Ends when the client goes.
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        })
    }

    #[tokio::test]
    async fn a_runtime_tells_names_images_and_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKETS[1]);
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let server = serve(tokio::net::UnixListener::bind(&socket).unwrap());
        assert_eq!(find_socket(dir.path()), Some(socket.clone()));
        let table = RuntimeTable::default();
        table.ask(&socket).await.unwrap();
        let sandbox = table.by_id("s1").unwrap();
        assert!(sandbox.is_sandbox());
        assert_eq!(sandbox.image, "registry.k8s.io/pause:3.10");
        let web = table.by_id("c1").unwrap();
        assert_eq!(
            (web.namespace.as_str(), web.pod.as_str(), web.uid.as_str()),
            ("shop", "web-1", "uid-1")
        );
        assert_eq!(
            (web.container.as_str(), web.image.as_str()),
            ("web", "shop/web:2")
        );
        assert_eq!(web.writable_bytes, Some(300));
        let sidecar = table.by_id("c2").unwrap();
        assert_eq!(
            (sidecar.image.as_str(), sidecar.writable_bytes),
            ("sha256:12", None)
        );
        assert!(table.by_id("c3").is_none());
        server.abort();
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error_and_the_table_stays() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let table = RuntimeTable::default();
        table.replace(HashMap::from([("c".to_owned(), Known::default())]));
        let server = tokio::spawn(async move { drop(listener.accept().await) });
        assert!(table.ask(&socket).await.is_err());
        assert!(table.by_id("c").is_some());
        server.await.unwrap();
        for bytes in [&b"\x0a\xff"[..], b"\x0a\x02\x08", b"\x08"] {
            assert!(read_sandboxes(bytes).is_err(), "{bytes:?}");
            assert!(
                read_containers(bytes, &mut HashMap::new()).is_err(),
                "{bytes:?}"
            );
            assert!(read_stats(bytes, &mut HashMap::new()).is_err(), "{bytes:?}");
            assert_eq!(read_image(bytes), None);
        }
    }
}
