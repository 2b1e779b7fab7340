//! Labels and annotations of alerts and recorded series: the templates of a rule over one result.

use std::collections::BTreeMap;
use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_query::promql::Sample;
use kansoku_query::template::{Data, Sample as TemplateSample, Value};

use super::alert::Alert;
use super::environment::Environment;
use super::file::{Expression, Language, Rule, Text};

/// What a template of an alert looks at.
struct AlertData<'a> {
    environment: &'a dyn Environment,
    labels: Arc<Labels>,
    value: Value,
    time_ms: i64,
}

fn value_of(sample: &Sample) -> Value {
    match &sample.histogram {
        Some(histogram) => Value::Text(histogram.to_string()),
        None => Value::Float(sample.value),
    }
}

impl Data for AlertData<'_> {
    fn field(&self, name: &str) -> Result<Value, String> {
        match name {
            "Labels" => Ok(Value::Labels(Arc::clone(&self.labels))),
            "Value" => Ok(self.value.clone()),
            "ExternalLabels" => Ok(Value::Labels(self.environment.external_labels())),
            "ExternalURL" => Ok(Value::from(self.environment.external_url())),
            _ => Err(format!("can't evaluate field {name} in type struct")),
        }
    }

    fn all(&self) -> Value {
        let names = ["ExternalLabels", "ExternalURL", "Labels", "Value"];
        let fields = names.map(|name| (name.to_owned(), self.field(name).unwrap_or(Value::Nil)));
        Value::Map(Arc::new(BTreeMap::from(fields)))
    }

    fn time_ns(&self) -> i64 {
        self.time_ms.saturating_mul(1_000_000)
    }

    fn query(&self, text: &str) -> Result<Value, String> {
        let expression = Expression::parse(text, Language::Promql)?;
        let samples = self.environment.query(&expression, self.time_ms)?;
        let samples = samples.into_iter().map(|sample| {
            Arc::new(TemplateSample {
                value: value_of(&sample),
                labels: Arc::new(sample.labels),
            })
        });
        Ok(Value::Vector(Arc::new(samples.collect())))
    }

    fn external_url(&self) -> &str {
        self.environment.external_url()
    }
}

fn expanded(text: &Text, data: &AlertData<'_>, alert: &str) -> String {
    let Some(template) = &text.template else {
        return text.text.clone();
    };
    data.environment.counters().template();
    template.execute(data).unwrap_or_else(|error| {
        data.environment.counters().template_failed();
        format!(
            "<error expanding template: error executing template __alert_{alert}: template: __alert_{alert}: {error}>"
        )
    })
}

/// The alerts of a result.
///
/// # Errors
/// When two series become the same alert.
pub fn alerts_of(
    rule: &Rule,
    result: &[Sample],
    environment: &dyn Environment,
    time_ms: i64,
) -> Result<BTreeMap<Labels, Alert>, String> {
    let mut alerts = BTreeMap::new();
    for sample in result {
        let data = AlertData {
            environment,
            labels: Arc::new(sample.labels.clone()),
            value: value_of(sample),
            time_ms,
        };
        let own = |texts: &[(String, Text)]| -> Vec<(String, String)> {
            let pairs = texts.iter();
            pairs
                .map(|(name, text)| (name.clone(), expanded(text, &data, &rule.name)))
                .collect()
        };
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let of_series = sample.labels.iter().filter(|(name, _)| *name != "__name__");
        let name = ("alertname".to_owned(), rule.name.clone());
        let pairs = of_series.map(text).chain(own(&rule.labels)).chain([name]);
        let labels = Labels::from_pairs(pairs);
        let annotations = Labels::from_pairs(own(&rule.annotations));
        let alert = Alert::new(labels.clone(), annotations, sample.value, time_ms);
        if alerts.insert(labels, alert).is_some() {
            return Err(
                "vector contains metrics with the same labelset after applying alert labels".into(),
            );
        }
    }
    Ok(alerts)
}

/// The series that a recording rule makes of a result.
///
/// # Errors
/// When two become the same series, or there are more than `limit`.
pub fn recorded(rule: &Rule, result: Vec<Sample>, limit: usize) -> Result<Vec<Sample>, String> {
    let mut samples = result;
    for sample in &mut samples {
        let own = rule.label_texts();
        let pairs = sample
            .labels
            .iter()
            .chain([("__name__", rule.name.as_str())]);
        sample.labels = Labels::from_pairs(pairs.chain(own));
    }
    samples.sort_by(|a, b| a.labels.cmp(&b.labels));
    if samples.windows(2).any(|w| w[0].labels == w[1].labels) {
        return Err(
            "vector contains metrics with the same labelset after applying rule labels".into(),
        );
    }
    if limit > 0 && samples.len() > limit {
        return Err(format!(
            "exceeded limit of {limit} with {} series",
            samples.len()
        ));
    }
    Ok(samples)
}
