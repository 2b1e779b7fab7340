//! `/api/v1/features`: what this server has, in the categories that Prometheus's clients look through.
//!
//! The names are Prometheus's (`cmd/prometheus/testdata/features.json`); functions and aggregations come from the lists of
//! the query engine. What is not listed is not there.

use kansoku_query::promql::{aggregations, functions};
use serde_json::{Map, Value, json};

use super::envelope;
use crate::app::App;
use crate::http::{Call, Reply};

/// What PromQL has beside functions and operators.
const PROMQL: [&str; 18] = [
    "anchored",
    "at_modifier",
    "bool",
    "by",
    "duration_expr",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_right",
    "ignoring",
    "negative_offset",
    "offset",
    "on",
    "per_query_lookback_delta",
    "smoothed",
    "subqueries",
    "without",
];

/// Operators, aggregations left out.
const OPERATORS: [&str; 21] = [
    "!=", "!~", "%", "*", "+", "-", "/", "<", "</", "<=", "==", "=~", ">", ">/", ">=", "@", "^",
    "and", "atan2", "or", "unless",
];

/// Answers the call.
pub fn features(app: &App, _: &Call) -> Reply {
    let on = |names: &mut dyn Iterator<Item = &str>| {
        let pairs = names.map(|name| (name.to_owned(), Value::Bool(true)));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    let mut promql = on(&mut PROMQL.into_iter());
    promql["per_step_stats"] = json!(false);
    promql["delayed_name_removal"] = json!(app.settings.test_mode);
    let aggregations = aggregations::ALL.iter().map(|a| a.name);
    let data = json!({
        "api": {
            "admin": app.settings.enable_admin_api,
            "label_values_match": true,
            "lifecycle": false,
            "query_stats": true,
            "query_warnings": true,
            "remote_read": true,
            "remote_write_receiver": true,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "prometheus": {"agent_mode": false, "server_mode": true},
        "promql": promql,
        "promql_functions": on(&mut functions::ALL.iter().map(|f| f.name)),
        "promql_operators": on(&mut OPERATORS.into_iter().chain(aggregations)),
        "tsdb": {"exemplar_storage": app.settings.exemplars_max > 0, "native_histograms": true},
    });
    envelope::success(data.to_string().as_bytes())
}
