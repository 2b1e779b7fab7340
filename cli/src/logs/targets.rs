//! Which containers a command means, and which instance of each: by the streams that the store has,
//! so that a pod that was deleted long ago is found like one that runs.
//!
//! An instance is what one `container_id` wrote; the current one is that which wrote last.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::workload::Workload;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::lines::{Labels, newest};
use crate::logql::{one_of, quote};
use crate::time::{SECOND_NS, now_ns};

/// Clocks of nodes may be ahead by so much.
const AHEAD_NS: i64 = 3600 * SECOND_NS;

/// A container of a pod and the instances it has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub namespace: String,
    pub pod: String,
    pub name: String,
    /// Ids of its instances, in no order; empty when the sender told none.
    pub ids: BTreeSet<String>,
}

/// Containers of pods, by name.
pub type Pods = BTreeMap<String, BTreeMap<String, Container>>;

impl Container {
    /// The selector of its lines, with further matchers (`, a="b"`).
    #[must_use]
    pub fn selector(&self, more: &str) -> String {
        format!(
            "{{namespace={}, pod={}, container={}{more}}}",
            quote(&self.namespace),
            quote(&self.pod),
            quote(&self.name)
        )
    }

    /// The selector of an instance.
    #[must_use]
    pub fn selector_of(&self, id: Option<&str>) -> String {
        let id = id.map(|id| format!(", container_id={}", quote(id)));
        self.selector(&id.unwrap_or_default())
    }

    /// The instance that wrote last; `None` when instances are not told apart, or it never wrote.
    ///
    /// # Errors
    /// When the server gives no answer.
    pub async fn current(&self, client: &Client) -> Result<Option<String>> {
        if self.ids.len() < 2 {
            return Ok(self.ids.first().cloned());
        }
        let entry = newest(client, &self.selector(", container_id!=\"\""), end_ns()).await?;
        Ok(entry.map(|e| e.label("container_id").to_owned()))
    }

    /// The instance before the current one; of a container that waits to be started again, as one that
    /// crashes does most of its time, that which ended last, like kubectl.
    ///
    /// # Errors
    /// When there is none.
    pub async fn previous(&self, client: &Client) -> Result<String> {
        let missing = |why: &str| {
            Error::failed(format!(
                "Error from server (BadRequest): previous terminated container \"{}\" in pod \"{}\" not found{why}",
                self.name, self.pod
            ))
        };
        if self.ids.is_empty() {
            return Err(missing(
                "\nthe store does not tell instances of this container apart: its lines came without container_id",
            ));
        }
        let last = newest(client, &self.selector(", container_id!=\"\""), end_ns()).await?;
        let last = last.ok_or_else(|| missing(""))?;
        let id = last.label("container_id").to_owned();
        if self
            .waits_since(client)
            .await?
            .is_some_and(|since_ns| since_ns > last.time_ns)
        {
            return Ok(id);
        }
        let others = format!(", container_id!=\"\", container_id!={}", quote(&id));
        let before = newest(client, &self.selector(&others), end_ns()).await?;
        before
            .map(|e| e.label("container_id").to_owned())
            .ok_or_else(|| missing(""))
    }

    /// When kube-state metrics last told that the container waits, if that is its state.
    async fn waits_since(&self, client: &Client) -> Result<Option<i64>> {
        let selector = self.selector("");
        let query = format!(
            "max(timestamp(kube_pod_container_status_waiting{selector}) and kube_pod_container_status_waiting{selector} == 1)"
        );
        let found = vector(client, &query).await?;
        Ok(found.first().map(|s| (s.value * 1e9) as i64))
    }
}

/// The end of spans that reach until now.
#[must_use]
pub fn end_ns() -> i64 {
    now_ns().saturating_add(AHEAD_NS)
}

/// A sample of an instant query.
pub struct Sample {
    pub labels: Labels,
    pub value: f64,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<RawSample>,
}

#[derive(Deserialize)]
struct RawSample {
    metric: Labels,
    value: (f64, String),
}

/// An instant query of PromQL that gives a vector.
///
/// # Errors
/// When the server gives none.
pub async fn vector(client: &Client, query: &str) -> Result<Vec<Sample>> {
    let found: Vector = client
        .data("/api/v1/query", &[("query", query.to_owned())])
        .await?;
    let samples = found.result.into_iter().map(|raw| Sample {
        labels: raw.metric,
        value: raw.value.1.parse().unwrap_or(f64::NAN),
    });
    Ok(samples.collect())
}

/// The label sets of the streams that a selector selects.
///
/// # Errors
/// When the server gives none.
pub async fn streams(client: &Client, selector: &str, start_ns: i64) -> Result<Vec<Labels>> {
    let parameters = [
        ("match[]", selector.to_owned()),
        ("start", start_ns.to_string()),
        ("end", end_ns().to_string()),
    ];
    client.data("/loki/api/v1/series", &parameters).await
}

/// Containers of the pods that a selector's inside selects, by their streams since `start_ns`.
///
/// # Errors
/// When the server gives no answer.
pub async fn pods(client: &Client, namespace: &str, matchers: &str, start_ns: i64) -> Result<Pods> {
    let selector = format!("{{namespace={}, pod!=\"\"{matchers}}}", quote(namespace));
    let mut pods = Pods::new();
    for labels in streams(client, &selector, start_ns).await? {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let (pod, name) = (label("pod"), label("container"));
        let containers = pods.entry(pod.clone()).or_default();
        let container = containers.entry(name.clone()).or_insert_with(|| Container {
            namespace: namespace.to_owned(),
            pod,
            name,
            ids: BTreeSet::new(),
        });
        let id = label("container_id");
        if !id.is_empty() {
            container.ids.insert(id);
        }
    }
    Ok(pods)
}

/// Pods of a workload that wrote since `start_ns`, without those that metrics know to belong to another.
///
/// # Errors
/// When the server gives no answer.
pub async fn of_workload(
    client: &Client,
    namespace: &str,
    workload: &Workload,
    start_ns: i64,
) -> Result<Pods> {
    let matcher = format!(", pod=~{}", quote(&workload.pods));
    let mut pods = pods(client, namespace, &matcher, start_ns).await?;
    if pods.is_empty() {
        return Ok(pods);
    }
    let span_s = (now_ns().saturating_sub(start_ns) / SECOND_NS).clamp(300, 15 * 86_400);
    let query = format!(
        "group by (pod, owner_kind) (last_over_time(kube_pod_owner{{namespace={}, pod=~{}}}[{span_s}s]))",
        quote(namespace),
        quote(&workload.pods)
    );
    for sample in vector(client, &query).await? {
        let label = |name: &str| sample.labels.get(name).map_or("", String::as_str);
        if !matches!(label("owner_kind"), "" | "<none>") && label("owner_kind") != workload.owner {
            pods.remove(label("pod"));
        }
    }
    Ok(pods)
}

/// Of several pods the one that wrote last.
///
/// # Errors
/// When the server gives no answer.
pub async fn last_to_write(
    client: &Client,
    namespace: &str,
    pods: &Pods,
) -> Result<Option<String>> {
    let query = format!(
        "{{namespace={}, pod=~{}}}",
        quote(namespace),
        one_of(pods.keys())
    );
    let entry = newest(client, &query, end_ns()).await?;
    Ok(entry.map(|e| e.label("pod").to_owned()))
}

/// Whether metrics know a pod, or a container of it, that has written nothing.
///
/// # Errors
/// When the server gives no answer.
pub async fn is_known(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
) -> Result<bool> {
    let container = container.map(|name| format!(", container={}", quote(name)));
    let selector = format!(
        "{{namespace={}, pod={}{}}}",
        quote(namespace),
        quote(pod),
        container.unwrap_or_default()
    );
    let parameters = [
        ("match[]", selector),
        ("start", "1".into()),
        ("end", (end_ns() / SECOND_NS).to_string()),
        ("limit", "1".into()),
    ];
    let found: Vec<Labels> = client.data("/api/v1/series", &parameters).await?;
    Ok(!found.is_empty())
}

/// Other namespaces in which a pod of this name has written.
///
/// # Errors
/// When the server gives no answer.
pub async fn namespaces_of(client: &Client, pod: &str) -> Result<BTreeSet<String>> {
    let found = streams(client, &format!("{{pod={}}}", quote(pod)), 1).await?;
    Ok(found
        .into_iter()
        .filter_map(|mut labels| labels.remove("namespace"))
        .collect())
}

/// Which of a pod's containers are init containers, as far as metrics tell.
///
/// # Errors
/// When the server gives no answer.
pub async fn init_containers(
    client: &Client,
    namespace: &str,
    pod: &str,
) -> Result<BTreeSet<String>> {
    let query = format!(
        "group by (container) (last_over_time(kube_pod_init_container_info{{namespace={}, pod={}}}[15d]))",
        quote(namespace),
        quote(pod)
    );
    let found = vector(client, &query).await?;
    Ok(found
        .into_iter()
        .filter_map(|mut s| s.labels.remove("container"))
        .collect())
}
