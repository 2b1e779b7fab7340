//! OTLP names as Prometheus's: metrics, units and labels, by the strategy of translation.
//!
//! Source: the Go library github.com/prometheus/otlptranslator (`metric_namer.go`, `unit_namer.go`,
//! `label_namer.go`), which Prometheus and Loki use.

use std::borrow::Cow;

/// Whether names are escaped to Prometheus's old alphabet, and whether unit and type are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    #[default]
    UnderscoreEscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
    NoUtf8EscapingWithSuffixes,
    NoTranslation,
}

impl Strategy {
    /// As Prometheus's configuration names them.
    pub const ALL: [(&'static str, Self); 4] = [
        (
            "UnderscoreEscapingWithSuffixes",
            Self::UnderscoreEscapingWithSuffixes,
        ),
        (
            "UnderscoreEscapingWithoutSuffixes",
            Self::UnderscoreEscapingWithoutSuffixes,
        ),
        (
            "NoUTF8EscapingWithSuffixes",
            Self::NoUtf8EscapingWithSuffixes,
        ),
        ("NoTranslation", Self::NoTranslation),
    ];

    /// Whether names keep to letters, digits and underscores.
    #[must_use]
    pub fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether unit and type are appended.
    #[must_use]
    pub fn has_suffixes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes
        )
    }
}

/// What of a metric's type shows in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Gauge,
    /// A sum that only grows.
    Counter,
    Other,
}

/// Units by their UCUM code.
const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units behind a slash.
const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

fn word<'a>(table: &[(&str, &'static str)], unit: &'a str) -> &'a str {
    let known = table.iter().find(|(code, _)| *code == unit);
    known.map_or(unit, |(_, word)| word)
}

/// The words for a unit and for what stands behind its slash (`per_second`); empty where there is none. What stands in
/// braces is a remark, no unit.
fn suffixes(unit: &str) -> (String, String) {
    let is_unit = |text: &&str| !text.is_empty() && !text.contains(['{', '}']);
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = Some(main.trim()).filter(is_unit);
    let per = Some(per.trim()).filter(is_unit);
    (
        main.map_or(String::new(), |unit| word(&UNITS, unit).to_owned()),
        per.map_or(String::new(), |unit| {
            format!("per_{}", word(&PER_UNITS, unit))
        }),
    )
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// A unit's word as a part of a name: runs of other characters are one underscore, none at the start.
fn clean(unit: &str) -> String {
    let mut text = String::with_capacity(unit.len());
    for c in unit.chars() {
        match is_name_char(c) {
            true => text.push(c),
            false if text.ends_with('_') => {}
            false => text.push('_'),
        }
    }
    text.strip_prefix('_').map(str::to_owned).unwrap_or(text)
}

/// The unit as metadata tell it.
#[must_use]
pub fn unit_name(unit: &str) -> String {
    let (main, per) = suffixes(unit);
    let (main, per) = (clean(&main), clean(&per));
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        _ => per,
    };
    let text = joined.strip_prefix('_').unwrap_or(&joined);
    text.strip_suffix('_').unwrap_or(text).to_owned()
}

/// The name of a metric.
///
/// # Errors
/// When nothing that could be a name is left of it.
pub fn metric_name(
    name: &str,
    unit: &str,
    shape: Shape,
    strategy: Strategy,
) -> Result<String, String> {
    if name.is_empty() {
        return Err("a metric has no name".into());
    }
    if !strategy.escapes() {
        return Ok(match strategy.has_suffixes() {
            true => suffixed(name, unit, shape),
            false => name.to_owned(),
        });
    }
    let mut text = if strategy.has_suffixes() {
        normalized(name, unit, shape)
    } else {
        let is_kept = |c: char| is_name_char(c) || c == '_';
        let tokens = name.split(|c| !is_kept(c)).filter(|t| !t.is_empty());
        tokens.collect::<Vec<_>>().join("_")
    };
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.insert(0, '_');
    }
    if text.is_empty() || (text != name && text.bytes().all(|b| b == b'_')) {
        return Err(format!(
            "nothing of the metric name {name:?} can be a name of Prometheus"
        ));
    }
    Ok(text)
}

/// With unit and type as words of their own at the end, each once.
fn normalized(name: &str, unit: &str, shape: Shape) -> String {
    let tokens = name.split(|c| !is_name_char(c)).filter(|t| !t.is_empty());
    let mut tokens: Vec<String> = tokens.map(str::to_owned).collect();
    let (main, per) = suffixes(unit);
    let (mut main, per) = (clean(&main), clean(&per));
    let per = per.trim_end_matches('_');
    if tokens.contains(&main) {
        main.clear();
    }
    let per = match per == "per" || tokens.iter().any(|t| t == per) {
        true => "",
        false => per,
    };
    if !per.is_empty() && main.ends_with('_') {
        main.pop();
    }
    tokens.extend([main, per.to_owned()].into_iter().filter(|t| !t.is_empty()));
    let last = match shape {
        Shape::Counter => Some("total"),
        // Sums of things often say 1 where they should say nothing.
        Shape::Gauge if unit == "1" => Some("ratio"),
        Shape::Gauge | Shape::Other => None,
    };
    if let Some(last) = last {
        tokens.retain(|t| t != last);
        tokens.push(last.to_owned());
    }
    tokens.join("_")
}

/// The same where any character may stand in a name.
fn suffixed(name: &str, unit: &str, shape: Shape) -> String {
    let without = |name: &mut String, suffix: &str| {
        if name.ends_with(suffix) && name.len() > suffix.len() + 1 {
            // The delimiter goes along, whatever it is.
            let at = name.len() - suffix.len();
            let delimiter = name[..at].chars().next_back().map_or(0, char::len_utf8);
            name.truncate(at - delimiter);
        }
    };
    let mut text = name.to_owned();
    let (main, per) = suffixes(unit);
    let last = match shape {
        Shape::Gauge if unit == "1" => "_ratio",
        Shape::Counter => "_total",
        Shape::Gauge | Shape::Other => "",
    };
    if !last.is_empty() {
        without(&mut text, &last[1..]);
    }
    if !per.is_empty() {
        without(&mut text, &per);
    }
    if !main.is_empty() && !text.ends_with(&main) {
        text = format!("{text}_{main}");
    }
    if !per.is_empty() {
        text = format!("{text}_{per}");
    }
    text + last
}

/// How names of labels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LabelRules {
    /// Any character may stand in a name.
    pub is_utf8: bool,
    /// A name that begins with one underscore gets `key` before it.
    pub has_key_prefix: bool,
    /// Runs of underscores stay as they are.
    pub keeps_underscores: bool,
}

/// The name of a label.
///
/// # Errors
/// When nothing that could be a name is left of it.
pub fn label_name<'a>(name: &'a str, rules: &LabelRules) -> Result<Cow<'a, str>, String> {
    if name.is_empty() {
        return Err("an attribute has no name".into());
    }
    let is_empty = |text: &str| text.bytes().all(|b| b == b'_');
    let wrong = || format!("nothing of the attribute name {name:?} can be a name of a label");
    if rules.is_utf8 {
        return match is_empty(name) {
            true => Err(wrong()),
            false => Ok(Cow::Borrowed(name)),
        };
    }
    let mut text = sanitized(name, rules.keeps_underscores);
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text = Cow::Owned(format!("key_{text}"));
    } else if rules.has_key_prefix && text.starts_with('_') && !text.starts_with("__") {
        text = Cow::Owned(format!("key{text}"));
    }
    match is_empty(&text) {
        true => Err(wrong()),
        false => Ok(text),
    }
}

fn sanitized(name: &str, keeps_underscores: bool) -> Cow<'_, str> {
    let is_kept = |c: char| c.is_ascii_alphanumeric();
    let is_plain = |c: char| is_kept(c) || c == '_';
    if name.chars().all(is_plain) && (keeps_underscores || !name.contains("__")) {
        return Cow::Borrowed(name);
    }
    if keeps_underscores {
        let text = name.chars().map(|c| if is_kept(c) { c } else { '_' });
        return Cow::Owned(text.collect());
    }
    let inner = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    let mut text = String::with_capacity(name.len() + 4);
    for c in inner.unwrap_or(name).chars() {
        match is_kept(c) {
            true => text.push(c),
            false if text.ends_with('_') => {}
            false => text.push('_'),
        }
    }
    Cow::Owned(match inner {
        Some(_) => format!("__{text}__"),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_as_by_prometheus() {
        use Shape::{Counter, Gauge, Other};
        let escaping = Strategy::UnderscoreEscapingWithSuffixes;
        for (name, unit, shape, expected) in [
            (
                "system.io",
                "foo/bar",
                Counter,
                "system_io_foo_per_bar_total",
            ),
            (
                "http.server.duration",
                "ms",
                Other,
                "http_server_duration_milliseconds",
            ),
            ("requests", "1", Counter, "requests_total"),
            ("requests.total", "", Counter, "requests_total"),
            ("used", "1", Gauge, "used_ratio"),
            ("used.ratio.x", "1", Gauge, "used_x_ratio"),
            ("disk.bytes", "By", Gauge, "disk_bytes"),
            ("rate", "By/s", Gauge, "rate_bytes_per_second"),
            ("rate", "{packet}/s", Gauge, "rate_per_second"),
            ("n", "{thing}", Gauge, "n"),
            ("9lives", "", Gauge, "_9lives"),
            ("a__b  c:d", "", Gauge, "a_b_c:d"),
            ("temperature", "%", Gauge, "temperature_percent"),
            ("t", "°F", Gauge, "t_F"),
            ("n", "req /  m", Gauge, "n_req_per_minute"),
        ] {
            let got = metric_name(name, unit, shape, escaping);
            assert_eq!(got.as_deref(), Ok(expected), "{name} {unit}");
        }
        for (strategy, expected) in [
            (Strategy::UnderscoreEscapingWithoutSuffixes, "a_b__c"),
            (Strategy::NoUtf8EscapingWithSuffixes, "a.b__c_seconds_total"),
            (Strategy::NoTranslation, "a.b__c"),
        ] {
            let got = metric_name("a.b__c", "s", Counter, strategy);
            assert_eq!(got.as_deref(), Ok(expected));
        }
        let utf8 = Strategy::NoUtf8EscapingWithSuffixes;
        for (name, unit, shape, expected) in [
            ("x.total", "", Counter, "x_total"),
            ("x", "By/s", Gauge, "x_bytes_per_second"),
            ("x_bytes", "By", Gauge, "x_bytes"),
            ("é.ratio", "1", Gauge, "é_ratio"),
        ] {
            assert_eq!(
                metric_name(name, unit, shape, utf8).as_deref(),
                Ok(expected)
            );
        }
        assert!(metric_name("°", "", Gauge, escaping).is_err());
        assert!(metric_name("", "", Gauge, utf8).is_err());
        for (unit, expected) in [
            ("By/s", "bytes_per_second"),
            ("1", ""),
            ("/s", "per_second"),
        ] {
            assert_eq!(unit_name(unit), expected);
        }
    }

    #[test]
    fn labels_are_named_as_by_prometheus_and_loki() {
        let loki = LabelRules::default();
        let prometheus = LabelRules {
            is_utf8: false,
            has_key_prefix: true,
            keeps_underscores: true,
        };
        for (name, of_loki, of_prometheus) in [
            ("service.name", "service_name", "service_name"),
            ("a..b", "a_b", "a__b"),
            ("_a", "_a", "key_a"),
            ("__a.b__", "__a_b__", "__a_b__"),
            ("1st", "key_1st", "key_1st"),
            ("é", "", "key_"),
            ("__", "", ""),
        ] {
            let text = |rules| label_name(name, rules).unwrap_or_default().into_owned();
            assert_eq!(text(&loki), of_loki, "{name}");
            assert_eq!(text(&prometheus), of_prometheus, "{name}");
        }
        let utf8 = LabelRules {
            is_utf8: true,
            ..loki
        };
        assert_eq!(label_name("a.é", &utf8).as_deref(), Ok("a.é"));
        assert!(label_name("__", &utf8).is_err());
    }
}
