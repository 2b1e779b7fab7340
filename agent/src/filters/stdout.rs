//! `stdout`: prints records as they pass, in Fluent Bit's text form, and leaves them as they are.

use std::io::Write;

use kansoku_model::{ConfigError, LogBatch, Plugin, Settings};
use kansoku_outputs::render::{kubernetes_json, split_seconds, write_text_record};

use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "stdout",
    about: "Prints records as they pass.",
    options: &[],
    example: "[FILTER]\n    Name  stdout\n    Match *\n",
    build,
};

struct Stdout;

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Stdout))
}

fn write(out: &mut Vec<u8>, batch: &LogBatch) {
    let kubernetes = kubernetes_json(batch);
    for row in 0..batch.len() {
        let (seconds, nanos) = split_seconds(batch.times()[row]);
        let head = format!("[{row}] {}: [[{seconds}.{nanos:09}, {{}}], ", batch.tag);
        out.extend_from_slice(head.as_bytes());
        write_text_record(out, batch, row, &kubernetes);
        out.extend_from_slice(b"]\n");
    }
}

impl Filter for Stdout {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        let mut out = Vec::new();
        write(&mut out, batch);
        if let Err(error) = std::io::stdout().lock().write_all(&out) {
            log::warn("filter:stdout", format_args!("cannot print: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::Position;

    use super::*;

    #[test]
    fn records_are_printed_in_text_form() {
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        let row = batch.push(1_500_000_000, Position::at(1));
        batch.set_text("log", row, b"hi");
        let mut out = Vec::new();
        write(&mut out, &batch);
        assert_eq!(out, b"[0] t: [[1.500000000, {}], {\"log\"=>\"hi\"}]\n");
    }
}
