//! Prometheus' text exposition (0.0.4) and OpenMetrics: a scraped page becomes one metric batch.
//!
//! Not here: staleness and target labels, which are the scraper's. The rule: a line that cannot be read is
//! counted with the reason for the first, and the other lines are kept.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Resource, Suffix};

use super::Refused;

/// A page that was read.
#[derive(Debug)]
pub struct Page {
    pub batch: MetricBatch,
    /// Lines that were not.
    pub refused: Refused,
}

/// Reads a page. In OpenMetrics times are seconds, and a counter's samples end in `_total`.
#[must_use]
pub fn parse(
    text: &str,
    is_open_metrics: bool,
    tag: Arc<str>,
    resource: Arc<Resource>,
    now_ms: i64,
) -> Page {
    let mut parser = Parser {
        is_open_metrics,
        batch: MetricBatch::new(tag, resource, now_ms),
        families: HashMap::new(),
        kinds: HashMap::new(),
        helps: HashMap::new(),
        labels: Vec::new(),
    };
    let mut refused = Refused::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            parser.comment(comment.trim_start());
        } else if let Err(what) = parser.sample(line) {
            refused.add(1, || format!("line {}: {what}", number + 1));
        }
    }
    Page {
        batch: parser.batch,
        refused,
    }
}

struct Parser<'a> {
    is_open_metrics: bool,
    batch: MetricBatch,
    families: HashMap<&'a str, FamilyId>,
    kinds: HashMap<&'a str, MetricKind>,
    helps: HashMap<&'a str, String>,
    /// Labels of the line at hand, kept for their memory.
    labels: Vec<(&'a str, String)>,
}

impl<'a> Parser<'a> {
    fn comment(&mut self, text: &'a str) {
        let (word, rest) = split_blank(text);
        let (name, rest) = split_blank(rest);
        let name = name.trim_matches('"');
        match word {
            "TYPE" => {
                let kind = match rest {
                    "counter" => MetricKind::Counter,
                    "gauge" | "info" | "stateset" => MetricKind::Gauge,
                    "histogram" | "gaugehistogram" => MetricKind::Histogram,
                    "summary" => MetricKind::Summary,
                    _ => MetricKind::Unknown,
                };
                self.kinds.insert(name, kind);
            }
            "HELP" => {
                self.helps.insert(name, unescape(rest));
            }
            _ => {}
        }
    }

    fn sample(&mut self, line: &'a str) -> Result<(), &'static str> {
        self.labels.clear();
        let end = line
            .find(['{', ' ', '\t'])
            .ok_or("a value must follow the name")?;
        let mut name = &line[..end];
        let mut rest = line[end..].trim_start();
        if let Some(inside) = rest.strip_prefix('{') {
            let (quoted, after) = self.read_labels(inside)?;
            if name.is_empty() {
                name = quoted.ok_or("the metric has no name")?;
            }
            rest = after.trim_start();
        }
        if name.is_empty() {
            return Err("the metric has no name");
        }
        // An exemplar follows a sample of OpenMetrics.
        let rest = rest.split(" # ").next().unwrap_or_default();
        let mut words = rest.split_ascii_whitespace();
        let value =
            number(words.next().ok_or("the value is missing")?).ok_or("the value is no number")?;
        let time_ms = words
            .next()
            .map(|t| self.time_ms(t).ok_or("the time is no number"))
            .transpose()?;
        if words.next().is_some() {
            return Err("something follows the time");
        }
        let (family, suffix) = self.family(name);
        let labels = self.labels.iter().map(|(n, v)| (*n, v.as_str()));
        let labels = self.batch.label_set(labels);
        self.batch.push(Point {
            family,
            suffix,
            labels,
            time_ms,
            value,
        });
        Ok(())
    }

    fn time_ms(&self, text: &str) -> Option<i64> {
        if !self.is_open_metrics {
            return text.parse().ok();
        }
        let seconds: f64 = text.parse().ok()?;
        (seconds.abs() < 9e12).then_some((seconds * 1000.0).round() as i64)
    }

    /// `name="value",...}`: also a name in quotes, and first of all the metric's own. Returns that and
    /// what follows the bracket.
    fn read_labels(&mut self, text: &'a str) -> Result<(Option<&'a str>, &'a str), &'static str> {
        let mut own_name = None;
        let mut rest = text.trim_start();
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                return Ok((own_name, after));
            }
            let (name, after) = if let Some(inside) = rest.strip_prefix('"') {
                let end = inside.find('"').ok_or("a quote is not closed")?;
                (&inside[..end], &inside[end + 1..])
            } else {
                let end = rest
                    .find(['=', ' ', ',', '}'])
                    .ok_or("`=` must follow a label's name")?;
                (&rest[..end], &rest[end..])
            };
            let after = after.trim_start();
            if let Some(value) = after.strip_prefix('=') {
                let value = value
                    .trim_start()
                    .strip_prefix('"')
                    .ok_or("a label's value must stand in quotes")?;
                let end = quote_end(value).ok_or("a quote is not closed")?;
                if name.is_empty() {
                    return Err("a label has no name");
                }
                self.labels.push((name, unescape(&value[..end])));
                rest = value[end + 1..].trim_start();
            } else if own_name.is_none() && !name.is_empty() {
                own_name = Some(name);
                rest = after;
            } else {
                return Err("`=` must follow a label's name");
            }
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.starts_with('}') => rest,
                None => return Err("`,` or `}` must follow a label"),
            };
        }
    }

    /// The family of a sample: its own name, or that of the histogram or summary it belongs to.
    fn family(&mut self, name: &'a str) -> (FamilyId, Suffix) {
        for suffix in [Suffix::Bucket, Suffix::Sum, Suffix::Count] {
            let Some(base) = name.strip_suffix(suffix.as_str()) else {
                continue;
            };
            match self.kinds.get(base) {
                Some(MetricKind::Histogram) => return (self.named(base, base), suffix),
                Some(MetricKind::Summary) if suffix != Suffix::Bucket => {
                    return (self.named(base, base), suffix);
                }
                _ => {}
            }
        }
        // OpenMetrics names the family of a counter without its ending.
        let base = name
            .strip_suffix("_total")
            .filter(|b| self.kinds.contains_key(b));
        (self.named(name, base.unwrap_or(name)), Suffix::None)
    }

    fn named(&mut self, name: &'a str, described: &str) -> FamilyId {
        if let Some(id) = self.families.get(name) {
            return *id;
        }
        let kind = self.kinds.get(name).or_else(|| self.kinds.get(described));
        let help = self.helps.get(name).or_else(|| self.helps.get(described));
        let id = self.batch.new_family(
            name,
            kind.copied().unwrap_or_default(),
            help.map_or("", String::as_str),
        );
        self.families.insert(name, id);
        id
    }
}

fn split_blank(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim())
}

fn quote_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some(c @ ('\\' | '"'))) => out.push(c),
            ('\\', Some(other)) => out.extend(['\\', other]),
            (c, _) => out.push(c),
        }
    }
    out
}

fn number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "+inf" | "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_open_metrics: bool) -> (Vec<String>, Refused) {
        let page = parse(text, is_open_metrics, "t".into(), Arc::default(), 7);
        let b = &page.batch;
        let line = |p: &Point| {
            let kind = b.family_of(p).kind.as_str();
            format!("{kind} {} {} @{}", b.series_of(p), p.value, b.time_of(p))
        };
        (b.points().iter().map(line).collect(), page.refused)
    }

    #[test]
    fn a_page_of_prometheus_is_read() {
        let text = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\\\"\\\\\\n,}\", y = \"2\",} 3 1500\n\n\
            # TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 1e3\nh_count 2\nplain NaN\n{\"dotted.name\",\"l l\"=\"v\"} +Inf\n";
        let (points, refused) = read(text, false);
        assert_eq!(refused, Refused::default());
        assert_eq!(
            points,
            [
                r#"counter {__name__="a_total", x="1\"\\\n,}", y="2"} 3 @1500"#,
                r#"histogram {__name__="h_bucket", le="+Inf"} 2 @7"#,
                r#"histogram {__name__="h_sum"} 1000 @7"#,
                r#"histogram {__name__="h_count"} 2 @7"#,
                r#"untyped {__name__="plain"} NaN @7"#,
                r#"untyped {__name__="dotted.name", l l="v"} inf @7"#,
            ]
        );
    }

    #[test]
    fn a_page_of_open_metrics_is_read() {
        let text = "# TYPE a counter\na_total 3 1.5 # {trace=\"x\"} 1 2\na_created 1\n# EOF\n";
        let (points, refused) = read(text, true);
        assert_eq!(refused.count, 0);
        assert_eq!(points[0], r#"counter {__name__="a_total"} 3 @1500"#);
        assert_eq!(points[1], r#"untyped {__name__="a_created"} 1 @7"#);
    }

    #[test]
    fn bad_lines_are_counted_and_their_neighbours_kept() {
        let text = "good 1\nx\nx{ 1\nx{a=1} 1\nx{a=\"1} 1\nx one\nx 1 2 3\n{} 1\nx{a=\"b\" c=\"d\"} 1\nalso 2\n";
        let (points, refused) = read(text, false);
        assert_eq!(points.len(), 2);
        assert_eq!(refused.count, 8);
        assert_eq!(
            refused.first.as_deref(),
            Some("line 2: a value must follow the name")
        );
    }

    #[test]
    fn no_text_makes_it_panic() {
        let page =
            "# TYPE a counter\na_total{x=\"1\\\"\\\\\\n,}\", \"観\"=\"2\",} 3 1500 # {a=\"b\"} 1\n";
        for cut in 0..page.len() {
            for part in [page.get(cut..), page.get(..cut)] {
                let _ = read(part.unwrap_or_default(), cut % 2 == 0);
            }
        }
    }
}
