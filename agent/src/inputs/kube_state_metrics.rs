//! `kube_state_metrics`: the state of the cluster's objects under kube-state-metrics' names, pushed.
//!
//! The watches run on a thread of their own; this one sends what they keep, in batches of a bounded size,
//! because the objects of a large cluster have millions of series.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kansoku_model::{
    ConfigError, MetricBatch, OptionKind, OptionSpec, Position, RecordBatch, Resource, Settings,
    Source, SourceId,
};
use tokio::sync::oneshot;

use super::kube_options;
use super::staleness::STALE;
use super::target_labels::{target_labels, up};
use super::ticker::{self, Ticker, random_source};
use crate::kube_state::{
    Asked, Cursor, Plan, Scope, Shown, Table, follow, selection, write_status,
};
use crate::kubernetes::{Access, node};
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

/// kube-prometheus scrapes kube-state-metrics so often.
const INTERVAL_S: f64 = 30.0;
/// Size of a batch, as of those of other inputs.
const BATCH_BYTES: usize = 256 << 10;
/// A watch for each resource in each namespace: a bound for mistakes.
const MAX_WATCHES: usize = 1000;
/// Before a cluster that is not there is looked for again.
const PAUSE: Duration = Duration::from_secs(10);

/// The plugin.
pub const PLUGIN: InputPlugin = InputPlugin {
    name: "kube_state_metrics",
    about: "The state of Kubernetes objects under kube-state-metrics' names; also on /metrics/kube-state.",
    options: &[
        OptionSpec::new(
            "scope",
            OptionKind::Choice(&["node", "cluster"]),
            "node",
            "the pods of this node, or all objects of the cluster (in one replica)",
        ),
        OptionSpec::new(
            "scrape_interval",
            OptionKind::Time,
            "30",
            "how often the samples are sent",
        ),
        OptionSpec::new(
            "node_name",
            OptionKind::Text,
            "",
            "the node of scope node; default NODE_NAME, else where the own pod runs, else the host's name",
        ),
        OptionSpec::new(
            "resources",
            OptionKind::Text,
            "",
            "resources with commas between; default pods in scope node, and in scope cluster all but endpoints",
        ),
        OptionSpec::new(
            "namespaces",
            OptionKind::Text,
            "",
            "only objects of these namespaces, with commas between",
        ),
        OptionSpec::new(
            "namespaces_denylist",
            OptionKind::Text,
            "",
            "no objects of these namespaces; namespaces is without effect then",
        ),
        OptionSpec::new(
            "track_unscheduled_pods",
            OptionKind::Bool,
            "off",
            "in scope cluster of pods only those without a node, beside agents of scope node",
        ),
        OptionSpec::new(
            "metric_allowlist",
            OptionKind::Text,
            "",
            "only families whose names match one of these regular expressions",
        ),
        OptionSpec::new(
            "metric_denylist",
            OptionKind::Text,
            "",
            "no families whose names match one of these regular expressions",
        ),
        OptionSpec::new(
            "metric_opt_in_list",
            OptionKind::Text,
            "",
            "families that are off by default: kube_pod_nodeselectors, kube_persistentvolume_csi_attributes",
        ),
        OptionSpec::new(
            "metric_labels_allowlist",
            OptionKind::Text,
            "",
            "labels for kube_*_labels: resource=[key,key],resource=[*]",
        ),
        OptionSpec::new(
            "metric_annotations_allowlist",
            OptionKind::Text,
            "",
            "annotations for kube_*_annotations: resource=[key,key],resource=[*]",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job or instance",
        )
        .repeated(),
        kube_options::KUBE_URL,
        kube_options::KUBE_CA_FILE,
        kube_options::KUBE_CA_PATH,
        kube_options::KUBE_TOKEN_FILE,
        kube_options::TLS_VERIFY,
        kube_options::TLS_VHOST,
    ],
    example: "[INPUT]\n    Name                     kube_state_metrics\n    Tag                      metrics.kube_state\n    Scope                    cluster\n    Metric_Labels_Allowlist  pods=[app,team],nodes=[*]\n",
    build: |settings, environment| Ok(Box::new(KubeState::new(settings, environment)?)),
};

struct KubeState {
    access: Access,
    plans: Vec<Arc<Plan>>,
    scope: Scope,
    node_name: Option<String>,
    namespaces: Vec<String>,
    denied: Vec<String>,
    only_unscheduled: bool,
    interval: Duration,
    resource: Arc<Resource>,
    host_name: Arc<str>,
    /// Shows the tables over HTTP.
    shown: Arc<Shown>,
}

impl KubeState {
    fn new(settings: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        settings.check(PLUGIN.options)?;
        let mistake = |key: &str, message: String| {
            let place = settings.get(key).map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, format!("{key}: {message}"))
        };
        let scope = match settings.text("scope", "node") {
            "cluster" => Scope::Cluster,
            _ => Scope::Node,
        };
        let asked = Asked {
            scope,
            resources: settings.text("resources", ""),
            metric_allowlist: settings.text("metric_allowlist", ""),
            metric_denylist: settings.text("metric_denylist", ""),
            metric_opt_in_list: settings.text("metric_opt_in_list", ""),
            metric_labels_allowlist: settings.text("metric_labels_allowlist", ""),
            metric_annotations_allowlist: settings.text("metric_annotations_allowlist", ""),
        };
        let plans = selection(&asked).map_err(|(key, message)| mistake(key, message))?;
        let list = |key| -> Vec<String> {
            let words = settings.text(key, "").split(',').map(str::trim);
            words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
        };
        let denied = list("namespaces_denylist");
        let namespaces = if denied.is_empty() {
            list("namespaces")
        } else {
            Vec::new()
        };
        if plans.len() * namespaces.len() > MAX_WATCHES {
            let n = plans.len() * namespaces.len();
            let message = format!(
                "{n} watches, one for each resource in each namespace, are more than {MAX_WATCHES}"
            );
            return Err(mistake("namespaces", message));
        }
        let only_unscheduled = settings.bool("track_unscheduled_pods", false)?;
        if only_unscheduled && scope == Scope::Node {
            let message = "pods without a node are in no node's scope; set scope cluster";
            return Err(mistake("track_unscheduled_pods", message.to_owned()));
        }
        // A replica that moves keeps its series.
        let instance = match scope {
            Scope::Node => &*environment.host_name,
            Scope::Cluster => "kube-state-metrics",
        };
        let labels = [("job", "kube-state-metrics"), ("instance", instance)];
        Ok(Self {
            access: kube_options::access(settings)?,
            plans: plans.into_iter().map(Arc::new).collect(),
            scope,
            node_name: settings.get("node_name").map(|s| s.value.clone()),
            namespaces,
            denied,
            only_unscheduled,
            interval: ticker::interval(settings, "scrape_interval", INTERVAL_S)?,
            resource: Arc::new(target_labels(&labels, settings)?),
            host_name: environment.host_name.clone(),
            shown: environment.kube_state.clone(),
        })
    }

    /// A table for each watch.
    fn tables(&self, node: &str) -> Vec<Arc<Table>> {
        let mut tables = Vec::new();
        for plan in &self.plans {
            let everywhere = [String::new()];
            let namespaces: &[String] = match plan.kind.is_namespaced {
                true if !self.namespaces.is_empty() => &self.namespaces,
                _ => &everywhere,
            };
            for namespace in namespaces {
                let selector = self.field_selector(plan, node);
                tables.push(Arc::new(Table::new(plan.clone(), namespace, selector)));
            }
        }
        tables
    }

    fn field_selector(&self, plan: &Plan, node: &str) -> String {
        let mut terms = Vec::new();
        match (self.scope, plan.kind.resource) {
            (Scope::Node, "pods") => terms.push(format!("spec.nodeName={node}")),
            (Scope::Node, _) => terms.push(format!("metadata.name={node}")),
            (Scope::Cluster, "pods") if self.only_unscheduled => {
                terms.push("spec.nodeName=".to_owned());
            }
            (Scope::Cluster, _) => {}
        }
        if plan.kind.is_namespaced {
            let denied = self.denied.iter();
            terms.extend(denied.map(|namespace| format!("metadata.namespace!={namespace}")));
        }
        terms.join(",")
    }
}

/// It waits for room between the batches of a tick: the watches go on meanwhile, and a tick that is
/// missed is not made up for.
impl Input for KubeState {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let name = format!("{}/kube-state", self.host_name);
        let mut ticker = Ticker::new(&name, &[self.interval]);
        let mut sender = Sender {
            link,
            resource: self.resource.clone(),
            source: random_source(),
            n_sent: 0,
        };
        let shared = Arc::new(std::sync::OnceLock::new());
        // Dropped at the end, which ends the watches.
        let (_stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start a runtime")?;
        let filled = shared.clone();
        let watches = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watch(&self, &filled) => {}
                    _ = stopped => {}
                }
            });
        };
        std::thread::Builder::new()
            .name("kube-state".to_owned())
            .spawn(watches)
            .context("failed to start a thread")?;
        while let Some(tick) = ticker.wait(&sender.link.stop) {
            if !sender.send(shared.get().map_or(&[], Vec::as_slice), tick.now_ms) {
                break;
            }
        }
        Ok(())
    }
}

/// Runs all watches for as long as it is polled.
async fn watch(input: &KubeState, tables: &std::sync::OnceLock<Vec<Arc<Table>>>) {
    const COMPONENT: &str = PLUGIN.name;
    let client = loop {
        match input.access.client().await {
            Ok(client) => break client,
            Err(error) => log::warn(
                COMPONENT,
                format_args!("cannot reach the Kubernetes API, trying again: {error:#}"),
            ),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let node = match (&input.node_name, input.scope) {
        (Some(name), _) => name.clone(),
        (None, Scope::Node) => node::name(&client, &input.host_name).await,
        (None, Scope::Cluster) => String::new(),
    };
    let tables = tables.get_or_init(|| input.tables(&node));
    input.shown.add(tables);
    let follow = tables.iter().map(|t| follow(client.clone(), t.clone()));
    futures_util::future::join_all(follow).await;
}

/// Makes batches and sends them.
struct Sender {
    link: Link,
    resource: Arc<Resource>,
    source: SourceId,
    n_sent: u64,
}

impl Sender {
    /// Sends what the tables have; false when the agent stops.
    fn send(&mut self, tables: &[Arc<Table>], now_ms: i64) -> bool {
        let mut batch = self.batch(now_ms);
        for table in tables {
            let mut cursor = Cursor::default();
            while table.push(&mut cursor, STALE, BATCH_BYTES, &mut batch) {
                let next = self.batch(now_ms);
                if !self.send_one(std::mem::replace(&mut batch, next)) {
                    return false;
                }
            }
        }
        write_status(tables, &mut batch);
        up(&mut batch);
        self.send_one(batch)
    }

    fn batch(&self, now_ms: i64) -> MetricBatch {
        MetricBatch::new(self.link.tag.clone(), self.resource.clone(), now_ms)
    }

    fn send_one(&mut self, mut batch: MetricBatch) -> bool {
        if batch.points().is_empty() {
            return true;
        }
        let from = Position::at(self.n_sent);
        self.n_sent += 1;
        batch.source = Source {
            id: self.source,
            from,
            to: Position::at(self.n_sent),
        };
        self.link.send(RecordBatch::Metrics(batch), None).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(pairs: &[(&'static str, &'static str)]) -> Result<KubeState, String> {
        let settings = Settings::of("kube_state_metrics", pairs);
        let environment = Environment {
            host_name: "n1".into(),
            ..Environment::default()
        };
        KubeState::new(&settings, &environment).map_err(|e| e.to_string())
    }

    fn watched(pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let input = built(pairs).expect("right options");
        let tables = input.tables("n1");
        let of_table = |t: &Arc<Table>| {
            let resource = t.plan.kind.resource;
            format!("{resource}/{}?{}", t.namespace, t.field_selector)
        };
        tables.iter().map(of_table).collect()
    }

    #[test]
    fn each_resource_in_each_namespace_has_a_watch() {
        assert_eq!(watched(&[]), ["pods/?spec.nodeName=n1"]);
        assert_eq!(
            watched(&[("resources", "pods,nodes"), ("namespaces_denylist", "a,b")]),
            [
                "pods/?spec.nodeName=n1,metadata.namespace!=a,metadata.namespace!=b",
                "nodes/?metadata.name=n1"
            ]
        );
        let unscheduled = [
            ("scope", "cluster"),
            ("resources", "nodes,pods,jobs"),
            ("namespaces", "a, b"),
            ("track_unscheduled_pods", "on"),
        ];
        assert_eq!(
            watched(&unscheduled),
            [
                "nodes/?",
                "pods/a?spec.nodeName=",
                "pods/b?spec.nodeName=",
                "jobs/a?",
                "jobs/b?"
            ]
        );
        assert_eq!(watched(&[("scope", "cluster")]).len(), 32);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (key, value, expected) in [
            (
                "resources",
                "jobs",
                "resources: 'jobs' belong to no node; set scope cluster",
            ),
            ("metric_denylist", "(", "metric_denylist: regex parse error"),
            (
                "metric_labels_allowlist",
                "pods",
                "metric_labels_allowlist: 'pods' is not of the form",
            ),
            (
                "track_unscheduled_pods",
                "on",
                "track_unscheduled_pods: pods without a node",
            ),
        ] {
            let error = built(&[(key, value)]).err().expect(key);
            assert!(error.contains(expected), "{error}");
        }
    }

    /// A cluster whose objects do not fit into one batch comes in several of one time, each under a
    /// position of its own.
    #[test]
    fn what_is_large_is_sent_in_parts() {
        let input = built(&[]).expect("right options");
        let tables = input.tables("n1");
        tables[0].begin_list();
        for at in 0..2000 {
            let pod = serde_json::json!({"metadata": {"name": format!("p{at}"), "namespace": "n"}});
            tables[0].apply(&serde_json::from_value(pod).expect("a pod"));
        }
        tables[0].end_list();
        let (link, captured) = Link::captured("kube", Duration::from_secs(1));
        let mut sender = Sender {
            link,
            resource: input.resource.clone(),
            source: SourceId(7),
            n_sent: 0,
        };
        assert!(sender.send(&tables, 1000));
        let (mut n_info, mut to) = (0, Position::at(0));
        for batch in captured.take() {
            let RecordBatch::Metrics(batch) = &*batch else {
                panic!("metrics")
            };
            assert!(batch.size_bytes() < BATCH_BYTES + (32 << 10));
            assert_eq!((batch.time_ms, batch.source.from), (1000, to));
            to = batch.source.to;
            let series = batch.points().iter().map(|p| batch.series_of(p));
            let info = series.filter(|s| s.get("__name__") == Some("kube_pod_info"));
            n_info += info
                .filter(|s| {
                    s.get("job") == Some("kube-state-metrics") && s.get("instance") == Some("n1")
                })
                .count();
        }
        assert_eq!(n_info, 2000);
        assert!(to > Position::at(2));
    }
}
