//! The options of all plugins as JSON, in the shape of `fluent-bit -J`.
//!
//! Made from the plugin constants, so it says what this program takes and nothing else.

use kansoku_model::{OptionKind, OptionSpec};
use kansoku_parsers::config::SectionKind;
use serde_json::{Value, json};

use crate::config::instance;
use crate::manual::{self, Entry, KINDS};

/// `kansoku-agent -J`.
#[must_use]
pub fn all() -> String {
    let of = |kind: SectionKind, name: &str, core: &[OptionSpec]| -> Vec<Value> {
        let entries = manual::entries(kind);
        entries.iter().map(|e| plugin(name, e, core)).collect()
    };
    let mut out = json!({
        "fluent-bit": {
            "version": env!("CARGO_PKG_VERSION"),
            "schema_version": "1",
            "os": std::env::consts::OS,
        },
        "customs": [],
        "processors": [],
    });
    for (kind, name, core) in KINDS {
        out[format!("{name}s")] = of(kind, name, core).into();
    }
    let processors = manual::of(instance::PROCESSORS);
    let processors = processors
        .iter()
        .map(|e| plugin("processor", e, instance::FILTER_OPTIONS));
    out["processors"] = processors.collect();
    format!("{out}\n")
}

/// `kansoku-agent -i NAME -J`.
#[must_use]
pub fn of(kind: SectionKind, name: &str) -> String {
    let found = KINDS
        .iter()
        .find(|(k, ..)| *k == kind)
        .and_then(|(_, kind_name, core)| {
            let entry = manual::entries(kind).into_iter().find(|e| e.name == name)?;
            Some(plugin(kind_name, &entry, core))
        });
    format!("{}\n", found.unwrap_or_default())
}

fn plugin(kind: &str, entry: &Entry, core: &[OptionSpec]) -> Value {
    // Fluent Bit tells what belongs to the network apart from the rest.
    let is_tls = |o: &&OptionSpec| o.name == "tls" || o.name.starts_with("tls.");
    let is_net = |o: &&OptionSpec| o.name.starts_with("net.");
    let list = |wanted: &dyn Fn(&&OptionSpec) -> bool| -> Vec<Value> {
        entry.options.iter().filter(wanted).map(option).collect()
    };
    let mut properties = json!({
        "global_options": core.iter().map(option).collect::<Vec<_>>(),
        "options": list(&|o| !is_tls(o) && !is_net(o)),
    });
    for (name, options) in [
        ("networking", list(&is_net)),
        ("network_tls", list(&is_tls)),
    ] {
        if !options.is_empty() {
            properties[name] = options.into();
        }
    }
    json!({
        "type": kind,
        "name": entry.name,
        "description": entry.about,
        "properties": properties,
    })
}

fn option(o: &OptionSpec) -> Value {
    let kind = match o.kind {
        OptionKind::Bool => "boolean",
        OptionKind::Int => "integer",
        OptionKind::Float => "double",
        OptionKind::Size => "size",
        OptionKind::Time => "time",
        OptionKind::Text | OptionKind::Choice(_) => "string",
        OptionKind::List => "multiple comma delimited strings",
        OptionKind::Pair => "space delimited strings (minimum 1)",
    };
    let default = (!o.default.is_empty()).then_some(o.default);
    let mut value = json!({
        "name": o.name,
        "description": o.about,
        "default": default,
        "type": kind,
    });
    if let OptionKind::Choice(words) = o.kind {
        value["choices"] = json!(words);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_fluent_bits() {
        let all: Value = serde_json::from_str(&all()).expect("JSON");
        for key in ["customs", "inputs", "processors", "filters", "outputs"] {
            assert!(all[key].is_array(), "{key}");
        }
        let http = all["outputs"].as_array().expect("a list");
        let http = http.iter().find(|p| p["name"] == "http").expect("http");
        assert_eq!(http["type"], "output");
        for (group, name, kind) in [
            ("global_options", "match", "string"),
            ("options", "port", "integer"),
            ("network_tls", "tls", "boolean"),
            ("networking", "net.connect_timeout", "time"),
        ] {
            let options = http["properties"][group].as_array().expect(group);
            let found = options.iter().find(|o| o["name"] == name).expect(name);
            assert_eq!(found["type"], kind, "{name}");
        }
        let one: Value = serde_json::from_str(&of(SectionKind::Input, "tail")).expect("JSON");
        assert_eq!(one["name"], "tail");
    }
}
