//! `<buffer>`, `<inject>`, `<format>` and `<secondary>` of outputs, and their old forms beside the
//! plugin's own keys.

use super::Converter;
use super::params::Params;
use super::text;
use super::written::Section;

/// What decides how chunks are cut and queued in Fluentd; here batches are cut by the flush interval.
const ABOUT_CHUNKS: &[&str] = &[
    "chunk_limit_size",
    "chunk_limit_records",
    "buffer_chunk_limit",
    "queue_limit_length",
    "buffer_queue_limit",
    "queued_chunks_limit_size",
    "chunk_full_threshold",
    "flush_mode",
    "flush_at_shutdown",
    "flush_thread_interval",
    "flush_thread_burst_interval",
    "delayed_commit_timeout",
    "overflow_action",
    "buffer_queue_full_action",
    "retry_wait",
    "retry_max_interval",
    "max_retry_wait",
    "retry_exponential_backoff_base",
    "retry_randomize",
    "retry_type",
    "retry_secondary_threshold",
    "disable_retry_limit",
    "compress",
    "timekey_wait",
    "timekey_use_utc",
    "timekey_zone",
    "slow_flush_log_threshold",
    "disable_chunk_backup",
    "path",
    "buffer_path",
    "path_suffix",
    "timekey",
    "buffer_type",
    "@type",
    "time_as_integer",
    "time_slice_wait",
    "total_limit_size",
    "try_flush_interval",
    "queued_chunk_flush_interval",
    "num_threads",
    "flush_thread_count",
    "retry_timeout",
    "retry_forever",
    "retry_max_times",
    "retry_limit",
    "flush_interval",
];

impl Converter {
    /// Reads `<buffer>` into the output and the service.
    pub(super) fn buffer(&mut self, params: &Params<'_>, output: &mut Section) {
        let nested = params.nested("buffer");
        let buffer = nested.as_ref().unwrap_or(params);
        let word = |names: [&str; 2]| {
            let found = names.iter().find(|n| buffer.element.get(n).is_some())?;
            buffer.word(found)
        };
        if let Some(interval) = buffer
            .word("flush_interval")
            .and_then(|t| text::seconds(&t))
        {
            self.flush(interval);
        }
        for key in ["flush_thread_count", "num_threads"] {
            if let Some(threads) = buffer.text(key) {
                output.put("Workers", &threads);
            }
        }
        let for_ever = buffer
            .element
            .get("retry_forever")
            .map(|_| buffer.switch("retry_forever"));
        match word(["retry_max_times", "retry_limit"]) {
            Some(n) if for_ever != Some(Some(true)) => output.set("Retry_Limit", &n),
            _ => {}
        }
        let is_file = nested
            .as_ref()
            .is_some_and(|b| matches!(b.kind().as_str(), "file" | "file_single"))
            || params
                .element
                .get("buffer_type")
                .is_some_and(|a| a.value.to_string() == "file");
        let kind = nested.as_ref().map(Params::kind).unwrap_or_default();
        if !matches!(kind.as_str(), "" | "file" | "file_single" | "memory") {
            buffer.lost(format!(
                "a <buffer> of type {kind} is not known; inputs wait for their outputs"
            ));
        }
        if is_file {
            self.has_file_buffer = true;
            for input in &mut self.inputs {
                let kind = input.get("name").unwrap_or_default();
                let cannot_wait =
                    matches!(kind, "forward" | "http" | "syslog" | "tcp" | "udp" | "exec");
                if cannot_wait && input.get("storage.type").is_none() {
                    input.set("storage.type", "filesystem");
                }
            }
            if let Some(limit) = buffer.word("total_limit_size").and_then(|t| text::size(&t)) {
                output.set("storage.total_limit_size", &limit.to_string());
            }
        }
        if word(["overflow_action", "buffer_queue_full_action"]).as_deref()
            == Some("drop_oldest_chunk")
        {
            buffer.differs("'overflow_action drop_oldest_chunk': inputs wait when a destination is away; nothing is dropped");
        }
        // A variable in what is left does not matter.
        buffer.ignore(ABOUT_CHUNKS);
        if let Some(buffer) = &nested {
            buffer.finish();
        }
        for secondary in params.elements("secondary") {
            params.differs(format!(
                "<secondary> at line {}: records that are refused for good become dead letters below storage.path",
                secondary.place.line
            ));
        }
    }

    /// The shortest interval of all outputs is the agent's.
    fn flush(&mut self, seconds: f64) {
        let seconds = if seconds > 0.0 { seconds } else { 1.0 };
        let known = self.service.iter_mut().find(|(key, _)| key == "Flush");
        match known {
            Some((_, value)) => {
                let old: f64 = value.parse().unwrap_or(seconds);
                *value = old.min(seconds).to_string();
            }
            None => self.service.push(("Flush".to_owned(), seconds.to_string())),
        }
    }

    /// `<inject>`: the fields it adds, as filters in front of the output; returns the key of the time.
    pub(super) fn inject(
        &mut self,
        params: &Params<'_>,
        filters: &mut Vec<Section>,
    ) -> Option<String> {
        let inject = params.nested("inject")?;
        if let Some(key) = inject.word("hostname_key") {
            let host = inject
                .text("hostname")
                .map_or("${HOSTNAME}".to_owned(), |t| t.written);
            filters.push(
                Section::plugin("FILTER", "modify", "").with("Set", &format!("{key} {host}")),
            );
        }
        if let Some(key) = inject.word("tag_key") {
            filters.push(tag_filter(&key, &mut self.n_lua));
        }
        let time_key = inject.word("time_key");
        inject.ignore(&["time_type", "time_format", "timezone", "utc", "localtime"]);
        if time_key.is_some() && inject.element.get("time_format").is_some() {
            inject.differs("'time_format': the time is written as the output writes it");
        }
        inject.ignore(&["worker_id_key"]);
        inject.finish();
        time_key
    }
}

/// Adds the tag as a field.
pub(super) fn tag_filter(key: &str, n_lua: &mut usize) -> Section {
    *n_lua += 1;
    let name = format!("tag_{n_lua}");
    let key = super::lua::quote(key);
    let code = format!("function {name}(tag,ts,o) o[{key}]=tag return 2,ts,o end");
    Section::plugin("FILTER", "lua", "")
        .with("Call", &name)
        .with("Code", &code)
}
