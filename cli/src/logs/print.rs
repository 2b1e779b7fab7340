//! Lines as kubectl prints them: prefix, timestamp, line; or as JSON, YAML or CSV.

use std::io::Write;

use serde_json::json;

use crate::args::Output;
use crate::error::Result;
use crate::lines::Entry;
use crate::output::color::Palette;
use crate::output::{csv, yaml};
use crate::time;

/// How lines look.
#[derive(Debug, Clone)]
pub struct Style {
    pub output: Output,
    pub palette: Palette,
    pub timestamps: bool,
    pub prefix: bool,
    /// Bytes of a container's log that are printed; 0 is no limit.
    pub limit_bytes: u64,
}

/// Prints lines of one container.
pub struct Printer {
    style: Style,
    /// `[pod/NAME/CONTAINER] `, or empty.
    prefix: String,
    /// What the limit leaves.
    left: Option<u64>,
}

impl Printer {
    /// For container `container` of `pod`, which is number `n` of those shown.
    #[must_use]
    pub fn new(style: &Style, pod: &str, container: &str, n: usize) -> Self {
        let prefix = if style.prefix {
            let text = format!("[pod/{pod}/{container}]");
            format!("{} ", style.palette.of_pod(n, &text))
        } else {
            String::new()
        };
        Self {
            style: style.clone(),
            prefix,
            left: (style.limit_bytes > 0).then_some(style.limit_bytes),
        }
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Prints a line, as much of it as the limit allows.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn print(&mut self, out: &mut impl Write, entry: &Entry) -> Result<()> {
        if self.is_full() {
            return Ok(());
        }
        let mut text = match self.style.output {
            Output::Table => {
                let mut text = String::with_capacity(entry.line.len() + 40);
                if self.style.timestamps {
                    text.push_str(&time::rfc3339(entry.time_ns));
                    text.push(' ');
                }
                text.push_str(&entry.line);
                text.push('\n');
                text.into_bytes()
            }
            other => record(other, entry).into_bytes(),
        };
        if let Some(left) = &mut self.left {
            let n = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
            text.truncate(n);
            *left -= n as u64;
        }
        out.write_all(self.prefix.as_bytes())?;
        out.write_all(&text)?;
        Ok(())
    }
}

/// The headings of CSV, for who wants any.
#[must_use]
pub fn heading(output: Output) -> &'static str {
    match output {
        Output::Csv => "time,namespace,pod,container,stream,line\n",
        Output::Table | Output::Json | Output::Yaml => "",
    }
}

/// A line with what is known of it, as a record of its own.
fn record(output: Output, entry: &Entry) -> String {
    let time = time::rfc3339(entry.time_ns);
    if output == Output::Csv {
        let labels =
            ["namespace", "pod", "container", "stream"].map(|name| entry.label(name).to_owned());
        let mut cells = vec![time];
        cells.extend(labels);
        cells.push(entry.line.clone());
        let mut row = String::new();
        csv::row(&mut row, &cells);
        return row;
    }
    let mut value = json!({"time": time, "labels": &*entry.labels, "line": entry.line});
    if !entry.metadata.is_empty() {
        value["metadata"] = json!(entry.metadata);
    }
    match output {
        Output::Yaml => format!("---\n{}", yaml::text(&value)),
        _ => format!("{value}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn printed(style: &Style, lines: &[&str]) -> String {
        let labels = [
            ("pod", "p"),
            ("container", "c"),
            ("namespace", "n"),
            ("stream", "stdout"),
        ];
        let labels = labels.map(|(a, b)| (a.to_owned(), b.to_owned()));
        let labels = Rc::new(labels.into());
        let mut printer = Printer::new(style, "p", "c", 0);
        let mut out = Vec::new();
        for line in lines {
            let entry = Entry {
                time_ns: 1_500_000_000,
                line: (*line).into(),
                labels: Rc::clone(&labels),
                metadata: std::collections::BTreeMap::new(),
            };
            printer.print(&mut out, &entry).unwrap();
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_look_as_with_kubectl() {
        let style = Style {
            output: Output::Table,
            palette: Palette::plain(),
            timestamps: false,
            prefix: false,
            limit_bytes: 0,
        };
        assert_eq!(printed(&style, &["a", ""]), "a\n\n");
        let with = |change: fn(&mut Style)| {
            let mut style = style.clone();
            change(&mut style);
            style
        };
        let all = with(|s| (s.timestamps, s.prefix) = (true, true));
        assert_eq!(
            printed(&all, &["a"]),
            "[pod/p/c] 1970-01-01T00:00:01.500000000Z a\n"
        );
        // Bytes are those of the container's log: with timestamps, without the prefix.
        for (limit, expected) in [(1, "a"), (3, "ab\n"), (5, "ab\nc\n"), (4, "ab\nc")] {
            let mut style = style.clone();
            style.limit_bytes = limit;
            assert_eq!(
                printed(&style, &["ab", "c", "d"]),
                expected[..expected.len().min(limit as usize)],
                "{limit}"
            );
        }
        let csv = with(|s| s.output = Output::Csv);
        assert_eq!(
            printed(&csv, &["a,b"]),
            "1970-01-01T00:00:01.500000000Z,n,p,c,stdout,\"a,b\"\n"
        );
        let json = with(|s| s.output = Output::Json);
        assert!(printed(&json, &["\u{1}"]).starts_with(r#"{"labels":{"container":"c","#));
        let yaml = with(|s| s.output = Output::Yaml);
        assert!(printed(&yaml, &["x"]).starts_with("---\nlabels:\n  container: c\n"));
    }
}
