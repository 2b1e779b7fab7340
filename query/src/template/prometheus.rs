//! The functions of templates in Prometheus's alerting rules: one hand-written list.
//!
//! Names, order of arguments and results are those of Prometheus (`template/template.go`), the
//! helpers for numbers those of `common/helpers/templates`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::format::{general_rounded, go_duration};
use super::functions::{Function, at_least, exactly};
use super::value::{Sample, Value};
use super::{Language, Scope, texts, times};
use crate::number::{parse_duration_ms, parse_float};

type Result<T = Value> = std::result::Result<T, String>;

/// Templates of rules.
pub const LANGUAGE: Language = Language {
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    // Queries and their results.
    exactly("query", 1, |a, scope| scope.data.query(a[0].as_text()?)),
    exactly("first", 1, |a, _| {
        let first = vector(&a[0])?.first();
        let first = first.ok_or("first() called on vector with no elements")?;
        Ok(Value::Sample(Arc::clone(first)))
    }),
    exactly("label", 2, |a, _| label(sample(&a[1])?, a[0].as_text()?)),
    exactly("value", 1, |a, _| Ok(sample(&a[0])?.value.clone())),
    exactly("strvalue", 1, |a, _| label(sample(&a[0])?, "__value__")),
    exactly("sortByLabel", 2, sort_by_label),
    at_least("args", 0, |a, _| {
        let named = a.iter().enumerate();
        let map: BTreeMap<String, Value> = named
            .map(|(i, value)| (format!("arg{i}"), value.clone()))
            .collect();
        Ok(Value::Map(Arc::new(map)))
    }),
    // Texts.
    exactly("match", 2, |a, scope| {
        let regex = scope.regexes.get(a[0].as_text()?)?;
        Ok(Value::Bool(regex.is_match(a[1].as_text()?)))
    }),
    exactly("reReplaceAll", 3, |a, scope| {
        texts::regex_replace_all(&[a[0].clone(), a[2].clone(), a[1].clone()], scope)
    }),
    exactly("title", 1, texts::title),
    exactly("toUpper", 1, texts::upper),
    exactly("toLower", 1, texts::lower),
    exactly("safeHtml", 1, |a, _| Ok(Value::from(a[0].as_text()?))),
    exactly("stripPort", 1, |a, _| {
        let all = a[0].as_text()?;
        Ok(Value::from(
            split_host_port(all).map_or(all, |(host, _)| host),
        ))
    }),
    exactly("stripDomain", 1, |a, _| {
        Ok(Value::Text(strip_domain(a[0].as_text()?)))
    }),
    exactly("urlQueryEscape", 1, texts::url_encode),
    // Links.
    exactly("graphLink", 1, |a, s| link(a, s, 0)),
    exactly("tableLink", 1, |a, s| link(a, s, 1)),
    exactly("externalURL", 0, |_, s| {
        Ok(Value::from(s.data.external_url()))
    }),
    exactly("pathPrefix", 0, |_, s| {
        Ok(Value::from(path_of(s.data.external_url())))
    }),
    // Numbers.
    exactly("humanize", 1, |a, _| humanize(number(&a[0])?)),
    exactly("humanize1024", 1, |a, _| humanize_1024(number(&a[0])?)),
    exactly("humanizeDuration", 1, |a, _| {
        Ok(Value::Text(humanize_duration(number(&a[0])?)))
    }),
    exactly("humanizePercentage", 1, |a, _| {
        let percent = general_rounded(number(&a[0])? * 100.0, 4);
        Ok(Value::Text(format!("{percent}%")))
    }),
    // Times.
    exactly("humanizeTimestamp", 1, |a, _| {
        let seconds = number(&a[0])?;
        if !seconds.is_finite() {
            return Ok(Value::Text(general_rounded(seconds, 4)));
        }
        Ok(Value::Text(to_time(seconds)?.to_string()))
    }),
    exactly("toTime", 1, |a, _| to_time(number(&a[0])?)),
    exactly("toDuration", 1, |a, _| {
        Ok(Value::Duration((number(&a[0])? * 1e9) as i64))
    }),
    exactly("now", 0, |_, s| {
        let ms = s.data.time_ns().div_euclid(1_000_000);
        Ok(Value::Float(ms as f64 / 1000.0))
    }),
    exactly("parseDuration", 1, |a, _| {
        let text = a[0].as_text()?;
        let (sign, duration) = match text.strip_prefix('-') {
            Some(duration) => (-1.0, duration),
            None => (1.0, text),
        };
        Ok(Value::Float(
            sign * parse_duration_ms(duration)? as f64 / 1000.0,
        ))
    }),
];

fn vector(value: &Value) -> Result<&[Arc<Sample>]> {
    match value {
        Value::Vector(samples) => Ok(samples),
        other => Err(wrong_type(other, "template.queryResult")),
    }
}

fn sample(value: &Value) -> Result<&Sample> {
    match value {
        Value::Sample(sample) => Ok(sample),
        other => Err(wrong_type(other, "*template.sample")),
    }
}

fn wrong_type(value: &Value, expected: &str) -> String {
    let found = value.type_name();
    format!("wrong type for value; expected {expected}; got {found}")
}

fn label(sample: &Sample, name: &str) -> Result {
    Ok(Value::from(sample.labels.get(name).unwrap_or("")))
}

fn sort_by_label(a: &[Value], _: Scope<'_>) -> Result {
    let name = a[0].as_text()?;
    let mut samples = vector(&a[1])?.to_vec();
    samples.sort_by(|x, y| {
        let value = |s: &Sample| s.labels.get(name).unwrap_or("").to_owned();
        value(x).cmp(&value(y))
    });
    Ok(Value::Vector(Arc::new(samples)))
}

/// Where the page of an expression is, below the server's own address.
#[must_use]
pub fn table_link(expression: &str) -> String {
    format!(
        "/graph?g0.expr={}&g0.tab=1",
        texts::query_escape(expression)
    )
}

fn link(a: &[Value], _: Scope<'_>, tab: u8) -> Result {
    let expression = texts::query_escape(a[0].as_text()?);
    Ok(Value::Text(format!(
        "/graph?g0.expr={expression}&g0.tab={tab}"
    )))
}

/// The path of a URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(url, |at| &url[at + 3..]);
    after_scheme.find('/').map_or("", |at| {
        let path = &after_scheme[at..];
        let end = path.find(['?', '#']).unwrap_or(path.len());
        &path[..end]
    })
}

/// Go's `net.SplitHostPort`; `None` where that fails.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inside) = host.strip_prefix('[') {
        let inside = inside.strip_suffix(']')?;
        return (!inside.contains(['[', ']'])).then_some((inside, port));
    }
    let is_plain = !host.contains([':', '[', ']']) && !port.contains(['[', ']']);
    is_plain.then_some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<core::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or("");
    if port.is_empty() {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

/// Go's `ConvertToFloat`.
fn number(value: &Value) -> Result<f64> {
    match value {
        Value::Float(n) => Ok(*n),
        Value::Int(n) => Ok(*n as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => parse_float(text)
            .ok_or_else(|| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Divides by `base` while the number has a prefix left and is not below it.
fn scaled(mut n: f64, base: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in LARGE {
        if n.abs() < base {
            break;
        }
        prefix = next;
        n /= base;
    }
    (n, prefix)
}

/// Multiplies by a thousand until the number is 1 or more.
fn magnified(mut n: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if n.abs() >= 1.0 {
            break;
        }
        prefix = next;
        n *= 1000.0;
    }
    (n, prefix)
}

fn humanize(n: f64) -> Result {
    let (n, prefix) = match n {
        n if n == 0.0 || !n.is_finite() => (n, ""),
        n if n.abs() >= 1.0 => scaled(n, 1000.0),
        n => magnified(n),
    };
    Ok(Value::Text(format!("{}{prefix}", general_rounded(n, 4))))
}

fn humanize_1024(n: f64) -> Result {
    let is_small = n.abs() <= 1.0 || !n.is_finite();
    let (n, prefix) = if is_small { (n, "") } else { scaled(n, 1024.0) };
    let i = if prefix.is_empty() { "" } else { "i" };
    Ok(Value::Text(format!("{}{prefix}{i}", general_rounded(n, 4))))
}

fn humanize_duration(n: f64) -> String {
    if !n.is_finite() {
        return general_rounded(n, 4);
    }
    if n == 0.0 {
        return format!("{}s", general_rounded(n, 4));
    }
    if n.abs() < 1.0 {
        let (n, prefix) = magnified(n);
        return format!("{}{prefix}s", general_rounded(n, 4));
    }
    let sign = if n < 0.0 { "-" } else { "" };
    let n = n.abs();
    let whole = n as i64;
    let (seconds, minutes) = (whole % 60, whole / 60 % 60);
    let (hours, days) = (whole / 3600 % 24, whole / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", general_rounded(n, 4))
    }
}

fn to_time(seconds: f64) -> Result {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".into());
    }
    let ns = seconds * 1e9;
    if !(i64::MIN as f64..=i64::MAX as f64).contains(&ns) {
        return Err(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            Value::Float(seconds)
        ));
    }
    // Prometheus keeps milliseconds.
    let ms = (ns as i64).div_euclid(1_000_000);
    times::from_ns(ms * 1_000_000).map(Value::Time)
}

/// A duration as Go prints it, for messages.
#[must_use]
pub fn duration_text(ms: i64) -> String {
    go_duration(ms.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use kansoku_model::Labels;

    use super::super::{Data, Template};
    use super::*;

    struct Alert;

    impl Data for Alert {
        fn field(&self, name: &str) -> Result {
            match name {
                "Labels" => Ok(Value::Labels(Arc::new(Labels::from_pairs([
                    ("instance", "db-1.example.org:9100"),
                    ("job", "node"),
                ])))),
                "Value" => Ok(Value::Float(0.123_456)),
                _ => Err(format!("can't evaluate field {name}")),
            }
        }

        fn all(&self) -> Value {
            Value::Nil
        }

        fn time_ns(&self) -> i64 {
            1_435_065_584_128_000_000
        }

        fn query(&self, text: &str) -> Result {
            let series = |instance: &str, value: f64| {
                Arc::new(Sample {
                    labels: Arc::new(Labels::from_pairs([
                        ("__name__", text),
                        ("instance", instance),
                    ])),
                    value: Value::Float(value),
                })
            };
            Ok(match text {
                "none" => Value::Vector(Arc::default()),
                _ => Value::Vector(Arc::new(vec![series("b", 21.0), series("a", 11.0)])),
            })
        }

        fn external_url(&self) -> &str {
            "http://test:1234/prefix"
        }
    }

    fn run(text: &str) -> std::result::Result<String, String> {
        let defined = "{{$labels := .Labels}}{{$value := .Value}}";
        Template::new("t", &format!("{defined}{text}"), LANGUAGE)?.execute(&Alert)
    }

    #[test]
    fn functions_give_what_those_of_prometheus_give() {
        let cases = [
            (
                "{{ $labels.instance }} {{ $labels.missing }}|",
                "db-1.example.org:9100 |",
            ),
            (
                "{{ $value }} {{ printf \"%.2f\" $value }} {{ printf \"%.3g\" $value }}",
                "0.123456 0.12 0.123",
            ),
            (
                "{{ humanize $value }} {{ humanize 1234567.0 }} {{ humanize -10 }} {{ humanize 0.0 }}",
                "123.5m 1.235M -10 0",
            ),
            ("{{ humanize 1e-27 }} {{ humanize 1e27 }}", "0.001y 1000Y"),
            (
                "{{ humanize1024 1048576.0 }} {{ humanize1024 0.5 }} {{ humanize1024 \"1536\" }}",
                "1Mi 0.5 1.5ki",
            ),
            (
                "{{ humanizeDuration 90061 }} {{ humanizeDuration 59.5 }} {{ humanizeDuration -3661.0 }} {{ humanizeDuration 0.0123 }}",
                "1d 1h 1m 1s 59.5s -1h 1m 1s 12.3ms",
            ),
            ("{{ 0.1234567 | humanizePercentage }}", "12.35%"),
            (
                "{{ 1435065584.128 | humanizeTimestamp }}",
                "2015-06-23 13:19:44.128 +0000 UTC",
            ),
            (
                "{{ now }} {{ (now | toTime).Year }}",
                "1.435065584128e+09 2015",
            ),
            (
                "{{ (now | toTime).Format \"2006-01-02 15:04\" }} {{ \"Jan\" | (now | toTime).Format }}",
                "2015-06-23 13:19 Jun",
            ),
            (
                "{{ $t := toTime 1000000000 }}{{ ($t.Add (toDuration 3600)).Unix }} {{ $t.Sub (toTime 0) }} {{ ($t.AddDate 0 6 22).Format \"Jan 2\" }} {{ ($t.Truncate 3600000000000).Format \"15:04\" }} {{ $t.Before (toTime 1) }}",
                "1000003600 277777h46m40s Mar 31 01:00 false",
            ),
            ("{{ (toDuration 90.7).Round 1000000000 }}", "1m31s"),
            (
                "{{ with query \"m\" }}{{ . | first | value }}{{ end }}",
                "21",
            ),
            (
                "{{ with query \"none\" }}some{{ else }}nothing{{ end }}",
                "nothing",
            ),
            (
                "{{ range query \"m\" | sortByLabel \"instance\" }}{{ .Labels.instance }}:{{ .Value }};{{ end }}",
                "a:11;b:21;",
            ),
            (
                "{{ range $i, $s := query \"m\" }}{{ $i }}={{ label \"instance\" $s }} {{ end }}",
                "0=b 1=a ",
            ),
            (
                "{{ range query \"m\" }}{{ if eq .Value 11.0 }}{{ break }}{{ end }}{{ .Value }}{{ end }}",
                "21",
            ),
            (
                "{{ range query \"none\" }}x{{ else }}empty{{ end }}",
                "empty",
            ),
            (
                "{{ define \"x\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"b\") }}",
                "1-b",
            ),
            (
                "{{ len (query \"m\") }} {{ (index (query \"m\") 1).Value }}",
                "2 11",
            ),
            (
                "{{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }}",
                "db-1.example.org",
            ),
            (
                "{{ if match \"^db-[0-9]\" $labels.instance }}yes{{ end }}",
                "yes",
            ),
            (
                "{{ stripPort \"[::1]:80\" }} {{ stripPort $labels.instance }} {{ stripDomain $labels.instance }} {{ stripDomain \"10.0.0.1:80\" }}",
                "::1 db-1.example.org db-1:9100 10.0.0.1:80",
            ),
            (
                "{{ title \"aa bB\" }} {{ toUpper \"x\" }} {{ \"X\" | toLower }}",
                "Aa BB X x",
            ),
            (
                "{{ externalURL }}{{ pathPrefix }} {{ graphLink \"up == 0\" }} {{ tableLink \"a\" }}",
                "http://test:1234/prefix/prefix /graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=a&g0.tab=1",
            ),
            (
                "{{ parseDuration \"1h2m10ms\" }} {{ parseDuration \"-5s\" }} {{ toDuration 90 }}",
                "3720.01 -5 1m30s",
            ),
            (
                "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}",
                "1",
            ),
            (
                "{{ with $y := \"v\" }}{{ $y }}{{ end }} {{ $labels }}",
                "v map[instance:db-1.example.org:9100 job:node]",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, message) in [
            (
                "{{ first (query \"none\") }}",
                "first() called on vector with no elements",
            ),
            ("{{ humanize \"x\" }}", "invalid syntax"),
            (
                "{{ value 3 }}",
                "can't handle 3 for arg of type *template.sample",
            ),
            ("{{ break }}", "{{break}} outside {{range}}"),
            ("{{ template \"x\" }}", "template \"x\" not defined"),
            (
                "{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}",
                "call each other deeper",
            ),
            ("{{ range $a, $b, $c := 3 }}{{ end }}", "undefined variable"),
            (
                "{{ range 100000 }}{{ range 100000 }}{{ end }}a{{ end }}",
                "steps",
            ),
            ("{{ .Nope }}", "can't evaluate field Nope"),
            ("{{ nope }}", "template: t:1: function \"nope\" not defined"),
        ] {
            let error = run(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
