//! `kansoku export`: lines or samples of a span of time, written page by page to a file that appears
//! when it is complete. What is in memory at a time is one page, or one row group of a Parquet file.

mod destination;
mod openmetrics;
pub(crate) mod parquet;
mod progress;
mod samples;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::args::{Export, ExportData, Format};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::lines::{Direction, Entry, Labels, Pages};
use crate::logql::stream_selector;
use crate::logs::targets;
use crate::output::say;
use crate::query::{bounds, pointed};
use crate::time::rfc3339;
use destination::Destination;
use parquet::{LogTable, SampleTable};
use progress::Progress;
use samples::Chunk;

/// Runs the command.
///
/// # Errors
/// When the query is wrong, the server gives no answer, or the file cannot be written; the file is then
/// as it was before.
pub async fn run(client: &Client, export: &Export) -> Result<()> {
    let (args, is_logs) = match export {
        Export::Logs(args) => (args, true),
        Export::Metrics(args) => (args, false),
    };
    let (start_ns, end_ns) = bounds(&args.span)?;
    let format = format_of(args)?;
    let what = if is_logs { "lines" } else { "samples" };
    let mut progress = Progress::new(what, args.quiet);
    let destination = Destination::open(&args.file)?;
    let done = if is_logs {
        logs(
            client,
            args,
            format,
            (start_ns, end_ns),
            destination,
            &mut progress,
        )
        .await
    } else {
        metrics(
            client,
            args,
            format,
            (start_ns, end_ns),
            destination,
            &mut progress,
        )
        .await
    };
    done.map_err(|e| pointed(&args.selector, e))?;
    progress.end(&args.file);
    Ok(())
}

/// As told, or by the file's name.
fn format_of(args: &ExportData) -> Result<Format> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    let is_stdout = args.file == Path::new("-");
    match args.file.extension().and_then(|e| e.to_str()) {
        _ if is_stdout => Ok(Format::Jsonl),
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        Some("parquet") => Ok(Format::Parquet),
        Some("om" | "openmetrics" | "prom" | "txt") => Ok(Format::Openmetrics),
        _ => Err(Error::Usage(format!(
            "the format of {} is not known by its name: give --format jsonl, openmetrics or parquet",
            args.file.display()
        ))),
    }
}

async fn logs(
    client: &Client,
    args: &ExportData,
    format: Format,
    (start_ns, end_ns): (i64, i64),
    destination: Destination,
    progress: &mut Progress,
) -> Result<()> {
    let mut out = match format {
        Format::Openmetrics => {
            return Err(Error::Usage(
                "lines of logs are no metrics: --format openmetrics is for 'export metrics'".into(),
            ));
        }
        Format::Jsonl => Lines::Json(destination),
        Format::Parquet => {
            let selector = stream_selector(&args.selector).ok_or_else(|| {
                Error::Usage(format!(
                    "\"{}\" selects no streams; expected LogQL such as '{{namespace=\"shop\"}}'",
                    args.selector
                ))
            })?;
            let streams = targets::streams(client, selector, start_ns).await?;
            let names: BTreeSet<String> = streams.into_iter().flat_map(Labels::into_keys).collect();
            Lines::Parquet(Box::new(LogTable::new(destination, names)?))
        }
    };
    let mut pages = Pages::new(client, &args.selector, start_ns, end_ns, Direction::Forward);
    while let Some(page) = pages.next().await? {
        for entry in &page {
            match &mut out {
                Lines::Json(destination) => write_line(destination, entry)?,
                Lines::Parquet(table) => table.push(entry)?,
            }
        }
        let part = (pages.position_ns() - start_ns) as f64 / (end_ns - start_ns) as f64;
        progress.add(page.len(), part);
    }
    match out {
        Lines::Json(destination) => destination.finish(),
        Lines::Parquet(table) => table.finish()?.finish(),
    }
}

enum Lines {
    Json(Destination),
    Parquet(Box<LogTable>),
}

/// The writers, for fuzzing.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    use super::*;

    pub(crate) fn open(path: &Path) -> Result<Destination> {
        Destination::open(path)
    }

    pub(crate) fn chunk((labels, samples): &crate::fuzzing::Series) -> Chunk {
        Chunk {
            labels: labels.clone(),
            samples: samples.clone(),
        }
    }

    pub(crate) fn lines_as_json(entries: &[Entry], path: &Path) -> Result<()> {
        let mut destination = open(path)?;
        for entry in entries {
            write_line(&mut destination, entry)?;
        }
        destination.finish()
    }

    pub(crate) fn texts(chunk: &Chunk) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut metrics, mut json) = (Vec::new(), Vec::new());
        write_json(&mut json, chunk)?;
        openmetrics::write(&mut metrics, chunk)?;
        metrics.extend_from_slice(openmetrics::END.as_bytes());
        Ok((metrics, json))
    }
}

fn write_line(out: &mut impl Write, entry: &Entry) -> Result<()> {
    serde_json::to_writer(&mut *out, &record(entry)).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// A line as JSON.
fn record(entry: &Entry) -> Value {
    let mut value =
        json!({"time": rfc3339(entry.time_ns), "labels": &*entry.labels, "line": entry.line});
    if !entry.metadata.is_empty() {
        value["metadata"] = json!(entry.metadata);
    }
    value
}

enum Samples {
    Json(Destination),
    OpenMetrics(Destination),
    Parquet(Box<SampleTable>),
}

async fn metrics(
    client: &Client,
    args: &ExportData,
    format: Format,
    (start_ns, end_ns): (i64, i64),
    destination: Destination,
    progress: &mut Progress,
) -> Result<()> {
    let (start_ms, end_ms) = (start_ns.div_euclid(1_000_000), end_ns.div_euclid(1_000_000));
    let mut source = samples::Source::new(client, &args.selector, start_ms, end_ms);
    let mut out = match format {
        Format::Jsonl => Samples::Json(destination),
        Format::Openmetrics => Samples::OpenMetrics(destination),
        Format::Parquet => {
            let names = source.label_names().await?;
            Samples::Parquet(Box::new(SampleTable::new(destination, names)?))
        }
    };
    source
        .read(|chunk, part| {
            progress.add(chunk.samples.len(), part);
            match &mut out {
                Samples::Json(destination) => write_json(destination, &chunk)?,
                Samples::OpenMetrics(destination) => openmetrics::write(destination, &chunk)?,
                Samples::Parquet(table) => table.push(&chunk)?,
            }
            Ok(())
        })
        .await?;
    if source.n_histograms > 0 {
        say(&format!(
            "warning: {} native histograms were left out: these formats hold numbers only",
            source.n_histograms
        ));
    }
    match out {
        Samples::Json(destination) => destination.finish(),
        Samples::OpenMetrics(mut destination) => {
            destination.write_all(openmetrics::END.as_bytes())?;
            destination.finish()
        }
        Samples::Parquet(table) => table.finish()?.finish(),
    }
}

/// Samples of a series as VictoriaMetrics and its like exchange them: numbers that JSON lacks are texts.
fn write_json(out: &mut impl Write, chunk: &Chunk) -> Result<()> {
    let values = chunk
        .samples
        .iter()
        .map(|(_, text)| match text.parse::<f64>() {
            Ok(v) if v.is_finite() => serde_json::value::RawValue::from_string(text.clone())
                .map_or_else(|_| json!(v), |raw| json!(raw)),
            _ => json!(text),
        });
    let line = json!({
        "metric": chunk.labels,
        "values": values.collect::<Vec<_>>(),
        "timestamps": chunk.samples.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(),
    });
    serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Span;

    #[test]
    fn formats_by_name() {
        for (file, format, expected) in [
            ("-", None, Some(Format::Jsonl)),
            ("a.parquet", None, Some(Format::Parquet)),
            ("a.om", None, Some(Format::Openmetrics)),
            ("a.jsonl", Some(Format::Parquet), Some(Format::Parquet)),
            ("a", None, None),
            ("a.csv", None, None),
        ] {
            let args = ExportData {
                selector: "x".into(),
                span: Span {
                    start: "1h".into(),
                    end: None,
                },
                format,
                file: file.into(),
                quiet: true,
            };
            assert_eq!(format_of(&args).ok(), expected, "{file}");
        }
    }

    #[test]
    fn samples_as_json() {
        let chunk = Chunk {
            labels: [("__name__".to_owned(), "up".to_owned())].into(),
            samples: vec![
                (1000, "1".into()),
                (2000, "NaN".into()),
                (3000, "0.1".into()),
                (4000, "+Inf".into()),
            ],
        };
        let mut out = Vec::new();
        write_json(&mut out, &chunk).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"metric\":{\"__name__\":\"up\"},\"timestamps\":[1000,2000,3000,4000],\"values\":[1,\"NaN\",0.1,\"+Inf\"]}\n"
        );
    }
}
