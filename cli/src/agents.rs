//! `kansoku agents`: which agents send, by their own metrics (input `fluentbit_metrics`), and nodes
//! from which something else comes.

use std::collections::BTreeMap;

use serde_json::json;

use crate::args::{self, Global, Output};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::logs::targets::vector;
use crate::output::{self, color::Palette, table::Table};
use crate::time::{SECOND_NS, age, duration_ns, now_ns};

/// An agent that was heard of within this time is listed, silent or not.
const PAST: &str = "1d";
/// An agent that said nothing for so long is silent.
const SILENT_NS: i64 = 120 * SECOND_NS;

/// Metrics that every agent sends one of.
const SIGNS: [&str; 4] = [
    "kansoku_agent_build_info",
    "fluentbit_build_info",
    "node_load1",
    "machine_cpu_cores",
];

/// What is told of a node, by name: column, query, and how the number is shown.
const COLUMNS: [(&str, &str); 6] = [
    (
        "RECORDS/S",
        "sum by (node, agent) (rate(fluentbit_output_proc_records_total{node!=\"\"}[W]))",
    ),
    (
        "LATENCY(s)",
        "sum by (node, agent) (rate(fluentbit_output_latency_seconds_sum{node!=\"\"}[W])) / sum by (node, agent) (rate(fluentbit_output_latency_seconds_count{node!=\"\"}[W]))",
    ),
    (
        "LAG(bytes)",
        "sum by (node, agent) (kansoku_agent_input_lag_bytes{node!=\"\"})",
    ),
    (
        "RETRIES",
        "sum by (node, agent) (increase(fluentbit_output_retries_total{node!=\"\"}[W]))",
    ),
    (
        "ERRORS",
        "sum by (node, agent) (increase(fluentbit_output_errors_total{node!=\"\"}[W]))",
    ),
    (
        "DROPPED",
        "sum by (node, agent) (increase(fluentbit_output_dropped_records_total{node!=\"\"}[W]))",
    ),
];

/// Where an agent is, and its name when it is not its node's (label `agent`).
type Place = (String, String);

fn place_of(labels: &BTreeMap<String, String>) -> Place {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    (label("node"), label("agent"))
}

/// An agent.
#[derive(Default)]
struct Agent {
    version: String,
    last_s: Option<f64>,
    uptime_s: Option<f64>,
    values: [Option<f64>; COLUMNS.len()],
}

/// Runs the command.
///
/// # Errors
/// When the server gives no answer.
pub async fn run(client: &Client, global: &Global, args: &args::Agents) -> Result<()> {
    let seconds = duration_ns(&args.window)? / SECOND_NS;
    if seconds < 1 {
        return Err(Error::Usage(format!(
            "--window {} is too short: expected a second or more",
            args.window
        )));
    }
    let mut agents: BTreeMap<Place, Agent> = BTreeMap::new();
    // Whoever sends metrics of a node is an agent, also one that says nothing of itself.
    for name in SIGNS {
        let seen =
            format!("max by (node, agent) (ts_of_last_over_time({name}{{node!=\"\"}}[{PAST}]))");
        for sample in vector(client, &seen).await? {
            let last_s = &mut agents.entry(place_of(&sample.labels)).or_default().last_s;
            *last_s = Some(last_s.unwrap_or(0.0).max(sample.value));
        }
    }
    let versions = "last_over_time({__name__=~\"kansoku_agent_build_info|fluentbit_build_info\", node!=\"\"}[PAST])";
    for sample in vector(client, &versions.replace("PAST", PAST)).await? {
        if let Some(agent) = agents.get_mut(&place_of(&sample.labels)) {
            agent.version = sample.labels.get("version").cloned().unwrap_or_default();
        }
    }
    for sample in vector(
        client,
        "max by (node, agent) (fluentbit_uptime{node!=\"\"})",
    )
    .await?
    {
        if let Some(agent) = agents.get_mut(&place_of(&sample.labels)) {
            agent.uptime_s = Some(sample.value);
        }
    }
    for (n, (_, query)) in COLUMNS.iter().enumerate() {
        let query = query.replace("[W]", &format!("[{seconds}s]"));
        for sample in vector(client, &query).await? {
            if let Some(agent) = agents.get_mut(&place_of(&sample.labels)) {
                agent.values[n] = Some(sample.value).filter(|v| !v.is_nan());
            }
        }
    }
    keep_newest(&mut agents);
    if agents.is_empty() {
        output::say("No agents found: none has sent metrics within the last day.");
        if global.output == Output::Table {
            return Ok(());
        }
    }
    show(global, &agents)
}

/// One that has a name of its own is the same on another node; it is where it was seen last.
fn keep_newest(agents: &mut BTreeMap<Place, Agent>) {
    let mut newest: BTreeMap<String, f64> = BTreeMap::new();
    for ((_, name), agent) in agents.iter() {
        let last_s = newest.entry(name.clone()).or_default();
        *last_s = last_s.max(agent.last_s.unwrap_or(0.0));
    }
    agents.retain(|(_, name), agent| {
        name.is_empty() || agent.last_s.unwrap_or(0.0) >= newest.get(name).copied().unwrap_or(0.0)
    });
}

fn show(global: &Global, agents: &BTreeMap<Place, Agent>) -> Result<()> {
    let mut headings = vec!["NODE", "STATUS", "VERSION", "LAST SEEN", "UPTIME"];
    headings.extend(COLUMNS.iter().map(|(name, _)| *name));
    let mut table = Table::new(headings);
    let mut data = Vec::new();
    let now = now_ns();
    for ((node, name), agent) in agents {
        let silent_ns = agent.last_s.map(|s| now.saturating_sub((s * 1e9) as i64));
        let is_silent = silent_ns.is_none_or(|ns| ns > SILENT_NS);
        let status = if is_silent { "Silent" } else { "Ready" };
        let mut row = vec![
            match name.as_str() {
                "" => node.clone(),
                name => format!("{node} ({name})"),
            },
            status.to_owned(),
            if agent.version.is_empty() {
                "<unknown>".into()
            } else {
                agent.version.clone()
            },
            silent_ns.map_or("<unknown>".into(), age),
            agent
                .uptime_s
                .map_or("<unknown>".into(), |s| age((s * 1e9) as i64)),
        ];
        row.extend(agent.values.iter().map(|v| v.map_or("-".into(), number)));
        table.push(row);
        let mut value = json!({
            "node": node, "agent": name, "status": status, "version": agent.version,
            "last_seen_seconds": agent.last_s, "uptime_seconds": agent.uptime_s,
        });
        for ((name, _), v) in COLUMNS.iter().zip(agent.values) {
            let key: String = name
                .to_lowercase()
                .replace("/s", "_per_second")
                .replace('(', "_")
                .replace(')', "");
            value[key] = json!(v);
        }
        data.push(value);
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

/// Three digits that matter, without a point where there is nothing behind it.
fn number(value: f64) -> String {
    if value == value.trunc() || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_with_a_name_moves() {
        let place = |node: &str, name: &str| (node.to_owned(), name.to_owned());
        let seen = |last_s| Agent {
            last_s: Some(last_s),
            ..Agent::default()
        };
        let mut agents = BTreeMap::from([
            (place("a", ""), seen(1.0)),
            (place("a", "kube-state"), seen(1.0)),
            (place("b", ""), seen(2.0)),
            (place("b", "kube-state"), seen(2.0)),
        ]);
        keep_newest(&mut agents);
        let left: Vec<_> = agents.into_keys().collect();
        assert_eq!(
            left,
            [place("a", ""), place("b", ""), place("b", "kube-state")]
        );
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.01234, "0.012"),
            (1.26, "1.3"),
            (99.0, "99"),
            (1234.5, "1234"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
