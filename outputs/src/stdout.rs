//! `stdout`: prints records to standard output, in the formats of Fluent Bit's output of that name.
//!
//! A record counts as delivered once the operating system took its bytes.

use std::io::Write;

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, RecordBatch, Settings};

use crate::render::{
    DATE_KEY, FORMATS, Format, Layout, date_format_option, kubernetes_json, split_seconds,
    write_text_record, write_text_tree,
};
use crate::tree::Tree;
use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture, metric_text};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "stdout",
    about: "Prints records and metrics to standard output.",
    options: &[
        OptionSpec::new(
            "format",
            OptionKind::Choice(FORMATS),
            "msgpack",
            "msgpack prints `[N] tag: [[time, {}], {record}]`, as Fluent Bit does",
        ),
        DATE_KEY,
        date_format_option("double"),
    ],
    example: "[OUTPUT]\n    Name    stdout\n    Match   *\n    Format  json_lines\n",
    build,
};

struct Stdout {
    /// `None` = the text form of msgpack.
    format: Option<Format>,
}

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let format = match Layout::of(settings) {
        Layout::Msgpack => None,
        layout => Some(Format::of(settings, layout)?.with(environment.unicode)),
    };
    Ok(Box::new(Stdout { format }))
}

impl Stdout {
    fn render(&self, out: &mut Vec<u8>, batch: &RecordBatch) {
        match (batch, &self.format) {
            (RecordBatch::Metrics(batch), _) => metric_text::write(out, batch),
            (RecordBatch::Logs(batch), None) => write_events(out, batch),
            (RecordBatch::Logs(batch), Some(format)) => {
                format.write_batches(out, [batch]);
                if format.layout != Layout::Lines {
                    out.push(b'\n');
                }
            }
        }
    }
}

fn write_events(out: &mut Vec<u8>, batch: &LogBatch) {
    let kubernetes = kubernetes_json(batch);
    for row in 0..batch.len() {
        let (seconds, nanos) = split_seconds(batch.times()[row]);
        out.extend_from_slice(
            format!("[{row}] {}: [[{seconds}.{nanos:09}, ", batch.tag).as_bytes(),
        );
        match batch.metadata(row) {
            None => out.extend_from_slice(b"{}"),
            Some(json) => write_text_tree(out, &Tree::read(json).unwrap_or(Tree::Null)),
        }
        out.extend_from_slice(b"], ");
        write_text_record(out, batch, row, &kubernetes);
        out.extend_from_slice(b"]\n");
    }
}

impl Output for Stdout {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        let batches = request.batches;
        Box::pin(async move {
            let mut text = Vec::new();
            for batch in batches {
                self.render(&mut text, batch);
            }
            // A pipe that nobody reads blocks: that must not hold up the other outputs.
            let written = tokio::task::spawn_blocking(move || {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&text).and_then(|()| stdout.flush())
            });
            match written.await {
                Ok(Ok(())) => Outcome::Delivered,
                Ok(Err(e)) => Outcome::Rejected {
                    reason: format!("failed to write to standard output: {e}"),
                },
                Err(e) => Outcome::Rejected {
                    reason: format!("failed to write to standard output: {e}"),
                },
            }
        })
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(pairs: &[(&str, &str)]) -> String {
        let settings = Settings::of("stdout", pairs);
        settings.check(PLUGIN.options).expect("valid settings");
        let format = settings
            .get("format")
            .map(|_| Format::of(&settings, Layout::Json).expect("valid format"));
        let mut out = Vec::new();
        let batch = RecordBatch::Logs(crate::render::tests::batch());
        Stdout { format }.render(&mut out, &batch);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn events_are_numbered_with_tag_and_time() {
        let text = render(&[]);
        let first = "[0] kube.web: [[1700000000.123456789, {}], {\"log\"=>\"a \"quoted\" line\", \"kubernetes\"=>{";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("}]\n[1] kube.web: [[1700000000.123456790, {}], {"));
    }

    #[test]
    fn a_json_array_ends_with_a_newline() {
        let text = render(&[("format", "json")]);
        assert!(
            text.starts_with("[{\"date\":") && text.ends_with("}]\n"),
            "{text}"
        );
        serde_json::from_str::<serde_json::Value>(&text).expect("valid json");
    }

    #[test]
    fn unknown_formats_are_refused() {
        let settings = Settings::of("stdout", &[("format", "xml")]);
        let error = build(&settings, &OutputEnvironment::default())
            .err()
            .expect("refused");
        assert!(error.to_string().contains("one of msgpack, json"));
    }
}
