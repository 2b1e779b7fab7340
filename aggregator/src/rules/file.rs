//! Rule files: YAML text in, checked groups of rules out.
//!
//! Fields, checks and messages are those of Prometheus (`model/rulefmt`), with the place of each
//! mistake and a hint where a word is nearly right. The one rule: a file is taken whole or not at
//! all, and all that is wrong with it is told at once. Loki's ruler files are the same with LogQL
//! expressions.

use std::sync::Arc;

use kansoku_model::Place;
use kansoku_model::plugin::did_you_mean;
use kansoku_parsers::config::yaml::tree::{self, Key, Node, Value};
use kansoku_query::logql;
use kansoku_query::number::{parse_duration_ms, quote};
use kansoku_query::promql;
use kansoku_query::template::{Template, prometheus};

/// More is no rule file: the largest of real ones have some hundred kilobytes.
const FILE_MAX_BYTES: u64 = 32 << 20;

/// What the expressions of a file are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Promql,
    Logql,
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub enum Expression {
    Promql(Arc<promql::Query>),
    /// With its text.
    Logql(Arc<logql::MetricExpr>, Arc<str>),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, language: Language) -> Result<Self, String> {
        match language {
            Language::Promql => {
                let query = promql::parse(text).map_err(|e| e.to_string())?;
                Ok(Self::Promql(Arc::new(query)))
            }
            Language::Logql => match logql::parse(text).map_err(|e| e.to_string())? {
                logql::Expr::Metric(metric) => Ok(Self::Logql(Arc::new(metric), text.trim().into())),
                logql::Expr::Log(_) => Err(
                    "a log query gives lines, a rule needs numbers; count or aggregate them, for example with count_over_time".into(),
                ),
            },
        }
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Promql(query) => query.fmt(f),
            Self::Logql(_, text) => f.write_str(text),
        }
    }
}

/// A value of a label or annotation: a text, of an alert a template.
#[derive(Debug, Clone)]
pub struct Text {
    pub text: String,
    /// Of alerting rules only.
    pub template: Option<Arc<Template>>,
}

/// What a rule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Record,
    Alert,
}

/// One rule as it is written.
#[derive(Debug, Clone)]
pub struct Rule {
    pub kind: Kind,
    /// The metric or the alert.
    pub name: String,
    pub expression: Expression,
    pub for_ms: i64,
    pub keep_firing_for_ms: i64,
    /// Those of the group included, by name.
    pub labels: Vec<(String, Text)>,
    pub annotations: Vec<(String, Text)>,
}

impl Rule {
    /// Its labels as they are written.
    pub fn label_texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.labels.iter();
        pairs.map(|(name, value)| (name.as_str(), value.text.as_str()))
    }

    /// Whether two rules are written the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        fn texts(pairs: &[(String, Text)]) -> impl Iterator<Item = (&str, &str)> {
            pairs.iter().map(|(n, v)| (n.as_str(), v.text.as_str()))
        }
        (self.kind, &self.name) == (other.kind, &other.name)
            && self.expression.to_string() == other.expression.to_string()
            && (self.for_ms, self.keep_firing_for_ms) == (other.for_ms, other.keep_firing_for_ms)
            && texts(&self.labels).eq(texts(&other.labels))
            && texts(&self.annotations).eq(texts(&other.annotations))
    }
}

/// One group as it is written.
#[derive(Debug, Clone)]
pub struct Group {
    /// Whose data it is about; empty while there is one tenant.
    pub tenant: Arc<str>,
    pub file: Arc<str>,
    pub name: String,
    pub language: Language,
    /// `None` for the interval of the configuration.
    pub interval_ms: Option<i64>,
    pub query_offset_ms: Option<i64>,
    /// The most alerts or series of a rule; 0 is no limit.
    pub limit: usize,
    pub rules: Vec<Rule>,
}

/// Reads a file from the disk.
///
/// # Errors
/// Everything that is wrong with it, each with the file's name.
pub fn read(path: &str, language: Language) -> Result<Vec<Group>, Vec<String>> {
    read_with(path, language, false)
}

/// The same; unknown fields may be ignored.
///
/// # Errors
/// Everything that is wrong with it, each with the file's name.
pub fn read_with(
    path: &str,
    language: Language,
    ignores_unknown: bool,
) -> Result<Vec<Group>, Vec<String>> {
    let told = |e: String| vec![format!("{path}: {e}")];
    let fail = |e: std::io::Error| told(format!("failed to read the rule file: {e}"));
    let len = std::fs::metadata(path).map_err(fail)?.len();
    if len > FILE_MAX_BYTES {
        return Err(told(format!(
            "the rule file has {len} bytes; expected at most {FILE_MAX_BYTES}, split it"
        )));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    parse_with(path, &bytes, language, ignores_unknown)
        .map_err(|all| all.into_iter().map(|e| format!("{path}: {e}")).collect())
}

/// Reads the text of a file.
///
/// # Errors
/// Everything that is wrong with it, without the file's name.
pub fn parse(path: &str, bytes: &[u8], language: Language) -> Result<Vec<Group>, Vec<String>> {
    parse_with(path, bytes, language, false)
}

/// The same; unknown fields may be ignored.
///
/// # Errors
/// Everything that is wrong with it, without the file's name.
pub fn parse_with(
    path: &str,
    bytes: &[u8],
    language: Language,
    ignores_unknown: bool,
) -> Result<Vec<Group>, Vec<String>> {
    let mut roots = tree::parse(path, bytes, &mut Vec::new())
        .map_err(|e| vec![format!("yaml: line {}: {}", e.place.line, e.message)])?;
    // As Prometheus: of several documents the first.
    roots.truncate(1);
    match roots.pop() {
        Some(root) => of_tree(path, &root, language, ignores_unknown),
        None => Ok(Vec::new()),
    }
}

/// Reads groups that an object of an API holds; mistakes name their field.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_object(
    name: &str,
    field: &str,
    object: &serde_json::Value,
    language: Language,
) -> Result<Vec<Group>, Vec<String>> {
    of_tree(name, &node_of(object, field), language, false)
}

/// A value as the reader takes it. Its place is the path of its field, on no line.
fn node_of(value: &serde_json::Value, path: &str) -> Node {
    use serde_json::Value as Json;
    let scalar = |text: String, plain| Value::Scalar { text, plain };
    let node = match value {
        Json::Null => scalar(String::new(), true),
        Json::Bool(b) => scalar(b.to_string(), true),
        Json::Number(n) => scalar(n.to_string(), true),
        Json::String(s) => scalar(s.clone(), false),
        Json::Array(items) => Value::List(
            (items.iter().enumerate())
                .map(|(i, item)| node_of(item, &format!("{path}[{i}]")))
                .collect(),
        ),
        Json::Object(fields) => Value::Map(
            fields
                .iter()
                .map(|(name, value)| {
                    let path = format!("{path}.{name}");
                    let key = Key {
                        place: Place::new(&path, 0),
                        text: name.clone(),
                        merged: false,
                    };
                    (key, node_of(value, &path))
                })
                .collect(),
        ),
    };
    Node {
        place: Place::new(path, 0),
        value: node,
    }
}

fn of_tree(
    path: &str,
    root: &Node,
    language: Language,
    ignores_unknown: bool,
) -> Result<Vec<Group>, Vec<String>> {
    if root.is_null() {
        return Ok(Vec::new());
    }
    let mut reader = Reader {
        file: path.into(),
        language,
        ignores_unknown,
        shape: Vec::new(),
        content: Vec::new(),
    };
    let groups = reader.groups(root);
    if !reader.shape.is_empty() {
        let lines: Vec<String> = reader.shape.iter().map(|e| format!("  {e}")).collect();
        return Err(vec![format!(
            "yaml: unmarshal errors:\n{}",
            lines.join("\n")
        )]);
    }
    match reader.content.is_empty() {
        true => Ok(groups),
        false => Err(reader.content),
    }
}

struct Reader {
    file: Arc<str>,
    language: Language,
    ignores_unknown: bool,
    /// Unknown fields and values of the wrong kind.
    shape: Vec<String>,
    /// Wrong contents.
    content: Vec<String>,
}

/// The values of a map by the names of its fields.
struct Fields<'a>(Vec<(&'a str, &'a Node)>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Node> {
        let found = self.0.iter().find(|(key, _)| *key == name);
        found.map(|(_, node)| *node)
    }
}

const GROUP_FIELDS: [&str; 6] = [
    "name",
    "interval",
    "query_offset",
    "limit",
    "rules",
    "labels",
];
const RULE_FIELDS: [&str; 7] = [
    "record",
    "alert",
    "expr",
    "for",
    "keep_firing_for",
    "labels",
    "annotations",
];

fn at(place: &Place) -> String {
    match place.line {
        0 => place.file.to_string(),
        line => format!("{line}:{}", place.column),
    }
}

impl Reader {
    fn wrong_shape(&mut self, place: &Place, message: &str) {
        self.shape.push(match place.line {
            0 => format!("{}: {message}", place.file),
            line => format!("line {line}: {message}"),
        });
    }

    fn fields<'a>(&mut self, node: &'a Node, known: &[&str], of: &str) -> Fields<'a> {
        let Value::Map(pairs) = &node.value else {
            let message = format!("cannot unmarshal {} into {of}", tag(node));
            self.wrong_shape(&node.place, &message);
            return Fields(Vec::new());
        };
        let mut found: Vec<(&str, &Node)> = Vec::new();
        for (key, value) in pairs {
            let name = key.text.as_str();
            if !known.contains(&name) && self.ignores_unknown {
                continue;
            }
            if !known.contains(&name) {
                let hint = did_you_mean(name, known.iter().copied());
                let message = format!("field {name} not found in type {of}{hint}");
                self.wrong_shape(&key.place, &message);
            } else if found.iter().any(|(other, _)| *other == name) {
                let message = format!("mapping key {} already defined", quote(name));
                self.wrong_shape(&key.place, &message);
            } else {
                found.push((name, value));
            }
        }
        found.retain(|(_, value)| !value.is_null());
        Fields(found)
    }

    fn items<'a>(&mut self, node: Option<&'a Node>, of: &str) -> &'a [Node] {
        match node.map(|node| (&node.value, node)) {
            None => &[],
            Some((Value::List(items), _)) => items,
            Some((_, node)) => {
                let message = format!("cannot unmarshal {} into {of}", tag(node));
                self.wrong_shape(&node.place, &message);
                &[]
            }
        }
    }

    fn text(&mut self, node: Option<&Node>) -> String {
        match node.map(|node| (&node.value, node)) {
            None => String::new(),
            Some((Value::Scalar { text, .. }, _)) => text.clone(),
            Some((_, node)) => {
                let message = format!("cannot unmarshal {} into string", tag(node));
                self.wrong_shape(&node.place, &message);
                String::new()
            }
        }
    }

    fn duration_ms(&mut self, node: Option<&Node>) -> Option<i64> {
        let node = node?;
        match parse_duration_ms(&self.text(Some(node))) {
            Ok(ms) => Some(ms),
            Err(message) => {
                self.wrong_shape(&node.place, &message);
                None
            }
        }
    }

    /// Names and values, by name.
    fn texts(&mut self, node: Option<&Node>) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        match node.map(|node| (&node.value, node)) {
            None => {}
            Some((Value::Map(pairs), _)) => {
                for (key, value) in pairs {
                    let is_new = !texts.iter().any(|(name, _)| *name == key.text);
                    if !is_new {
                        let message = format!("mapping key {} already defined", quote(&key.text));
                        self.wrong_shape(&key.place, &message);
                    }
                    let text = match value.is_null() {
                        true => String::new(),
                        false => self.text(Some(value)),
                    };
                    texts.push((key.text.clone(), text));
                }
            }
            Some((_, node)) => {
                let message = format!("cannot unmarshal {} into map[string]string", tag(node));
                self.wrong_shape(&node.place, &message);
            }
        }
        texts.sort();
        texts
    }

    fn groups(&mut self, root: &Node) -> Vec<Group> {
        let fields = self.fields(root, &["groups"], "rulefmt.RuleGroups");
        let mut groups: Vec<Group> = Vec::new();
        for node in self.items(fields.get("groups"), "[]rulefmt.RuleGroup") {
            let group = self.group(node);
            let place = at(&node.place);
            if group.name.is_empty() {
                self.content
                    .push(format!("{place}: Groupname must not be empty"));
            } else if groups.iter().any(|other| other.name == group.name) {
                self.content.push(format!(
                    "{place}: groupname: \"{}\" is repeated in the same file",
                    group.name
                ));
            }
            groups.push(group);
        }
        groups
    }

    fn group(&mut self, node: &Node) -> Group {
        let fields = self.fields(node, &GROUP_FIELDS, "rulefmt.RuleGroup");
        let name = self.text(fields.get("name"));
        let labels = self.texts(fields.get("labels"));
        for (label, _) in &labels {
            if !is_label_name(label) {
                self.content.push(format!("invalid label name: {label}"));
            }
        }
        let limit = self.text(fields.get("limit"));
        let limit = match (limit.as_str(), limit.parse::<i64>()) {
            ("", _) => 0,
            (_, Ok(n)) => usize::try_from(n).unwrap_or(0),
            (text, Err(_)) => {
                let place = fields.get("limit").map_or(&node.place, |n| &n.place);
                self.wrong_shape(place, &format!("cannot unmarshal !!str `{text}` into int"));
                0
            }
        };
        let interval_ms = self.duration_ms(fields.get("interval"));
        let query_offset_ms = self.duration_ms(fields.get("query_offset"));
        let mut rules = Vec::new();
        let nodes = self.items(fields.get("rules"), "[]rulefmt.Rule");
        for (number, node) in nodes.iter().enumerate() {
            rules.extend(self.rule(node, &name, number + 1, &labels));
        }
        Group {
            tenant: Arc::from(""),
            file: Arc::clone(&self.file),
            name,
            language: self.language,
            interval_ms: interval_ms.filter(|ms| *ms > 0),
            query_offset_ms,
            limit,
            rules,
        }
    }

    /// `None` when it is wrong.
    fn rule(
        &mut self,
        node: &Node,
        group: &str,
        number: usize,
        of_group: &[(String, String)],
    ) -> Option<Rule> {
        let fields = self.fields(node, &RULE_FIELDS, "rulefmt.Rule");
        let (record, alert) = (
            self.text(fields.get("record")),
            self.text(fields.get("alert")),
        );
        let is_alert = !alert.is_empty();
        let name = if is_alert {
            alert.clone()
        } else {
            record.clone()
        };
        let place = |field: &str| at(fields.get(field).map_or(&node.place, |n| &n.place));
        let mut wrong: Vec<(String, String)> = Vec::new();
        if !record.is_empty() && is_alert {
            let places = format!("{}: {}: ", place("record"), place("alert"));
            wrong.push((
                places,
                "only one of 'record' and 'alert' must be set".into(),
            ));
        }
        if record.is_empty() && !is_alert {
            let message = "one of 'record' or 'alert' must be set".into();
            wrong.push((format!("{}: ", at(&node.place)), message));
        }
        let text = self.text(fields.get("expr"));
        let expression = if text.is_empty() {
            Err("field 'expr' must be set in rule".to_owned())
        } else {
            Expression::parse(&text, self.language)
                .map_err(|e| format!("could not parse expression: {e}"))
        };
        if let Err(message) = &expression {
            wrong.push((format!("{}: ", place("expr")), message.clone()));
        }
        let for_ms = self.duration_ms(fields.get("for")).unwrap_or(0);
        let keep_ms = self.duration_ms(fields.get("keep_firing_for")).unwrap_or(0);
        let own = self.texts(fields.get("labels"));
        let annotations = self.texts(fields.get("annotations"));
        if !record.is_empty() {
            let unwanted = [
                ("annotations", !annotations.is_empty()),
                ("for", for_ms != 0),
                ("keep_firing_for", keep_ms != 0),
            ];
            for (field, _) in unwanted.iter().filter(|(_, is_set)| *is_set) {
                let message = format!("invalid field '{field}' in recording rule");
                wrong.push((format!("{}: ", place("record")), message));
            }
            if record.contains(['{', '}']) {
                let message = format!(
                    "braces present in the recording rule name; should it be in expr?: {record}"
                );
                wrong.push((format!("{}: ", place("record")), message));
            }
        }
        for (label, _) in own.iter().filter(|(label, _)| !is_label_name(label)) {
            wrong.push((String::new(), format!("invalid label name: {label}")));
        }
        if annotations.iter().any(|(name, _)| name.is_empty()) {
            wrong.push((String::new(), "invalid annotation name: ".into()));
        }
        let mut texts = |pairs: &[(String, String)], what: &str| -> Vec<(String, Text)> {
            let read = |(label, text): &(String, String)| {
                let template = match is_alert.then(|| template(&alert, text)) {
                    None => None,
                    Some(Ok(template)) => Some(Arc::new(template)),
                    Some(Err(message)) => {
                        let message = format!("{what} {}: {message}", quote(label));
                        wrong.push((String::new(), message));
                        None
                    }
                };
                let text = text.clone();
                (label.clone(), Text { text, template })
            };
            pairs.iter().map(read).collect()
        };
        let mut all = of_group.to_vec();
        all.retain(|(label, _)| !own.iter().any(|(name, _)| name == label));
        all.extend(own);
        all.sort();
        let labels = texts(&all, "label");
        let annotations = texts(&annotations, "annotation");
        let is_right = wrong.is_empty();
        for (place, message) in wrong {
            self.content.push(format!(
                "{place}group {}, rule {number}, {}: {message}",
                quote(group),
                quote(&name)
            ));
        }
        let kind = if is_alert { Kind::Alert } else { Kind::Record };
        let expression = expression.ok().filter(|_| is_right)?;
        Some(Rule {
            kind,
            name,
            expression,
            for_ms,
            keep_firing_for_ms: keep_ms,
            labels,
            annotations,
        })
    }
}

/// What stands before every template of an alert, as in Prometheus.
const DEFINED: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

fn template(alert: &str, text: &str) -> Result<Template, String> {
    Template::new(
        &format!("__alert_{alert}"),
        &format!("{DEFINED}{text}"),
        prometheus::LANGUAGE,
    )
}

/// Prometheus takes any UTF-8 but the metric's name.
fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != "__name__"
}

/// YAML's name of a node's kind.
fn tag(node: &Node) -> &'static str {
    match node.value {
        Value::Scalar { .. } => "!!str",
        Value::List(_) => "!!seq",
        Value::Map(_) => "!!map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
groups:
- name: g
  interval: 30s
  query_offset: 1m
  limit: 10
  labels: {team: infra, severity: none}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 1m
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.instance }} is down since {{ $value | humanizeDuration }}'
"#;

    #[test]
    fn a_file_is_read_with_all_its_fields() {
        let groups = parse("r.yml", GOOD.as_bytes(), Language::Promql).unwrap();
        let [group] = groups.as_slice() else {
            panic!("one group expected")
        };
        assert_eq!((group.interval_ms, group.limit), (Some(30_000), 10));
        assert_eq!(group.query_offset_ms, Some(60_000));
        let alert = &group.rules[1];
        assert_eq!((alert.for_ms, alert.keep_firing_for_ms), (300_000, 60_000));
        let labels: Vec<_> = alert.label_texts().collect();
        assert_eq!(labels, [("severity", "page"), ("team", "infra")]);
        assert!(alert.is_same(alert) && !alert.is_same(&group.rules[0]));
        assert!(parse("r.yml", b"", Language::Promql).unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_places() {
        let rule = |text: &str| format!("groups:\n- name: g\n  rules:\n  - {text}\n");
        let cases = [
            (
                "groups:\n- nam: g\n".to_owned(),
                "line 2: field nam not found in type rulefmt.RuleGroup; did you mean 'name'?",
            ),
            (
                "groups: {}\n".into(),
                "line 1: cannot unmarshal !!map into []rulefmt.RuleGroup",
            ),
            (
                "groups:\n- rules: []\n".into(),
                "2:3: Groupname must not be empty",
            ),
            (
                "groups:\n- name: a\n- name: a\n".into(),
                "3:3: groupname: \"a\" is repeated in the same file",
            ),
            (
                "groups:\n- name: a\n  limit: x\n".into(),
                "line 3: cannot unmarshal !!str `x` into int",
            ),
            ("groups: [\n".into(), "yaml: line"),
            (
                rule("expr: up"),
                "4:5: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set",
            ),
            (
                rule("{record: a, alert: b, expr: up}"),
                "4:14: 4:24: group \"g\", rule 1, \"b\": only one of 'record' and 'alert' must be set",
            ),
            (
                rule("record: a"),
                "4:5: group \"g\", rule 1, \"a\": field 'expr' must be set in rule",
            ),
            (
                rule("{record: a, expr: up +}"),
                "4:23: group \"g\", rule 1, \"a\": could not parse expression: 1:5: parse error: unexpected end of input",
            ),
            (
                rule("{record: a, expr: up, for: 1m}"),
                "4:14: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule",
            ),
            (
                rule("{record: 'a{b}', expr: up}"),
                "braces present in the recording rule name; should it be in expr?: a{b}",
            ),
            (
                rule("{alert: a, expr: up, for: 5}"),
                "not a valid duration string: \"5\"",
            ),
            (
                rule("{alert: a, expr: up, labels: {__name__: x}}"),
                "invalid label name: __name__",
            ),
            (
                rule("{alert: a, expr: up, annotations: {s: '{{ nope }}'}}"),
                "group \"g\", rule 1, \"a\": annotation \"s\": template: __alert_a:1: function \"nope\" not defined",
            ),
            (
                rule("{alert: a, expr: up, expr: down}"),
                "mapping key \"expr\" already defined",
            ),
        ];
        for (text, expected) in cases {
            let errors = parse("r.yml", text.as_bytes(), Language::Promql).unwrap_err();
            assert!(errors.join("\n").contains(expected), "{text}: {errors:?}");
        }
    }

    #[test]
    fn groups_of_an_object_name_their_fields() {
        let object = |rule: &str| -> serde_json::Value {
            let text = format!(r#"{{"groups":[{{"name":"g","limit":5,"rules":[{rule}]}}]}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let read = |rule: &str| parse_object("o", "spec", &object(rule), Language::Promql);
        let groups = read(r#"{"alert":"A","expr":1,"labels":{"a":"null"}}"#).unwrap();
        assert_eq!((groups[0].limit, &*groups[0].file), (5, "o"));
        let labels: Vec<_> = groups[0].rules[0].label_texts().collect();
        assert_eq!(labels, [("a", "null")]);
        for (rule, expected) in [
            (
                r#"{"alert":"A","expr":"up +"}"#,
                "spec.groups[0].rules[0].expr: group \"g\", rule 1, \"A\": could not parse expression",
            ),
            (
                r#"{"alrt":"A","expr":"up"}"#,
                "spec.groups[0].rules[0].alrt: field alrt not found",
            ),
        ] {
            let errors = read(rule).unwrap_err().join("");
            assert!(errors.contains(expected), "{rule}: {errors}");
        }
    }

    #[test]
    fn rules_over_logs_count_lines() {
        let file = |expr: &str| {
            format!("groups:\n- name: g\n  rules:\n  - {{record: a, expr: '{expr}'}}\n")
        };
        let read = |expr: &str| parse("r.yml", file(expr).as_bytes(), Language::Logql);
        assert!(read("sum(rate({app=\"x\"} |= \"error\" [5m]))").is_ok());
        let error = read("{app=\"x\"}").unwrap_err().join("");
        assert!(error.contains("count_over_time"), "{error}");
        assert!(read("up").is_err());
    }
}
