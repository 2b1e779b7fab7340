//! `/api/v1/rules`, `/api/v1/alerts`, `/api/v1/alertmanagers`: what is evaluated and what fires.
//!
//! Parameters, filters and paging are Prometheus's. Groups come by file and name.

use std::time::Duration;

use kansoku_model::{Labels, Matcher};
use kansoku_query::number::format_e;
use kansoku_query::promql;
use ring::digest;
use serde_json::{Map, Value, json};

use super::envelope::{self, ApiError};
use crate::app::App;
use crate::clock;
use crate::http::{Call, Form, Reply};
use crate::rules::alert::Alert;
use crate::rules::file::{Kind, Language, Rule};
use crate::rules::group::{Memory, Running};

/// `/api/v1/alerts`
pub fn alerts(app: &App, call: &Call) -> Reply {
    let mut found = Vec::new();
    for group in groups_of(app, call) {
        for at in 0..group.group.rules.len() {
            let memory = group.memory(at);
            found.extend(memory.alerts.active().map(alert_json));
        }
    }
    answer(&json!({ "alerts": found }))
}

/// `/api/v1/alertmanagers`
pub fn alertmanagers(app: &App, call: &Call) -> Reply {
    let (active, dropped) = app.rules.notifier.urls(call.tenant.name());
    let shown = |urls: Vec<String>| -> Vec<Value> {
        urls.into_iter().map(|url| json!({ "url": url })).collect()
    };
    answer(&json!({ "activeAlertmanagers": shown(active), "droppedAlertmanagers": shown(dropped) }))
}

/// `/api/v1/rules`
pub fn rules(app: &App, call: &Call) -> Reply {
    match list(groups_of(app, call), &call.form) {
        Ok(data) => answer(&data),
        Err(error) => error.reply(),
    }
}

/// `/prometheus/api/v1/rules` of Loki: the groups over logs.
pub fn loki_rules(app: &App, call: &Call) -> Reply {
    match list(logql_groups(app, call), &call.form) {
        Ok(data) => answer(&data),
        Err(error) => error.reply(),
    }
}

/// `/prometheus/api/v1/alerts` of Loki.
pub fn loki_alerts(app: &App, call: &Call) -> Reply {
    let mut found = Vec::new();
    for group in logql_groups(app, call) {
        for at in 0..group.group.rules.len() {
            found.extend(group.memory(at).alerts.active().map(alert_json));
        }
    }
    answer(&json!({ "alerts": found }))
}

/// `/loki/api/v1/rules`: the groups by file, as they are written. JSON, which is YAML as well.
pub fn loki_groups(app: &App, call: &Call) -> Reply {
    let mut files: Map<String, Value> = Map::new();
    for group in logql_groups(app, call) {
        let rules: Vec<Value> = group.group.rules.iter().map(written).collect();
        let text = kansoku_query::number::format_duration_ms(group.interval_ms);
        let one = json!({ "name": group.group.name, "interval": text, "rules": rules });
        let list = files
            .entry(group.group.file.to_string())
            .or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(one);
        }
    }
    let text = Value::Object(files).to_string();
    Reply::new(hyper::StatusCode::OK, "application/yaml", text)
}

fn written(rule: &Rule) -> Value {
    let mut out = Map::new();
    let key = match rule.kind {
        Kind::Record => "record",
        Kind::Alert => "alert",
    };
    out.insert(key.into(), rule.name.as_str().into());
    out.insert("expr".into(), rule.expression.to_string().into());
    for (key, ms) in [
        ("for", rule.for_ms),
        ("keep_firing_for", rule.keep_firing_for_ms),
    ] {
        if ms > 0 {
            let text = kansoku_query::number::format_duration_ms(ms);
            out.insert(key.into(), text.into());
        }
    }
    for (key, texts) in [("labels", &rule.labels), ("annotations", &rule.annotations)] {
        if !texts.is_empty() {
            out.insert(key.into(), texts_json(texts));
        }
    }
    Value::Object(out)
}

type Groups = Vec<std::sync::Arc<Running>>;

/// Those of the tenant who asks.
fn groups_of(app: &App, call: &Call) -> Groups {
    let mut groups = app.rules.groups();
    groups.retain(|g| !app.tenants.is_on() || *g.group.tenant == *call.tenant.name());
    groups
}

fn logql_groups(app: &App, call: &Call) -> Groups {
    let mut groups = groups_of(app, call);
    groups.retain(|g| g.group.language == Language::Logql);
    groups
}

fn answer(data: &Value) -> Reply {
    envelope::success(data.to_string().as_bytes())
}

struct Filter<'a> {
    names: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    /// A rule passes when it passes all of one.
    matchers: Vec<Vec<Matcher>>,
    kind: Option<Kind>,
    with_alerts: bool,
    /// Groups of a page, and where it begins.
    limit: Option<usize>,
    token: &'a str,
}

impl<'a> Filter<'a> {
    fn of(form: &'a Form) -> Result<Self, ApiError> {
        let all = |name: &str| form.all(name).collect();
        let mut matchers = Vec::new();
        for text in form.all("match[]") {
            let read = promql::matchers_of_selector(text);
            matchers.push(read.map_err(|e| ApiError::parameter("match[]", e))?);
        }
        let kind = match form.get("type").to_ascii_lowercase().as_str() {
            "" => None,
            "alert" => Some(Kind::Alert),
            "record" => Some(Kind::Record),
            other => {
                let message = format!("not supported value {other:?}");
                return Err(ApiError::parameter("type", message));
            }
        };
        let with_alerts = match form.get("exclude_alerts").to_ascii_lowercase().as_str() {
            "" | "0" | "f" | "false" => true,
            "1" | "t" | "true" => false,
            other => {
                let message = format!(
                    "error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax"
                );
                return Err(ApiError::parameter("exclude_alerts", message));
            }
        };
        let (limit, token) = (form.get("group_limit"), form.get("group_next_token"));
        if limit.is_empty() && !token.is_empty() {
            let message = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_next_token", message));
        }
        let limit = match (limit, limit.parse::<i64>()) {
            ("", _) => None,
            (_, Ok(n)) if n > 0 => Some(usize::try_from(n).unwrap_or(usize::MAX)),
            (_, Ok(_)) => {
                let message = "group_limit needs to be greater than 0";
                return Err(ApiError::parameter("group_limit", message));
            }
            (text, Err(_)) => {
                let message = format!(
                    "group_limit needs to be a valid number: strconv.ParseInt: parsing {text:?}: invalid syntax"
                );
                return Err(ApiError::parameter("group_limit", message));
            }
        };
        Ok(Self {
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers,
            kind,
            with_alerts,
            limit,
            token,
        })
    }

    fn takes_group(&self, group: &Running) -> bool {
        let has = |list: &[&str], text: &str| list.is_empty() || list.contains(&text);
        has(&self.groups, &group.group.name) && has(&self.files, &group.group.file)
    }

    fn takes_rule(&self, rule: &Rule) -> bool {
        let labels = Labels::from_pairs(rule.label_texts());
        let passes = |set: &Vec<Matcher>| set.iter().all(|m| m.matches_labels(&labels));
        (self.names.is_empty() || self.names.contains(&rule.name.as_str()))
            && self.kind.is_none_or(|kind| kind == rule.kind)
            && (self.matchers.is_empty() || self.matchers.iter().any(passes))
    }
}

fn list(groups: Groups, form: &Form) -> Result<Value, ApiError> {
    let filter = Filter::of(form)?;
    let (mut found, mut next) = (Vec::new(), None);
    let mut has_begun = filter.token.is_empty();
    for group in groups {
        has_begun = has_begun || token_of(&group) == filter.token;
        if !has_begun || !filter.takes_group(&group) {
            continue;
        }
        let rules = group.group.rules.iter().enumerate();
        let rules = rules.filter(|(_, rule)| filter.takes_rule(rule));
        let rules: Vec<Value> = rules
            .map(|(at, rule)| rule_json(rule, &group.memory(at), filter.with_alerts))
            .collect();
        if rules.is_empty() {
            continue;
        }
        if filter.limit.is_some_and(|limit| found.len() >= limit) {
            next = Some(token_of(&group));
            break;
        }
        let last = group.last();
        found.push(json!({
            "name": group.group.name,
            "file": &*group.group.file,
            "rules": rules,
            "interval": seconds(group.interval_ms),
            "limit": group.group.limit,
            "evaluationTime": last.took.as_secs_f64(),
            "lastEvaluation": time(last.evaluated_ms),
        }));
    }
    if !has_begun {
        let message = format!(
            "invalid group_next_token '{}'. were rule groups changed?",
            filter.token
        );
        return Err(ApiError::parameter("group_next_token", message));
    }
    let mut data = json!({ "groups": found });
    if let (Some(token), Some(data)) = (next, data.as_object_mut()) {
        data.insert("groupNextToken".into(), token.into());
    }
    Ok(data)
}

fn token_of(group: &Running) -> String {
    let hash = digest::digest(&digest::SHA256, group.key().as_bytes());
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Whole numbers without a point, as Go writes floats.
fn seconds(ms: i64) -> Value {
    match ms % 1000 {
        0 => Value::from(ms / 1000),
        _ => Value::from(ms as f64 / 1000.0),
    }
}

/// What never was is Go's first moment.
fn time(ms: Option<i64>) -> String {
    ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), clock::rfc3339_ms)
}

fn labels_json<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(pairs.map(|(n, v)| (n.to_owned(), Value::from(v))).collect())
}

fn texts_json(texts: &[(String, crate::rules::file::Text)]) -> Value {
    labels_json(
        texts
            .iter()
            .map(|(n, text)| (n.as_str(), text.text.as_str())),
    )
}

fn rule_json(rule: &Rule, memory: &Memory, with_alerts: bool) -> Value {
    let took: Duration = memory.took;
    let mut out = json!({
        "name": rule.name,
        "query": rule.expression.to_string(),
        "health": memory.health.as_str(),
        "evaluationTime": took.as_secs_f64(),
        "lastEvaluation": time(memory.evaluated_ms),
    });
    let Some(fields) = out.as_object_mut() else {
        return out;
    };
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    if rule.kind == Kind::Alert || !rule.labels.is_empty() {
        set("labels", texts_json(&rule.labels));
    }
    if !memory.last_error.is_empty() {
        set("lastError", memory.last_error.as_str().into());
    }
    match rule.kind {
        Kind::Record => {
            set("type", "recording".into());
        }
        Kind::Alert => {
            let state = match memory.evaluated_ms {
                None => "unknown",
                Some(_) => memory.alerts.state().as_str(),
            };
            let alerts: Vec<Value> = match with_alerts {
                true => memory.alerts.active().map(alert_json).collect(),
                false => Vec::new(),
            };
            set("state", state.into());
            set("duration", seconds(rule.for_ms));
            set("keepFiringFor", seconds(rule.keep_firing_for_ms));
            set("annotations", texts_json(&rule.annotations));
            set("alerts", alerts.into());
            set("type", "alerting".into());
        }
    }
    out
}

fn alert_json(alert: &Alert) -> Value {
    let mut out = json!({
        "labels": labels_json(alert.labels.iter()),
        "annotations": labels_json(alert.annotations.iter()),
        "state": alert.state.as_str(),
        "activeAt": time(Some(alert.active_at_ms)),
        "value": format_e(alert.value),
    });
    if let (Some(since_ms), Some(fields)) = (alert.keep_firing_since_ms, out.as_object_mut()) {
        fields.insert("keepFiringSince".into(), time(Some(since_ms)).into());
    }
    out
}
