//! The alerts of a group in a file beside the store: what a restart must not forget.
//!
//! Everything of every alert is kept, so that after a restart a firing alert fires on, one that keeps
//! firing ends when it would have, and one that is resolved is told as that. The one rule: a file is
//! replaced as a whole; one that cannot be read costs the state of its group and no more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kansoku_model::Labels;
use serde_json::{Map, Value, json};

use super::alert::{Alert, Alerts, State};
use super::file::Rule;
use super::group::Running;
use crate::journal;

/// The folder of the files, below that of the store.
pub const FOLDER: &str = "rules";

/// The file of a group.
#[must_use]
pub fn path_of(folder: &Path, key: &str) -> PathBuf {
    let hash = xxhash_rust::xxh3::xxh3_128(key.as_bytes());
    folder.join(format!("{hash:032x}.json"))
}

/// What the file of a group says now; `None` when there is nothing to keep.
#[must_use]
pub fn text_of(group: &Running, now_ms: i64) -> Option<(String, String)> {
    let rules: Vec<Value> = group
        .alerts()
        .into_iter()
        .filter(|(_, alerts)| !alerts.0.is_empty())
        .map(|(at, alerts)| {
            let rule = &group.group.rules[at];
            let alerts: Vec<Value> = alerts.0.values().map(alert_json).collect();
            json!({"rule": identity(rule), "alerts": alerts})
        })
        .collect();
    if rules.is_empty() {
        return None;
    }
    // The time alone is no change worth writing, but how long an outage was hangs on it: to the minute.
    let body = format!("{}{}", Value::Array(rules.clone()), now_ms / 60_000);
    let whole = json!({"group": group.key(), "evaluated_ms": now_ms, "rules": rules});
    Some((whole.to_string(), body))
}

/// What tells rules of a group apart.
fn identity(rule: &Rule) -> String {
    let labels = Labels::from_pairs(rule.label_texts());
    format!("{}{labels}", rule.name)
}

fn labels_json(labels: &Labels) -> Value {
    let pairs = labels.iter();
    Value::Object(
        pairs
            .map(|(n, v)| (n.to_owned(), Value::from(v)))
            .collect::<Map<_, _>>(),
    )
}

fn alert_json(alert: &Alert) -> Value {
    json!({
        "state": alert.state.as_str(),
        "labels": labels_json(&alert.labels),
        "annotations": labels_json(&alert.annotations),
        // JSON has no NaN.
        "value_bits": alert.value.to_bits(),
        "active_at_ms": alert.active_at_ms,
        "fired_at_ms": alert.fired_at_ms,
        "resolved_at_ms": alert.resolved_at_ms,
        "last_sent_ms": alert.last_sent_ms,
        "valid_until_ms": alert.valid_until_ms,
        "keep_firing_since_ms": alert.keep_firing_since_ms,
    })
}

fn labels_of(value: &Value) -> Option<Labels> {
    let pairs = value.as_object()?.iter();
    let pairs: Option<Vec<_>> = pairs.map(|(n, v)| Some((n, v.as_str()?))).collect();
    Some(Labels::from_pairs(pairs?))
}

fn alert_of(value: &Value) -> Option<Alert> {
    let time = |name: &str| value.get(name).and_then(Value::as_i64);
    Some(Alert {
        state: State::of(value.get("state")?.as_str()?)?,
        labels: labels_of(value.get("labels")?)?,
        annotations: labels_of(value.get("annotations")?)?,
        value: f64::from_bits(value.get("value_bits")?.as_u64()?),
        active_at_ms: time("active_at_ms")?,
        fired_at_ms: time("fired_at_ms"),
        resolved_at_ms: time("resolved_at_ms"),
        last_sent_ms: time("last_sent_ms"),
        valid_until_ms: time("valid_until_ms")?,
        keep_firing_since_ms: time("keep_firing_since_ms"),
        unconfirmed_until_ms: None,
    })
}

/// How alerts come back after a restart.
#[derive(Debug, Clone, Copy)]
pub struct Restore {
    pub now_ms: i64,
    pub outage_tolerance: Duration,
    pub grace_period: Duration,
}

/// Gives a group the alerts that its file holds; tells what is wrong with the file.
pub fn restore(folder: &Path, group: &Running, how: Restore) {
    let path = path_of(folder, &group.key());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            let path = path.display();
            journal::warn(&format!(
                "failed to read the state of alerts {path}: {error}"
            ));
            return;
        }
    };
    if restore_text(&text, group, how).is_none() {
        journal::warn(&format!(
            "{} does not hold the state of alerts that it should; the alerts of group '{}' begin anew",
            path.display(),
            group.group.name
        ));
    }
}

fn restore_text(text: &str, group: &Running, how: Restore) -> Option<()> {
    let whole: Value = serde_json::from_str(text).ok()?;
    let evaluated_ms = whole.get("evaluated_ms")?.as_i64()?;
    let outage_ms = how.now_ms.saturating_sub(evaluated_ms).max(0);
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    if outage_ms > ms(how.outage_tolerance) {
        return Some(());
    }
    let mut by_rule: BTreeMap<String, Vec<Alerts>> = BTreeMap::new();
    for rule in whole.get("rules")?.as_array()? {
        let name = rule.get("rule")?.as_str()?.to_owned();
        let alerts = rule.get("alerts")?.as_array()?.iter().map(alert_of);
        let alerts = alerts.map(|alert| alert.map(|a| (a.labels.clone(), a)));
        let alerts = Alerts(alerts.collect::<Option<_>>()?);
        by_rule.entry(name).or_default().push(alerts);
    }
    for (at, rule) in group.group.rules.iter().enumerate() {
        let Some(found) = by_rule.get_mut(&identity(rule)).filter(|f| !f.is_empty()) else {
            continue;
        };
        let mut alerts = found.remove(0);
        for alert in alerts.0.values_mut() {
            if alert.state == State::Pending {
                let grace_ms = ms(how.grace_period).min(outage_ms).min(rule.for_ms);
                // The outage does not count as waiting.
                let shifted_ms = alert.active_at_ms.saturating_add(outage_ms);
                let latest_ms = how.now_ms + grace_ms - rule.for_ms;
                alert.active_at_ms = shifted_ms.max(latest_ms).min(how.now_ms);
            }
            alert.unconfirmed_until_ms = Some(how.now_ms + 2 * group.interval_ms);
        }
        group.memory(at).alerts = alerts;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::file::{Language, parse};
    use super::*;

    const MINUTE: i64 = 60_000;

    fn group() -> Running {
        let text = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up, for: 5m}\n  - {record: r, expr: up}\n  - {alert: B, expr: up, keep_firing_for: 10m, labels: {x: '{{ $value }}'}}\n";
        let groups = parse("r.yml", text.as_bytes(), Language::Promql).unwrap();
        Running::new(groups[0].clone(), MINUTE, 0)
    }

    fn alert(name: &str, state: State, active_at_ms: i64) -> Alerts {
        let labels = Labels::from_pairs([("alertname", name)]);
        let alert = Alert {
            state,
            fired_at_ms: (state == State::Firing).then_some(active_at_ms),
            last_sent_ms: Some(7),
            keep_firing_since_ms: Some(9 * MINUTE),
            ..Alert::new(labels.clone(), Labels::default(), f64::NAN, active_at_ms)
        };
        Alerts([(labels, alert)].into())
    }

    fn restored(text: &str, now_ms: i64) -> Running {
        let new = group();
        let how = Restore {
            now_ms,
            outage_tolerance: Duration::from_secs(3600),
            grace_period: Duration::from_secs(600),
        };
        restore_text(text, &new, how).unwrap();
        new
    }

    #[test]
    fn alerts_come_back_as_they_were() {
        let old = group();
        old.memory(0).alerts = alert("A", State::Pending, 8 * MINUTE);
        old.memory(2).alerts = alert("B", State::Firing, 2 * MINUTE);
        let (text, _) = text_of(&old, 10 * MINUTE).unwrap();
        // An outage of one minute: the waiting goes on where it was.
        let new = restored(&text, 11 * MINUTE);
        let pending = new.memory(0).alerts.0.values().next().cloned().unwrap();
        assert_eq!(
            (pending.state, pending.active_at_ms),
            (State::Pending, 9 * MINUTE)
        );
        let firing = new.memory(2).alerts.0.values().next().cloned().unwrap();
        assert_eq!(
            (firing.state, firing.active_at_ms),
            (State::Firing, 2 * MINUTE)
        );
        assert_eq!(firing.keep_firing_since_ms, Some(9 * MINUTE));
        assert_eq!(firing.last_sent_ms, Some(7));
        assert!(firing.value.is_nan());
        assert_eq!(firing.unconfirmed_until_ms, Some(13 * MINUTE));
        // Too long an outage.
        let new = restored(&text, 100 * MINUTE);
        assert!(new.memory(2).alerts.0.is_empty());
    }

    #[test]
    fn damage_is_told() {
        let how = Restore {
            now_ms: 0,
            outage_tolerance: Duration::ZERO,
            grace_period: Duration::ZERO,
        };
        for text in [
            "",
            "{}",
            r#"{"evaluated_ms":0,"rules":[{"rule":"A{}","alerts":[{}]}]}"#,
        ] {
            assert_eq!(restore_text(text, &group(), how), None, "{text}");
        }
        assert!(text_of(&group(), 0).is_none());
    }
}
