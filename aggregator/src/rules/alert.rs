//! The alerts of one rule: how a result of its expression changes them.
//!
//! Inactive, pending, firing and resolved follow Prometheus (`rules/alerting.go`). Not here: when a
//! rule is evaluated and where samples go. The one rule: everything that decides about an alert later
//! is in [`Alert`], so that keeping it is keeping the alert through a restart.

use std::collections::BTreeMap;

use kansoku_model::Labels;
use kansoku_query::promql::Sample;

use super::file::Rule;

/// A resolved alert is told again and again for so long, in case a notification was lost.
const RESOLVED_RETENTION_MS: i64 = 15 * 60_000;

/// The metric of active alerts, and that of since when they are active.
pub const ALERTS: &str = "ALERTS";
pub const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// How far an alert is. The order is Prometheus's: the largest of its alerts is a rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Inactive,
    Pending,
    Firing,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let mut all = [Self::Inactive, Self::Pending, Self::Firing].into_iter();
        all.find(|state| state.as_str() == word)
    }
}

/// One alert. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub state: State,
    pub labels: Labels,
    pub annotations: Labels,
    /// Of the expression, when it was last in the result.
    pub value: f64,
    pub active_at_ms: i64,
    pub fired_at_ms: Option<i64>,
    pub resolved_at_ms: Option<i64>,
    pub last_sent_ms: Option<i64>,
    /// How long receivers may believe it without hearing of it again.
    pub valid_until_ms: i64,
    pub keep_firing_since_ms: Option<i64>,
    /// It comes from before a restart, and until then its absence means nothing: what it is made of
    /// may not have come yet.
    pub unconfirmed_until_ms: Option<i64>,
}

impl Alert {
    /// One that has just become active.
    #[must_use]
    pub fn new(labels: Labels, annotations: Labels, value: f64, now_ms: i64) -> Self {
        Self {
            state: State::Pending,
            labels,
            annotations,
            value,
            active_at_ms: now_ms,
            fired_at_ms: None,
            resolved_at_ms: None,
            last_sent_ms: None,
            valid_until_ms: 0,
            keep_firing_since_ms: None,
            unconfirmed_until_ms: None,
        }
    }

    /// Whether it is to be told to the Alertmanagers now.
    fn needs_sending(&self, now_ms: i64, resend_ms: i64) -> bool {
        if self.state == State::Pending {
            return false;
        }
        match (self.resolved_at_ms, self.last_sent_ms) {
            (_, None) => true,
            (Some(resolved), Some(sent)) if resolved > sent => true,
            (_, Some(sent)) => sent.saturating_add(resend_ms) < now_ms,
        }
    }

    fn sample(&self, metric: &str, time_ms: i64, value: f64) -> Sample {
        let state = match metric {
            ALERTS => self.state.as_str(),
            _ => "",
        };
        let pairs = self.labels.iter();
        let own = [("__name__", metric), ("alertstate", state)];
        Sample {
            labels: Labels::from_pairs(pairs.chain(own)),
            time_ms,
            value,
            histogram: None,
        }
    }
}

/// The alerts of one rule by their labels.
#[derive(Debug, Clone, Default)]
pub struct Alerts(pub BTreeMap<Labels, Alert>);

impl Alerts {
    /// Takes what the expression gave: `found` are new alerts of its series, `time_ms` is the
    /// evaluation's. Gives the samples to store, at `sample_time_ms`.
    ///
    /// # Errors
    /// When more alerts are active than `limit`; then all are forgotten.
    pub fn update(
        &mut self,
        rule: &Rule,
        found: BTreeMap<Labels, Alert>,
        time_ms: i64,
        sample_time_ms: i64,
        limit: usize,
    ) -> Result<Vec<Sample>, String> {
        let present: Vec<Labels> = found.keys().cloned().collect();
        for (labels, new) in found {
            match self.0.get_mut(&labels) {
                Some(known) if known.state != State::Inactive => {
                    known.value = new.value;
                    known.annotations = new.annotations;
                    known.unconfirmed_until_ms = None;
                }
                _ => {
                    self.0.insert(labels, new);
                }
            }
        }
        let mut samples = Vec::new();
        let mut n_active = 0;
        self.0.retain(|labels, alert| {
            // Labels come in the order of the map.
            let is_present = present.binary_search(labels).is_ok();
            let is_kept = step(alert, rule, is_present, time_ms);
            if is_kept && alert.state != State::Inactive {
                n_active += 1;
                samples.push(alert.sample(ALERTS, sample_time_ms, 1.0));
                let since = alert.active_at_ms.div_euclid(1000) as f64;
                samples.push(alert.sample(ALERTS_FOR_STATE, sample_time_ms, since));
            }
            is_kept
        });
        if limit > 0 && n_active > limit {
            self.0.clear();
            return Err(format!("exceeded limit of {limit} with {n_active} alerts"));
        }
        Ok(samples)
    }

    /// Marks what is to be told as told and gives copies of it.
    pub fn to_send(&mut self, time_ms: i64, resend_ms: i64, interval_ms: i64) -> Vec<Alert> {
        let due = self.0.values_mut();
        due.filter(|alert| alert.needs_sending(time_ms, resend_ms))
            .map(|alert| {
                alert.last_sent_ms = Some(time_ms);
                // Two evaluations or notifications may fail.
                let delta = interval_ms.max(resend_ms);
                alert.valid_until_ms = time_ms.saturating_add(delta.saturating_mul(4));
                alert.clone()
            })
            .collect()
    }

    /// Those that are pending or firing.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        let all = self.0.values();
        all.filter(|alert| alert.resolved_at_ms.is_none())
    }

    /// The state of the rule.
    #[must_use]
    pub fn state(&self) -> State {
        let states = self.0.values().map(|alert| alert.state);
        states.max().unwrap_or(State::Inactive)
    }
}

/// One evaluation of one alert; false when it is forgotten.
fn step(alert: &mut Alert, rule: &Rule, is_present: bool, time_ms: i64) -> bool {
    let waits = alert.unconfirmed_until_ms.is_some_and(|t| time_ms < t);
    if is_present {
        alert.keep_firing_since_ms = None;
    } else if !waits && !keeps_firing(alert, rule, time_ms) {
        let is_over = alert
            .resolved_at_ms
            .is_some_and(|at| time_ms - at > RESOLVED_RETENTION_MS);
        if alert.state == State::Pending || is_over {
            return false;
        }
        if alert.state == State::Firing {
            alert.state = State::Inactive;
            alert.resolved_at_ms = Some(time_ms);
        }
        return true;
    }
    if alert.state == State::Inactive {
        return true;
    }
    let held_ms = time_ms - alert.active_at_ms;
    if alert.state == State::Pending && held_ms >= rule.for_ms {
        alert.state = State::Firing;
        alert.fired_at_ms = Some(time_ms);
    }
    // The rule waits longer than it did when this fired.
    if alert.state == State::Firing && held_ms < rule.for_ms {
        alert.state = State::Pending;
        alert.fired_at_ms = None;
        alert.last_sent_ms = None;
        alert.keep_firing_since_ms = None;
    }
    true
}

fn keeps_firing(alert: &mut Alert, rule: &Rule, time_ms: i64) -> bool {
    if alert.state != State::Firing || rule.keep_firing_for_ms == 0 {
        return false;
    }
    let since_ms = *alert.keep_firing_since_ms.get_or_insert(time_ms);
    time_ms - since_ms < rule.keep_firing_for_ms
}

#[cfg(test)]
mod tests {
    use super::super::file::{Language, parse};
    use super::*;

    const MINUTE: i64 = 60_000;

    fn rule(fields: &str) -> Rule {
        let text = format!("groups:\n- name: g\n  rules:\n  - {{alert: A, expr: up, {fields}}}\n");
        let groups = parse("r.yml", text.as_bytes(), Language::Promql).unwrap();
        groups[0].rules[0].clone()
    }

    fn found(is_there: bool, time_ms: i64) -> BTreeMap<Labels, Alert> {
        let labels = Labels::from_pairs([("alertname", "A")]);
        let alert = Alert::new(labels.clone(), Labels::default(), 1.0, time_ms);
        is_there.then_some((labels, alert)).into_iter().collect()
    }

    /// The states after evaluations a minute apart; `1` where the expression has a result.
    fn states(alerts: &mut Alerts, rule: &Rule, results: &str, from_min: i64) -> String {
        let mut out = String::new();
        for (i, c) in results.chars().enumerate() {
            let time_ms = (from_min + i as i64) * MINUTE;
            let found = found(c == '1', time_ms);
            alerts.update(rule, found, time_ms, time_ms, 0).unwrap();
            out.push(match alerts.0.values().next().map(|a| a.state) {
                None => '-',
                Some(State::Inactive) => 'i',
                Some(State::Pending) => 'p',
                Some(State::Firing) => 'f',
            });
        }
        out
    }

    #[test]
    fn for_and_keep_firing_for() {
        for (fields, results, expected) in [
            ("for: 0s", "0110", "-ffi"),
            ("for: 2m", "11110", "ppffi"),
            ("for: 2m", "1010111", "p-p-ppf"),
            ("keep_firing_for: 2m", "10100001", "fffffiif"),
            ("for: 1m, keep_firing_for: 1m", "110100", "pffffi"),
        ] {
            let states = states(&mut Alerts::default(), &rule(fields), results, 0);
            assert_eq!(states, expected, "{fields} {results}");
        }
    }

    #[test]
    fn resolved_alerts_are_kept_and_told_for_a_while() {
        let (rule, mut alerts) = (rule("for: 0s"), Alerts::default());
        assert_eq!(states(&mut alerts, &rule, "10", 0), "fi");
        let sent = alerts.to_send(MINUTE, MINUTE, MINUTE);
        assert_eq!(sent[0].resolved_at_ms, Some(MINUTE));
        assert!(alerts.to_send(MINUTE, MINUTE, MINUTE).is_empty());
        assert_eq!(alerts.to_send(3 * MINUTE, MINUTE, MINUTE).len(), 1);
        assert_eq!(
            states(&mut alerts, &rule, &"0".repeat(16), 2)
                .chars()
                .last(),
            Some('-')
        );
    }

    #[test]
    fn what_is_told_is_valid_for_four_intervals_and_pending_is_not_told() {
        let (rule, mut alerts) = (rule("for: 1m"), Alerts::default());
        states(&mut alerts, &rule, "1", 0);
        assert!(alerts.to_send(0, MINUTE, 30_000).is_empty());
        states(&mut alerts, &rule, "1", 1);
        let sent = alerts.to_send(MINUTE, MINUTE, 30_000);
        assert_eq!(sent[0].valid_until_ms, 5 * MINUTE);
        assert_eq!(sent[0].fired_at_ms, Some(MINUTE));
        assert!(alerts.to_send(2 * MINUTE, MINUTE, 30_000).is_empty());
        assert_eq!(alerts.to_send(2 * MINUTE + 1, MINUTE, 30_000).len(), 1);
    }

    #[test]
    fn samples_tell_state_and_since_when() {
        let (rule, mut alerts) = (rule("for: 1m"), Alerts::default());
        let samples = alerts
            .update(&rule, found(true, 5000), 5000, 4000, 0)
            .unwrap();
        let told: Vec<_> = samples
            .iter()
            .map(|s| (s.labels.to_string(), s.time_ms, s.value))
            .collect();
        assert_eq!(
            told,
            [
                (
                    r#"{__name__="ALERTS", alertname="A", alertstate="pending"}"#.to_owned(),
                    4000,
                    1.0
                ),
                (
                    r#"{__name__="ALERTS_FOR_STATE", alertname="A"}"#.to_owned(),
                    4000,
                    5.0
                ),
            ]
        );
        let error = alerts.update(&rule, found(true, 6000), 6000, 6000, 0);
        assert!(error.is_ok());
    }

    #[test]
    fn too_many_alerts_are_none() {
        let (rule, mut alerts) = (rule("for: 0s"), Alerts::default());
        let two = ["a", "b"].map(|v| {
            let labels = Labels::from_pairs([("x", v)]);
            (
                labels.clone(),
                Alert::new(labels, Labels::default(), 1.0, 0),
            )
        });
        let error = alerts.update(&rule, two.into(), 0, 0, 1).unwrap_err();
        assert_eq!(error, "exceeded limit of 1 with 2 alerts");
        assert!(alerts.0.is_empty());
    }

    #[test]
    fn what_comes_from_before_a_restart_waits_for_its_data() {
        let (rule, mut alerts) = (rule("for: 0s"), Alerts::default());
        states(&mut alerts, &rule, "1", 0);
        for alert in alerts.0.values_mut() {
            alert.unconfirmed_until_ms = Some(12 * MINUTE);
        }
        assert_eq!(states(&mut alerts, &rule, "000", 10), "ffi");
    }
}
