//! The name of this node as the API knows it, by which its pods are found.
//!
//! `NODE_NAME` decides. Manifests written for Fluent Bit do not set it, and inside a pod the host's
//! name is the pod's, so the API is asked where the own pod runs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::{Api, Client, Error};

use crate::log;

const COMPONENT: &str = "kubernetes";
/// The namespace of the pod that this process runs in.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Before an API that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// The node's name; `host_name` when nothing else is known.
pub(crate) async fn name(client: &Client, host_name: &str) -> String {
    let is_set = std::env::var("NODE_NAME").is_ok_and(|name| !name.is_empty());
    match std::fs::read_to_string(OWN_NAMESPACE) {
        Ok(namespace) if !is_set => of_pod(client, namespace.trim(), host_name).await,
        _ => host_name.to_owned(),
    }
}

/// Where the pod named `host_name` runs. There is none in the host's network, where the name is the
/// node's own.
async fn of_pod(client: &Client, namespace: &str, host_name: &str) -> String {
    let pods = Api::<ApiPod>::namespaced(client.clone(), namespace);
    loop {
        match pods.get(host_name).await {
            Ok(pod) => {
                let node = pod.spec.and_then(|spec| spec.node_name);
                return node.unwrap_or_else(|| host_name.to_owned());
            }
            Err(Error::Api(status)) if matches!(status.code, 403 | 404) => {
                return host_name.to_owned();
            }
            Err(error) => log::warn(
                COMPONENT,
                format_args!("cannot ask where this pod runs, trying again: {error}"),
            ),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A node without a single pod is most likely another name of this one.
pub(super) fn warn_if_unknown(node: &str, is_empty: bool) {
    if is_empty {
        log::warn(
            COMPONENT,
            format_args!(
                "the API knows no pod on node '{node}'; if that is not the node's name, set the environment variable NODE_NAME from spec.nodeName"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;
    use crate::kubernetes::Access;

    /// An API that answers one request after the other and gives back what was asked.
    fn serve(
        listener: &std::net::TcpListener,
        answers: &[(&str, serde_json::Value)],
    ) -> Vec<String> {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let (stream, _) = listener.accept().expect("a client");
            let mut out = stream.try_clone().expect("a socket");
            let mut lines = BufReader::new(stream).lines();
            asked.push(lines.next().expect("a line").expect("a line"));
            while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            let body = body.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json");
            write!(
                out,
                "{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .expect("an answer");
        }
        asked
    }

    #[test]
    fn without_node_name_the_own_pod_tells_where_it_runs() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let pod = serde_json::json!({"metadata": {"name": "agent-x7k"}, "spec": {"nodeName": "ip-10-0-0-7", "containers": []}});
            let refusal = |code: u16| serde_json::json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "no"});
            serve(
                &listener,
                &[
                    ("200 OK", pod),
                    ("404 Not Found", refusal(404)),
                    ("403 Forbidden", refusal(403)),
                ],
            )
        });
        let access = Access {
            url: Some(format!("http://{address}")),
            ..Access::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let names = runtime.block_on(async {
            let client = access.client().await.expect("a client");
            let mut names = Vec::new();
            for _ in 0..3 {
                names.push(of_pod(&client, "logging", "agent-x7k").await);
            }
            names
        });
        assert_eq!(names, ["ip-10-0-0-7", "agent-x7k", "agent-x7k"]);
        let asked = server.join().expect("no panic");
        assert!(
            asked[0].starts_with("GET /api/v1/namespaces/logging/pods/agent-x7k"),
            "{asked:?}"
        );
    }
}
