//! `merge_log` of the kubernetes filter: the JSON object in `log` becomes fields of the record.
//!
//! What is no single object stays text. With a parser the line's own time becomes the record's.

use kansoku_model::{Column, LogBatch, Value};
use kansoku_parsers::line::{Parsed, Parser};

/// The field that is merged.
const LOG: &str = "log";

/// How to merge.
pub struct MergeLog {
    /// The field that takes the merged ones; `None` = the record itself.
    pub key: Option<String>,
    /// Cut line ends off merged texts.
    pub trim: bool,
    /// Keep `log` after merging.
    pub keep_log: bool,
}

impl MergeLog {
    /// Merges every record; `parser_of` gives the parser for a record's stream.
    pub fn apply<'p>(
        &self,
        batch: &mut LogBatch,
        parsed: &mut Parsed,
        now_ns: i64,
        parser_of: impl Fn(&[u8]) -> Option<(&'p Parser, bool)>,
    ) {
        let Some(log) = batch.column_index(LOG) else {
            return;
        };
        let stream = batch.column_index("stream");
        for row in 0..batch.len() {
            let (Value::Text(slice) | Value::Json(slice)) = batch.columns()[log].values[row] else {
                continue;
            };
            let line = batch.bytes(slice);
            let of_stream = match stream.map_or(Value::Absent, |at| batch.columns()[at].values[row])
            {
                Value::Text(name) => batch.bytes(name),
                _ => b"",
            };
            let Some((parser, takes_time)) = parser_of(of_stream) else {
                continue;
            };
            // Most lines are no JSON: told by one byte.
            if !takes_time && line.trim_ascii_start().first() != Some(&b'{') {
                continue;
            }
            if !parser.parse(line, now_ns, parsed) {
                continue;
            }
            if self.trim {
                parsed.trim_texts(line);
            }
            let done = match &self.key {
                None => parsed.write(batch, row, slice),
                Some(key) => {
                    let object = parsed.write_object(batch, slice);
                    let column = batch.column_index_or_insert(key);
                    batch.set(column, row, object);
                    true
                }
            };
            if !done {
                continue;
            }
            if let Some(time_ns) = parsed.time_ns.filter(|_| takes_time) {
                batch.set_time(row, time_ns);
            }
            // A merged field called `log` has taken the place already.
            if !self.keep_log && batch.columns()[log].values[row] == Value::Text(slice) {
                batch.set(log, row, Value::Absent);
            }
        }
        drop_empty(batch, log);
    }
}

/// Removes a column that no record has any more.
fn drop_empty(batch: &mut LogBatch, at: usize) {
    let Column { name, values } = &batch.columns()[at];
    if values.iter().all(|v| *v == Value::Absent) {
        let name = name.clone();
        batch.remove_column(&name);
    }
}
