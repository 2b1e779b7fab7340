//! The one watch on the API: pods of this node into the table.
//!
//! It runs on the tokio runtime and never ends by itself: kube's watcher reconnects with back-off.
//! Every pod is cut down to what the table keeps as soon as it is decoded.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{
    Container as ApiContainer, ContainerPort, ContainerStatus, Pod as ApiPod,
};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_pods};
use kube::{Api, Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::client::client;
use super::{Container, ContainerKind, Pod, Pods, Port, WatchState, kubelet, namespaces, node};
use crate::log;

const COMPONENT: &str = "kubernetes";
/// The most pods per page of the first list; a node runs 110 by default.
const PAGE_SIZE: u32 = 200;
/// How long to wait before a command that gave no token is run again.
const AFTER_NO_TOKEN: Duration = Duration::from_secs(5);

/// How to reach the API; what is not set comes from the kubeconfig or the service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub url: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    pub verify: bool,
    /// Whether the certificate's name is checked: by default the API server's is, the kubelet's not
    /// (unless `server_name` says which it has to be).
    pub verify_name: Option<bool>,
    /// The name that the API's certificate must hold, when it is not the URL's.
    pub server_name: Option<String>,
    /// More certificate authorities: every certificate in the files of a folder.
    pub ca_path: Option<PathBuf>,
    /// A command that prints the token, and how long that is good.
    pub token_command: Option<(String, Duration)>,
    /// The address of the kubelet that is to be asked instead of the API server.
    pub kubelet: Option<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            token_file: None,
            verify: true,
            verify_name: None,
            server_name: None,
            ca_path: None,
            token_command: None,
            kubelet: None,
        }
    }
}

impl Access {
    /// A client of that API.
    ///
    /// # Errors
    /// When there is no cluster, or what was given cannot be used.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(self.config().await?, self.verify_name.unwrap_or(true))
    }

    async fn config(&self) -> anyhow::Result<Config> {
        // A given address must not be joined with the credentials of another cluster's kubeconfig.
        let mut config = match &self.url {
            None => Config::infer().await?,
            Some(url) => {
                let mut config = Config::incluster()
                    .unwrap_or_else(|_| Config::new(url.parse().unwrap_or_default()));
                config.cluster_url = url.parse()?;
                config
            }
        };
        if let Some(file) = &self.ca_file {
            config.root_cert_file = Some(file.clone());
        }
        if let Some(file) = &self.token_file {
            config.auth_info.token_file = Some(file.to_string_lossy().into_owned());
        }
        if self.server_name.is_some() {
            config.tls_server_name.clone_from(&self.server_name);
        }
        if let Some(folder) = &self.ca_path {
            config.root_cert = Some(certificates(folder)?);
            config.root_cert_file = None;
        }
        if let Some((command, _)) = &self.token_command {
            config.auth_info.token = Some(token(command).await?.into());
            config.auth_info.token_file = None;
        }
        config.accept_invalid_certs |= !self.verify;
        if config.cluster_url.scheme_str() == Some("http") {
            // The system's certificates are a megabyte that nothing would look at.
            config.root_cert = Some(Vec::new());
        }
        Ok(config)
    }

    /// A client of the kubelet, with the same login.
    pub(super) async fn kubelet_client(&self) -> anyhow::Result<Client> {
        let at_kubelet = Self {
            url: self.kubelet.clone(),
            ..self.clone()
        };
        let checks_name = self.verify_name.unwrap_or(self.server_name.is_some());
        client(at_kubelet.config().await?, checks_name)
    }
}

/// All certificates of a folder.
fn certificates(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Ok(certificates) = CertificateDer::pem_file_iter(&path) {
            found.extend(certificates.flatten().map(|c| c.to_vec()));
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "{} holds no certificate",
        folder.display()
    );
    Ok(found)
}

/// What a command prints.
async fn token(command: &str) -> anyhow::Result<String> {
    let command = command.to_owned();
    let run = move || {
        std::process::Command::new("sh")
            .arg("-c")
            .arg(&command)
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await??;
    let text = String::from_utf8(output.stdout)?.trim().to_owned();
    let ok = output.status.success() && !text.is_empty();
    anyhow::ensure!(
        ok,
        "kube_token_command printed no token ({})",
        output.status
    );
    Ok(text)
}

/// Fills the table for as long as the task lives. Returns early when there is no cluster.
pub async fn watch(pods: Arc<Pods>, access: Access, node: String) {
    let Some((_, good_for)) = &access.token_command else {
        return watch_once(&pods, &access, &node).await;
    };
    // The token cannot be changed in a client, so the watch starts again with a new one.
    loop {
        let run = watch_once(&pods, &access, &node);
        if tokio::time::timeout(*good_for, run).await.is_ok() {
            tokio::time::sleep(AFTER_NO_TOKEN).await;
        }
    }
}

async fn watch_once(pods: &Arc<Pods>, access: &Access, node: &str) {
    let api = match access.client().await {
        Ok(client) => Some(client),
        Err(error) if access.kubelet.is_none() => {
            log::info(
                COMPONENT,
                format_args!(
                    "no cluster to ask, so records carry only what file names tell: {error}"
                ),
            );
            pods.set_state(WatchState::Off);
            return;
        }
        Err(error) => {
            if pods.wants_namespaces() {
                log::warn(
                    COMPONENT,
                    format_args!("no API server to ask for namespaces: {error}"),
                );
            }
            pods.namespaces_answered();
            None
        }
    };
    let namespaces = async {
        if let Some(client) = api.clone().filter(|_| pods.wants_namespaces()) {
            namespaces::watch(pods.clone(), client).await;
        }
    };
    let all = async {
        if access.kubelet.is_some() {
            kubelet::poll(pods.clone(), access).await;
        } else if let Some(client) = api.clone() {
            let node = node::name(&client, node).await;
            watch_node(pods, client, &node).await;
        }
    };
    tokio::join!(all, namespaces);
}

async fn watch_node(pods: &Pods, client: Client, node: &str) {
    pods.set_state(WatchState::Starting);
    log::info(COMPONENT, format_args!("watching the pods of node {node}"));
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .page_size(PAGE_SIZE);
    let stream = watch_pods(Api::<ApiPod>::all(client), config).default_backoff();
    let mut stream = pin!(stream);
    let mut listed = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => take(event, pods, &mut listed, node),
            Err(error) => {
                pods.set_state(WatchState::Failing);
                log::warn(
                    COMPONENT,
                    format_args!("cannot watch pods, trying again: {error}"),
                );
            }
        }
    }
}

/// Brings the table to what an event says; `listed` are the pods of a list that has not ended.
pub(crate) fn take(event: Event<ApiPod>, pods: &Pods, listed: &mut Vec<Pod>, node: &str) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => listed.push(reduce(pod)),
        Event::InitDone => {
            log::debug(COMPONENT, format_args!("{} pods listed", listed.len()));
            node::warn_if_unknown(node, listed.is_empty());
            pods.replace(std::mem::take(listed), Instant::now());
        }
        Event::Apply(pod) => {
            pods.apply(reduce(pod));
            pods.set_state(WatchState::Synced);
        }
        Event::Delete(pod) => {
            pods.delete(&pod.metadata.uid.unwrap_or_default(), Instant::now());
        }
    }
}

/// What the table keeps of a pod.
#[must_use]
pub fn reduce(pod: ApiPod) -> Pod {
    let (meta, spec, status) = (
        pod.metadata,
        pod.spec.unwrap_or_default(),
        pod.status.unwrap_or_default(),
    );
    let annotations: Vec<(String, String)> =
        meta.annotations.unwrap_or_default().into_iter().collect();
    let hash = annotations
        .iter()
        .find(|(name, _)| name == "kubernetes.io/config.hash");
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions.into_iter().find(|c| c.type_ == "Ready");
    let (app, init) = (spec.containers, spec.init_containers.unwrap_or_default());
    let lists = [
        (ContainerKind::App, status.container_statuses, app),
        (ContainerKind::Init, status.init_container_statuses, init),
        (
            ContainerKind::Ephemeral,
            status.ephemeral_container_statuses,
            Vec::new(),
        ),
    ];
    let containers = lists.into_iter().flat_map(|(kind, statuses, specified)| {
        let statuses = statuses.unwrap_or_default().into_iter();
        statuses.map(move |status| {
            let own = specified.iter().find(|c| c.name == status.name);
            container(kind, status, own)
        })
    });
    Pod {
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        config_hash: hash.map(|(_, v)| v.clone()).unwrap_or_default(),
        node: spec.node_name.unwrap_or_default(),
        ip: status.pod_ip.unwrap_or_default(),
        host_ip: status.host_ip.unwrap_or_default(),
        phase: status.phase.unwrap_or_default(),
        ready: ready.map(|c| c.status).unwrap_or_default(),
        labels: meta.labels.unwrap_or_default().into_iter().collect(),
        owners: meta
            .owner_references
            .filter(|owners| !owners.is_empty())
            .and_then(|owners| serde_json::to_string(&owners).ok())
            .unwrap_or_default(),
        containers: containers.collect(),
        annotations,
    }
}

fn container(
    kind: ContainerKind,
    status: ContainerStatus,
    specified: Option<&ApiContainer>,
) -> Container {
    let last = status
        .last_state
        .and_then(|s| s.terminated)
        .and_then(|t| t.container_id);
    let id = status.container_id.unwrap_or_default();
    let ports = specified.and_then(|c| c.ports.as_ref());
    Container {
        name: status.name,
        id: bare(&id),
        last_id: bare(&last.unwrap_or_default()),
        image: status.image,
        image_id: bare(&status.image_id),
        kind,
        runtime: id.split_once("://").unwrap_or_default().0.to_owned(),
        specified_image: specified.and_then(|c| c.image.clone()).unwrap_or_default(),
        ports: ports.into_iter().flatten().map(port).collect(),
    }
}

fn port(port: &ContainerPort) -> Port {
    Port {
        name: port.name.clone().unwrap_or_default(),
        number: u16::try_from(port.container_port).unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_default(),
    }
}

/// `containerd://ID` without the scheme.
fn bare(id: &str) -> String {
    id.split_once("://").map_or(id, |(_, bare)| bare).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_cut_down_to_what_records_need() {
        let text = include_str!("../../../fixtures/kubernetes/pod.json");
        let pod = reduce(serde_json::from_str(text).expect("a pod as the API writes it"));
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str()),
            ("shop", "web-7d4b9c-x2x7k")
        );
        assert_eq!(
            (pod.node.as_str(), pod.ip.as_str()),
            ("node-1", "10.244.1.17")
        );
        assert_eq!(
            pod.labels,
            [
                ("app".to_owned(), "web".to_owned()),
                ("pod-template-hash".to_owned(), "7d4b9c".to_owned())
            ]
        );
        assert_eq!(pod.annotation("fluentbit.io/parser"), Some("nginx"));
        let web = pod.container("web").expect("the container");
        assert_eq!(web.id, "1f".repeat(32));
        assert_eq!(web.last_id, "2e".repeat(32));
        assert_eq!(web.image, "docker.io/library/nginx:1.27");
        assert!(web.image_id.starts_with("docker.io/library/nginx@sha256:"));
        assert!(pod.container("setup").is_some());
    }

    /// An API server on the loopback that gives one pod in the list and one in the watch, and then
    /// hangs up on everyone.
    fn api_server(listener: std::net::TcpListener) -> Vec<String> {
        use std::io::{BufRead, BufReader, Write};
        let pod: serde_json::Value =
            serde_json::from_str(include_str!("../../../fixtures/kubernetes/pod.json"))
                .expect("a pod");
        let mut second = pod.clone();
        second["metadata"]["name"] = "late".into();
        second["metadata"]["uid"] = "second".into();
        let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": [pod]});
        let event = serde_json::json!({"type": "ADDED", "object": second});
        let mut requests = Vec::new();
        // The connection may be kept or not; the watch is the last request.
        while !requests.iter().any(|r: &String| r.contains("watch=true")) {
            let (stream, _) = listener.accept().expect("a client");
            let mut out = stream.try_clone().expect("a socket");
            let mut lines = BufReader::new(stream).lines();
            while let Some(Ok(line)) = lines.next() {
                if line.starts_with("GET ") {
                    requests.push(line);
                } else if line.is_empty() {
                    let is_watch = requests.last().is_some_and(|r| r.contains("watch=true"));
                    let body = if is_watch {
                        format!("{event}\n")
                    } else {
                        list.to_string()
                    };
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    out.write_all(format!("{head}{body}").as_bytes())
                        .expect("a client that reads");
                    if is_watch {
                        break;
                    }
                }
            }
        }
        requests
    }

    #[test]
    fn the_table_is_filled_by_list_and_watch_of_this_node() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let access = Access {
            url: Some(format!(
                "http://{}",
                listener.local_addr().expect("an address")
            )),
            ..Access::default()
        };
        let server = std::thread::spawn(move || api_server(listener));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let pods = Arc::new(Pods::default());
        pods.set_state(WatchState::Starting);
        let task = runtime.spawn(watch(pods.clone(), access, "node-1".into()));
        assert_eq!(
            pods.wait_by_name("shop", "web-7d4b9c-x2x7k")
                .map(|p| p.node.clone())
                .as_deref(),
            Some("node-1")
        );
        assert_eq!(
            pods.wait_by_name("shop", "late")
                .map(|p| p.uid.clone())
                .as_deref(),
            Some("second")
        );
        assert!(pods.by_container_id(&"1f".repeat(32)).is_some());
        task.abort();
        let requests = server.join().expect("a server that ended");
        assert!(
            requests.len() >= 2
                && requests
                    .iter()
                    .all(|r| r.contains("fieldSelector=spec.nodeName%3Dnode-1")),
            "{requests:?}"
        );
    }

    /// Asks for nothing over the network: only what the client is built from.
    #[test]
    fn a_named_api_takes_its_own_files() {
        let access = Access {
            url: Some("https://10.0.0.1:6443".into()),
            ca_file: Some("/ca.pem".into()),
            token_file: Some("/token".into()),
            verify: false,
            server_name: Some("kubernetes".into()),
            ..Access::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let config = runtime.block_on(access.config()).expect("a config");
        assert_eq!(config.cluster_url.to_string(), "https://10.0.0.1:6443/");
        assert_eq!(config.root_cert_file, Some("/ca.pem".into()));
        assert_eq!(config.auth_info.token_file.as_deref(), Some("/token"));
        assert!(config.accept_invalid_certs);
        assert_eq!(config.root_cert, None, "what the system trusts");
        let plain = Access {
            url: Some("http://127.0.0.1:8001".into()),
            ..Access::default()
        };
        let config = runtime.block_on(plain.config()).expect("a config");
        assert_eq!(config.root_cert, Some(Vec::new()), "no use for it");
        let bad = Access {
            url: Some("no url at all".into()),
            ..Access::default()
        };
        assert!(runtime.block_on(bad.config()).is_err());
    }

    #[test]
    fn the_kubelet_is_asked_again_when_a_pod_is_missed() {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let access = Access {
            url: Some("http://127.0.0.1:1".into()),
            kubelet: Some(format!(
                "http://{}",
                listener.local_addr().expect("address")
            )),
            ..Access::default()
        };
        let server = std::thread::spawn(move || {
            let pod: serde_json::Value =
                serde_json::from_str(include_str!("../../../fixtures/kubernetes/pod.json"))
                    .expect("a pod");
            let mut items = Vec::new();
            for _ in 0..2 {
                let (stream, _) = listener.accept().expect("a client");
                let mut out = stream.try_clone().expect("a socket");
                let mut lines = BufReader::new(stream).lines();
                let first = lines.next().expect("a line").expect("a line");
                assert!(first.starts_with("GET /pods "), "{first}");
                while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
                let list = serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
                items.push(pod.clone());
                let body = list.to_string();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                write!(
                    out,
                    "{head}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .expect("an answer");
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let pods = Arc::new(Pods::default());
        let task = runtime.spawn(watch(pods.clone(), access, "node-1".into()));
        while pods.state() != WatchState::Synced {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(pods.is_empty());
        let found = pods.wait_by_name("shop", "web-7d4b9c-x2x7k");
        let owners = found.expect("the second list has the pod").owners.clone();
        assert!(owners.contains("\"kind\":\"ReplicaSet\""), "{owners}");
        task.abort();
        server.join().expect("no panic");
    }
}
