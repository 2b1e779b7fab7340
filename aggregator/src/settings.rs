//! Command line flags, as typed settings.
//!
//! Flags say where the program listens and what it may use; the configuration file
//! ([`crate::config_file`]) holds what is worth writing down. The one rule: every setting has an
//! effect, and a wrong one is an error that names its cure.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use kansoku_model::plugin::parse_size;
use kansoku_model::tenant as id;
use kansoku_query::number::parse_duration_ms;

use crate::config_file::ConfigFile;
use crate::http::cors::Origins;
use crate::journal::Level;
use crate::rules::flags::RuleFlags;
use crate::tenants::limits::Limits;
use crate::tools::Tool;

/// The central service of kansoku: takes metrics and logs in, keeps them, answers queries.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "kansoku-aggregator",
    version,
    about,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Settings {
    /// Something else than serving.
    #[command(subcommand)]
    pub tool: Option<Tool>,

    /// Address and port of the web page, the query APIs and the ingest, for example 127.0.0.1:9428;
    /// a port alone (:9428) is every address.
    ///
    /// The default is the port to which the agent's kansoku output sends when it is told none.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:9428"
    )]
    pub listen_address: String,

    /// The most connections at a time; more wait until one is closed.
    #[arg(long = "web.max-connections", value_name = "N", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,

    /// Which web pages may read answers: what the whole of their origin must match, for example
    /// 'https?://(one|two)\.example'.
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*")]
    pub cors_origin: Origins,

    /// File with TLS, passwords and headers of the listener, in the form of Prometheus' exporter-toolkit; it is
    /// read again when it or a certificate has changed.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_path: Option<PathBuf>,

    /// File with users, tokens and their roles; without it, and without a section 'access' in --config.file,
    /// everybody may do everything. It is read again when it has changed.
    #[arg(long = "access.file", value_name = "FILE")]
    pub access_path: Option<PathBuf>,

    /// Answer the paths that delete data and make snapshots.
    #[arg(long = "web.enable-admin-api")]
    pub enable_admin_api: bool,

    /// Folder of the store; made when it is missing.
    #[arg(long = "storage.path", value_name = "FOLDER", default_value = "data")]
    pub storage_path: PathBuf,

    /// How long data is kept, for example 15d, 12h or 1y; 0 keeps everything.
    #[arg(long = "storage.retention.time", value_name = "DURATION", default_value = "15d",
        value_parser = parse_duration)]
    pub retention: Duration,

    /// The oldest data goes while the store takes more than this, for example 500GiB; 0 is no limit.
    #[arg(long = "storage.retention.size", value_name = "SIZE", default_value = "0",
        value_parser = parse_bytes)]
    pub retention_bytes: u64,

    /// Memory of the store for data not yet written out and for caches, for example 512MiB.
    #[arg(long = "storage.memory-limit", value_name = "SIZE", default_value = "512MiB",
        value_parser = parse_memory)]
    pub memory_limit_bytes: usize,

    /// How many exemplars are kept, the newest ones; 0 keeps none.
    #[arg(
        long = "storage.exemplars.exemplars-limit",
        value_name = "N",
        default_value_t = 100_000
    )]
    pub exemplars_max: usize,

    /// How long a delete of logs can be taken back; then it is carried out on the disk.
    #[arg(long = "storage.delete-cancel-period", value_name = "DURATION", default_value = "24h",
        value_parser = parse_duration)]
    pub delete_cancel_period: Duration,

    /// A folder of dashboards as JSON that are shown besides those that people save: files of Grafana's
    /// provisioning, mounted ConfigMaps, or what a sidecar writes. Changed files are seen.
    #[arg(long = "dashboards.path", value_name = "FOLDER")]
    pub dashboards_path: Option<PathBuf>,

    /// Keep the data of several tenants apart: every request names its own in X-Scope-OrgID.
    ///
    /// Off, the header means nothing. What was stored before belongs to the default tenant.
    #[arg(long = "tenants.enabled")]
    pub tenants: bool,

    /// The tenant to which belongs what lies in --storage.path itself: what was stored without
    /// tenants, and metrics of the aggregator's own.
    #[arg(long = "tenants.default", value_name = "NAME", default_value = "anonymous",
        value_parser = parse_tenant)]
    pub default_tenant: String,

    /// The most tenants that may have data; requests of further ones are refused.
    #[arg(long = "tenants.max", value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_tenants: u32,

    /// A tenant's store is written out and closed when nothing was sent or asked for so long.
    #[arg(long = "tenants.idle-timeout", value_name = "DURATION", default_value = "15m",
        value_parser = parse_positive_duration)]
    pub tenant_idle: Duration,

    /// A configuration file; the flags alone are enough for most.
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_path: Option<PathBuf>,

    /// Accept sections of a prometheus.yml that are not acted on, such as scrape_configs: each is told
    /// as a warning.
    #[arg(long = "config.prometheus-compat", requires = "config_path")]
    pub prometheus_compat: bool,

    /// How long a query may take.
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m",
        value_parser = parse_positive_duration)]
    pub query_timeout: Duration,

    /// How many samples one query may hold in memory.
    #[arg(long = "query.max-samples", value_name = "N", default_value_t = 50_000_000,
        value_parser = parse_count)]
    pub query_max_samples: usize,

    /// How much memory one query may hold, for example 2GiB; 0 is no limit.
    #[arg(long = "query.max-memory", value_name = "SIZE", default_value = "1GiB",
        value_parser = parse_bytes)]
    pub query_max_memory_bytes: u64,

    /// How much memory all queries may hold together, for example 4GiB; 0 is no limit.
    #[arg(long = "query.max-memory-total", value_name = "SIZE", default_value = "2GiB",
        value_parser = parse_bytes)]
    pub query_max_memory_total_bytes: u64,

    /// How many queries run at a time; more wait for their turn within their timeout.
    #[arg(long = "query.max-concurrency", value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub query_max_concurrency: u32,

    /// How many threads all queries of metrics may use together for series that are independent of each other,
    /// besides the one that each has; without it one per core and one less.
    #[arg(long = "query.parallelism", value_name = "N",
        value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub query_parallelism: Option<u32>,

    /// Memory for results of range queries of metrics, of which the steps that cannot have changed are used again, for
    /// example 64MiB; 0 keeps none.
    #[arg(long = "query.cache-size", value_name = "SIZE", default_value = "64MiB",
        value_parser = parse_bytes)]
    pub query_cache_bytes: u64,

    /// How far an instant query looks back for the newest sample of a series.
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m",
        value_parser = parse_positive_duration)]
    pub query_lookback: Duration,

    #[command(flatten)]
    pub rules: RuleFlags,

    /// For conformance tests: takes samples of any time, keeps them for ever, and does not store
    /// metrics of its own.
    #[arg(long = "query.test-mode")]
    pub test_mode: bool,

    /// What is told on stderr: this and everything more severe.
    #[arg(
        long = "log.level",
        value_name = "LEVEL",
        default_value = "info",
        value_enum
    )]
    pub log_level: Level,

    /// What the configuration file says; its defaults without one.
    #[arg(skip)]
    pub config: ConfigFile,
}

impl Settings {
    /// Reads the command line (without the program's name) and the file it names.
    ///
    /// # Errors
    /// Clap's own for a wrong flag, `--help` and `--version`; else what is wrong with the file.
    pub fn from_arguments<'a>(
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, clap::Error> {
        let all = std::iter::once("kansoku-aggregator").chain(arguments);
        let mut settings = Self::try_parse_from(all)?;
        settings.read_config().map_err(|message| {
            clap::Error::raw(
                clap::error::ErrorKind::ValueValidation,
                format!("{message}\n"),
            )
        })?;
        Ok(settings)
    }

    /// Reads the configuration file if the flags name one.
    ///
    /// # Errors
    /// What is wrong with it, with its cure.
    pub fn read_config(&mut self) -> Result<(), String> {
        if let Some(path) = &self.config_path {
            self.config = ConfigFile::read(path, self.prometheus_compat)?;
        }
        let longest = self.retention_ms().unwrap_or(i64::MAX);
        let rules = &self.config.retention;
        if let Some(rule) = rules.iter().find(|rule| rule.period_ms >= longest) {
            return Err(format!(
                "retention.{}.period is not shorter than --storage.retention.time, which nothing outlives; raise that one",
                rule.name
            ));
        }
        match self.config.tenants.keys().next() {
            Some(name) if !self.tenants => Err(format!(
                "tenants.{name} has no effect without --tenants.enabled; give that flag, or write its limits below 'limits'"
            )),
            _ => Ok(()),
        }
    }

    /// What all queries of metrics may hold together.
    #[must_use]
    pub fn query_max_memory_total(&self) -> usize {
        no_limit_of_0(self.query_max_memory_total_bytes)
    }

    /// The retention the store is told: none in test mode, whose samples are decades old.
    #[must_use]
    pub fn retention_ms(&self) -> Option<i64> {
        self.retention_ms_of(&self.config.limits)
    }

    /// The same for a tenant.
    #[must_use]
    pub fn retention_ms_of(&self, limits: &Limits) -> Option<i64> {
        let retention = limits.retention.unwrap_or(self.retention);
        let keeps_all = self.test_mode || retention.is_zero();
        (!keeps_all).then(|| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
    }

    /// Threads for the series of queries.
    #[must_use]
    pub fn query_threads(&self) -> usize {
        match self.query_parallelism {
            Some(n) => n as usize,
            None => std::thread::available_parallelism().map_or(0, |n| n.get() - 1),
        }
    }

    /// The limits of a tenant.
    #[must_use]
    pub fn limits_of(&self, tenant: &str) -> &Limits {
        self.config
            .tenants
            .get(tenant)
            .unwrap_or(&self.config.limits)
    }
}

fn parse_tenant(text: &str) -> Result<String, String> {
    id::check(text).map(|()| text.to_owned())
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "expected a size such as 500GiB".into())
}

/// A bound in memory, of which 0 means that there is none.
#[must_use]
pub(crate) fn no_limit_of_0(bytes: u64) -> usize {
    match bytes {
        0 => usize::MAX,
        bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
    }
}

const DURATION_FORM: &str = "expected a duration such as 15d, 12h, 1h30m or 250ms";

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let ms = parse_duration_ms(text)
        .ok()
        .and_then(|ms| u64::try_from(ms).ok());
    ms.map(Duration::from_millis)
        .ok_or_else(|| DURATION_FORM.into())
}

fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be longer than 0".into()),
        duration => Ok(duration),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a whole number".into()),
    }
}

/// Below this every flush would be a handful of lines.
const MEMORY_MIN_BYTES: u64 = 16 << 20;

fn parse_memory(text: &str) -> Result<usize, String> {
    match parse_size(text) {
        None => Err("expected a size such as 512MiB or 2GiB".into()),
        Some(bytes) if bytes < MEMORY_MIN_BYTES => Err("must be at least 16MiB".into()),
        Some(bytes) => usize::try_from(bytes).map_err(|_| "is larger than memory can be".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arguments: &[&str]) -> String {
        match Settings::from_arguments(arguments.iter().copied()) {
            Ok(_) => "ok".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let s = Settings::from_arguments([]).unwrap();
        assert_eq!(s.listen_address, "0.0.0.0:9428");
        assert_eq!(s.retention_ms(), Some(15 * 24 * 3_600_000));
        assert_eq!(s.memory_limit_bytes, 512 << 20);
        assert_eq!(s.query_timeout, Duration::from_secs(120));
        assert_eq!(s.query_max_samples, 50_000_000);
    }

    #[test]
    fn nothing_expires_in_test_mode_or_with_retention_0() {
        let s = Settings::from_arguments(["--query.test-mode"]).unwrap();
        assert_eq!(s.retention_ms(), None);
        let s = Settings::from_arguments(["--storage.retention.time=0"]).unwrap();
        assert_eq!(s.retention_ms(), None);
    }

    #[test]
    fn wrong_flags_name_their_cure() {
        let cases: &[(&[&str], &str)] = &[
            (&["--storage.retention.time=15 days"], DURATION_FORM),
            (&["--query.timeout=0"], "must be longer than 0"),
            (&["--storage.memory-limit=1M"], "must be at least 16MiB"),
            (&["--query.max-samples=0"], "must be at least 1"),
            (&["--web.max-connections=0"], "1..=65536"),
            (&["--storage.pth=x"], "--storage.path"),
            (&["--log.level=loud"], "debug"),
            (&["--tenants.default=a/b"], "unsupported character '/'"),
            (
                &["--config.file=/nonexistent/kansoku.yaml"],
                "failed to read the configuration /nonexistent/kansoku.yaml",
            ),
        ];
        for (arguments, expected) in cases {
            let message = message(arguments);
            assert!(message.contains(expected), "{arguments:?}: {message}");
        }
    }
}
