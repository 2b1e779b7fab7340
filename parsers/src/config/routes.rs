//! `routes` of an input: which records go to which outputs, whatever their `match`.
//!
//! Only the shape is read here, by Fluent Bit's rules: under names of signals (`logs`, `metrics`,
//! `traces`, several with commas, or `any`) stand routes, each with a name, a condition or none, and
//! outputs by alias or name.

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, Place};

use super::condition::{self, Condition};
use super::yaml::sections::{pairs, text};
use super::yaml::tree::{Node, Value};

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub place: Place,
    pub name: String,
    pub signals: Signals,
    pub condition: Option<Condition>,
    pub outputs: Vec<RouteOutput>,
}

/// An output as a route names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOutput {
    pub place: Place,
    /// Alias, instance (`http.0`) or plugin.
    pub name: String,
    /// Taken when there is no output of that name.
    pub fallback: Option<String>,
}

/// Which kinds of records a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    pub logs: bool,
    pub metrics: bool,
    pub traces: bool,
}

impl Signals {
    fn read(text: &str, place: &Place) -> Result<Self, ConfigError> {
        let mut signals = Self::default();
        let words = text.split([',', '|', '+', ' ', '\t']);
        for word in words.filter(|w| !w.is_empty()) {
            let (logs, metrics, traces) = match word.to_ascii_lowercase().as_str() {
                "logs" => (true, false, false),
                "metrics" => (false, true, false),
                "traces" => (false, false, true),
                "any" => (true, true, true),
                other => {
                    let known = ["logs", "metrics", "traces", "any"];
                    let hint = did_you_mean(other, known.into_iter());
                    let message = format!("unknown kind of records '{other}' in routes{hint}");
                    return Err(ConfigError::new(place, message));
                }
            };
            signals.logs |= logs;
            signals.metrics |= metrics;
            signals.traces |= traces;
        }
        Ok(signals)
    }

    /// Whether a rule may be about this field.
    fn allow(self, field: &str) -> bool {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|p| field.starts_with(p));
        let of_metrics = ["$metric.", "$resource[", "$attributes["];
        let of_traces = ["$span.", "$resource[", "$scope["];
        (self.logs && !starts(&["$metric.", "$span.", "$scope."]))
            || (self.metrics && starts(&of_metrics))
            || (self.traces && starts(&of_traces))
    }
}

/// Reads `routes: {logs: [{name, condition, to: {outputs: [..]}}]}`.
pub(super) fn read(node: &Node) -> Result<Vec<Route>, ConfigError> {
    let mut routes: Vec<Route> = Vec::new();
    for (key, value) in pairs(node)? {
        let signals = Signals::read(&key.text, &key.place)?;
        let items = match &value.value {
            Value::List(items) if !items.is_empty() => items.as_slice(),
            Value::Map(_) => std::slice::from_ref(value),
            _ => return Err(value.error("expected a list of routes")),
        };
        for item in items {
            let route = route(item, signals)?;
            if let Some(first) = routes.iter().find(|r| r.name == route.name) {
                let message = format!(
                    "route '{}' is there twice (first at {}); give it another name",
                    route.name, first.place
                );
                return Err(item.error(message));
            }
            routes.push(route);
        }
    }
    Ok(routes)
}

fn route(node: &Node, signals: Signals) -> Result<Route, ConfigError> {
    let (mut name, mut condition, mut outputs) = (None, None, Vec::new());
    for (key, value) in pairs(node)? {
        match key.text.to_ascii_lowercase().as_str() {
            "name" => name = Some(text(value)?.to_owned()),
            "condition" => condition = Some(condition::read_of_route(value)?),
            "to" => outputs = outputs_of(value)?,
            // A word of Fluent Bit without effect: each record is routed by itself in any case.
            "per_record_routing" => {
                text(value)?;
            }
            "processors" => {
                let message = "a route has no processors (Fluent Bit ignores them); set them on the input or the output";
                return Err(ConfigError::new(&key.place, message));
            }
            other => {
                let known = ["name", "condition", "to", "per_record_routing"];
                let hint = did_you_mean(other, known.into_iter());
                let message = format!("unknown key '{other}' in a route{hint}");
                return Err(ConfigError::new(&key.place, message));
            }
        }
    }
    let name = name.ok_or_else(|| node.error("the route has no 'name'"))?;
    if outputs.is_empty() {
        return Err(node.error(format!("route '{name}' has no outputs: say 'to: [OUTPUT]'")));
    }
    let rules = condition.iter().flat_map(|c: &Condition| &c.rules);
    for rule in rules {
        if !signals.allow(&rule.field) {
            let message = format!("field '{}' is not one of such records", rule.field);
            return Err(ConfigError::new(&rule.place, message));
        }
    }
    Ok(Route {
        place: node.place.clone(),
        name,
        signals,
        condition,
        outputs,
    })
}

/// `to: NAME`, `to: [NAME]` or `to: {outputs: [NAME]}`.
fn outputs_of(node: &Node) -> Result<Vec<RouteOutput>, ConfigError> {
    match &node.value {
        Value::Map(keys) => match keys.iter().find(|(key, _)| key.text == "outputs") {
            Some((_, outputs)) => outputs_of_list(outputs),
            None => Err(node.error("'to' has no 'outputs'")),
        },
        _ => outputs_of_list(node),
    }
}

fn outputs_of_list(node: &Node) -> Result<Vec<RouteOutput>, ConfigError> {
    match &node.value {
        Value::List(items) => items.iter().map(output).collect(),
        _ => Ok(vec![output(node)?]),
    }
}

fn output(node: &Node) -> Result<RouteOutput, ConfigError> {
    let Value::Map(keys) = &node.value else {
        return Ok(RouteOutput {
            place: node.place.clone(),
            name: text(node)?.to_owned(),
            fallback: None,
        });
    };
    let (mut name, mut fallback) = (None, None);
    for (key, value) in keys {
        match key.text.to_ascii_lowercase().as_str() {
            "name" => name = Some(text(value)?.to_owned()),
            "fallback" => fallback = Some(text(value)?.to_owned()),
            other => {
                let hint = did_you_mean(other, ["name", "fallback"].into_iter());
                let message = format!("unknown key '{other}' in an output of a route{hint}");
                return Err(ConfigError::new(&key.place, message));
            }
        }
    }
    Ok(RouteOutput {
        place: node.place.clone(),
        name: name.ok_or_else(|| node.error("the output has no 'name'"))?,
        fallback,
    })
}
