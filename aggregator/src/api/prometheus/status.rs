//! `/api/v1/status/…`: build, runtime, flags, configuration, the store's size.

use std::path::Path;

use clap::CommandFactory;
use kansoku_query::number::format_duration_ms;
use serde_json::{Map, Value, json};

use super::envelope;
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};
use crate::settings::Settings;

fn answer(data: &Value) -> Reply {
    envelope::success(data.to_string().as_bytes())
}

/// `/api/v1/status/buildinfo`
pub fn build_info(_: &App, _: &Call) -> Reply {
    answer(&json!({
        "application": "kansoku-aggregator",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// `/api/v1/status/runtimeinfo`
pub fn runtime_info(app: &App, call: &Call) -> Reply {
    let folder =
        std::env::current_dir().map_or_else(|_| String::new(), |p| p.display().to_string());
    let retention = app
        .settings
        .retention_ms_of(&call.tenant.limits)
        .map_or_else(String::new, format_duration_ms);
    let store = call.tenant.whole().ok().and_then(|t| t.open_store());
    let damaged = store.map_or(0, |s| s.stats().damaged_blocks);
    answer(&json!({
        "startTime": clock::rfc3339_ms(app.started_ms),
        "serverTime": clock::rfc3339_ms(clock::now_ms()),
        "CWD": folder,
        "reloadConfigSuccess": true,
        "lastConfigTime": clock::rfc3339_ms(app.started_ms),
        "corruptionCount": damaged,
        "storageRetention": retention,
        "hostname": hostname(),
        "goroutineCount": threads(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "GOMEMLIMIT": app.settings.memory_limit_bytes,
        "GOGC": "",
        "GODEBUG": "",
    }))
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Threads of this process, which stand for what others call goroutines.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// `/api/v1/status/walreplay`: of the one step that a recovery is here.
pub fn wal_replay(app: &App, _: &Call) -> Reply {
    let current = u8::from(app.tenants.is_ready());
    answer(&json!({"min": 0, "max": 1, "current": current}))
}

/// `/api/v1/status/flags`: every flag with its value, from the one list of them.
pub fn flags(app: &App, _: &Call) -> Reply {
    let s = &app.settings;
    let ms = |d: std::time::Duration| {
        format_duration_ms(i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    };
    let value = |name: &str| match name {
        "web.listen-address" => s.listen_address.clone(),
        "web.max-connections" => s.max_connections.to_string(),
        "web.cors.origin" => s.cors_origin.text().to_owned(),
        "web.config.file" => shown(s.web_config_path.as_deref()),
        "access.file" => shown(s.access_path.as_deref()),
        "web.enable-admin-api" => s.enable_admin_api.to_string(),
        "storage.delete-cancel-period" => ms(s.delete_cancel_period),
        "storage.path" => s.storage_path.display().to_string(),
        "storage.retention.time" => ms(s.retention),
        "storage.retention.size" => s.retention_bytes.to_string(),
        "storage.exemplars.exemplars-limit" => s.exemplars_max.to_string(),
        "storage.memory-limit" => s.memory_limit_bytes.to_string(),
        "dashboards.path" => {
            let path = s.dashboards_path.as_ref();
            path.map_or_else(String::new, |p| p.display().to_string())
        }
        "tenants.enabled" => s.tenants.to_string(),
        "tenants.default" => s.default_tenant.clone(),
        "tenants.max" => s.max_tenants.to_string(),
        "tenants.idle-timeout" => ms(s.tenant_idle),
        "config.prometheus-compat" => s.prometheus_compat.to_string(),
        "config.file" => shown(s.config_path.as_deref()),
        "query.timeout" => ms(s.query_timeout),
        "query.max-samples" => s.query_max_samples.to_string(),
        "query.max-memory" => s.query_max_memory_bytes.to_string(),
        "query.max-memory-total" => s.query_max_memory_total_bytes.to_string(),
        "query.max-concurrency" => s.query_max_concurrency.to_string(),
        "query.parallelism" => s.query_threads().to_string(),
        "query.cache-size" => s.query_cache_bytes.to_string(),
        "query.lookback-delta" => ms(s.query_lookback),
        "query.test-mode" => s.test_mode.to_string(),
        "log.level" => format!("{:?}", s.log_level).to_lowercase(),
        other => {
            let mut rules = s.rules.values().into_iter();
            let found = rules.find(|(name, _)| *name == other);
            found.map_or_else(String::new, |(_, value)| value)
        }
    };
    let mut flags = Map::new();
    for argument in Settings::command().get_arguments() {
        if let Some(name) = argument.get_long() {
            flags.insert(name.to_owned(), Value::String(value(name)));
        }
    }
    answer(&Value::Object(flags))
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |p| p.display().to_string())
}

/// The values of keys that are nobody's business, written as Prometheus writes them.
fn without_secrets(text: &str) -> String {
    const KEYS: [&str; 4] = ["password", "sha256", "credentials", "client_secret"];
    let pattern = format!(
        r#"(?m)(["']?(?:{})["']?[ \t]*:[ \t]*)[^\s,}}#][^\n,}}#]*"#,
        KEYS.join("|")
    );
    let secret = regex::Regex::new(&pattern).expect("a pattern of this program");
    secret.replace_all(text, "${1}<secret>").into_owned()
}

/// `/api/v1/status/config`
pub fn config(app: &App, _: &Call) -> Reply {
    // It names all tenants, so none is shown it.
    let text = if app.tenants.is_on() {
        String::new()
    } else {
        let reloaded = app.rules.config_text();
        without_secrets(&reloaded.unwrap_or_else(|| app.settings.config.text.clone()))
    };
    answer(&json!({ "yaml": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (text, expected) in [
            (
                "a:\n  password: $2b$x # y\nb: c",
                "a:\n  password: <secret># y\nb: c",
            ),
            (
                "{sha256: ab, role: agent}",
                "{sha256: <secret>, role: agent}",
            ),
            (
                "credentials_file: a\npassword_file: b",
                "credentials_file: a\npassword_file: b",
            ),
            (
                "basic_auth: {username: u, 'password': 'p q'}",
                "basic_auth: {username: u, 'password': <secret>}",
            ),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}
