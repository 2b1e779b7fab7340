//! What clients ask of the server itself: `/config`, `/config/tenant/v1/limits`, `/loki/api/v1/drilldown-limits`,
//! `/loki/api/v1/status/buildinfo`.
//!
//! The names are Loki's, where there is one for what is limited here; what has no counterpart is left out, so that a
//! client falls back on its own default.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::http::{Call, Reply};
use crate::tenants::TenantInfo;

/// `/config`: the configuration file.
pub fn config(app: &App, _: &Call) -> Reply {
    // It names all tenants, so none is shown it.
    let text = match app.tenants.is_on() {
        true => "",
        false => &app.settings.config.text,
    };
    yaml(text.to_owned())
}

/// `/config/tenant/v1/limits`
pub fn tenant_limits(app: &App, call: &Call) -> Reply {
    let limits = limits(app, &call.tenant);
    let lines = limits.iter().map(|(name, value)| match value {
        Value::Array(items) if items.is_empty() => format!("{name}: []\n"),
        Value::Array(items) => {
            let items = items.iter().map(|item| format!("- {item}\n"));
            format!("{name}:\n{}", items.collect::<String>())
        }
        Value::String(text) => format!("{name}: {text}\n"),
        other => format!("{name}: {other}\n"),
    });
    yaml(lines.collect())
}

/// `/loki/api/v1/drilldown-limits`: what Grafana's pages for logs go by.
pub fn drilldown_limits(app: &App, call: &Call) -> Reply {
    let body = json!({
        "limits": limits(app, &call.tenant),
        // Patterns are made of the lines when they are asked for.
        "pattern_ingester_enabled": true,
        "version": env!("CARGO_PKG_VERSION"),
    });
    Reply::json(StatusCode::OK, body.to_string())
}

/// `/loki/api/v1/status/buildinfo`
pub fn build_info(_: &App, _: &Call) -> Reply {
    let body = json!({
        "application": "kansoku-aggregator",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Reply::json(StatusCode::OK, body.to_string())
}

fn limits(app: &App, tenant: &TenantInfo) -> Map<String, Value> {
    let limits = &tenant.limits;
    let retention_ms = app.settings.retention_ms_of(limits).unwrap_or(0);
    let shown = json!({
        "max_entries_limit_per_query": limits.query_max_entries,
        "max_label_name_length": limits.max_label_name_bytes,
        "max_label_value_length": limits.max_label_value_bytes,
        "max_label_names_per_series": limits.max_labels,
        "max_line_size": limits.max_line_bytes,
        "max_global_streams_per_user": limits.max_streams,
        "max_query_series": kansoku_query::logql::Limits::default().max_series,
        "max_query_length": "0s",
        "query_timeout": format!("{}s", app.query_timeout(tenant).as_secs()),
        "retention_period": format!("{}s", retention_ms / 1000),
        "volume_enabled": true,
        "allow_structured_metadata": true,
        "deletion_mode": match app.settings.enable_admin_api {
            true => "filter-and-delete",
            false => "disabled",
        },
        "discover_log_levels": limits.discovery.levels,
        "discover_service_name": limits.discovery.service_labels,
        "log_level_fields": limits.discovery.level_fields,
        "log_level_from_json_max_depth": limits.discovery.json_depth,
        "max_structured_metadata_size": limits.max_metadata_bytes,
        "max_structured_metadata_entries_count": limits.max_metadata,
    });
    match shown {
        Value::Object(map) => map,
        _ => unreachable!("the macro was given an object"),
    }
}

/// As Loki, which wants browsers to show it.
fn yaml(text: String) -> Reply {
    Reply::new(StatusCode::OK, "text/plain; charset=utf-8", text)
}
