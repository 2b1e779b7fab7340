//! `record_transformer` and `record_modifier`: fields that are set, copied and removed.

use kansoku_parsers::config::fluentd::Part;
use serde_json::Value as Json;

use super::lua;
use super::origin;
use super::params::Params;
use super::report::Report;
use super::text;
use super::written::Section;

/// What a record gets, in order.
struct Change {
    /// Key and value, still with placeholders.
    set: Vec<(String, String)>,
    remove: Vec<Vec<String>>,
    /// Only these and what is set stay.
    keep: Option<Vec<String>>,
    time_key: Option<String>,
    /// Whether a placeholder alone keeps the type of its value.
    keeps_types: bool,
    /// Each template sees what those before it have set.
    in_turn: bool,
}

pub(super) fn record_transformer(
    params: &Params<'_>,
    report: &Report,
    n_lua: &mut usize,
) -> Vec<Section> {
    let has_ruby = params.switch("enable_ruby") == Some(true);
    let keeps_types = params.switch("auto_typecast") != Some(false);
    let renews = params.switch("renew_record") == Some(true);
    let kept = params.list("keep_keys");
    let change = Change {
        set: records(params, report),
        remove: removed(params, "remove_keys"),
        keep: renews.then_some(kept),
        time_key: params.word("renew_time_key"),
        keeps_types,
        in_turn: false,
    };
    for (key, value) in &change.set {
        if !has_ruby && !lua::is_simple(value) {
            params.differs(format!("the field {key}: Fluentd knows such a placeholder only with enable_ruby and sets null; here it has its value"));
        }
    }
    if !keeps_types {
        params.differs("'auto_typecast false': numbers and booleans become texts as in Fluentd; lists and maps that are copied stay what they are, or are left out of a text");
    }
    sections(params, change, n_lua)
}

pub(super) fn record_modifier(
    params: &Params<'_>,
    report: &Report,
    n_lua: &mut usize,
) -> Vec<Section> {
    params.ignore(&["char_encoding", "prepare_value"]);
    let kept = params.list("whitelist_keys");
    if params.nested("replace").is_some() {
        params.lost("<replace>: change texts with a filter lua");
    }
    let change = Change {
        set: records(params, report),
        remove: removed(params, "remove_keys"),
        keep: (!kept.is_empty()).then_some(kept),
        time_key: None,
        keeps_types: true,
        in_turn: true,
    };
    sections(params, change, n_lua)
}

fn removed(params: &Params<'_>, key: &str) -> Vec<Vec<String>> {
    let one = |accessor: &String| {
        let path = text::path(accessor);
        if path.is_none() {
            params.lost(format!("'{key}': {accessor} reaches into an array"));
        }
        path
    };
    params.list(key).iter().filter_map(one).collect()
}

fn records(params: &Params<'_>, report: &Report) -> Vec<(String, String)> {
    let mut set = Vec::new();
    for element in params.elements("record") {
        for attribute in &element.attributes {
            // Ruby that is run when the configuration is read stands beside the templates of records.
            let mut value = String::new();
            for part in &attribute.value.parts {
                match part {
                    Part::Text(text) => value.push_str(text),
                    Part::Ruby(code) => match code.as_str() {
                        "Socket.gethostname" | "hostname" => value.push_str("${hostname}"),
                        code => match environment(code) {
                            Some(found) => value.push_str(&found),
                            None => report.lost(
                                &attribute.place,
                                format!(
                                    "'{}' is made by Ruby code, which is not run here: #{{{code}}}",
                                    attribute.key
                                ),
                            ),
                        },
                    },
                }
            }
            set.push((attribute.key.clone(), value));
        }
    }
    set
}

/// A variable of the environment, as the templates have it.
fn environment(code: &str) -> Option<String> {
    let value = kansoku_parsers::config::fluentd::Value {
        parts: vec![Part::Ruby(code.to_owned())],
    };
    let found = text::text(&value).ok()?;
    let inside = found
        .written
        .strip_prefix("${")
        .and_then(|t| t.strip_suffix('}'));
    Some(
        match inside.map(|t| t.split_once(":-").unwrap_or((t, ""))) {
            None => found.written,
            Some((name, "")) => format!("${{ENV['{name}']}}"),
            Some((name, default)) => format!("${{ENV['{name}'] || '{default}'}}"),
        },
    )
}

fn sections(params: &Params<'_>, change: Change, n_lua: &mut usize) -> Vec<Section> {
    if let Some(section) = simple(params, &change) {
        return section;
    }
    let mut body = String::new();
    let mut lost = Vec::new();
    match &change.keep {
        None => body.push_str("local n={} for k,v in pairs(o) do n[k]=v end "),
        Some(keys) => {
            body.push_str("local n={} ");
            for key in keys {
                let key = lua::quote(key);
                body.push_str(&format!("n[{key}]=o[{key}] "));
            }
        }
    }
    for (key, value) in &change.set {
        let expression = match serde_json::from_str::<Json>(value) {
            Ok(json @ (Json::Object(_) | Json::Array(_))) => table(&json),
            _ => lua::template_on(
                value,
                change.keeps_types,
                if change.in_turn { "n" } else { "o" },
            ),
        };
        if value.contains(".to_f") {
            params.differs(format!(
                "the field {key}: whole numbers that '.to_f' makes have no point"
            ));
        }
        match expression {
            Ok(expression) => body.push_str(&format!("n[{}]={expression} ", lua::quote(key))),
            Err(code) => lost.push((key, code)),
        }
    }
    for (key, code) in lost {
        params.lost(format!("the field {key} is made by Ruby code that has no counterpart: {code}; set it with a filter lua"));
    }
    let mut code = 2;
    if let Some(key) = &change.time_key {
        code = 1;
        let key = lua::quote(key);
        body.push_str(&format!(
            "if tonumber(n[{key}]) then ts=tonumber(n[{key}]) end "
        ));
    }
    for path in &change.remove {
        let keys: Vec<String> = path.iter().map(|k| lua::quote(k)).collect();
        body.push_str(&match keys.as_slice() {
            [one] => format!("n[{one}]=nil "),
            keys => format!("D(n,{}) ", keys.join(",")),
        });
    }
    *n_lua += 1;
    let name = format!("change_{n_lua}");
    let helpers = lua::helpers(&body);
    let script = format!("{helpers}function {name}(tag,ts,o) {body}return {code},ts,n end");
    vec![
        Section::plugin("FILTER", "lua", &origin(params.element))
            .with("Call", &name)
            .with("Enable_Flb_Null", "on")
            .with("Keep_Numbers", "on")
            .with("Code", &script),
    ]
}

/// A JSON value whose texts are templates.
fn table(json: &Json) -> Result<String, String> {
    Ok(match json {
        Json::Null => "flb_null".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.to_string(),
        Json::String(text) => lua::template(text, true)?,
        // An empty table would be a map.
        Json::Array(items) if items.is_empty() => "setmetatable({},{type=1})".to_owned(),
        Json::Array(items) => {
            let items: Result<Vec<String>, String> = items.iter().map(table).collect();
            format!("{{{}}}", items?.join(","))
        }
        Json::Object(map) => {
            let one = |(k, v): (&String, &Json)| {
                Ok(format!("[{}]={}", lua::template(k, false)?, table(v)?))
            };
            let items: Result<Vec<String>, String> = map.iter().map(one).collect();
            format!("{{{}}}", items?.join(","))
        }
    })
}

/// What the filters modify and record_modifier can do, which is cheaper than Lua.
fn simple(params: &Params<'_>, change: &Change) -> Option<Vec<Section>> {
    if change.keep.is_some() || change.time_key.is_some() || !change.keeps_types {
        return None;
    }
    let is_key = |key: &str| !key.is_empty() && !key.contains([' ', '"', '\'', '$', '\t']);
    let mut modify = Section::plugin("FILTER", "modify", &origin(params.element));
    let mut n = 0;
    let mut copies = false;
    for (key, value) in &change.set {
        if !is_key(key) {
            return None;
        }
        let inside = value.strip_prefix("${").and_then(|v| v.strip_suffix('}'));
        match inside {
            None if value.contains("${") || value.contains("__") => return None,
            None if value.is_empty()
                || value.trim() != value
                || value.contains(['"', '\'', '\n']) =>
            {
                return None;
            }
            None if value.starts_with(['{', '[']) => return None,
            None => modify.set("Set", &format!("{key} {value}")),
            Some("hostname") => modify.set("Set", &format!("{key} ${{HOSTNAME}}")),
            Some(code) => {
                let name = code
                    .strip_prefix("record[")
                    .and_then(|c| c.strip_suffix(']'))?;
                let name = name.trim_matches(['"', '\'']);
                // All templates see the record as it came, unless they do in turn.
                let is_set = !change.in_turn && change.set.iter().any(|(k, _)| k == name);
                if !is_key(name) || name.contains(['[', ']']) || is_set {
                    return None;
                }
                modify.set("Hard_copy", &format!("{name} {key}"));
                copies = true;
            }
        }
        n += 1;
    }
    for path in &change.remove {
        let [key] = path.as_slice() else { return None };
        if !is_key(key) {
            return None;
        }
        modify.set("Remove", key);
        n += 1;
    }
    if copies {
        params.differs("a field that is copied and not there is left out, where Fluentd sets null");
    }
    Some(if n == 0 { Vec::new() } else { vec![modify] })
}
