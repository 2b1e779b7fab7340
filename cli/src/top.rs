//! `kansoku top`: CPU and memory of nodes and pods in kubectl top's columns, computed from what
//! cAdvisor's and node_exporter's metrics tell.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use crate::args::{Global, Output, SortBy, TopNodes, TopPods};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::lines::Labels;
use crate::logql::{matchers, one_of, quote};
use crate::logs::targets::{self, vector};
use crate::output::{self, color::Palette, table::Table};
use crate::server::Server;
use crate::time::{SECOND_NS, duration_ns};

/// Most bytes of a row of underscores below a column of sums.
const RULE: &str = "________";

/// What one row uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Use {
    cpu_cores: Option<f64>,
    memory_bytes: Option<f64>,
}

impl Use {
    fn add(&mut self, other: Self) {
        let sum = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.cpu_cores = sum(self.cpu_cores, other.cpu_cores);
        self.memory_bytes = sum(self.memory_bytes, other.memory_bytes);
    }

    fn by(&self, sort: SortBy) -> f64 {
        let value = match sort {
            SortBy::Cpu => self.cpu_cores,
            SortBy::Memory => self.memory_bytes,
        };
        value.unwrap_or(-1.0)
    }
}

/// As kubectl writes it, in thousandths of a core.
fn cores(value: Option<f64>) -> String {
    value.map_or("<unknown>".into(), |v| {
        format!("{}m", (v * 1000.0).ceil().max(0.0))
    })
}

/// As kubectl writes it, in whole mebibytes.
fn mebibytes(value: Option<f64>) -> String {
    value.map_or("<unknown>".into(), |v| {
        format!("{}Mi", (v / 1_048_576.0).floor().max(0.0))
    })
}

fn percent(part: Option<f64>, whole: Option<f64>) -> String {
    match (part, whole) {
        (Some(part), Some(whole)) if whole > 0.0 => format!("{}%", (part / whole * 100.0).floor()),
        _ => "<unknown>".into(),
    }
}

/// The window of a rate in PromQL's words.
fn window(text: &str) -> Result<String> {
    let seconds = duration_ns(text)? / SECOND_NS;
    if seconds < 1 {
        return Err(Error::Usage(format!(
            "--window {text} is too short: expected a second or more"
        )));
    }
    Ok(format!("{seconds}s"))
}

/// `kansoku top nodes`
///
/// # Errors
/// When the server gives no answer, or does not know the node.
pub async fn nodes(client: &Client, global: &Global, args: &TopNodes) -> Result<()> {
    let w = window(&args.window)?;
    let of_node = |labels: &Labels| {
        let label = |name: &str| labels.get(name).filter(|v| !v.is_empty()).cloned();
        let instance = || {
            label("instance").map(|i| {
                i.rsplit_once(':')
                    .map_or(i.clone(), |(host, _)| host.to_owned())
            })
        };
        label("node").or_else(instance).unwrap_or_default()
    };
    // The kubelet's whole machine first, as metrics-server has it; then what node_exporter tells.
    let cpu = [
        format!(
            "sum by (node, instance) (rate(node_cpu_seconds_total{{mode!~\"idle|iowait|steal|guest|guest_nice\"}}[{w}]))"
        ),
        format!(
            "sum by (node, instance) (rate(container_cpu_usage_seconds_total{{id=\"/\"}}[{w}]))"
        ),
    ];
    let memory = [
        "sum by (node, instance) (node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes)"
            .to_owned(),
        "sum by (node, instance) (container_memory_working_set_bytes{id=\"/\"})".to_owned(),
    ];
    let all_cpu = [
        "count by (node, instance) (node_cpu_seconds_total{mode=\"idle\"})".to_owned(),
        "max by (node) (kube_node_status_allocatable{resource=\"cpu\"})".to_owned(),
    ];
    let all_memory = [
        "sum by (node, instance) (node_memory_MemTotal_bytes)".to_owned(),
        "max by (node) (kube_node_status_allocatable{resource=\"memory\"})".to_owned(),
    ];
    // The later query wins where both know a node.
    let mut columns: [BTreeMap<String, f64>; 4] = Default::default();
    for (column, queries) in columns.iter_mut().zip([cpu, memory, all_cpu, all_memory]) {
        for query in queries {
            for sample in vector(client, &query).await? {
                column.insert(of_node(&sample.labels), sample.value);
            }
        }
    }
    let [cpu, memory, all_cpu, all_memory] = columns;
    let mut rows: Vec<(String, Use)> = Vec::new();
    for name in cpu
        .keys()
        .chain(memory.keys().filter(|n| !cpu.contains_key(*n)))
    {
        let row = Use {
            cpu_cores: cpu.get(name).copied(),
            memory_bytes: memory.get(name).copied(),
        };
        rows.push((name.clone(), row));
    }
    if let Some(name) = &args.name {
        rows.retain(|(node, _)| node == name);
        if rows.is_empty() {
            return Err(Error::failed(format!(
                "Error from server (NotFound): nodes \"{name}\" not found"
            )));
        }
    }
    if rows.is_empty() {
        return Err(Error::failed(
            "Metrics not available: no agent or exporter has sent metrics of nodes within the last minutes",
        ));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(by) = args.sort_by {
        rows.sort_by(|a, b| b.1.by(by).total_cmp(&a.1.by(by)));
    }
    let mut table = Table::new(["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
    table.is_bare = args.no_headers;
    let mut data = Vec::new();
    for (name, used) in &rows {
        let (all_cpu, all_memory) = (all_cpu.get(name).copied(), all_memory.get(name).copied());
        table.push([
            name.clone(),
            cores(used.cpu_cores),
            percent(used.cpu_cores, all_cpu),
            mebibytes(used.memory_bytes),
            percent(used.memory_bytes, all_memory),
        ]);
        data.push(json!({
            "node": name, "cpu_cores": used.cpu_cores, "memory_bytes": used.memory_bytes,
            "allocatable_cpu_cores": all_cpu, "allocatable_memory_bytes": all_memory,
        }));
    }
    let mut out = std::io::stdout().lock();
    output::write(
        &mut out,
        global.output,
        Palette::of(global.color),
        &table,
        &json!(data),
    )
}

/// `kansoku top pods`
///
/// # Errors
/// When the server gives no answer, or does not know the pod.
pub async fn pods(server: &Server, global: &Global, args: &TopPods) -> Result<()> {
    let client = &server.client;
    let w = window(&args.window)?;
    let namespace = args.namespace.as_deref().unwrap_or(&server.namespace);
    if args.name.is_some() && (args.all_namespaces || args.selector.is_some()) {
        return Err(Error::Usage(
            "a resource cannot be retrieved by name across all namespaces or with a selector"
                .into(),
        ));
    }
    let mut selector = "container!=\"\", container!=\"POD\", pod!=\"\"".to_owned();
    if !args.all_namespaces {
        selector.push_str(&format!(", namespace={}", quote(namespace)));
    }
    if let Some(name) = &args.name {
        selector.push_str(&format!(", pod={}", quote(name)));
    }
    if let Some(labels) = &args.selector {
        selector.push_str(&format!(
            ", pod=~{}",
            one_of(pods_with(client, args, namespace, labels).await?)
        ));
    }
    let by = "sum by (namespace, pod, container)";
    let cpu = format!("{by} (rate(container_cpu_usage_seconds_total{{{selector}}}[{w}]))");
    let memory = format!("{by} (container_memory_working_set_bytes{{{selector}}})");
    // Namespace, pod, container.
    let mut found: BTreeMap<[String; 3], Use> = BTreeMap::new();
    for (is_cpu, query) in [(true, cpu), (false, memory)] {
        for sample in vector(client, &query).await? {
            let key = ["namespace", "pod", "container"]
                .map(|name| sample.labels.get(name).cloned().unwrap_or_default());
            let row = found.entry(key).or_default();
            if is_cpu {
                row.cpu_cores = Some(sample.value);
            } else {
                row.memory_bytes = Some(sample.value);
            }
        }
    }
    if found.is_empty() {
        if let Some(name) = &args.name {
            return Err(Error::failed(format!(
                "Error from server (NotFound): podmetrics.metrics.k8s.io \"{namespace}/{name}\" not found"
            )));
        }
        let place = if args.all_namespaces {
            String::new()
        } else {
            format!(" in {namespace} namespace")
        };
        output::say(&format!("No resources found{place}."));
        if global.output == Output::Table {
            return Ok(());
        }
    }
    let rows = rows(found, args);
    let mut out = std::io::stdout().lock();
    let (table, data) = shown(&rows, args);
    output::write(
        &mut out,
        global.output,
        Palette::of(global.color),
        &table,
        &data,
    )?;
    if args.sum && global.output == Output::Table {
        out.write_all(sums(&rows, &table).as_bytes())?;
    }
    Ok(())
}

/// The pods whose streams have labels that a selector of Kubernetes selects.
async fn pods_with(
    client: &Client,
    args: &TopPods,
    namespace: &str,
    labels: &str,
) -> Result<Vec<String>> {
    let within = if args.all_namespaces {
        String::new()
    } else {
        format!(", namespace={}", quote(namespace))
    };
    let selector = format!("{{pod!=\"\"{within}{}}}", matchers(labels)?);
    let start_ns = crate::time::now_ns().saturating_sub(86_400 * SECOND_NS);
    let mut pods: Vec<String> = targets::streams(client, &selector, start_ns)
        .await?
        .into_iter()
        .filter_map(|mut labels| labels.remove("pod"))
        .collect();
    pods.sort_unstable();
    pods.dedup();
    Ok(pods)
}

/// Rows by namespace, pod and, when asked for, container, in their order.
fn rows(found: BTreeMap<[String; 3], Use>, args: &TopPods) -> Vec<([String; 3], Use)> {
    let mut rows: BTreeMap<[String; 3], Use> = BTreeMap::new();
    for ([namespace, pod, container], used) in found {
        let container = if args.containers {
            container
        } else {
            String::new()
        };
        rows.entry([namespace, pod, container])
            .or_default()
            .add(used);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    if let Some(by) = args.sort_by {
        rows.sort_by(|a, b| b.1.by(by).total_cmp(&a.1.by(by)));
    }
    rows
}

fn shown(rows: &[([String; 3], Use)], args: &TopPods) -> (Table, Value) {
    let mut headings = vec![];
    headings.extend(args.all_namespaces.then_some("NAMESPACE"));
    headings.extend(if args.containers {
        vec!["POD", "NAME"]
    } else {
        vec!["NAME"]
    });
    headings.extend(["CPU(cores)", "MEMORY(bytes)"]);
    let mut table = Table::new(headings);
    table.is_bare = args.no_headers;
    let mut data = Vec::new();
    for ([namespace, pod, container], used) in rows {
        let mut row = vec![];
        row.extend(args.all_namespaces.then(|| namespace.clone()));
        row.push(pod.clone());
        row.extend(args.containers.then(|| container.clone()));
        row.extend([cores(used.cpu_cores), mebibytes(used.memory_bytes)]);
        table.push(row);
        let mut value = json!({"namespace": namespace, "pod": pod, "cpu_cores": used.cpu_cores, "memory_bytes": used.memory_bytes});
        if args.containers {
            value["container"] = json!(container);
        }
        data.push(value);
    }
    (table, json!(data))
}

/// The last rows: a rule and the sums, below their columns.
fn sums(rows: &[([String; 3], Use)], table: &Table) -> String {
    let mut total = Use::default();
    rows.iter().for_each(|(_, used)| total.add(*used));
    let n = table.headings.len();
    let mut below = table.clone();
    let row = |cpu: String, memory: String| {
        let mut row = vec![String::new(); n];
        row[n - 2] = cpu;
        row[n - 1] = memory;
        row
    };
    below.push(row(RULE.into(), RULE.into()));
    below.push(row(cores(total.cpu_cores), mebibytes(total.memory_bytes)));
    let text = below.text(Palette::plain());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len() - 2..]
        .iter()
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> TopPods {
        TopPods {
            name: None,
            namespace: None,
            all_namespaces: false,
            selector: None,
            containers: false,
            sort_by: None,
            sum: true,
            no_headers: false,
            window: "2m".into(),
        }
    }

    fn found() -> BTreeMap<[String; 3], Use> {
        let rows = [
            (["n", "a", "x"], Some(0.0101), Some(3.9 * 1_048_576.0)),
            (["n", "a", "y"], None, Some(2e6)),
            (["n", "b", "x"], Some(1.5), Some(1.0)),
        ];
        let rows = rows.map(|(key, cpu_cores, memory_bytes)| {
            (
                key.map(str::to_owned),
                Use {
                    cpu_cores,
                    memory_bytes,
                },
            )
        });
        rows.into_iter().collect()
    }

    fn text(args: &TopPods) -> String {
        let rows = rows(found(), args);
        let (table, _) = shown(&rows, args);
        table.text(Palette::plain()) + &sums(&rows, &table)
    }

    #[test]
    fn columns_are_those_of_kubectl() {
        let mut args = args();
        assert_eq!(
            text(&args),
            "NAME   CPU(cores)   MEMORY(bytes)\na      11m          5Mi\nb      1500m        0Mi\n       ________     ________\n       1511m        5Mi\n"
        );
        args.containers = true;
        args.all_namespaces = true;
        args.sort_by = Some(SortBy::Cpu);
        args.no_headers = true;
        assert_eq!(
            text(&args),
            "n   b   x   1500m       0Mi\nn   a   x   11m         3Mi\nn   a   y   <unknown>   1Mi\n            ________    ________\n            1511m       5Mi\n"
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(percent(Some(1.0), Some(3.0)), "33%");
        assert_eq!(percent(Some(1.0), None), "<unknown>");
        assert_eq!(percent(Some(1.0), Some(0.0)), "<unknown>");
        assert_eq!(window("90s").unwrap(), "90s");
        assert!(window("5ms").is_err());
    }
}
