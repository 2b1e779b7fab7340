//! `/api/prom/query`, `/label`, `/label/<name>/values`: Loki's paths of before version 1, which old clients still ask.
//! Their answers are those of today in another shape.

use std::sync::Arc;

use hyper::StatusCode;
use kansoku_model::Labels;
use serde_json::{Value, json};

use super::{labels, query};
use crate::app::App;
use crate::clock;
use crate::http::{Call, Reply};

/// `/api/prom/query`: log queries only.
pub async fn query(app: Arc<App>, call: Call) -> Reply {
    reshaped(query::range(app, call).await, |data| {
        let kind = data["resultType"].as_str().unwrap_or_default();
        if kind != "streams" {
            return Err(format!(
                "legacy endpoints only support streams result type, current type is {kind}"
            ));
        }
        let streams = data["result"].as_array().into_iter().flatten();
        let streams: Vec<Value> = streams.map(stream).collect();
        Ok(json!({ "streams": streams, "stats": data["stats"] }))
    })
}

fn stream(of_today: &Value) -> Value {
    let pairs = of_today["stream"].as_object().into_iter().flatten();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    let entries = of_today["values"].as_array().into_iter().flatten();
    let entries = entries.map(|entry| {
        let time_ns = entry[0].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
        json!({ "ts": clock::rfc3339_ns(time_ns), "line": entry[1] })
    });
    json!({
        "labels": Labels::from_pairs(pairs).to_string(),
        "entries": entries.collect::<Vec<_>>(),
    })
}

/// `/api/prom/label`
pub async fn label_names(app: Arc<App>, call: Call) -> Reply {
    reshaped(labels::names(app, call).await, values)
}

/// `/api/prom/label/<name>/values`
pub async fn label_values(app: Arc<App>, call: Call) -> Reply {
    reshaped(labels::values(app, call).await, values)
}

fn values(data: &Value) -> Result<Value, String> {
    match data.as_array().is_some_and(Vec::is_empty) {
        true => Ok(json!({})),
        false => Ok(json!({ "values": data })),
    }
}

/// The `data` of a good answer in another shape.
fn reshaped(reply: Reply, shape: impl FnOnce(&Value) -> Result<Value, String>) -> Reply {
    if reply.status != StatusCode::OK {
        return reply;
    }
    let body: Value = serde_json::from_slice(&reply.body).expect("our own answer is JSON");
    match shape(&body["data"]) {
        Ok(body) => Reply::json(StatusCode::OK, body.to_string()),
        Err(message) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, message),
    }
}
