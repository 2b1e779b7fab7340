//! `counter`: prints how many records each request brought; for trying a configuration out.
//!
//! The line is Fluent Bit's: the time, events, log records and the total.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use kansoku_model::{ConfigError, Plugin, RecordBatch, Settings};

use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "counter",
    about: "Prints how many records arrive.",
    options: &[],
    example: "[OUTPUT]\n    Name   counter\n    Match  *\n",
    build,
};

struct Counter;

fn build(settings: &Settings, _: &OutputEnvironment) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Counter))
}

fn line(batches: &[std::sync::Arc<RecordBatch>], seconds: f64) -> String {
    let logs = |b: &RecordBatch| matches!(b, RecordBatch::Logs(_));
    let all: usize = batches.iter().map(|b| b.n_records()).sum();
    let n_logs: usize = batches
        .iter()
        .filter(|b| logs(b))
        .map(|b| b.n_records())
        .sum();
    format!(
        "{{\"ts\":{seconds:.6},\"serialized_events\":{all},\"log_records\":{n_logs},\"total\":{all}}}\n"
    )
}

/// Prints text without holding up the threads that serve sockets.
pub(crate) async fn print(text: String) -> Outcome {
    let written = tokio::task::spawn_blocking(move || {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    });
    let error = match written.await {
        Ok(Ok(())) => return Outcome::Delivered,
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    Outcome::Rejected {
        reason: format!("failed to write to standard output: {error}"),
    }
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

impl Output for Counter {
    fn send<'a>(&'a self, request: Request<'a>) -> SendFuture<'a> {
        Box::pin(print(line(request.batches, now_seconds())))
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn records_are_counted() {
        let batch = Arc::new(RecordBatch::Logs(crate::render::tests::batch()));
        assert_eq!(
            line(&[batch.clone(), batch], 1.5),
            "{\"ts\":1.500000,\"serialized_events\":4,\"log_records\":4,\"total\":4}\n"
        );
    }
}
