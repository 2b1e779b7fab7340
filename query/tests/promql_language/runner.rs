//! Runs `.test` files in Prometheus's test language: `load` series, `eval` expressions, compare.
//!
//! The queries run on the engine over series in vectors. A [`Witness`] is told of all that happens, to ask somebody else the
//! same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kansoku_model::select::{SelectError, SeriesData};
use kansoku_model::{Labels, Matcher, SeriesSource};
use kansoku_query::number::{parse_duration_ms, parse_float};
use kansoku_query::promql::native::FloatHistogram;
use kansoku_query::promql::notation::{self, Item, labels_of, split_series, values_of};
use kansoku_query::promql::{
    self, Engine, Options, QueryError, QueryOutput, QueryValue, Sample, Series,
};
use regex::Regex;

const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// One query of a file.
#[allow(dead_code)] // read by the tests over HTTP
pub struct Question<'a> {
    pub query: &'a str,
    pub start_ms: i64,
    /// End and step of a range query.
    pub range: Option<(i64, i64)>,
}

/// Somebody who sees a file being run.
pub trait Witness {
    /// All series are gone.
    fn cleared(&mut self);
    /// These are all series now.
    fn loaded(&mut self, series: &[SeriesData]);
    /// The engine's answer. The error fails the case.
    fn answered(
        &mut self,
        question: &Question<'_>,
        answer: &Result<QueryOutput, QueryError>,
    ) -> Result<(), String>;
}

/// The files of a folder, by name.
pub fn test_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    files
}

type Items = Vec<Option<Item>>;

/// Series held in vectors.
#[derive(Default)]
struct Memory {
    series: Vec<SeriesData>,
}

impl SeriesSource for Memory {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError> {
        let mut found = Vec::new();
        let mut n_samples = 0;
        for one in &self.series {
            if !matchers.iter().all(|m| m.matches_labels(&one.labels)) {
                continue;
            }
            let from = one.times.partition_point(|t| *t < from_ms);
            let to = one.times.partition_point(|t| *t <= to_ms).max(from);
            n_samples += to - from;
            if n_samples > max_samples {
                return Err(SelectError::Limit("too many samples".into()));
            }
            if from < to {
                found.push(SeriesData {
                    labels: one.labels.clone(),
                    times: one.times[from..to].to_vec(),
                    values: one.values[from..to].to_vec(),
                    starts: match one.starts.iter().any(|start| *start != 0) {
                        true => one.starts[from..to].to_vec(),
                        false => Vec::new(),
                    },
                    histograms: match one.histograms.iter().any(Option::is_some) {
                        true => one.histograms[from..to].to_vec(),
                        false => Vec::new(),
                    },
                });
            }
        }
        // The engine must not rely on an order.
        found.reverse();
        Ok(found)
    }
}

impl Memory {
    fn add(&mut self, labels: Labels, step_ms: i64, values: &[Option<Item>], ages: &[Option<i64>]) {
        let at = self.series.iter().position(|s| s.labels == labels);
        let at = at.unwrap_or_else(|| {
            self.series.push(SeriesData {
                labels,
                ..SeriesData::default()
            });
            self.series.len() - 1
        });
        let one = &mut self.series[at];
        for (i, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let time_ms = i as i64 * step_ms;
            match one.times.binary_search(&time_ms) {
                Ok(_) => {}
                Err(at) => {
                    one.times.insert(at, time_ms);
                    let (value, histogram) = match value {
                        Item::Float(value) => (*value, None),
                        Item::Histogram(h) => (STALE, Some(Arc::new(notation::stored(h)))),
                    };
                    one.values.insert(at, value);
                    let age_ms = ages.get(i).copied().flatten();
                    one.starts
                        .insert(at, age_ms.map_or(0, |age_ms| time_ms + age_ms));
                    one.histograms.insert(at, histogram);
                }
            }
        }
    }
}

/// What came of a file.
#[derive(Default)]
pub struct Report {
    pub n_passed: usize,
    /// The line of a case, and why it failed.
    pub failures: Vec<(usize, String)>,
}

struct Runner<'w> {
    memory: Memory,
    engine: Engine,
    report: Report,
    witness: &'w mut dyn Witness,
}

/// Runs a file.
pub fn run_file(path: &Path, delayed_name_removal: bool, witness: &mut dyn Witness) -> Report {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();
    let options = Options {
        delayed_name_removal,
        start_timestamps: true,
        ..Options::default()
    };
    let mut runner = Runner {
        memory: Memory::default(),
        engine: Engine::new(options),
        report: Report::default(),
        witness,
    };
    runner.witness.cleared();
    let mut at = 0;
    while at < lines.len() {
        let block_end = |from: usize| {
            let n = lines[from..].iter().take_while(|l| !l.is_empty()).count();
            from + n
        };
        let word = lines[at].split_whitespace().next().unwrap_or("");
        if word.is_empty() {
            at += 1;
        } else if word == "clear" {
            runner.memory = Memory::default();
            runner.witness.cleared();
            at += 1;
        } else if lines[at] == "option delayed_name_removal" {
            runner.engine.options.delayed_name_removal = true;
            at += 1;
        } else if word.starts_with("load") {
            let end = block_end(at);
            runner.load(&lines[at..end]);
            at = end;
        } else if word.starts_with("eval") {
            let end = block_end(at);
            runner.eval(at + 1, &lines[at..end]);
            at = end;
        } else {
            panic!("{}:{}: unknown command {word:?}", path.display(), at + 1);
        }
    }
    runner.report
}

impl Runner<'_> {
    fn load(&mut self, lines: &[&str]) {
        let mut words = lines[0].split_whitespace();
        let with_nhcb = words.next() == Some("load_with_nhcb");
        let step_ms = time_ms(words.next().unwrap_or("")).expect("load needs a step");
        let mut loaded: Vec<(Labels, Items)> = Vec::new();
        let mut ages: BTreeMap<Labels, Vec<Option<i64>>> = BTreeMap::new();
        for line in &lines[1..] {
            let (labels_text, values_text) = split_series(line);
            let labels = |text| labels_of(text).unwrap_or_else(|e| panic!("{line}: {e}"));
            if let Some(metric) = labels_text.strip_suffix("@st") {
                let of_one = ages_of(values_text).unwrap_or_else(|| panic!("{line}: bad ages"));
                ages.insert(labels(metric), of_one);
                continue;
            }
            let labels = labels(labels_text);
            let values = values_of(values_text).unwrap_or_else(|| panic!("{line}: bad values"));
            // The last line of a series in a block is the one that counts.
            loaded.retain(|(other, _)| *other != labels);
            loaded.push((labels, values));
        }
        if with_nhcb {
            loaded.extend(with_custom_bounds(&loaded));
        }
        for (labels, values) in loaded {
            let ages = ages.remove(&labels).unwrap_or_default();
            self.memory.add(labels, step_ms, &values, &ages);
        }
        self.witness.loaded(&self.memory.series);
    }

    fn eval(&mut self, line: usize, lines: &[&str]) {
        let case = Case::parse(lines).unwrap_or_else(|e| panic!("line {line}: {e}"));
        match self.run(&case) {
            Ok(()) => self.report.n_passed += 1,
            Err(message) => {
                let message = format!("{}: {message}", case.query);
                self.report.failures.push((line, message));
            }
        }
    }

    fn execute(&self, case: &Case) -> Result<QueryOutput, QueryError> {
        let query = promql::parse(&case.query)?;
        let go_on = || Ok(());
        match case.range {
            None => self
                .engine
                .instant(&self.memory, &query, case.start_ms, &go_on),
            Some((end_ms, step_ms)) => {
                self.engine
                    .range(&self.memory, &query, case.start_ms, end_ms, step_ms, &go_on)
            }
        }
    }

    fn run(&mut self, case: &Case) -> Result<(), String> {
        let answer = self.execute(case);
        let question = Question {
            query: &case.query,
            start_ms: case.start_ms,
            range: case.range,
        };
        self.witness.answered(&question, &answer)?;
        let output = match answer {
            Err(error) if case.fails => return case.check_error(&error.to_string()),
            Err(error) => return Err(format!("unexpected error: {error}")),
            Ok(_) if case.fails => return Err("expected an error".into()),
            Ok(output) => output,
        };
        case.check_notes("warn", &output.warnings)?;
        case.check_notes("info", &output.infos)?;
        case.check_value(&output.value)?;
        if case.range.is_some() || !matches!(output.value, QueryValue::Vector(_)) || case.ordered {
            return Ok(());
        }
        self.as_range(case).map_err(|e| format!("as a range: {e}"))
    }

    /// The same result must come as a step of a range query, unless it asks for the query's times.
    fn as_range(&self, case: &Case) -> Result<(), String> {
        if ["range()", "step()", "start()", "end()"]
            .iter()
            .any(|w| case.query.contains(w))
        {
            return Ok(());
        }
        let query = promql::parse(&case.query).map_err(|e| e.to_string())?;
        let start_ms = if case.start_ms >= 60_000 {
            case.start_ms - 60_000
        } else {
            case.start_ms
        };
        let end_ms = case.start_ms + 60_000;
        let output = self
            .engine
            .range(&self.memory, &query, start_ms, end_ms, 60_000, &|| Ok(()))
            .map_err(|e| e.to_string())?;
        let QueryValue::Matrix(series) = output.value else {
            return Err("no matrix".into());
        };
        let samples = series.into_iter().filter_map(|one| {
            let at = one.times.binary_search(&case.start_ms).ok();
            let mut histograms = one.histograms.iter();
            let histogram = histograms.find(|(t, _)| *t == case.start_ms);
            if at.is_none() && histogram.is_none() {
                return None;
            }
            Some(Sample {
                labels: one.labels,
                time_ms: case.start_ms,
                value: at.map_or(0.0, |at| one.values[at]),
                histogram: histogram.map(|(_, h)| Arc::clone(h)),
            })
        });
        case.check_value(&QueryValue::Vector(samples.collect()))
    }
}

enum Expected {
    Series(Vec<(Labels, Items)>),
    Scalar(f64),
    Text(String),
}

struct Case {
    query: String,
    start_ms: i64,
    /// End and step of a range query.
    range: Option<(i64, i64)>,
    fails: bool,
    ordered: bool,
    /// `warn`, `info`, `no_warn`, `no_info`, `fail`; `msg`, `regex` or empty; text.
    notes: Vec<(String, String, String)>,
    expected: Expected,
    /// Start and step of the samples expected of an instant query for a range.
    matrix: Option<(i64, i64)>,
}

impl Case {
    fn parse(lines: &[&str]) -> Result<Self, String> {
        let instant = Regex::new(r"^eval(?:_(\w+))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)$").unwrap();
        let range = Regex::new(
            r"^eval(?:_(\w+))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$",
        )
        .unwrap();
        let bad = || format!("bad eval {:?}", lines[0]);
        let (modifier, query, start_ms, range) = if let Some(found) = instant.captures(lines[0]) {
            let time = time_ms(found.get(2).map_or("0", |m| m.as_str())).ok_or_else(bad)?;
            (
                found.get(1).map_or("", |m| m.as_str()).to_owned(),
                found[3].to_owned(),
                time,
                None,
            )
        } else {
            let found = range.captures(lines[0]).ok_or_else(bad)?;
            let time = |i: usize| time_ms(&found[i]).ok_or_else(bad);
            (
                found.get(1).map_or("", |m| m.as_str()).to_owned(),
                found[5].to_owned(),
                time(2)?,
                Some((time(3)?, time(4)?)),
            )
        };
        let mut case = Self {
            query,
            start_ms,
            range,
            fails: modifier == "fail",
            ordered: modifier == "ordered",
            notes: Vec::new(),
            expected: Expected::Series(Vec::new()),
            matrix: None,
        };
        if modifier == "warn" || modifier == "info" {
            case.notes.push((modifier, String::new(), String::new()));
        }
        for line in &lines[1..] {
            case.expectation(line)?;
        }
        Ok(case)
    }

    fn expectation(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("expect ") {
            return self.expect_line(rest.trim());
        }
        for (prefix, how) in [
            ("expected_fail_message", "msg"),
            ("expected_fail_regexp", "regex"),
        ] {
            if let Some(rest) = line.strip_prefix(prefix) {
                self.notes
                    .push(("fail".into(), how.into(), rest.trim().into()));
                return Ok(());
            }
        }
        if let Some(value) = parse_float(line) {
            self.expected = Expected::Scalar(value);
            return Ok(());
        }
        let (labels, values) = split_series(line);
        let labels = labels_of(labels)?;
        let values = values_of(values).ok_or("bad values")?;
        if let Expected::Series(series) = &mut self.expected {
            series.push((labels, values));
        }
        Ok(())
    }

    fn expect_line(&mut self, rest: &str) -> Result<(), String> {
        if rest == "ordered" {
            self.ordered = true;
            return Ok(());
        }
        if let Some(text) = rest.strip_prefix("string ") {
            let text = text.trim();
            self.expected = Expected::Text(text[1..text.len() - 1].to_owned());
            return Ok(());
        }
        if let Some(times) = rest.strip_prefix("range vector from ") {
            let words: Vec<&str> = times.split_whitespace().collect();
            let time = |i: usize| {
                words
                    .get(i)
                    .and_then(|w| time_ms(w))
                    .ok_or("bad range vector")
            };
            self.start_ms = time(2)?;
            self.matrix = Some((time(0)?, time(4)?));
            return Ok(());
        }
        let (kind, how) = rest.split_once(' ').unwrap_or((rest, ""));
        let (how, text) = how.trim().split_once(':').unwrap_or(("", ""));
        self.fails |= kind == "fail";
        self.notes
            .push((kind.into(), how.into(), text.trim().into()));
        Ok(())
    }

    fn check_error(&self, message: &str) -> Result<(), String> {
        for (kind, how, text) in &self.notes {
            if kind == "fail" && !matches_text(how, text, message) {
                return Err(format!("wrong error {message:?}, expected {text:?}"));
            }
        }
        Ok(())
    }

    fn check_notes(&self, word: &str, found: &[String]) -> Result<(), String> {
        for (kind, how, text) in &self.notes {
            if kind == word && !found.iter().any(|note| matches_text(how, text, note)) {
                return Err(format!("expected {word} {text:?}, got {found:?}"));
            }
            if *kind == format!("no_{word}") && !found.is_empty() {
                return Err(format!("expected no {word}, got {found:?}"));
            }
        }
        Ok(())
    }

    fn check_value(&self, value: &QueryValue) -> Result<(), String> {
        match (value, &self.expected) {
            (QueryValue::Scalar { value, .. }, Expected::Scalar(wanted)) => {
                check(almost(*value, *wanted), || {
                    format!("got {value}, expected {wanted}")
                })
            }
            (QueryValue::String { value, .. }, Expected::Text(wanted)) => {
                check(value == wanted, || {
                    format!("got {value:?}, expected {wanted:?}")
                })
            }
            (QueryValue::Vector(samples), Expected::Series(wanted)) => {
                self.check_vector(samples, wanted)
            }
            (QueryValue::Matrix(series), Expected::Series(wanted)) => {
                self.check_matrix(series, wanted)
            }
            _ => Err(format!("wrong type of result: {value:?}")),
        }
    }

    fn check_vector(&self, samples: &[Sample], wanted: &[(Labels, Items)]) -> Result<(), String> {
        let context = || format!("got {samples:?}, expected {wanted:?}");
        check(samples.len() == wanted.len(), context)?;
        for (i, (labels, values)) in wanted.iter().enumerate() {
            let found = if self.ordered {
                samples.get(i).filter(|s| s.labels == *labels)
            } else {
                samples.iter().find(|s| s.labels == *labels)
            };
            let value = values.first().and_then(Option::as_ref);
            let fits = found
                .zip(value)
                .is_some_and(|(s, item)| match (item, &s.histogram) {
                    (Item::Float(v), None) => almost(s.value, *v),
                    (Item::Histogram(h), Some(got)) => notation::are_alike(got, h, almost),
                    _ => false,
                });
            check(fits, context)?;
        }
        Ok(())
    }

    fn check_matrix(&self, series: &[Series], wanted: &[(Labels, Items)]) -> Result<(), String> {
        let (start_ms, step_ms) = match (self.matrix, self.range) {
            (Some((start_ms, step_ms)), _) => (start_ms, step_ms),
            (None, Some((_, step_ms))) => (self.start_ms, step_ms),
            (None, None) => return Err("unexpected matrix".into()),
        };
        let context = || format!("got {series:?}, expected {wanted:?}");
        check(
            series.windows(2).all(|p| p[0].labels < p[1].labels),
            context,
        )?;
        let wanted_some = |(_, values): &&(Labels, Items)| values.iter().any(Option::is_some);
        check(
            series.len() == wanted.iter().filter(wanted_some).count(),
            context,
        )?;
        for (labels, values) in wanted.iter().filter(wanted_some) {
            let found = series
                .iter()
                .find(|s| s.labels == *labels)
                .ok_or_else(context)?;
            let mut samples = found.times.iter().zip(&found.values);
            let mut of_histograms = found.histograms.iter();
            for (i, value) in values.iter().enumerate() {
                let time_ms = start_ms + step_ms * i as i64;
                let fits = match value {
                    None => continue,
                    Some(Item::Float(value)) => {
                        let (at_ms, got) = samples.next().ok_or_else(context)?;
                        *at_ms == time_ms && almost(*got, *value)
                    }
                    Some(Item::Histogram(h)) => {
                        let (at_ms, got) = of_histograms.next().ok_or_else(context)?;
                        *at_ms == time_ms && notation::are_alike(got, h, almost)
                    }
                };
                check(fits, context)?;
            }
            check(samples.next().is_none(), context)?;
            check(of_histograms.next().is_none(), context)?;
        }
        Ok(())
    }
}

fn check(holds: bool, message: impl Fn() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message()) }
}

fn matches_text(how: &str, text: &str, found: &str) -> bool {
    match how {
        "msg" => found == text,
        "regex" => Regex::new(text).is_ok_and(|re| re.is_match(found)),
        _ => true,
    }
}

/// Equal but for rounding.
fn almost(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    if a.is_infinite() || b.is_infinite() {
        return false;
    }
    let sum = (a.abs() + b.abs()).min(f64::MAX);
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        difference < 1e-6 * f64::MIN_POSITIVE
    } else {
        difference / sum < 1e-6
    }
}

/// A duration or a number of seconds, with or without a sign.
fn time_ms(text: &str) -> Option<i64> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, text),
    };
    let time_ms = parse_duration_ms(body)
        .ok()
        .or_else(|| parse_float(body).map(|s| (s * 1000.0).round() as i64))?;
    Some(sign * time_ms)
}

/// Native histograms out of the classic ones of a load: `h_bucket` with its `le`, `h_count` and `h_sum` give `h`.
fn with_custom_bounds(loaded: &[(Labels, Items)]) -> Vec<(Labels, Items)> {
    let float = |items: &Items, step: usize| match items.get(step) {
        Some(Some(Item::Float(value))) => Some(*value),
        _ => None,
    };
    let mut found: BTreeMap<Labels, BTreeMap<&str, (f64, &Items)>> = BTreeMap::new();
    let without = |labels: &Labels, base: &str| {
        let rest = labels.filtered(|name| name != "le");
        rest.with("__name__", base)
    };
    for (labels, items) in loaded {
        let name = labels.metric_name();
        for (suffix, key) in [("_bucket", "le"), ("_count", "count"), ("_sum", "sum")] {
            let Some(base) = name.strip_suffix(suffix) else {
                continue;
            };
            let (key, bound) = match key {
                "le" => {
                    let le = labels.get("le").unwrap_or("");
                    let Some(bound) = parse_float(le) else {
                        continue;
                    };
                    (le, bound)
                }
                key => (key, 0.0),
            };
            let of_one = found.entry(without(labels, base)).or_default();
            of_one.insert(key, (bound, items));
        }
    }
    let mut out = Vec::new();
    for (labels, columns) in found {
        let mut buckets: Vec<(f64, &Items)> = columns
            .iter()
            .filter(|(key, _)| !["count", "sum"].contains(key))
            .map(|(_, column)| *column)
            .collect();
        if buckets.is_empty() {
            continue;
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // One bound may be written in several ways.
        buckets.dedup_by(|b, a| a.0 == b.0);
        let n_steps = buckets
            .iter()
            .map(|(_, items)| items.len())
            .max()
            .unwrap_or(0);
        let items = (0..n_steps).map(|step| {
            let present: Vec<(f64, f64)> = buckets
                .iter()
                .filter_map(|(bound, items)| Some((*bound, float(items, step)?)))
                .collect();
            if present.is_empty() {
                return None;
            }
            if present
                .iter()
                .any(|(_, count)| count.to_bits() == STALE.to_bits())
            {
                return Some(Item::Float(STALE));
            }
            let column = |key| columns.get(key).and_then(|(_, items)| float(items, step));
            let last = present.last().map_or(0.0, |b| b.1);
            let count = column("count").unwrap_or(last);
            let bounds: Vec<f64> = present
                .iter()
                .map(|b| b.0)
                .filter(|b| b.is_finite())
                .collect();
            let mut below = 0.0;
            let mut positive = Vec::new();
            for (i, (bound, up_to)) in present.iter().enumerate() {
                if bound.is_finite() {
                    positive.push((i as i32, up_to - below));
                    below = *up_to;
                }
            }
            positive.push((bounds.len() as i32, count - below));
            let mut histogram =
                FloatHistogram::empty(kansoku_model::histogram::CUSTOM_SCHEMA, &bounds);
            histogram.count = count;
            histogram.sum = column("sum").unwrap_or(0.0);
            histogram.positive = positive;
            Some(Item::Histogram(Box::new(histogram.compact())))
        });
        out.push((labels, items.collect()));
    }
    out
}

/// `_ -30s-1mx2`: when what each sample counts began, less its time.
fn ages_of(text: &str) -> Option<Vec<Option<i64>>> {
    let mut ages = Vec::new();
    for word in text.split_whitespace() {
        if let Some(rest) = word.strip_prefix('_') {
            let n = rest.strip_prefix('x').map_or(Some(1), |n| n.parse().ok())?;
            ages.extend(std::iter::repeat_n(None, n));
            continue;
        }
        let (first, times) = word.rsplit_once('x').unwrap_or((word, "0"));
        let n: usize = times.parse().ok()?;
        let sign = first.rfind(['+', '-']).filter(|at| *at > 0);
        let (first, step) = sign.map_or((first, "0"), |at| first.split_at(at));
        let step_ms = time_ms(step.strip_prefix('+').unwrap_or(step))?;
        let mut age_ms = time_ms(first.strip_prefix('+').unwrap_or(first))?;
        for _ in 0..=n {
            ages.push(Some(age_ms));
            age_ms += step_ms;
        }
    }
    Some(ages)
}
