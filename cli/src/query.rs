//! `kansoku query` and `kansoku range`: PromQL and LogQL, at one moment or over a span.

use std::io::{BufWriter, Write};

use serde_json::Value;

use crate::args::{self, Global, Language, Output, Span};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::lines::{Direction, Pages};
use crate::logql::is_logql;
use crate::output::{self, color::Palette, table::Table};
use crate::tail::Style;
use crate::time::{self, SECOND_NS, moment_ns, now_ns};

/// Points of a range when no step is given.
const N_POINTS: i64 = 250;
/// Lines of a log query without `--limit`, at a moment and over a span.
const N_LINES: usize = 100;
const N_LINES_OF_SPAN: usize = 1000;
/// How far back lines of a log query without a span reach.
const LINES_SINCE_NS: i64 = 3600 * SECOND_NS;

/// No end of a span lies farther from 1970: what is between two of them is a number, too.
const FARTHEST_NS: i64 = i64::MAX / 2;

/// Both ends of a span in nanoseconds.
///
/// # Errors
/// When one is no time, or they stand the wrong way round.
pub fn bounds(span: &Span) -> Result<(i64, i64)> {
    let now = now_ns();
    let start_ns = moment_ns(&span.start, now)?;
    let end_ns = span
        .end
        .as_deref()
        .map_or(Ok(now), |text| moment_ns(text, now))?;
    let [start_ns, end_ns] = [start_ns, end_ns].map(|ns| ns.clamp(-FARTHEST_NS, FARTHEST_NS));
    if start_ns >= end_ns {
        return Err(Error::Usage(format!(
            "the span ends ({}) before it begins ({}); see --start and --end",
            time::rfc3339(end_ns),
            time::rfc3339(start_ns)
        )));
    }
    Ok((start_ns, end_ns))
}

/// `kansoku query`
///
/// # Errors
/// When the query is wrong or the server gives no answer.
pub async fn instant(client: &Client, global: &Global, args: &args::Query) -> Result<()> {
    let now = now_ns();
    let time_ns = args
        .time
        .as_deref()
        .map_or(Ok(now), |text| moment_ns(text, now))?;
    let is_logql = chosen(args.lang, &args.query);
    let (path, at) = if is_logql {
        ("/loki/api/v1/query", time_ns.to_string())
    } else {
        (
            "/api/v1/query",
            time::seconds(time_ns.div_euclid(1_000_000)),
        )
    };
    let parameters = [("query", args.query.clone()), ("time", at)];
    match client.data::<Value>(path, &parameters).await {
        Ok(data) => show(global, &data, is_logql),
        Err(Error::Refused { message, .. })
            if is_logql && message.contains("log queries are not supported") =>
        {
            let start_ns = time_ns.saturating_sub(LINES_SINCE_NS);
            lines(
                client,
                global,
                &args.query,
                (start_ns, time_ns),
                Limit::of(args.limit, N_LINES),
                false,
            )
            .await
        }
        Err(e) => Err(pointed(&args.query, e)),
    }
}

/// `kansoku range`
///
/// # Errors
/// When the query is wrong or the server gives no answer.
pub async fn range(client: &Client, global: &Global, args: &args::Range) -> Result<()> {
    let (start_ns, end_ns) = bounds(&args.span)?;
    let is_logql = chosen(args.lang, &args.query);
    let step_ns = match &args.step {
        Some(text) => time::duration_ns(text)?,
        None => ((end_ns - start_ns) / N_POINTS / SECOND_NS * SECOND_NS).max(SECOND_NS),
    };
    if step_ns <= 0 {
        return Err(Error::Usage("--step must be greater than 0".into()));
    }
    let mut parameters = vec![
        ("query", args.query.clone()),
        ("step", time::seconds(step_ns / 1_000_000)),
    ];
    let path = if is_logql {
        parameters.extend([
            ("start", start_ns.to_string()),
            ("end", end_ns.to_string()),
            ("limit", "1".into()),
        ]);
        "/loki/api/v1/query_range"
    } else {
        let seconds = |ns: i64| time::seconds(ns.div_euclid(1_000_000));
        parameters.extend([("start", seconds(start_ns)), ("end", seconds(end_ns))]);
        "/api/v1/query_range"
    };
    let data: Value = client
        .data(path, &parameters)
        .await
        .map_err(|e| pointed(&args.query, e))?;
    if data["resultType"] == "streams" {
        return lines(
            client,
            global,
            &args.query,
            (start_ns, end_ns),
            Limit::of(args.limit, N_LINES_OF_SPAN),
            args.newest_first,
        )
        .await;
    }
    show(global, &data, is_logql)
}

fn chosen(language: Language, query: &str) -> bool {
    match language {
        Language::Auto => is_logql(query),
        Language::Promql => false,
        Language::Logql => true,
    }
}

/// What a limit on the command line means: 0 is none.
#[must_use]
pub fn bound(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// How many lines are shown at the most.
#[derive(Clone, Copy)]
struct Limit {
    n: usize,
    /// Whoever did not choose it is told when it was reached.
    is_chosen: bool,
}

impl Limit {
    fn of(given: Option<usize>, default: usize) -> Self {
        Self {
            n: bound(given.unwrap_or(default)),
            is_chosen: given.is_some(),
        }
    }
}

/// Prints lines of a log query: the newest `limit`, the oldest of them first unless asked otherwise.
async fn lines(
    client: &Client,
    global: &Global,
    query: &str,
    (start_ns, end_ns): (i64, i64),
    limit: Limit,
    newest_first: bool,
) -> Result<()> {
    let style = Style {
        output: global.output,
        palette: Palette::of(global.color),
        timestamps: true,
        labels: true,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    if global.output == Output::Csv {
        out.write_all(b"time,labels,line\n")?;
    }
    // All of them oldest first need not be held in memory.
    let streams_through = limit.n == usize::MAX && !newest_first;
    let direction = if streams_through {
        Direction::Forward
    } else {
        Direction::Backward
    };
    let mut pages = Pages::new(client, query, start_ns, end_ns.saturating_add(1), direction)
        .of_at_most(limit.n);
    let mut held = Vec::new();
    let mut left = limit.n;
    while left > 0 {
        let next = pages.next().await.map_err(|e| pointed(query, e))?;
        let Some(mut page) = next else { break };
        if direction == Direction::Backward {
            page.reverse();
        }
        page.truncate(left);
        left -= page.len();
        if streams_through || newest_first {
            for entry in &page {
                out.write_all(style.text(entry).as_bytes())?;
            }
            out.flush()?;
        } else {
            held.extend(page);
        }
    }
    for entry in held.iter().rev() {
        out.write_all(style.text(entry).as_bytes())?;
    }
    out.flush()?;
    if left == limit.n {
        output::say(&format!(
            "No lines found from {} to {}; 'kansoku labels' lists what can be selected.",
            time::rfc3339(start_ns),
            time::rfc3339(end_ns)
        ));
    } else if left == 0 && !limit.is_chosen {
        output::say(&format!(
            "The newest {} lines; older ones may be left out, '--limit 0' shows all.",
            limit.n
        ));
    }
    Ok(())
}

/// Prints the data of an answer.
fn show(global: &Global, data: &Value, is_logql: bool) -> Result<()> {
    if data["result"].as_array().is_some_and(Vec::is_empty) {
        output::say(if is_logql {
            "No lines found to count; 'kansoku labels' lists what can be selected."
        } else {
            "No series found; 'kansoku labels __name__ --metrics' lists the metrics."
        });
        if global.output == Output::Table {
            return Ok(());
        }
    }
    let mut data = data.clone();
    if let Some(map) = data.as_object_mut() {
        map.remove("stats");
    }
    let table = table(&data);
    let mut out = std::io::stdout().lock();
    output::write(
        &mut out,
        global.output,
        Palette::of(global.color),
        &table,
        &data,
    )
}

/// A result as a table: a column per label, then time and value.
pub(crate) fn table(data: &Value) -> Table {
    let result = &data["result"];
    let kind = data["resultType"].as_str().unwrap_or_default();
    if matches!(kind, "scalar" | "string") {
        let mut table = Table::new(["TIME", "VALUE"]);
        table.push([time_of(&result[0]), text(&result[1])]);
        return table;
    }
    let series = result.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<&str> = Vec::new();
    for one in series {
        let labels = one["metric"].as_object().into_iter().flatten();
        names.extend(labels.map(|(name, _)| name.as_str()));
        // Bounds memory where there are many series of few labels.
        if names.len() > 10_000 {
            names.sort_unstable();
            names.dedup();
        }
    }
    names.sort_unstable();
    names.dedup();
    // The metric's name first.
    names.sort_by_key(|name| *name != "__name__");
    let is_matrix = kind == "matrix";
    let headings = names
        .iter()
        .map(|name| if *name == "__name__" { "METRIC" } else { name });
    let mut table = Table::new(headings.map(str::to_owned));
    table.headings.extend(is_matrix.then(|| "TIME".into()));
    table.headings.push("VALUE".into());
    for one in series {
        let cells: Vec<String> = names
            .iter()
            .map(|name| text(&one["metric"][*name]))
            .collect();
        let mut row = |point: &Value, value: String| {
            let mut row = cells.clone();
            row.extend(is_matrix.then(|| time_of(&point[0])));
            row.push(value);
            table.push(row);
        };
        for key in ["value", "histogram"] {
            if let Some(point) = one.get(key) {
                row(point, value_of(&point[1]));
            }
        }
        for key in ["values", "histograms"] {
            for point in one[key].as_array().into_iter().flatten() {
                row(point, value_of(&point[1]));
            }
        }
    }
    table
}

fn text(value: &Value) -> String {
    value.as_str().map(str::to_owned).unwrap_or_default()
}

/// A number, or count and sum of a native histogram.
fn value_of(value: &Value) -> String {
    match value {
        Value::Object(h) => format!("count {} sum {}", text(&h["count"]), text(&h["sum"])),
        other => text(other),
    }
}

fn time_of(seconds: &Value) -> String {
    let ms = seconds.as_f64().map_or(0, |s| (s * 1e3).round() as i64);
    time::short(ms)
}

/// An error about a query with the query below it, and a caret where it is wrong.
#[must_use]
pub fn pointed(query: &str, error: Error) -> Error {
    match error {
        Error::Refused { status, message } => Error::Refused {
            status,
            message: match place(&message).and_then(|place| caret(query, place)) {
                Some(shown) => format!("{message}\n{shown}"),
                None => message,
            },
        },
        other => other,
    }
}

/// Line and column, from 1, in `1:5: parse error: …` and `parse error at line 1, col 5: …`.
fn place(message: &str) -> Option<(usize, usize)> {
    if let Some((_, rest)) = message.split_once("parse error at line ") {
        let (line, rest) = rest.split_once(", col ")?;
        let column = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        return Some((line.parse().ok()?, column.parse().ok()?));
    }
    let (before, _) = message.split_once(": parse error")?;
    let mut parts = before.rsplit([' ', ':']);
    let column = parts.next()?.parse().ok()?;
    Some((parts.next()?.parse().ok()?, column))
}

fn caret(query: &str, (line, column): (usize, usize)) -> Option<String> {
    let text = query.lines().nth(line.checked_sub(1)?)?;
    let before = text.get(..column.checked_sub(1)?.min(text.len()))?;
    let width = unicode_width::UnicodeWidthStr::width(before);
    Some(format!("  {text}\n  {}^", " ".repeat(width)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_are_pointed_at() {
        for (query, message, expected) in [
            (
                "sum(up",
                "invalid parameter \"query\": 1:7: parse error: unclosed left parenthesis",
                "  sum(up\n        ^",
            ),
            (
                "up ==\n {é=x}",
                "2:6: parse error: unexpected",
                "  {é=x}\n  ",
            ),
            (
                "{app=x}",
                "parse error at line 1, col 6: syntax error",
                "  {app=x}\n       ^",
            ),
            ("up", "query timed out", "query timed out"),
            ("up", "9:9: parse error: x", "9:9: parse error: x"),
        ] {
            let error = Error::Refused {
                status: 400,
                message: message.into(),
            };
            let got = pointed(query, error).to_string();
            assert!(
                got.starts_with(message) && got.contains(expected.trim_end()),
                "{got}"
            );
        }
    }

    #[test]
    fn results_become_tables() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "up", "x": "b"}, "value": [1.5, "NaN"]}]});
        assert_eq!(
            table(&vector).text(Palette::plain()),
            "METRIC   job   x   VALUE\nup       a         1\nup             b   NaN\n"
        );
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"a": "b"}, "values": [[0, "1"], [60.25, "2"]], "histograms": [[61, {"count": "3", "sum": "4"}]]}]});
        assert_eq!(
            table(&matrix).text(Palette::plain()),
            "a   TIME                       VALUE\nb   1970-01-01T00:00:00.000Z   1\nb   1970-01-01T00:01:00.250Z   2\nb   1970-01-01T00:01:01.000Z   count 3 sum 4\n"
        );
        let scalar = json!({"resultType": "scalar", "result": [0, "5"]});
        assert_eq!(table(&scalar).rows, [["1970-01-01T00:00:00.000Z", "5"]]);
    }

    #[test]
    fn spans() {
        let span = |start: &str, end: Option<&str>| {
            bounds(&Span {
                start: start.into(),
                end: end.map(Into::into),
            })
        };
        assert_eq!(span("1", Some("2")).unwrap(), (SECOND_NS, 2 * SECOND_NS));
        assert!(span("1h", None).is_ok());
        let (first, last) = span("0001-01-01T00:00:00Z", Some("9999-01-01")).unwrap();
        assert!(last.checked_sub(first).is_some());
        assert!(
            span("2", Some("1"))
                .unwrap_err()
                .to_string()
                .contains("before it begins")
        );
    }
}
