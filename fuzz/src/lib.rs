//! What several targets ask of batches.

use std::sync::Arc;

use kansoku_model::{LogBatch, Position, Settings, SourceId, json};
use kansoku_parsers::line::{MAX_COLUMNS, Parsed, Parser};
use serde_json::Value as Json;

/// Of one batch.
const MAX_RECORDS: usize = 50;

/// The records of a batch as JSON objects.
///
/// # Panics
/// When one is no valid JSON, or is not within its bounds.
#[must_use]
pub fn fields(batch: &LogBatch) -> Vec<String> {
    let row = |row| {
        let mut text = b"{".to_vec();
        json::write_fields(&mut text, batch, row, true);
        text.push(b'}');
        let text = String::from_utf8(text).expect("a record is UTF-8");
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
            // JSON sets no bound to a number, which is passed on as written; this reader does.
            let is_number = error.to_string().contains("number out of range");
            assert!(is_number, "{error} in {text}");
        }
        text
    };
    (0..batch.len()).map(row).collect()
}

/// Whether two JSON texts say the same.
#[must_use]
pub fn is_alike(a: &str, b: &str) -> bool {
    fn alike(a: &Json, b: &Json) -> bool {
        match (a, b) {
            (Json::Number(x), Json::Number(y)) => match (x.as_f64(), y.as_f64()) {
                // However they are written.
                (Some(x), Some(y)) => x.to_bits() == y.to_bits(),
                _ => x == y,
            },
            (Json::Array(x), Json::Array(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| alike(x, y))
            }
            (Json::Object(x), Json::Object(y)) => {
                x.len() == y.len() && x.iter().all(|(k, x)| y.get(k).is_some_and(|y| alike(x, y)))
            }
            _ => a == b,
        }
    }
    let read = |text: &str| serde_json::from_str::<Json>(text).ok();
    a == b || read(a).zip(read(b)).is_some_and(|(a, b)| alike(&a, &b))
}

/// Holds batches of one source to what all that read them rely on.
///
/// # Panics
/// When they do not follow each other within their bounds.
pub fn check(batches: &[LogBatch]) {
    let mut last = None;
    for batch in batches {
        assert!(batch.columns().len() <= MAX_COLUMNS);
        assert!(last.is_none_or(|l| l <= batch.source.from));
        assert!(batch.positions().windows(2).all(|w| w[0] < w[1]));
        assert!(batch.positions().iter().all(|p| *p <= batch.source.to));
        last = Some(batch.source.to);
        let _ = fields(batch);
        for row in 0..batch.len() {
            if let Some(metadata) = batch.metadata(row) {
                assert!(metadata.starts_with(b"{") && metadata.ends_with(b"}"));
            }
        }
    }
}

/// JSON objects, one a line, as a batch of one source; `None` when there is none.
#[must_use]
pub fn batch_of(lines: &[u8]) -> Option<LogBatch> {
    thread_local! {
        static JSON: Parser = Parser::new(
            &Settings::of("PARSER", &[("name", "json"), ("format", "json")]),
            &|_| None,
        )
        .expect("a constant section is valid");
    }
    let mut batch = LogBatch::new("app.web.log".into(), Arc::default(), Vec::new());
    batch.source.id = SourceId(1);
    let mut parsed = Parsed::default();
    JSON.with(|json| {
        for line in lines.split(|b| *b == b'\n').take(MAX_RECORDS) {
            if json.parse(line, 0, &mut parsed) {
                let at = batch.len() as u64;
                let row = batch.push(at as i64, Position::at(at + 1));
                let slice = batch.store(line);
                // A record with more fields than there may be stays empty.
                let _ = parsed.write(&mut batch, row, slice);
            }
        }
    });
    batch.source.to = Position::at(batch.len() as u64);
    (!batch.is_empty()).then_some(batch)
}

/// Turns the agent's own log off: what it says of bad input would be most of the work.
#[cfg(feature = "agent")]
pub fn quiet() {
    kansoku_agent::log::set_level(kansoku_agent::log::Level::Off);
}
