//! The labels that a scraper would have added to a target: pushed series need them, or the usual
//! rules and dashboards find nothing.

use kansoku_model::{ConfigError, Labels, MetricBatch, MetricKind, Resource, Settings};

use super::staleness::{STALE, Staleness};
use crate::plugin::Environment;

/// The labels of an exporter's pod on its node, as kube-prometheus names them: rules find the node by
/// `instance` and by the pod (`namespace`, `pod`) that measures it.
#[must_use]
pub fn exporter<'a>(job: &'a str, environment: &'a Environment) -> Vec<(&'a str, &'a str)> {
    let (node, pod) = (&*environment.host_name, &environment.own_pod);
    let mut labels = vec![("job", job), ("instance", node), ("node", node)];
    let own = [("namespace", &*pod.namespace), ("pod", &*pod.name)];
    labels.extend(own.into_iter().filter(|(_, value)| !value.is_empty()));
    labels
}

/// What a scraper says of a target that answered; alerts count targets by it.
pub fn up(batch: &mut MetricBatch) {
    push_up(batch, 1.0);
}

/// Ends the series of a target that goes, with its `up`, as a scraper does. Nothing where the agent is
/// in no pod: the next run goes on with the same series; in a pod its name is one of their labels.
pub fn end(known: impl IntoIterator<Item = Staleness>, batch: &mut MetricBatch) -> bool {
    let labels = &batch.resource.labels;
    if labels.get("pod").is_none_or(str::is_empty) {
        return false;
    }
    for series in known {
        series.end(batch);
    }
    push_up(batch, STALE);
    true
}

fn push_up(batch: &mut MetricBatch, value: f64) {
    let help = "1 if the scrape succeeded, 0 if not.";
    let family = batch.family("up", MetricKind::Gauge, help);
    batch.sample(family, &[], value);
}

/// A resource with `defaults`, and the settings' `add_label` in their place or beside them.
///
/// # Errors
/// When a label's name is none that Prometheus takes.
pub fn target_labels(
    defaults: &[(&str, &str)],
    settings: &Settings,
) -> Result<Resource, ConfigError> {
    let mut pairs: Vec<(&str, &str)> = defaults.to_vec();
    for setting in settings.all("add_label") {
        let (name, value) = setting
            .value
            .trim()
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((&setting.value, ""));
        if !is_label_name(name) {
            return Err(ConfigError::new(
                &setting.place,
                format!("add_label: '{name}' is no label name; use letters, digits and _"),
            ));
        }
        pairs.push((name, value.trim()));
    }
    Ok(Resource {
        // The last pair of a name counts.
        labels: Labels::from_pairs(pairs),
        ..Resource::default()
    })
}

fn is_label_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter)
        && !name.starts_with("__")
        && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::OwnPod;

    #[test]
    fn an_exporter_in_no_pod_has_no_labels_of_one() {
        let mut environment = Environment {
            host_name: "n1".into(),
            ..Environment::default()
        };
        let outside = [("job", "node-exporter"), ("instance", "n1"), ("node", "n1")];
        assert_eq!(exporter("node-exporter", &environment), outside);
        environment.own_pod = OwnPod {
            namespace: "monitoring".into(),
            name: "agent-x".into(),
        };
        let pod = [("namespace", "monitoring"), ("pod", "agent-x")];
        let inside = exporter("node-exporter", &environment);
        assert_eq!(inside, [&outside[..], &pod].concat());
    }

    #[test]
    fn settings_replace_and_add() {
        let settings = Settings::of(
            "x",
            &[("add_label", "job  my job"), ("add_label", "zone a")],
        );
        let resource = target_labels(&[("job", "node-exporter"), ("node", "n1")], &settings);
        assert_eq!(
            resource.expect("labels are valid").labels,
            Labels::from_pairs([("job", "my job"), ("node", "n1"), ("zone", "a")])
        );
        for bad in ["a-b 1", "__name__ x", "1a x"] {
            let settings = Settings::of("x", &[("add_label", bad)]);
            assert!(target_labels(&[], &settings).is_err(), "{bad}");
        }
    }
}
