//! What a tenant may send, keep and ask for: the `limits` of the configuration file, and those of
//! `tenants.NAME` in their place.
//!
//! The one rule: what is reached is told with the limit, the value, who is concerned and the key that raises
//! it; what is stored and active already goes on being taken.

use std::time::Duration;

use kansoku_model::plugin::parse_size;
use kansoku_parsers::wire::loki_discover::Discovery;
use kansoku_query::number::parse_duration_ms;

/// The limits of one tenant. 0 is no limit where a limit may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub max_series: u64,
    pub max_series_per_metric: u64,
    pub max_streams: u64,
    pub max_labels: usize,
    pub max_label_name_bytes: u64,
    pub max_label_value_bytes: u64,
    /// Bytes of one log line of a Loki push.
    pub max_line_bytes: usize,
    /// Structured metadata of one entry: bytes of names and values, and pairs.
    pub max_metadata_bytes: usize,
    pub max_metadata: usize,
    /// What is added to Loki's pushes and to OTLP's log records.
    pub discovery: Discovery,
    /// Bytes of decompressed requests per second.
    pub ingestion_rate_bytes: u64,
    /// Entries of the answer to a log query.
    pub query_max_entries: usize,
    /// Queries that run at a time; `--query.max-concurrency` bounds those of all tenants.
    pub query_max_concurrency: u32,
    /// In the place of the flags.
    pub retention: Option<Duration>,
    pub retention_bytes: Option<u64>,
    pub query_timeout: Option<Duration>,
    pub query_max_samples: Option<usize>,
    pub query_max_memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // High enough for clusters that one machine can serve, low enough to stop a label of ids.
            max_series: 2_000_000,
            max_series_per_metric: 500_000,
            max_streams: 200_000,
            // Twice what a cAdvisor series with pod labels has.
            max_labels: 64,
            // Loki's and Mimir's default.
            max_label_name_bytes: 1024,
            // Twice theirs: a path of a file may be as long.
            max_label_value_bytes: 4096,
            // Loki's defaults, as those of the metadata.
            max_line_bytes: 256 << 10,
            max_metadata_bytes: 64 << 10,
            max_metadata: 128,
            discovery: Discovery::default(),
            ingestion_rate_bytes: 0,
            // Loki's default.
            query_max_entries: 5000,
            query_max_concurrency: 0,
            retention: None,
            retention_bytes: None,
            query_timeout: None,
            query_max_samples: None,
            query_max_memory: None,
        }
    }
}

/// Those of them that are lists.
pub const LISTS: [&str; 2] = ["discover_service_name", "log_level_fields"];

/// The keys below `limits` and `tenants.NAME`, with what they want.
pub const KEYS: [(&str, &str); 16] = [
    ("max_series", COUNT),
    ("max_series_per_metric", COUNT),
    ("max_streams", COUNT),
    ("max_labels", "a number of 1 to 1000"),
    ("max_label_name_length", COUNT),
    ("max_label_value_length", COUNT),
    ("max_line_size", "a size of 1KiB to 128MiB"),
    (
        "max_structured_metadata_size",
        "a size such as 64KiB, or 0 for no limit",
    ),
    ("max_structured_metadata_entries_count", COUNT),
    (
        "discover_service_name",
        "a list of labels such as [app, job]; an empty one for none",
    ),
    ("discover_log_levels", "true or false"),
    ("log_level_fields", "a list of names such as [level, lvl]"),
    (
        "log_level_from_json_max_depth",
        "a whole number, or 0 for any depth",
    ),
    (
        "ingestion_rate",
        "a size per second such as 10MiB, or 0 for no limit",
    ),
    ("query_max_entries", "a number of 1 to 1000000"),
    ("query_max_concurrency", COUNT),
];

/// The keys below `tenants.NAME` alone: for all tenants there are flags.
pub const TENANT_KEYS: [(&str, &str); 5] = [
    ("retention_time", "a duration such as 15d, or 0 for ever"),
    ("retention_size", "a size such as 500GiB, or 0 for no limit"),
    ("query_timeout", "a duration such as 2m"),
    ("query_max_samples", "a number of at least 1"),
    (
        "query_max_memory",
        "a size such as 500MiB, or 0 for no limit",
    ),
];

const COUNT: &str = "a whole number, or 0 for no limit";

impl Limits {
    /// Takes a value over; `None` when it is not what the key wants, or there is no such key.
    pub fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let count = || value.parse::<u64>().ok();
        let time = || {
            let ms = u64::try_from(parse_duration_ms(value).ok()?).ok()?;
            Some(Duration::from_millis(ms))
        };
        match key {
            "max_series" => self.max_series = count()?,
            "max_series_per_metric" => self.max_series_per_metric = count()?,
            "max_streams" => self.max_streams = count()?,
            "max_labels" => {
                let n = value.parse().ok();
                self.max_labels = n.filter(|n| (1..=1000).contains(n))?;
            }
            "max_label_name_length" => self.max_label_name_bytes = count()?,
            "max_label_value_length" => self.max_label_value_bytes = count()?,
            "max_line_size" => {
                let size = parse_size(value).filter(|n| (1 << 10..=128 << 20).contains(n))?;
                self.max_line_bytes = usize::try_from(size).ok()?;
            }
            "max_structured_metadata_size" => {
                self.max_metadata_bytes = usize::try_from(parse_size(value)?).ok()?;
            }
            "max_structured_metadata_entries_count" => self.max_metadata = value.parse().ok()?,
            "discover_service_name" => self.discovery.service_labels = names(value)?,
            "discover_log_levels" => self.discovery.levels = value.parse().ok()?,
            "log_level_fields" => {
                self.discovery.level_fields = names(value).filter(|names| !names.is_empty())?;
            }
            "log_level_from_json_max_depth" => self.discovery.json_depth = value.parse().ok()?,
            "ingestion_rate" => self.ingestion_rate_bytes = parse_size(value)?,
            "query_max_entries" => {
                let n = value.parse().ok();
                self.query_max_entries = n.filter(|n| (1..=1_000_000).contains(n))?;
            }
            "query_max_concurrency" => self.query_max_concurrency = value.parse().ok()?,
            "retention_time" => self.retention = Some(time()?),
            "retention_size" => self.retention_bytes = Some(parse_size(value)?),
            "query_timeout" => {
                self.query_timeout = Some(time().filter(|t| !t.is_zero())?);
            }
            "query_max_samples" => {
                let n: Option<usize> = value.parse().ok();
                self.query_max_samples = Some(n.filter(|n| *n > 0)?);
            }
            "query_max_memory" => self.query_max_memory = Some(parse_size(value)?),
            _ => return None,
        }
        Some(())
    }

    /// As the store is told.
    #[must_use]
    pub fn of_store(&self) -> kansoku_store::Limits {
        let or_none = |n: u64| if n == 0 { u64::MAX } else { n };
        kansoku_store::Limits {
            max_series: or_none(self.max_series),
            max_series_per_metric: or_none(self.max_series_per_metric),
            max_streams: or_none(self.max_streams),
            max_labels: self.max_labels as u64,
            max_name_bytes: or_none(self.max_label_name_bytes),
            max_value_bytes: or_none(self.max_label_value_bytes),
        }
    }
}

/// Names between commas, in brackets or not, in their order; `None` when one is empty.
fn names(value: &str) -> Option<Vec<String>> {
    let inner = value.strip_prefix('[').map(|v| v.strip_suffix(']'));
    let inner = inner.unwrap_or(Some(value))?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let names = inner.split(',').map(|name| name.trim().to_owned());
    let names: Vec<String> = names.collect();
    names.iter().all(|name| !name.is_empty()).then_some(names)
}
