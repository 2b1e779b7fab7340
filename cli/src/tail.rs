//! `kansoku tail`: lines of any log query as they come.

use std::io::Write;

use serde_json::json;

use crate::args::{self, Global, Output};
use crate::client::Client;
use crate::error::Result;
use crate::follow::follow;
use crate::lines::{Entry, Labels};
use crate::output::color::Palette;
use crate::output::{csv, yaml};
use crate::query::pointed;
use crate::time;

/// Runs the command until it is interrupted.
///
/// # Errors
/// When the query is wrong or nobody takes the lines.
pub async fn run(client: &Client, global: &Global, args: &args::Tail) -> Result<()> {
    let since_ns = time::duration_ns(&args.since)?;
    let start_ns = time::now_ns().saturating_sub(since_ns);
    let style = Style {
        output: global.output,
        palette: Palette::of(global.color),
        timestamps: args.timestamps,
        labels: args.labels,
    };
    let mut out = std::io::stdout().lock();
    if global.output == Output::Csv {
        out.write_all(b"time,labels,line\n")?;
    }
    follow(client, &args.query, start_ns, |entry| {
        out.write_all(style.text(&entry).as_bytes())?;
        out.flush()?;
        Ok(())
    })
    .await
    .map_err(|e| pointed(&args.query, e))
}

/// How lines of a query look.
pub struct Style {
    pub output: Output,
    pub palette: Palette,
    pub timestamps: bool,
    pub labels: bool,
}

impl Style {
    /// A line with its end.
    #[must_use]
    pub fn text(&self, entry: &Entry) -> String {
        let time = time::rfc3339(entry.time_ns);
        let value = || {
            let mut value = json!({"time": time, "labels": &*entry.labels, "line": entry.line});
            if !entry.metadata.is_empty() {
                value["metadata"] = json!(entry.metadata);
            }
            value
        };
        match self.output {
            Output::Table => {
                let mut text = String::with_capacity(entry.line.len() + 64);
                if self.timestamps {
                    text.push_str(&time);
                    text.push(' ');
                }
                if self.labels {
                    text.push_str(&self.palette.of_pod(0, &shown(&entry.labels)));
                    text.push(' ');
                }
                text.push_str(&entry.line);
                text.push('\n');
                text
            }
            Output::Json => format!("{}\n", value()),
            Output::Yaml => format!("---\n{}", yaml::text(&value())),
            Output::Csv => {
                let mut row = String::new();
                csv::row(
                    &mut row,
                    &[time.clone(), shown(&entry.labels), entry.line.clone()],
                );
                row
            }
        }
    }
}

/// Labels as a selector is written.
#[must_use]
pub fn shown(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", crate::logql::quote(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}
