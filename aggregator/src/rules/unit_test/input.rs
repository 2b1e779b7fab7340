//! Files of unit tests: YAML text in, tests out.
//!
//! Fields are promtool's. The one rule: what is not known or not read is an error with its line.

use std::path::{Path, PathBuf};

use kansoku_model::{ConfigError, Labels};
use kansoku_parsers::config::yaml::tree::{self, Node, Value};
use kansoku_query::number::{parse_duration_ms, parse_float};
use kansoku_query::promql::native::FloatHistogram;
use kansoku_query::promql::notation::{self, Item, labels_of, values_of};

use crate::clock;

/// What a file says.
#[derive(Debug)]
pub struct TestFile {
    pub folder: PathBuf,
    pub rule_files: Vec<String>,
    pub evaluation_interval_ms: i64,
    pub group_eval_order: Vec<String>,
    pub fuzzy_compare: bool,
    pub tests: Vec<TestGroup>,
}

/// One test.
#[derive(Debug)]
pub struct TestGroup {
    pub name: String,
    pub interval_ms: Option<i64>,
    pub start_ms: i64,
    pub external_labels: Labels,
    pub external_url: String,
    pub series: Vec<InputSeries>,
    pub alerts: Vec<AlertTest>,
    pub expressions: Vec<ExpressionTest>,
}

/// A series with a sample a step.
#[derive(Debug)]
pub struct InputSeries {
    pub labels: Labels,
    pub values: Vec<Option<Item>>,
}

/// Which alerts must fire at a time.
#[derive(Debug)]
pub struct AlertTest {
    pub eval_time_ms: i64,
    pub alertname: String,
    /// Labels, the alert's name included, and annotations.
    pub expected: Vec<(Labels, Labels)>,
}

/// What an expression must give at a time.
#[derive(Debug)]
pub struct ExpressionTest {
    pub eval_time_ms: i64,
    pub expr: String,
    /// Or what is wrong with one of them.
    pub expected: Result<Vec<ExpectedSample>, String>,
}

/// One expected series.
#[derive(Debug, Clone)]
pub struct ExpectedSample {
    pub labels: Labels,
    pub value: f64,
    pub histogram: Option<FloatHistogram>,
}

type Read<T> = Result<T, ConfigError>;

/// Reads a file.
///
/// # Errors
/// What is wrong with which line.
pub fn read(path: &Path, ignores_unknown: bool) -> Result<TestFile, String> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| format!("failed to read {name}: {e}"))?;
    let parsed = parse(&name, &bytes, super::folder_of(path), ignores_unknown);
    parsed.map_err(|e| e.to_string())
}

/// Reads the text of a file that lies in `folder`.
///
/// # Errors
/// What is wrong with which line.
pub fn parse(name: &str, bytes: &[u8], folder: PathBuf, ignores_unknown: bool) -> Read<TestFile> {
    let mut file = TestFile {
        folder,
        rule_files: Vec::new(),
        evaluation_interval_ms: 60_000,
        group_eval_order: Vec::new(),
        fuzzy_compare: false,
        tests: Vec::new(),
    };
    let mut roots = tree::parse(name, bytes, &mut Vec::new())?;
    if ignores_unknown {
        roots.iter_mut().for_each(|root| prune(root, &FIELDS));
    }
    let Some(root) = roots.first().filter(|root| !root.is_null()) else {
        return Ok(file);
    };
    for (key, node) in root.checked_pairs(&[
        "rule_files",
        "evaluation_interval",
        "group_eval_order",
        "fuzzy_compare",
        "tests",
    ])? {
        match key {
            "rule_files" => file.rule_files = texts(node)?,
            "evaluation_interval" => match duration_ms(node)? {
                0 => {}
                ms => file.evaluation_interval_ms = ms,
            },
            "group_eval_order" => {
                file.group_eval_order = texts(node)?;
                let order = &file.group_eval_order;
                let repeated = (1..order.len()).find(|i| order[..*i].contains(&order[*i]));
                if let Some(i) = repeated {
                    let message = format!("group name repeated in evaluation order: {}", order[i]);
                    return Err(node.error(message));
                }
            }
            "fuzzy_compare" => file.fuzzy_compare = node.text()? == "true",
            _ => {
                for (number, test) in node.items()?.iter().enumerate() {
                    file.tests.push(test_group(test, number)?);
                }
            }
        }
    }
    Ok(file)
}

/// The fields of a map, with those of the maps below each; none where anything may stand.
struct Known(&'static str, &'static [Known]);

const FIELDS: [Known; 5] = [
    Known("rule_files", &[]),
    Known("evaluation_interval", &[]),
    Known("group_eval_order", &[]),
    Known("fuzzy_compare", &[]),
    Known(
        "tests",
        &[
            Known("name", &[]),
            Known("interval", &[]),
            Known("start_timestamp", &[]),
            Known("external_labels", &[]),
            Known("external_url", &[]),
            Known(
                "input_series",
                &[Known("series", &[]), Known("values", &[])],
            ),
            Known(
                "alert_rule_test",
                &[
                    Known("eval_time", &[]),
                    Known("alertname", &[]),
                    Known(
                        "exp_alerts",
                        &[Known("exp_labels", &[]), Known("exp_annotations", &[])],
                    ),
                ],
            ),
            Known(
                "promql_expr_test",
                &[
                    Known("expr", &[]),
                    Known("eval_time", &[]),
                    Known(
                        "exp_samples",
                        &[
                            Known("labels", &[]),
                            Known("value", &[]),
                            Known("histogram", &[]),
                        ],
                    ),
                ],
            ),
        ],
    ),
];

/// Takes out what is not known.
fn prune(node: &mut Node, known: &[Known]) {
    match &mut node.value {
        _ if known.is_empty() => {}
        Value::Scalar { .. } => {}
        Value::List(items) => items.iter_mut().for_each(|item| prune(item, known)),
        Value::Map(pairs) => pairs.retain_mut(|(key, value)| {
            let found = known.iter().find(|one| one.0 == key.text);
            if let Some(one) = found {
                prune(value, one.1);
            }
            found.is_some()
        }),
    }
}

fn texts(node: &Node) -> Read<Vec<String>> {
    let items = node.items()?.iter();
    items.map(|item| item.text().map(str::to_owned)).collect()
}

fn duration_ms(node: &Node) -> Read<i64> {
    parse_duration_ms(node.text()?).map_err(|e| node.error(e))
}

fn labels(node: &Node) -> Read<Vec<(String, String)>> {
    let pairs = node.pairs()?.iter();
    pairs
        .map(|(key, value)| Ok((key.text.clone(), value.text()?.to_owned())))
        .collect()
}

fn test_group(node: &Node, number: usize) -> Read<TestGroup> {
    let mut test = TestGroup {
        name: String::new(),
        interval_ms: None,
        start_ms: 0,
        external_labels: Labels::default(),
        external_url: String::new(),
        series: Vec::new(),
        alerts: Vec::new(),
        expressions: Vec::new(),
    };
    for (key, node) in node.checked_pairs(&[
        "name",
        "interval",
        "start_timestamp",
        "external_labels",
        "external_url",
        "input_series",
        "alert_rule_test",
        "promql_expr_test",
    ])? {
        match key {
            "name" => test.name = node.text()?.to_owned(),
            "interval" => test.interval_ms = Some(duration_ms(node)?).filter(|ms| *ms > 0),
            "start_timestamp" => test.start_ms = start_ms(node)?,
            "external_labels" => test.external_labels = Labels::from_pairs(labels(node)?),
            "external_url" => test.external_url = node.text()?.to_owned(),
            "input_series" => {
                for item in node.items()? {
                    test.series.push(series(item)?);
                }
            }
            "alert_rule_test" => {
                for item in node.items()? {
                    test.alerts.push(alert_test(item)?);
                }
            }
            _ => {
                for item in node.items()? {
                    test.expressions.push(expression_test(item)?);
                }
            }
        }
    }
    for one in &test.alerts {
        if one.alertname.is_empty() {
            let shown = match test.name.as_str() {
                "" => String::new(),
                name => format!(" (in TestGroup {name})"),
            };
            let time = kansoku_query::number::format_duration_ms(one.eval_time_ms);
            return Err(node.error(format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {time}{shown}"
            )));
        }
    }
    if test.name.is_empty() {
        test.name = format!("unnamed#{number}");
    }
    Ok(test)
}

/// Seconds since 1970, or RFC 3339.
fn start_ms(node: &Node) -> Read<i64> {
    let text = node.text()?;
    if let Some(seconds) = parse_float(text).filter(|s| s.abs() < 1e12) {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let ns = clock::parse_rfc3339_ns(text).ok_or_else(|| {
        node.error(format!(
            "cannot parse {text:?} to a valid timestamp; expected 2024-01-02T15:04:05Z or seconds"
        ))
    })?;
    Ok(i64::try_from(ns.div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

fn series(node: &Node) -> Read<InputSeries> {
    let (mut name, mut values) = (String::new(), None);
    for (key, node) in node.checked_pairs(&["series", "values"])? {
        match key {
            "series" => name = node.text()?.to_owned(),
            _ => {
                let text = node.text()?;
                let found = values_of(text);
                let wrong = || node.error(format!("values of a series expected, found {text:?}"));
                values = Some(found.ok_or_else(wrong)?);
            }
        }
    }
    Ok(InputSeries {
        labels: labels_of(&name).map_err(|e| node.error(format!("series {name:?}: {e}")))?,
        values: values.unwrap_or_default(),
    })
}

fn alert_test(node: &Node) -> Read<AlertTest> {
    let (mut eval_time_ms, mut alertname, mut alerts) = (0, String::new(), Vec::new());
    for (key, node) in node.checked_pairs(&["eval_time", "alertname", "exp_alerts"])? {
        match key {
            "eval_time" => eval_time_ms = duration_ms(node)?,
            "alertname" => alertname = node.text()?.to_owned(),
            _ => {
                for item in node.items()? {
                    let (mut of_alert, mut annotations) = (Vec::new(), Vec::new());
                    if !item.is_null() {
                        for (key, node) in item.checked_pairs(&["exp_labels", "exp_annotations"])? {
                            match key {
                                "exp_labels" => of_alert = labels(node)?,
                                _ => annotations = labels(node)?,
                            }
                        }
                    }
                    alerts.push((of_alert, annotations));
                }
            }
        }
    }
    let with_name = |(mut of_alert, annotations): (Vec<_>, Vec<_>)| {
        of_alert.push(("alertname".to_owned(), alertname.clone()));
        (
            Labels::from_pairs(of_alert),
            Labels::from_pairs(annotations),
        )
    };
    Ok(AlertTest {
        eval_time_ms,
        expected: alerts.into_iter().map(with_name).collect(),
        alertname,
    })
}

fn expression_test(node: &Node) -> Read<ExpressionTest> {
    let mut test = ExpressionTest {
        eval_time_ms: 0,
        expr: String::new(),
        expected: Ok(Vec::new()),
    };
    for (key, node) in node.checked_pairs(&["expr", "eval_time", "exp_samples"])? {
        match key {
            "expr" => test.expr = node.text()?.to_owned(),
            "eval_time" => test.eval_time_ms = duration_ms(node)?,
            _ => {
                let mut samples = Vec::new();
                for item in node.items()? {
                    samples.push(expected_sample(item)?);
                }
                test.expected = samples.into_iter().collect();
            }
        }
    }
    Ok(test)
}

fn expected_sample(node: &Node) -> Read<Result<ExpectedSample, String>> {
    let (mut written, mut value, mut histogram) = (String::new(), 0.0, String::new());
    for (key, node) in node.checked_pairs(&["labels", "value", "histogram"])? {
        let text = node.text()?;
        match key {
            "labels" => written = text.to_owned(),
            "value" => {
                // YAML writes `.inf` and `.nan`.
                let number = text.replacen(".inf", "Inf", 1).replacen(".nan", "NaN", 1);
                let wrong = || node.error(format!("expected a number, found {text:?}"));
                value = parse_float(&number).ok_or_else(wrong)?;
            }
            _ => histogram = text.to_owned(),
        }
    }
    let inside = histogram.trim().strip_prefix("{{");
    let inside = inside.and_then(|t| t.strip_suffix("}}"));
    let read = match (histogram.as_str(), inside.and_then(notation::histogram)) {
        ("", _) => Ok(None),
        (_, Some(histogram)) => Ok(Some(histogram)),
        (text, None) => Err(format!("expected histogram, got {text}")),
    };
    let of_series = match written.trim() {
        "" => Ok(Labels::default()),
        text => labels_of(text),
    };
    let both = of_series.and_then(|labels| Ok((labels, read?)));
    Ok(both
        .map(|(labels, histogram)| ExpectedSample {
            labels,
            value,
            histogram,
        })
        .map_err(|e| format!("labels {written:?}: {e}")))
}
