//! Options of Fluent Bit that are taken and do nothing here, because real configurations carry them.
//!
//! The rule: whoever sets one is told why it does nothing, unless its effect is always there; and one
//! whose absence changes what the user asked for is refused with the cure.

use kansoku_model::ConfigError;
use kansoku_model::plugin::{Setting, parse_bool};

/// Core options of Fluent Bit whose effect is always there, so that nothing need be said.
const ALWAYS_SO: &[&str] = &[
    "threaded",
    "thread.ring_buffer.capacity",
    "thread.ring_buffer.window",
    "storage.pause_on_chunks_overlimit",
];

/// Core options of Fluent Bit for plugins that use the network; a plugin that does and has the option
/// lists it itself. A name that ends in a dot stands for all that begin with it.
const NETWORK: &[&str] = &["host", "port", "listen", "ipv6", "tls", "tls.", "net."];

/// What some plugins take and do not need: their names, the options, and why.
type Taken = (
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

const TAKEN: &[Taken] = &[
    (
        &[
            "http",
            "opentelemetry",
            "prometheus_remote_write",
            "elasticsearch",
            "splunk",
        ],
        &[
            "http_server.ingress_queue_event_limit",
            "http_server.ingress_queue_byte_limit",
        ],
        "requests wait for the outputs; 'mem_buf_limit' bounds them",
    ),
    (
        &["prometheus_exporter"],
        &[
            "http2",
            "buffer_max_size",
            "buffer_chunk_size",
            "max_connections",
            "http_server.",
        ],
        "scrapes are small HTTP/1.1 requests, and at most 32 are served at a time",
    ),
    (
        &["node_exporter_metrics"],
        &["collector."],
        "there is no such collector",
    ),
    (
        &["dummy"],
        &["test_hang_on_exit"],
        "it is for Fluent Bit's own tests",
    ),
    (
        &["parser"],
        &["unescape_key"],
        "Fluent Bit does not read it either",
    ),
    (
        &["null"],
        &["format", "json_date_key", "json_date_format"],
        "what is discarded is not rendered",
    ),
    (
        &["cloudwatch_logs"],
        &["metric_namespace", "metric_dimensions"],
        "records are not turned into metrics; write them in embedded metric format and set 'log_format json/emf'",
    ),
    (
        &["cloudwatch_logs"],
        &["add_entity"],
        "events are sent without an entity",
    ),
    (
        &["s3", "azure_blob"],
        &[
            "part_size",
            "blob_database_file",
            "database_file",
            "file_delivery_attempt_limit",
            "part_delivery_attempt_limit",
            "upload_parts_timeout",
            "upload_part_freshness_limit",
        ],
        "it is for files of the input blob, which the agent does not have",
    ),
    (
        &["azure_blob"],
        &[
            "azure_blob_buffer_key",
            "buffer_file_delete_early",
            "blob_uri_length",
            "unify_tag",
            "scheduler_max_retries",
            "delete_on_max_upload_error",
            "io_timeout",
        ],
        "records wait in 'buffer_dir' and are uploaded until the service has them",
    ),
    (
        &["kafka"],
        &["rdkafka."],
        "the client is not librdkafka; docs/options.md lists the settings of it that are taken",
    ),
];

/// What cannot be left out without changing what the user asked for, and the cure.
const REFUSED: &[Taken] = &[
    (
        &["kafka"],
        &["otlp_logs_partition_by_resource"],
        "logs are not split by resource; choose the partition with 'message_key_field'",
    ),
    (
        &["azure_blob"],
        &["configuration_endpoint_"],
        "logins are not fetched from an endpoint; set 'shared_key' or 'sas_token'",
    ),
    (
        &["s3"],
        &["authorization_endpoint_"],
        "logins are not fetched from an endpoint; give the agent AWS credentials, or set 'role_arn'",
    ),
];

/// Whether the setting, none of the plugin's own, is taken and does nothing; then it is told when that
/// matters.
///
/// # Errors
/// When the user asks for what cannot be had.
pub fn take(
    plugin: &str,
    s: &Setting,
    warnings: &mut Vec<ConfigError>,
) -> Result<bool, ConfigError> {
    let key = s.key.as_str();
    if ALWAYS_SO.contains(&key) {
        if key == "storage.pause_on_chunks_overlimit" && parse_bool(&s.value).is_none() {
            let message = format!("'{key}' is '{}', but must be on or off", s.value);
            return Err(ConfigError::new(&s.place, message));
        }
        return Ok(true);
    }
    let is_on = parse_bool(&s.value) != Some(false);
    let error = |message: &str| Err(ConfigError::new(&s.place, message));
    if let Some((_, _, cure)) = find(REFUSED, plugin, key) {
        if is_on {
            return error(&format!("'{key}' is not supported: {cure}"));
        }
        return Ok(true);
    }
    if let Some((_, _, why)) = find(TAKEN, plugin, key) {
        let message = format!("'{key}' has no effect: {why}");
        warnings.push(ConfigError::new(&s.place, message));
        return Ok(true);
    }
    if fits(NETWORK, key) {
        let message = format!("'{key}' has no effect on this plugin; remove it");
        warnings.push(ConfigError::new(&s.place, message));
        return Ok(true);
    }
    Ok(false)
}

fn find(all: &'static [Taken], plugin: &str, key: &str) -> Option<&'static Taken> {
    let is_of = |plugins: &[&str]| plugins.iter().any(|p| p.eq_ignore_ascii_case(plugin));
    all.iter()
        .find(|(plugins, names, _)| is_of(plugins) && fits(names, key))
}

/// Whether a name is in the list; one that ends in a dot or an underscore stands for what begins so.
fn fits(names: &[&str], key: &str) -> bool {
    names.iter().any(|name| match name.ends_with(['.', '_']) {
        true => key.starts_with(name),
        false => key == *name,
    })
}

/// Plugins, options and what becomes of them, for the documentation.
pub fn documented() -> impl Iterator<Item = (String, String, &'static str)> {
    let words = |names: &[&str]| {
        let quoted = names.iter().map(|n| match n.ends_with(['.', '_']) {
            true => format!("`{n}*`"),
            false => format!("`{n}`"),
        });
        quoted.collect::<Vec<_>>().join(", ")
    };
    TAKEN
        .iter()
        .chain(REFUSED)
        .map(move |(plugins, names, why)| (plugins.join(", "), words(names), *why))
}

#[cfg(test)]
mod tests {
    use kansoku_model::Settings;

    use super::*;

    /// Whether it is taken, and what is said.
    fn taken(plugin: &str, key: &str, value: &str) -> Result<(bool, Vec<String>), String> {
        let mut warnings = Vec::new();
        let settings = Settings::of(plugin, &[(key, value)]);
        let taken = take(plugin, &settings.settings[0], &mut warnings).map_err(|e| e.message)?;
        Ok((taken, warnings.into_iter().map(|w| w.message).collect()))
    }

    #[test]
    fn what_has_no_effect_is_told() {
        assert_eq!(taken("tail", "threaded", "on"), Ok((true, vec![])));
        let (is_taken, said) = taken("s3", "part_size", "5M").expect("taken");
        assert!(is_taken && said[0].starts_with("'part_size' has no effect: "));
        let (is_taken, said) = taken("kafka", "rdkafka.linger.ms", "5").expect("taken");
        assert!(is_taken && said.len() == 1);
        assert_eq!(taken("tail", "part_size", "5M"), Ok((false, vec![])));
        assert_eq!(taken("kafka", "rdkafka", "5"), Ok((false, vec![])));
    }

    #[test]
    fn what_would_change_the_meaning_is_refused() {
        assert!(taken("s3", "authorization_endpoint_url", "http://x").is_err());
    }
}
