//! Fluentd's values in the words of our configuration: variables of the environment, units, lists.
//!
//! Ruby is not run. What nearly all of it does, reading a variable with a default, has a counterpart;
//! the rest is a reason to say so.

use kansoku_parsers::config::fluentd::{Part, Value};
use serde_json::Value as Json;

/// The variable that stands for a dollar sign, so that `${` in a text is no variable.
pub(super) const DOLLAR: &str = "${DOLLAR}";

/// A value of Fluentd's in our configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// As it is written, with `${VARIABLE:-default}`.
    pub written: String,
    /// What it is when no variable is set.
    pub assumed: String,
    pub has_variable: bool,
}

impl Text {
    /// A text without variables.
    pub(super) fn plain(text: &str) -> Self {
        Self {
            written: text.replace("${", &format!("{DOLLAR}{{")),
            assumed: text.to_owned(),
            has_variable: false,
        }
    }
}

/// What a value is here.
///
/// # Errors
/// The Ruby code that has no counterpart.
pub(super) fn text(value: &Value) -> Result<Text, String> {
    let mut all = Text::plain("");
    for part in &value.parts {
        let part = match part {
            Part::Text(text) => Text::plain(text),
            Part::Ruby(code) => ruby(code).ok_or_else(|| code.clone())?,
        };
        all.written.push_str(&part.written);
        all.assumed.push_str(&part.assumed);
        all.has_variable |= part.has_variable;
    }
    Ok(all)
}

/// One of the operands of `||`.
#[derive(Debug, PartialEq, Eq)]
enum Operand {
    Variable(String),
    Literal(String),
    /// `use_default`, `use_nil`, `nil`.
    Nothing,
}

fn ruby(code: &str) -> Option<Text> {
    match code {
        "Socket.gethostname" | "hostname" => {
            return Some(Text {
                written: "${HOSTNAME}".to_owned(),
                assumed: "localhost".to_owned(),
                has_variable: true,
            });
        }
        "worker_id" => return Some(Text::plain("0")),
        _ => {}
    }
    let operands: Option<Vec<Vec<Operand>>> = split_or(code)?.into_iter().map(operand).collect();
    let operands: Vec<Operand> = operands?.into_iter().flatten().collect();
    let (name, default) = match operands.as_slice() {
        [Operand::Literal(text)] => return Some(Text::plain(text)),
        [Operand::Nothing] => return Some(Text::plain("")),
        [Operand::Variable(name)] => (name, None),
        [Operand::Variable(name), Operand::Literal(text)] => (name, Some(text.as_str())),
        [Operand::Variable(name), Operand::Nothing] => (name, Some("")),
        _ => return None,
    };
    let written = match default {
        None => format!("${{{name}}}"),
        Some(default) if default.contains(['}', '$']) => return None,
        Some(default) => format!("${{{name}:-{default}}}"),
    };
    Some(Text {
        written,
        assumed: default.unwrap_or_default().to_owned(),
        has_variable: true,
    })
}

/// The operands of `||` outside of quotes; `None` when a quote is open.
fn split_or(code: &str) -> Option<Vec<&str>> {
    let mut operands = Vec::new();
    let mut quote = None;
    let mut start = 0;
    for (at, c) in code.char_indices() {
        match quote {
            Some(q) if q == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if code[at..].starts_with("||") && at >= start => {
                operands.push(code[start..at].trim());
                start = at + 2;
            }
            _ => {}
        }
    }
    operands.push(code.get(start..)?.trim());
    quote.is_none().then_some(operands)
}

fn operand(code: &str) -> Option<Vec<Operand>> {
    let code = code.trim_end_matches(".to_s").trim_end_matches(".to_i");
    if matches!(code, "nil" | "use_nil" | "use_default") {
        return Some(vec![Operand::Nothing]);
    }
    if let Some(inside) = code.strip_prefix("ENV[").and_then(|c| c.strip_suffix(']')) {
        return Some(vec![Operand::Variable(variable(inside)?)]);
    }
    if let Some(inside) = code
        .strip_prefix("ENV.fetch(")
        .and_then(|c| c.strip_suffix(')'))
    {
        return match inside.split_once(',') {
            None => Some(vec![Operand::Variable(variable(inside)?)]),
            Some((name, default)) => Some(vec![
                Operand::Variable(variable(name)?),
                literal(default.trim())?,
            ]),
        };
    }
    literal(code).map(|l| vec![l])
}

fn variable(quoted: &str) -> Option<String> {
    let name = unquoted(quoted.trim())?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
}

fn literal(code: &str) -> Option<Operand> {
    let is_number = !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if matches!(code, "true" | "false") || is_number || code == "-1" {
        return Some(Operand::Literal(code.to_owned()));
    }
    let text = unquoted(code)?;
    (!text.contains("#{") && !text.contains('\\')).then(|| Operand::Literal(text.to_owned()))
}

fn unquoted(code: &str) -> Option<&str> {
    let inside = |q: char| code.strip_prefix(q).and_then(|c| c.strip_suffix(q));
    let quote = if code.starts_with('\'') { '\'' } else { '"' };
    inside(quote).filter(|text| !text.contains(quote))
}

/// Fluentd's booleans.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

/// Fluentd's sizes, whose letters count by 1024.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, factor) = unit(text, &[('k', 1), ('m', 2), ('g', 3), ('t', 4)])?;
    number.parse::<u64>().ok()?.checked_mul(1024u64.pow(factor))
}

/// Fluentd's times, in seconds.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let found = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(found.unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    seconds.is_finite().then_some(seconds)
}

fn unit<'a>(text: &'a str, letters: &[(char, u32)]) -> Option<(&'a str, u32)> {
    let lower = text.chars().last()?.to_ascii_lowercase();
    let lower = if lower == 'b' && text.len() > 1 {
        return unit(&text[..text.len() - 1], letters);
    } else {
        lower
    };
    match letters.iter().find(|(letter, _)| *letter == lower) {
        Some((_, factor)) => Some((&text[..text.len() - 1], *factor)),
        None => Some((text, 0)),
    }
}

/// Fluentd's arrays: JSON, or words between commas.
pub(super) fn list(text: &str) -> Vec<String> {
    if let Ok(Json::Array(items)) = serde_json::from_str(text) {
        let text = |item: Json| match item {
            Json::String(text) => text,
            other => other.to_string(),
        };
        return items.into_iter().map(text).collect();
    }
    let words = text.split(',').map(str::trim);
    words
        .filter(|w| !w.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// Fluentd's hashes: JSON, or `key:value` between commas.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    if let Ok(Json::Object(map)) = serde_json::from_str::<Json>(text) {
        let text = |item: Json| match item {
            Json::String(text) => text,
            other => other.to_string(),
        };
        return map.into_iter().map(|(k, v)| (k, text(v))).collect();
    }
    let words = text.split(',').filter_map(|word| word.split_once(':'));
    words
        .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
        .collect()
}

/// The field that a record accessor of Fluentd's names, as path; a plain name is a field of that name.
pub(super) fn path(accessor: &str) -> Option<Vec<String>> {
    if let Some(mut rest) = accessor.strip_prefix("$.") {
        let mut keys = Vec::new();
        while !rest.is_empty() {
            if rest.starts_with('[') {
                let end = rest.find("].").map_or(rest.len(), |at| at + 1);
                keys.extend(bracketed(&rest[..end])?);
                rest = rest[end..].trim_start_matches('.');
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                keys.push(rest[..end].to_owned());
                rest = rest[end..].trim_start_matches('.');
            }
        }
        return Some(keys);
    }
    match accessor.strip_prefix('$') {
        Some(rest) if rest.starts_with('[') => bracketed(rest),
        _ => Some(vec![accessor.to_owned()]),
    }
}

/// `['a']["b"]`; indexes of arrays have no counterpart.
fn bracketed(mut rest: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let inside = rest.strip_prefix('[')?;
        let quote = inside.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let end = inside[1..].find(quote)? + 1;
        keys.push(inside[1..end].to_owned());
        rest = inside[end + 1..].strip_prefix(']')?;
    }
    Some(keys)
}

/// A path as our record accessors are written.
pub(super) fn accessor(path: &[String]) -> String {
    let mut keys = path.iter();
    let mut out = format!("${}", keys.next().map_or("", String::as_str));
    for key in keys {
        out.push_str(&format!("['{key}']"));
    }
    out
}

/// Fluentd's `/pattern/im` as our patterns are written.
pub(super) fn pattern(text: &str) -> String {
    let Some((body, options)) = text.strip_prefix('/').and_then(|t| t.rsplit_once('/')) else {
        return text.to_owned();
    };
    let options: String = options.chars().filter(|c| matches!(c, 'i' | 'm')).collect();
    match options.as_str() {
        "" => body.to_owned(),
        options => format!("(?{options}:{body})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruby_that_reads_variables() {
        for (code, expected) in [
            ("ENV['A']", Some("${A}")),
            ("ENV[\"A\"] || 'b c'", Some("${A:-b c}")),
            ("ENV['A'] || use_default", Some("${A:-}")),
            ("ENV['A'] || true", Some("${A:-true}")),
            ("ENV.fetch('A')", Some("${A}")),
            ("ENV.fetch('A', 'x')", Some("${A:-x}")),
            ("ENV['A'].to_i", Some("${A}")),
            ("'x || y'", Some("x || y")),
            ("use_nil", Some("")),
            ("hostname", Some("${HOSTNAME}")),
            ("ENV['A'] || ENV['B']", None),
            ("ENV['A'] || '}'", None),
            ("File.join('a', 'b')", None),
            ("ENV['A'] ? 'x' : 'y'", None),
            ("`id`", None),
            ("'", None),
            ("|||", None),
        ] {
            let found = ruby(code).map(|t| t.written);
            assert_eq!(found.as_deref(), expected, "{code}");
        }
    }

    #[test]
    fn units_and_shapes() {
        assert_eq!(size("8M"), Some(8 << 20));
        assert_eq!(size("256m"), Some(256 << 20));
        assert_eq!(size("1GB"), Some(1 << 30));
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("x"), None);
        assert_eq!(size("99999999999t"), None);
        assert_eq!(seconds("5s"), Some(5.0));
        assert_eq!(seconds("0.5"), Some(0.5));
        assert_eq!(seconds("72h"), Some(259_200.0));
        assert_eq!(seconds("s"), None);
        assert_eq!(list(r#"["a", 1]"#), ["a", "1"]);
        assert_eq!(list("a, b,"), ["a", "b"]);
        assert_eq!(pairs("a:integer, b:bool").len(), 2);
        assert_eq!(
            path("$.a.b['c.d']"),
            Some(vec!["a".into(), "b".into(), "c.d".into()])
        );
        assert_eq!(path("$['a'][0]"), None);
        assert_eq!(path("a.b"), Some(vec!["a.b".into()]));
        assert_eq!(accessor(&path("$.a.b").expect("a path")), "$a['b']");
        assert_eq!(pattern("/a/b/i"), "(?i:a/b)");
        assert_eq!(pattern("/^a$/"), "^a$");
        assert_eq!(pattern("a"), "a");
    }

    #[test]
    fn a_dollar_is_no_variable() {
        let text = text(&Value::text("a{2}${3}")).expect("no Ruby");
        assert_eq!(text.written, "a{2}${DOLLAR}{3}");
    }
}
