//! Pieces of LogQL and PromQL text: quoted strings, alternatives, matchers, and which of the two
//! languages a query is written in.

use crate::error::{Error, Result};

/// A text as a double-quoted string of either language.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A pattern that matches one of these texts and nothing else, quoted.
#[must_use]
pub fn one_of<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let escaped: Vec<String> = texts.into_iter().map(|t| escape(t.as_ref())).collect();
    quote(&escaped.join("|"))
}

/// A text as a pattern for itself.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Whether a query is LogQL by its looks: its first selector belongs to no metric.
#[must_use]
pub fn is_logql(query: &str) -> bool {
    let mut before = ' ';
    let mut chars = query.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' | '\'' | '`' => {
                let mut escaped = false;
                for (_, inner) in chars.by_ref() {
                    if inner == c && !escaped {
                        break;
                    }
                    escaped = inner == '\\' && c != '`' && !escaped;
                }
                before = '"';
            }
            '{' => {
                let inside = query[at + 1..].trim_start();
                let is_named = inside.starts_with(['"', '\'']) || inside.starts_with("__name__");
                return !is_named
                    && !before.is_ascii_alphanumeric()
                    && !matches!(before, '_' | ':');
            }
            c if c.is_whitespace() => {}
            c => before = c,
        }
    }
    false
}

/// The stream selector in a log query, from brace to brace.
#[must_use]
pub fn stream_selector(query: &str) -> Option<&str> {
    let begin = query.find('{')?;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in query[begin..].char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if c == '}' => return Some(&query[begin..=begin + at]),
            None => {}
        }
    }
    None
}

/// Labels that agents do not keep, because controllers put them on pods to tell revisions apart.
const GENERATED: [&str; 4] = [
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
];
/// Words of LogQL that cannot be labels in a selector; neither can they with Loki.
const RESERVED: [&str; 23] = [
    "and",
    "bool",
    "by",
    "decolorize",
    "drop",
    "group_left",
    "group_right",
    "ignoring",
    "json",
    "keep",
    "label_format",
    "label_replace",
    "line_format",
    "logfmt",
    "offset",
    "on",
    "or",
    "pattern",
    "regexp",
    "unless",
    "unpack",
    "unwrap",
    "without",
];
/// Names that mean the pod itself, whatever labels it has.
const FIXED: [&str; 6] = [
    "namespace",
    "pod",
    "container",
    "container_id",
    "node",
    "stream",
];

/// A label selector of Kubernetes as matchers of LogQL, each with a comma before it.
///
/// # Errors
/// When it is none, or asks for a label that is not kept.
pub fn matchers(selector: &str) -> Result<String> {
    let mut out = String::new();
    for requirement in split(selector) {
        let requirement = requirement.trim();
        if requirement.is_empty() && selector.trim().is_empty() {
            continue;
        }
        let (name, operator, values) = parse(requirement).ok_or_else(|| {
            Error::Usage(format!(
                "unable to parse the selector \"{selector}\" at \"{requirement}\": expected a=b, a!=b, a in (b,c), a notin (b,c), a or !a"
            ))
        })?;
        if GENERATED.contains(&name) {
            return Err(Error::Usage(format!(
                "the label {name} is not kept with logs: select by another label, or name the pod or its workload"
            )));
        }
        let label = label_name(name);
        if FIXED.contains(&label.as_str()) {
            return Err(Error::Usage(format!(
                "a pod's label {name} is not kept with logs, because {label} means the pod itself"
            )));
        }
        if RESERVED.contains(&label.to_lowercase().as_str()) {
            return Err(Error::Usage(format!(
                "LogQL cannot select by the label {name}, which is one of its own words: select by another label, or name the pod or its workload"
            )));
        }
        let value = match operator {
            "=~" | "!~" if values.is_empty() => quote(".+"),
            "=~" | "!~" => one_of(&values),
            _ => quote(values.first().copied().unwrap_or_default()),
        };
        out.push_str(&format!(", {label}{operator}{value}"));
    }
    Ok(out)
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Name, operator of LogQL, values; no values behind `=~` mean any.
fn parse(requirement: &str) -> Option<(&str, &'static str, Vec<&str>)> {
    let found = if let Some((name, value)) = requirement.split_once("!=") {
        (name.trim(), "!=", vec![value.trim()])
    } else if let Some((name, value)) = requirement.split_once("==") {
        (name.trim(), "=", vec![value.trim()])
    } else if let Some((name, value)) = requirement.split_once('=') {
        (name.trim(), "=", vec![value.trim()])
    } else if let Some(name) = requirement.strip_prefix('!') {
        (name.trim(), "=", vec![""])
    } else if let Some((name, rest)) = requirement.split_once(char::is_whitespace) {
        let rest = rest.trim();
        let (operator, list) = match rest.strip_prefix("notin") {
            Some(list) => ("!~", list),
            None => ("=~", rest.strip_prefix("in")?),
        };
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        (name, operator, list.split(',').map(str::trim).collect())
    } else {
        (requirement, "=~", vec![])
    };
    let is_part = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
    };
    let (name, _, values) = &found;
    let is_good = !name.is_empty() && is_part(name) && values.iter().all(|v| is_part(v));
    is_good.then_some(found)
}

/// A Kubernetes label's name as it labels a stream.
fn label_name(name: &str) -> String {
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let word = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    digit.then_some('_').into_iter().chain(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_become_matchers() {
        for (selector, expected) in [
            ("app=web", Some(r#", app="web""#)),
            ("app==web,tier!=x", Some(r#", app="web", tier!="x""#)),
            ("app in (a, b.c)", Some(r#", app=~"a|b\\.c""#)),
            (
                "app notin (a),k8s.io/x",
                Some(r#", app!~"a", k8s_io_x=~".+""#),
            ),
            ("!app, 1st=", Some(r#", app="", _1st="""#)),
            ("", Some("")),
            ("ip=1", Some(r#", ip="1""#)),
            ("or=b", None),
            ("a=b,!JSON", None),
            ("a=b,", None),
            ("=b", None),
            ("a in b", None),
            ("a=\"} or", None),
            ("pod-template-hash=1", None),
            ("pod=x", None),
        ] {
            assert_eq!(matchers(selector).ok().as_deref(), expected, "{selector}");
        }
    }

    #[test]
    fn languages_by_their_looks() {
        for (query, expected) in [
            (r#"{app="x"} |= "y""#, true),
            (r#"sum by (pod) (rate({app="x"}[5m]))"#, true),
            (r#"up{job="x"}"#, false),
            (r#"rate(a:b {x="{"}[5m])"#, false),
            (r#"{__name__="up"}"#, false),
            (r#"{"http.requests"}"#, false),
            (r#"sum("{")"#, false),
            ("up", false),
            ("1 + 1", false),
        ] {
            assert_eq!(is_logql(query), expected, "{query}");
        }
    }

    #[test]
    fn selectors_in_queries() {
        for (query, expected) in [
            (
                r#"{a="}\"}", b=`}`} |= "{x}""#,
                Some(r#"{a="}\"}", b=`}`}"#),
            ),
            ("{}", Some("{}")),
            ("up", None),
            ("{a=\"}", None),
        ] {
            assert_eq!(stream_selector(query), expected, "{query}");
        }
    }

    #[test]
    fn quoted() {
        assert_eq!(quote("a\"\\\n\u{1}"), r#""a\"\\\n\u0001""#);
        assert_eq!(one_of(["a.b", "c|d"]), r#""a\\.b|c\\|d""#);
    }
}
