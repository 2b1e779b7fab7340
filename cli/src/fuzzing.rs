//! What the fuzz targets reach of this program that nobody else needs: readers of words, of answers of
//! a server and of messages of a tail, and writers of results and exports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use serde_json::Value;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::config::Context;
use crate::error::{Error, Result};
use crate::export::{fuzzing as exports, parquet::LogTable, parquet::SampleTable};
use crate::lines::{Entry, Labels};
use crate::output::{color::Palette, csv, table::Table, yaml};
use crate::server::Server;
use crate::{complete, config, logql, query, server, time};

/// Reads `text` as everything that stands in one place of a command line, at `now_ns`.
pub fn word(text: &str, now_ns: i64) {
    if let Ok(ns) = time::duration_ns(text) {
        let _ = time::age(ns);
    }
    if let Ok(ns) = time::moment_ns(text, now_ns) {
        let shown = time::rfc3339(ns);
        assert_eq!(time::moment_ns(&shown, now_ns).ok(), Some(ns), "{shown}");
    }
    let _ = server::service_path(text);
    let _ = server::address_in(text);
    let _ = crate::client::base_of(text);
    let _ = crate::logs::workload::parse(text);
    let _ = logql::is_logql(text);
    let _ = logql::stream_selector(text);
    let _ = query::pointed(text, refused(text));
    let _ = query::pointed("a\nb c", refused(text));
    let span = crate::args::Span {
        start: text.to_owned(),
        end: None,
    };
    if let Ok((start_ns, end_ns)) = query::bounds(&span) {
        assert!(start_ns < end_ns);
        assert!(end_ns.checked_sub(start_ns).is_some());
    }
}

fn refused(message: &str) -> Error {
    Error::Refused {
        status: 400,
        message: message.to_owned(),
    }
}

/// A label selector of Kubernetes as the query of LogQL that is asked.
#[must_use]
pub fn selector(text: &str) -> Option<String> {
    let matchers = logql::matchers(text).ok()?;
    Some(format!("{{namespace=\"x\"{matchers}}}"))
}

/// A query for one of these texts.
#[must_use]
pub fn alternatives(texts: &[&str]) -> String {
    format!("{{pod=~{}}}", logql::one_of(texts))
}

/// A query for this text.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("{{pod={}}}", logql::quote(text))
}

/// Reads a configuration file; what is written of it reads the same.
pub fn config_file(text: &str) {
    if let Ok(file) = config::parse(text) {
        let written = config::write(&file, false);
        assert_eq!(config::parse(&written), Ok(file), "{written}");
    }
}

/// Completes a command line.
pub fn complete(words: &[String]) {
    let found = complete::candidates(&mut <Cli as clap::CommandFactory>::command(), words);
    assert!(found.ends_with(":4\n"), "{found}");
}

/// A value in every format, and as the table of a query's result.
pub fn written(value: &Value) {
    let text = yaml::text(value);
    let back: std::result::Result<Value, _> = serde_saphyr::from_str(&text);
    assert_eq!(back.ok().as_ref(), Some(value), "{text}");
    let table = query::table(value);
    is_shown(&table);
}

fn is_shown(table: &Table) {
    let text = table.text(Palette::plain());
    assert_eq!(text.lines().count(), table.rows.len() + 1);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
    let mut n_quotes = 0;
    let csv = csv::text(table);
    let n_rows = csv.chars().filter(|c| {
        n_quotes += usize::from(*c == '"');
        *c == '\n' && n_quotes % 2 == 0
    });
    assert_eq!(n_rows.count(), table.rows.len() + 1, "{csv}");
}

/// Runs a command line against the server at `url`, with `folder` for the files that it writes.
///
/// # Errors
/// In the words that are shown.
pub async fn run(url: &str, words: &[String], folder: &Path) -> std::result::Result<(), String> {
    let line = ["kansoku".to_owned()].into_iter().chain(words.to_owned());
    let Ok(mut cli) = Cli::try_parse_from(line) else {
        return Ok(());
    };
    if let Command::Export(crate::args::Export::Logs(args) | crate::args::Export::Metrics(args)) =
        &mut cli.command
    {
        let name: PathBuf = args.file.file_name().unwrap_or_default().into();
        args.file = folder.join(name);
    }
    let timeout = Some(Duration::from_secs(5));
    let client = Client::new(url, &Context::default(), None, timeout, false);
    let server = Server::of(client.map_err(|e| e.to_string())?, "default");
    match crate::ask(&server, &cli.global, &cli.command).await {
        Ok(()) | Err(Error::OutputClosed | Error::Exit(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A line of an export: time, line, labels, metadata.
pub type Line = (i64, String, Labels, Labels);
/// A series of an export: labels, and times and values of its samples.
pub type Series = (Labels, Vec<(i64, String)>);

/// Writes lines as Parquet and as JSON lines into `folder`.
///
/// # Errors
/// As the command.
pub fn export_lines(lines: Vec<Line>, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let entries: Vec<Entry> = lines
        .into_iter()
        .map(|(time_ns, line, labels, metadata)| Entry {
            time_ns,
            line,
            labels: labels.into(),
            metadata,
        })
        .collect();
    // Labels of every second line have columns.
    let names = entries.iter().step_by(2);
    let names = names.flat_map(|e| e.labels.keys().cloned()).collect();
    let paths = (folder.join("lines.parquet"), folder.join("lines.jsonl"));
    let mut table = LogTable::new(exports::open(&paths.0)?, names)?;
    for entry in &entries {
        table.push(entry)?;
    }
    table.finish()?.finish()?;
    exports::lines_as_json(&entries, &paths.1)?;
    Ok(paths)
}

/// Writes series as Parquet into `folder`.
///
/// # Errors
/// As the command.
pub fn export_parquet(series: &[Series], folder: &Path) -> Result<PathBuf> {
    let names = series.iter().flat_map(|(labels, _)| labels.keys().cloned());
    let path = folder.join("samples.parquet");
    let mut table = SampleTable::new(exports::open(&path)?, names.collect())?;
    for one in series {
        table.push(&exports::chunk(one))?;
    }
    table.finish()?.finish()?;
    Ok(path)
}

/// A series as OpenMetrics and as a line of JSON.
///
/// # Errors
/// As the command.
pub fn export_text(series: &Series) -> Result<(Vec<u8>, Vec<u8>)> {
    exports::texts(&exports::chunk(series))
}

/// What a server answers to a WebSocket's key.
#[must_use]
pub fn handshake(key: &str) -> String {
    crate::websocket::answer_to(key)
}
