//! The entries of YAML's lists as sections: plugins with their processors, parsers, upstream servers.

use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, Place};

use super::snake_case;
use super::tree::{Key, Node, Value};
use crate::config::{Group, MAP_LISTS, Processor, Section, SectionKind, Signal, condition, routes};
use crate::line::multiline::rule_text;

/// The text of a scalar.
pub(in crate::config) fn text(node: &Node) -> Result<&str, ConfigError> {
    node.text()
}

/// The items of a list called `name`; nothing written is an error, as it is in Fluent Bit.
pub(super) fn list<'a>(node: &'a Node, name: &str) -> Result<&'a [Node], ConfigError> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ if node.is_empty() => {
            let message = format!("'{name}' is empty; write its entries below, each after a dash");
            Err(node.error(message))
        }
        _ => {
            let message = format!(
                "'{name}' must be a list (each entry after a dash), not {}",
                node.kind()
            );
            Err(node.error(message))
        }
    }
}

/// The pairs of a map.
pub(in crate::config) fn pairs(node: &Node) -> Result<&[(Key, Node)], ConfigError> {
    node.pairs()
}

pub(super) fn setting(key: &str, value: &str, place: &Place) -> Setting {
    Setting {
        key: snake_case(key),
        value: value.trim().to_owned(),
        place: place.clone(),
    }
}

/// Adds a map's keys: a list is a key given again, a map inside becomes a group.
pub(super) fn settings(node: &Node, section: &mut Section) -> Result<(), ConfigError> {
    for (key, value) in pairs(node)? {
        match &value.value {
            Value::Scalar { text, .. } => {
                section.settings.push(setting(&key.text, text, &key.place));
            }
            Value::List(items) => {
                for item in items {
                    let text = text(item)?;
                    section.settings.push(setting(&key.text, text, &item.place));
                }
            }
            Value::Map(_) => section.groups.push(group(&key.text, value)?),
        }
    }
    Ok(())
}

/// A map inside a section; maps inside it become keys with dots.
fn group(name: &str, node: &Node) -> Result<Group, ConfigError> {
    fn flatten(prefix: &str, node: &Node, into: &mut Vec<Setting>) -> Result<(), ConfigError> {
        for (key, value) in pairs(node)? {
            let name = format!("{prefix}{}", snake_case(&key.text));
            match &value.value {
                Value::Map(_) => flatten(&format!("{name}."), value, into)?,
                _ => into.push(setting(&name, text(value)?, &key.place)),
            }
        }
        Ok(())
    }
    let mut group = Group {
        name: snake_case(name),
        place: node.place.clone(),
        settings: Vec::new(),
    };
    flatten("", node, &mut group.settings)?;
    Ok(group)
}

/// An entry without anything special inside.
pub(super) fn simple(kind: SectionKind, node: &Node) -> Result<Section, ConfigError> {
    let mut section = Section::new(kind, node.place.clone());
    settings(node, &mut section)?;
    Ok(section)
}

/// An input, filter or output.
pub(super) fn plugin(kind: SectionKind, node: &Node) -> Result<Section, ConfigError> {
    let mut section = Section::new(kind, node.place.clone());
    for (key, value) in pairs(node)? {
        match (snake_case(&key.text).as_str(), &value.value) {
            ("processors", _) if kind == SectionKind::Filter => {
                let message = "filters have no processors; set them on an input or output";
                return Err(ConfigError::new(&key.place, message));
            }
            ("processors", _) => section.processors.extend(processors(value)?),
            ("condition", Value::Map(_)) if kind == SectionKind::Filter => {
                section.condition = Some(condition::read(value)?);
            }
            ("condition", Value::Map(_)) => {
                let message = "only filters and processors have a condition";
                return Err(ConfigError::new(&key.place, message));
            }
            ("routes", _) if kind == SectionKind::Input => section.routes = routes::read(value)?,
            ("routes", _) => {
                let message = "only inputs have routes";
                return Err(ConfigError::new(&key.place, message));
            }
            (_, Value::Scalar { text, .. }) => {
                section.settings.push(setting(&key.text, text, &key.place));
            }
            (name, Value::List(items)) if MAP_LISTS.contains(&name) => {
                for item in items {
                    let json = json(item, &|text, _| text.into()).to_string();
                    section
                        .settings
                        .push(setting(&key.text, &json, &item.place));
                }
            }
            (_, Value::List(items)) => {
                for item in items {
                    let text = text(item)?;
                    section.settings.push(setting(&key.text, text, &item.place));
                }
            }
            (_, Value::Map(_)) => section.groups.push(group(&key.text, value)?),
        }
    }
    Ok(section)
}

/// `{logs: [...], metrics: [...], traces: [...]}`.
fn processors(node: &Node) -> Result<Vec<Processor>, ConfigError> {
    let mut all = Vec::new();
    for (key, items) in pairs(node)? {
        let signal = match key.text.to_ascii_lowercase().as_str() {
            "logs" => Signal::Logs,
            "metrics" => Signal::Metrics,
            "traces" => Signal::Traces,
            other => {
                let hint = did_you_mean(other, ["logs", "metrics", "traces"].into_iter());
                let message = format!("unknown key '{other}' in processors{hint}");
                return Err(ConfigError::new(&key.place, message));
            }
        };
        for item in list(items, &key.text)? {
            all.push(processor(signal, item)?);
        }
    }
    Ok(all)
}

fn processor(signal: Signal, node: &Node) -> Result<Processor, ConfigError> {
    let mut processor = Processor {
        signal,
        place: node.place.clone(),
        settings: Vec::new(),
        condition: None,
    };
    for (key, value) in pairs(node)? {
        match &value.value {
            _ if key.text.eq_ignore_ascii_case("condition") => {
                processor.condition = Some(condition::read(value)?);
            }
            Value::Scalar { text, .. } => {
                processor
                    .settings
                    .push(setting(&key.text, text, &key.place));
            }
            Value::List(items) if items.iter().all(|i| text(i).is_ok()) => {
                for item in items {
                    let text = text(item)?;
                    processor
                        .settings
                        .push(setting(&key.text, text, &item.place));
                }
            }
            _ => {
                let json = json(value, &typed).to_string();
                processor
                    .settings
                    .push(setting(&key.text, &json, &key.place));
            }
        }
    }
    Ok(processor)
}

/// Nested options travel as JSON text; `scalar` makes of a text what it is, by whether it is plain.
fn json(node: &Node, scalar: &dyn Fn(&str, bool) -> serde_json::Value) -> serde_json::Value {
    match &node.value {
        Value::Scalar { .. } if node.is_null() => serde_json::Value::Null,
        Value::Scalar { text, plain } => scalar(text, *plain),
        Value::List(items) => items.iter().map(|item| json(item, scalar)).collect(),
        Value::Map(pairs) => pairs
            .iter()
            .map(|(k, v)| (k.text.clone(), json(v, scalar)))
            .collect(),
    }
}

/// What a scalar of a processor's option is.
fn typed(text: &str, plain: bool) -> serde_json::Value {
    match text {
        "true" if plain => true.into(),
        "false" if plain => false.into(),
        word if plain => match (word.parse::<i64>(), word.parse::<f64>()) {
            (Ok(n), _) => n.into(),
            (_, Ok(x)) if x.is_finite() => x.into(),
            _ => word.into(),
        },
        word => word.into(),
    }
}

/// A multiline parser; its rules become keys as the classic format writes them.
pub(super) fn multiline(node: &Node) -> Result<Section, ConfigError> {
    let mut section = Section::new(SectionKind::MultilineParser, node.place.clone());
    for (key, value) in pairs(node)? {
        if key.text.eq_ignore_ascii_case("rules") {
            for item in list(value, "rules")? {
                section.settings.push(rule(item)?);
            }
        } else {
            section
                .settings
                .push(setting(&key.text, text(value)?, &key.place));
        }
    }
    Ok(section)
}

fn rule(node: &Node) -> Result<Setting, ConfigError> {
    let mut parts: [Option<&str>; 3] = [None; 3];
    let names = ["state", "regex", "next_state"];
    for (key, value) in pairs(node)? {
        let word = snake_case(&key.text);
        let Some(at) = names.iter().position(|n| *n == word) else {
            let hint = did_you_mean(&word, names.into_iter());
            let message = format!("unknown key '{}' in a rule{hint}", key.text);
            return Err(ConfigError::new(&key.place, message));
        };
        parts[at] = Some(text(value)?);
    }
    for (name, part) in names.iter().zip(parts) {
        part.ok_or_else(|| node.error(format!("the rule has no '{name}'")))?;
    }
    let [state, regex, next_state] = parts.map(Option::unwrap_or_default);
    let value = rule_text(state, regex, next_state);
    Ok(setting("rule", &value, &node.place))
}

/// An upstream and its nodes as the sections of a classic upstream file.
pub(super) fn upstream(node: &Node) -> Result<(Section, Vec<Section>), ConfigError> {
    let mut section = Section::new(SectionKind::Upstream, node.place.clone());
    let mut nodes = Vec::new();
    for (key, value) in pairs(node)? {
        if key.text.eq_ignore_ascii_case("nodes") {
            for item in list(value, "nodes")? {
                nodes.push(simple(SectionKind::Node, item)?);
            }
        } else {
            section
                .settings
                .push(setting(&key.text, text(value)?, &key.place));
        }
    }
    Ok((section, nodes))
}
