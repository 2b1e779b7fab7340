//! The agent's own counters under Fluent Bit's names, and what it uses of the machine.

use std::sync::{Arc, OnceLock};

use kansoku_model::{MetricBatch, MetricKind};
use kansoku_parsers::kernel::pid_stat;
use kansoku_parsers::kernel::stat::TICKS_PER_SECOND;
use serde_json::{Map, Value, json};

use super::delivery_metrics;
use crate::collectors::kernel_file::KernelFile;
use crate::control::Control;
use crate::exposition;
use crate::inputs::unix_ms;
use crate::pipeline::{Counter, FilterCounters, InputCounters, Metrics, OutputCounters};

/// Counters of a pipeline and of the process.
pub(crate) struct OwnMetrics {
    metrics: Arc<Metrics>,
    host_name: Arc<str>,
    start_ms: u64,
    /// `None` for records of the pipeline, which know no reloads.
    control: Option<Arc<Control>>,
    /// Series left out of `/metrics` because they were there already.
    pub(super) duplicate_series: Counter,
}

/// A family of counters of one kind of part: key in the JSON answer, name after the prefix, help.
type Family<C> = (
    &'static str,
    &'static str,
    MetricKind,
    &'static str,
    fn(&C) -> &Counter,
);

const INPUT: &[Family<InputCounters>] = {
    use MetricKind::{Counter, Gauge};
    &[
        (
            "records",
            "fluentbit_input_records_total",
            Counter,
            "Number of input records.",
            |c| &c.records,
        ),
        (
            "bytes",
            "fluentbit_input_bytes_total",
            Counter,
            "Number of input bytes.",
            |c| &c.bytes,
        ),
        (
            "ingestion_paused",
            "fluentbit_input_ingestion_paused",
            Gauge,
            "Is the input paused or not?",
            |c| &c.ingestion_paused,
        ),
        (
            "memory_bytes",
            "fluentbit_input_storage_memory_bytes",
            Gauge,
            "Memory bytes used by the chunks.",
            |c| &c.memory_bytes,
        ),
        (
            "files_opened",
            "fluentbit_input_files_opened_total",
            Counter,
            "Total number of opened files",
            |c| &c.files_opened,
        ),
        (
            "files_closed",
            "fluentbit_input_files_closed_total",
            Counter,
            "Total number of closed files",
            |c| &c.files_closed,
        ),
        (
            "files_rotated",
            "fluentbit_input_files_rotated_total",
            Counter,
            "Total number of rotated files",
            |c| &c.files_rotated,
        ),
        (
            "long_line_skipped",
            "fluentbit_input_long_line_skipped_total",
            Counter,
            "Total number of skipped occurrences for long lines",
            |c| &c.long_line_skipped,
        ),
        (
            "long_line_truncated",
            "fluentbit_input_long_line_truncated_total",
            Counter,
            "Total number of truncated occurrences for long lines",
            |c| &c.long_line_truncated,
        ),
        (
            "multiline_truncated",
            "fluentbit_input_multiline_truncated_total",
            Counter,
            "Total number of truncated occurences for multilines",
            |c| &c.multiline_truncated,
        ),
        (
            "dropped_records",
            "kansoku_agent_input_dropped_records_total",
            Counter,
            "Records of a source that cannot wait, dropped because there was no room.",
            |c| &c.dropped_records,
        ),
        (
            "missed_records",
            "kansoku_agent_input_missed_records_total",
            Counter,
            "Datagrams and kernel messages that the kernel dropped before they were read.",
            |c| &c.missed_records,
        ),
        (
            "files_lost",
            "kansoku_agent_input_files_lost_total",
            Counter,
            "Files that were gone before they were read to their end.",
            |c| &c.files_lost,
        ),
        (
            "damaged",
            "kansoku_agent_input_damaged_objects_total",
            Counter,
            "Damaged objects of journal files, passed while the rest was read.",
            |c| &c.damaged,
        ),
        (
            "lag_bytes",
            "kansoku_agent_input_lag_bytes",
            Gauge,
            "Bytes that are there to be read and have not been delivered.",
            |c| &c.lag_bytes,
        ),
        (
            "lag_seconds",
            "kansoku_agent_input_lag_seconds",
            Gauge,
            "Age of the oldest record that has not been delivered.",
            |c| &c.lag_seconds,
        ),
    ]
};

const FILTER: &[Family<FilterCounters>] = {
    use MetricKind::Counter;
    &[
        (
            "records",
            "fluentbit_filter_records_total",
            Counter,
            "Total number of new processed records.",
            |c| &c.records,
        ),
        (
            "bytes",
            "fluentbit_filter_bytes_total",
            Counter,
            "Total number of new processed bytes.",
            |c| &c.bytes,
        ),
        (
            "add_records",
            "fluentbit_filter_add_records_total",
            Counter,
            "Total number of new added records.",
            |c| &c.add_records,
        ),
        (
            "drop_records",
            "fluentbit_filter_drop_records_total",
            Counter,
            "Total number of dropped records.",
            |c| &c.drop_records,
        ),
    ]
};

const OUTPUT: &[Family<OutputCounters>] = {
    use MetricKind::Counter;
    &[
        (
            "proc_records",
            "fluentbit_output_proc_records_total",
            Counter,
            "Number of processed output records.",
            |c| &c.proc_records,
        ),
        (
            "proc_bytes",
            "fluentbit_output_proc_bytes_total",
            Counter,
            "Number of processed output bytes.",
            |c| &c.proc_bytes,
        ),
        (
            "errors",
            "fluentbit_output_errors_total",
            Counter,
            "Number of output errors.",
            |c| &c.errors,
        ),
        (
            "retries",
            "fluentbit_output_retries_total",
            Counter,
            "Number of output retries.",
            |c| &c.retries,
        ),
        (
            "retries_failed",
            "fluentbit_output_retries_failed_total",
            Counter,
            "Number of abandoned batches because the maximum number of re-tries was reached.",
            |c| &c.retries_failed,
        ),
        (
            "dropped_records",
            "fluentbit_output_dropped_records_total",
            Counter,
            "Number of dropped records.",
            |c| &c.dropped_records,
        ),
        (
            "retried_records",
            "fluentbit_output_retried_records_total",
            Counter,
            "Number of retried records.",
            |c| &c.retried_records,
        ),
        (
            "dead_letter_records",
            "kansoku_agent_output_dead_letter_records_total",
            Counter,
            "Dropped records that were kept in the dead-letter file.",
            |c| &c.dead_letter_records,
        ),
    ]
};

impl OwnMetrics {
    /// Of a pipeline.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        host_name: Arc<str>,
        start_ms: u64,
        control: Option<Arc<Control>>,
    ) -> Self {
        Self {
            metrics,
            host_name,
            start_ms,
            control,
            duplicate_series: Counter::default(),
        }
    }

    /// Everything the agent knows of itself.
    pub(crate) fn batch(&self) -> MetricBatch {
        let mut out = MetricBatch::default();
        out.time_ms = unix_ms() as i64;
        self.counters(&mut out);
        self.agent(&mut out);
        // What cannot be read of the own process is left out.
        let _ = process(&mut out);
        out
    }

    /// The counters of all parts, each sample with its time, as Fluent Bit's first API has it.
    pub(super) fn v1_exposition(&self) -> Vec<u8> {
        let mut counters = MetricBatch::default();
        self.counters(&mut counters);
        let now_ms = unix_ms() as i64;
        let mut timed = MetricBatch::default();
        for point in counters.points() {
            let family = counters.family_of(point);
            let (name, help) = (counters.text(family.name), counters.text(family.help));
            let id = timed.family(name, family.kind, help);
            let labels = timed.label_set(counters.labels_of(point));
            timed.push(kansoku_model::metric::Point {
                family: id,
                labels,
                time_ms: Some(now_ms),
                ..*point
            });
        }
        let mut out = Vec::new();
        exposition::write(&mut out, &[&timed]);
        out
    }

    /// The counters of all parts as JSON.
    pub(super) fn json(&self) -> Value {
        fn part<C>(families: &[Family<C>], counters: &C) -> Value {
            let values = families
                .iter()
                .map(|(key, _, _, _, get)| ((*key).to_owned(), json!(get(counters).get())));
            Value::Object(values.collect())
        }
        let metrics = &self.metrics;
        let inputs: Map<_, _> = (metrics.inputs.iter())
            .map(|c| (c.name.clone(), part(INPUT, c)))
            .collect();
        let filters: Map<_, _> = (metrics.filters.iter())
            .map(|c| (c.name.clone(), part(FILTER, c)))
            .collect();
        let outputs: Map<_, _> = (metrics.outputs.iter())
            .map(|c| (c.name.clone(), part(OUTPUT, c)))
            .collect();
        json!({ "input": inputs, "filter": filters, "output": outputs })
    }

    /// `/api/v1/storage` in Fluent Bit's shape.
    pub(super) fn storage_json(&self) -> Value {
        delivery_metrics::json(&self.metrics)
    }

    fn counters(&self, out: &mut MetricBatch) {
        write(out, INPUT, &self.metrics.inputs, |c| &c.name);
        write(out, FILTER, &self.metrics.filters, |c| &c.name);
        write(out, OUTPUT, &self.metrics.outputs, |c| &c.name);
        delivery_metrics::write(&self.metrics, out);
    }

    fn agent(&self, out: &mut MetricBatch) {
        let uptime_s = unix_ms().saturating_sub(self.start_ms) / 1000;
        let version = env!("CARGO_PKG_VERSION");
        let host = [("hostname", &*self.host_name)];
        let family = out.family(
            "fluentbit_uptime",
            MetricKind::Counter,
            "Number of seconds that Fluent Bit has been running.",
        );
        out.sample(family, &host, uptime_s as f64);
        let family = out.family(
            "fluentbit_process_start_time_seconds",
            MetricKind::Gauge,
            "Start time of the process since unix epoch in seconds.",
        );
        out.sample(family, &host, (self.start_ms / 1000) as f64);
        let family = out.family(
            "fluentbit_build_info",
            MetricKind::Gauge,
            "Build version information.",
        );
        let labels = [host[0], ("os", std::env::consts::OS), ("version", version)];
        out.sample(family, &labels, 1.0);
        if let Some(control) = &self.control {
            let family = out.family(
                "fluentbit_hot_reloaded_times",
                MetricKind::Gauge,
                "Collect the count of hot reloaded times.",
            );
            out.sample(family, &host, control.n_reloads() as f64);
        }
        let family = out.family(
            "kansoku_agent_build_info",
            MetricKind::Gauge,
            "Version of the agent.",
        );
        out.sample(family, &[("version", version)], 1.0);
        if let Some(file) = &self.metrics.config_file {
            let family = out.family(
                "kansoku_agent_config_info",
                MetricKind::Gauge,
                "Configuration file that runs, and the start of the SHA-256 of it and its includes.",
            );
            out.sample(
                family,
                &[("file", &file.path), ("sha256", &file.sha256)],
                1.0,
            );
        }
        let family = out.family(
            "kansoku_agent_duplicate_series_total",
            MetricKind::Counter,
            "Series left out of /metrics because they were there already.",
        );
        out.sample(family, &[], self.duplicate_series.get() as f64);
        let (errors, warnings) = crate::log::counts();
        let family = out.family(
            "kansoku_agent_log_messages_total",
            MetricKind::Counter,
            "Messages that the agent logged about itself.",
        );
        let logged = out.family(
            "fluentbit_logger_logs_total",
            MetricKind::Counter,
            "Total number of logs by message type.",
        );
        out.sample(logged, &[("message_type", "error")], errors as f64);
        out.sample(logged, &[("message_type", "warn")], warnings as f64);
        out.sample(family, &[("level", "error")], errors as f64);
        out.sample(family, &[("level", "warn")], warnings as f64);
    }
}

fn write<C>(
    out: &mut MetricBatch,
    families: &[Family<C>],
    parts: &[Arc<C>],
    name: fn(&C) -> &String,
) {
    for (_, family, kind, help, get) in families {
        let family = out.new_family(family, *kind, help);
        for part in parts {
            out.sample(family, &[("name", name(part))], get(part).get() as f64);
        }
    }
}

/// Bytes as Fluent Bit writes them: `28b`, `1.5K`, `8.0M`.
pub(crate) fn human_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}b");
    }
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit < 4 {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1}{}", ["", "K", "M", "G", "T"][unit])
}

/// The usual `process_*`.
pub(crate) fn process(out: &mut MetricBatch) -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit};
    use nix::unistd::{SysconfVar, sysconf};
    let mut buf = Vec::new();
    KernelFile::whole("/proc/self/stat").read(&mut buf)?;
    let stat = pid_stat::parse(&buf)?;
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as f64;
    let n_descriptors = n_descriptors()?;
    let (soft_limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let cpu_s = (stat.user_ticks + stat.system_ticks) as f64 / TICKS_PER_SECOND;
    let values = [
        (
            "process_cpu_seconds_total",
            MetricKind::Counter,
            "Total user and system CPU time spent in seconds.",
            cpu_s,
        ),
        (
            "process_max_fds",
            MetricKind::Gauge,
            "Maximum number of open file descriptors.",
            soft_limit as f64,
        ),
        (
            "process_open_fds",
            MetricKind::Gauge,
            "Number of open file descriptors.",
            n_descriptors as f64,
        ),
        (
            "process_resident_memory_bytes",
            MetricKind::Gauge,
            "Resident memory size in bytes.",
            stat.resident_pages as f64 * page_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            MetricKind::Gauge,
            "Virtual memory size in bytes.",
            stat.virtual_bytes as f64,
        ),
    ];
    for (name, kind, help, value) in values {
        let family = out.family(name, kind, help);
        out.sample(family, &[], value);
    }
    let family = out.family(
        "process_start_time_seconds",
        MetricKind::Gauge,
        "Start time of the process since unix epoch in seconds.",
    );
    let since_boot_s = stat.start_ticks as f64 / TICKS_PER_SECOND;
    // The node's boot time moves whenever its clock is set; a process starts once.
    static START_S: OnceLock<f64> = OnceLock::new();
    let start_s = match START_S.get() {
        Some(start_s) => *start_s,
        None => {
            KernelFile::new("/proc/stat").read(&mut buf)?;
            let mut node = kansoku_parsers::kernel::stat::Stat::default();
            kansoku_parsers::kernel::stat::parse(&buf, &mut node)?;
            *START_S.get_or_init(|| node.boot_time_s as f64 + since_boot_s)
        }
    };
    out.sample(family, &[], start_s);
    Ok(())
}

/// Open files of this process: the kernel's count, which it gives since Linux 6.2, or a list of them.
fn n_descriptors() -> std::io::Result<usize> {
    let folder = "/proc/self/fd";
    match std::fs::metadata(folder)?.len() {
        // The list has the descriptor that it is read by.
        0 => Ok(std::fs::read_dir(folder)?.count().saturating_sub(1)),
        n => Ok(n as usize),
    }
}
