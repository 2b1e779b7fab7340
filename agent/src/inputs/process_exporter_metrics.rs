//! `process_exporter_metrics`: what processes use, each by itself as Fluent Bit tells it, or in named groups as process-exporter does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{
    ConfigError, MetricBatch, OptionKind, OptionSpec, RecordBatch, Resource, Settings,
};
use kansoku_parsers::line::pattern::Pattern;

use super::node_paths::PROCFS;
use super::processes::each::{self, METRICS, Wanted};
use super::processes::groups::{Flags, Groups};
use super::processes::names::Names;
use super::processes::reading::Proc;
use super::staleness::Staleness;
use super::target_labels::target_labels;
use super::ticker::{self, Ticker};
use crate::log;
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const NAME: &str = "input:process_exporter_metrics";
/// The largest configuration file of groups.
const MAX_NAMES_BYTES: u64 = 1 << 20;

/// The plugin.
pub const PLUGIN: InputPlugin = InputPlugin {
    name: "process_exporter_metrics",
    about: "CPU, memory, IO, files and threads of processes: of each one, or of named groups as process-exporter has them.",
    options: &[
        OptionSpec::new(
            "scrape_interval",
            OptionKind::Time,
            "5",
            "how often processes are looked at",
        ),
        PROCFS,
        OptionSpec::new(
            "process_include_pattern",
            OptionKind::Text,
            ".+",
            "only processes whose names match",
        ),
        OptionSpec::new(
            "process_exclude_pattern",
            OptionKind::Text,
            "",
            "no processes whose names match",
        ),
        OptionSpec::new(
            "metrics",
            OptionKind::List,
            "cpu,io,memory,state,context_switches,fd,start_time,thread_wchan,thread",
            "which metrics of each process",
        ),
        OptionSpec::new(
            "process_names",
            OptionKind::Text,
            "",
            "process-exporter's configuration file: groups instead of single processes (namedprocess_*)",
        ),
        OptionSpec::new(
            "children",
            OptionKind::Bool,
            "on",
            "of groups: a child that no group wants belongs to that of its parent",
        ),
        OptionSpec::new(
            "threads",
            OptionKind::Bool,
            "on",
            "of groups: series by the names of threads",
        ),
        OptionSpec::new(
            "gather_smaps",
            OptionKind::Bool,
            "on",
            "of groups: proportional memory from smaps_rollup",
        ),
        OptionSpec::new(
            "recheck",
            OptionKind::Bool,
            "off",
            "of groups: look again at the names of processes that no group wanted",
        ),
        OptionSpec::new(
            "remove_empty_groups",
            OptionKind::Bool,
            "off",
            "of groups: forget one whose last process has ended",
        ),
        OptionSpec::new(
            "add_label",
            OptionKind::Pair,
            "",
            "a label for every series; replaces job or instance",
        )
        .repeated(),
    ],
    example: "[INPUT]\n    Name                     process_exporter_metrics\n    Tag                      metrics.processes\n    Process_Include_Pattern  ^(nginx|postgres)\n\n[INPUT]\n    Name           process_exporter_metrics\n    Tag            metrics.groups\n    Process_Names  /etc/process-exporter/all.yaml\n",
    build: |settings, environment| Ok(Box::new(Processes::new(settings, environment)?)),
};

enum Mode {
    Each(Box<Wanted>),
    Groups(Box<Groups>),
}

struct Processes {
    proc: Proc,
    mode: Mode,
    interval: Duration,
    resource: Arc<Resource>,
    host_name: Arc<str>,
}

impl Processes {
    fn new(s: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        s.check(PLUGIN.options)?;
        let mode = match s.get("process_names") {
            None => Mode::Each(Box::new(wanted(s)?)),
            Some(setting) => {
                for key in [
                    "process_include_pattern",
                    "process_exclude_pattern",
                    "metrics",
                ] {
                    if let Some(other) = s.get(key) {
                        let message = format!("'{key}' has no effect on groups (process_names)");
                        environment.warn(&other.place, message);
                    }
                }
                let names = names(setting)?;
                if names.len() == 0 {
                    environment.warn(&setting.place, "the file names no group");
                }
                let flags = Flags {
                    children: s.bool("children", true)?,
                    threads: s.bool("threads", true)?,
                    gather_smaps: s.bool("gather_smaps", true)?,
                    recheck: s.bool("recheck", false)?,
                    remove_empty_groups: s.bool("remove_empty_groups", false)?,
                };
                Mode::Groups(Box::new(Groups::new(names, flags)))
            }
        };
        let node = &environment.host_name;
        let labels = [("job", "process-exporter"), ("instance", node)];
        Ok(Self {
            proc: Proc::new(PathBuf::from(s.text(PROCFS.name, PROCFS.default))),
            mode,
            interval: ticker::interval(s, "scrape_interval", 5.0)?,
            resource: Arc::new(target_labels(&labels, s)?),
            host_name: node.clone(),
        })
    }
}

fn names(setting: &kansoku_model::plugin::Setting) -> Result<Names, ConfigError> {
    use std::io::Read;
    let path = &setting.value;
    let failed = |e| ConfigError::new(&setting.place, format!("cannot read '{path}': {e}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_NAMES_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_NAMES_BYTES {
        let message = format!("'{path}' is larger than {MAX_NAMES_BYTES} bytes");
        return Err(ConfigError::new(&setting.place, message));
    }
    Names::parse(path, &bytes)
}

fn wanted(s: &Settings) -> Result<Wanted, ConfigError> {
    let pattern = |key: &str, text: &str| {
        Pattern::new(text).map_err(|e| {
            let place = s.get(key).map_or(&s.place, |k| &k.place);
            ConfigError::new(place, format!("{key}: {e}"))
        })
    };
    let include = "process_include_pattern";
    let exclude = "process_exclude_pattern";
    let mut metrics = [s.get("metrics").is_none(); METRICS.len()];
    for word in s.list("metrics") {
        let lower = word.to_ascii_lowercase();
        let Some(at) = METRICS.iter().position(|m| *m == lower) else {
            let place = s.get("metrics").map_or(&s.place, |k| &k.place);
            let hint = kansoku_model::plugin::did_you_mean(word, METRICS.into_iter());
            return Err(ConfigError::new(
                place,
                format!("unknown metric '{word}'{hint}"),
            ));
        };
        metrics[at] = true;
    }
    Ok(Wanted {
        include: pattern(include, s.text(include, ".+"))?,
        exclude: match s.get(exclude) {
            Some(setting) => Some(pattern(exclude, &setting.value)?),
            None => None,
        },
        metrics,
    })
}

impl Input for Processes {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(mut self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let mut ticker = Ticker::new(&self.host_name, &[self.interval]);
        let mut staleness = Staleness::default();
        let mut last_failure = String::new();
        while let Some(tick) = ticker.wait(&link.stop) {
            let (tag, resource) = (link.tag.clone(), self.resource.clone());
            let mut batch = MetricBatch::new(tag, resource, tick.now_ms);
            match &mut self.mode {
                Mode::Each(wanted) => {
                    let failure = each::collect(&mut self.proc, wanted, &mut batch)
                        .err()
                        .map_or_else(String::new, |e| e.to_string());
                    if !failure.is_empty() && failure != last_failure {
                        let root = self.proc.root.display();
                        log::error(NAME, format_args!("cannot read {root}: {failure}"));
                    }
                    last_failure = failure;
                }
                Mode::Groups(groups) => {
                    let now_s = u64::try_from(tick.now_ms / 1000).unwrap_or_default();
                    groups.collect(&mut self.proc, now_s, &mut batch);
                }
            }
            staleness.mark(&mut batch);
            batch.source = tick.source;
            if link.send(RecordBatch::Metrics(batch), None).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}
