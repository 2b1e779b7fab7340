//! The columns of a batch of lines: which fields a line gives and where they go.
//!
//! What repeats in every record (stream names, flags, the path) is stored once per batch and the
//! columns point to it.

use std::path::Path;

use kansoku_model::{LogBatch, Position, Slice, Value};
use kansoku_parsers::line::{Parsed, Parser};

use super::lines::{Format, LineRules};

/// A line, or several joined, in a runtime's wrapping.
pub(super) struct WrappedLine {
    pub(super) format: Format,
    /// As written.
    pub(super) time: Slice,
    pub(super) time_ns: i64,
    /// 0 = standard output, 1 = standard error.
    pub(super) stream: usize,
    /// Whether the first line was marked as partial.
    pub(super) partial: bool,
    pub(super) log: Slice,
}

/// A line that no runtime has wrapped.
pub(super) struct PlainLine<'a> {
    pub(super) line: &'a [u8],
    /// Where `line` lies in the batch's arena.
    pub(super) text: Slice,
    pub(super) position: Position,
    pub(super) start: u64,
    pub(super) now_ns: i64,
}

/// One line of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupPart {
    /// Where it ends in the group's text.
    pub(super) end: usize,
    /// The parser that gives it fields.
    pub(super) parser: Option<usize>,
}

fn put_lines(logs: &mut LogBatch, row: usize, field: Option<(usize, Vec<u8>)>) {
    if let Some((column, lines)) = field {
        let text = Value::Text(logs.store(&lines));
        logs.set(column, row, text);
    }
}

/// Column numbers of one batch.
#[derive(Default)]
pub(super) struct Columns {
    ready: bool,
    /// time, stream, `_p`, log; for docker log, stream, time.
    cri: Option<[usize; 4]>,
    docker: Option<[usize; 3]>,
    /// The fields of a [`CriPattern`](kansoku_parsers::line::cri::CriPattern).
    fields: [Option<usize>; 4],
    path: Option<(usize, Value)>,
    offset: Option<usize>,
    /// `stdout`, `stderr`, `F`, `P`.
    words: [Value; 4],
}

impl Columns {
    /// Stores what all records share. Must come before the first push.
    pub(super) fn begin(&mut self, logs: &mut LogBatch, rules: &LineRules, path: &Path) {
        if std::mem::replace(&mut self.ready, true) {
            return;
        }
        if !rules.formats.is_empty() {
            let words: [&[u8]; 4] = [b"stdout", b"stderr", b"F", b"P"];
            self.words = words.map(|word| Value::Text(logs.store(word)));
        }
        // Fluent Bit puts these two before the line's own fields.
        self.path = rules.path_key.as_ref().map(|key| {
            let name = logs.store(path.as_os_str().as_encoded_bytes());
            (logs.column_index_or_insert(key), Value::Text(name))
        });
        self.offset = rules
            .offset_key
            .as_ref()
            .map(|key| logs.column_index_or_insert(key));
    }

    /// A record with the fields that all have.
    pub(super) fn record(
        &self,
        logs: &mut LogBatch,
        time_ns: i64,
        position: Position,
        start: u64,
    ) -> usize {
        let row = logs.push(time_ns, position);
        if let Some((column, name)) = self.path {
            logs.set(column, row, name);
        }
        if let Some(column) = self.offset {
            logs.set(column, row, Value::Int(start as i64));
        }
        row
    }

    /// Adds a record of a runtime's line that begins at offset `start`.
    pub(super) fn push(
        &mut self,
        logs: &mut LogBatch,
        line: &WrappedLine,
        position: Position,
        start: u64,
    ) -> usize {
        let row = self.record(logs, line.time_ns, position, start);
        let stream = self.words[line.stream];
        match line.format {
            Format::Cri => {
                let names = ["time", "stream", "_p", "log"];
                let columns = *self
                    .cri
                    .get_or_insert_with(|| names.map(|n| logs.column_index_or_insert(n)));
                logs.set(columns[0], row, Value::Text(line.time));
                logs.set(columns[1], row, stream);
                logs.set(columns[2], row, self.words[2 + usize::from(line.partial)]);
                logs.set(columns[3], row, Value::Text(line.log));
            }
            Format::Docker => {
                let names = ["log", "stream", "time"];
                let columns = *self
                    .docker
                    .get_or_insert_with(|| names.map(|n| logs.column_index_or_insert(n)));
                logs.set(columns[0], row, Value::Text(line.log));
                logs.set(columns[1], row, stream);
                logs.set(columns[2], row, Value::Text(line.time));
            }
        }
        row
    }

    /// Puts what a parser read in a runtime's text in the place of that text.
    pub(super) fn put_parsed(
        &mut self,
        logs: &mut LogBatch,
        row: usize,
        line: &WrappedLine,
        parsed: &mut Parsed,
    ) {
        let text = match line.format {
            Format::Cri => self.cri.map(|columns| columns[3]),
            Format::Docker => self.docker.map(|columns| columns[0]),
        };
        let Some(text) = text else {
            return;
        };
        logs.set(text, row, Value::Absent);
        if !parsed.write(logs, row, line.log) {
            logs.set(text, row, Value::Text(line.log));
            return;
        }
        if let Some(time_ns) = parsed.time_ns {
            logs.set_time(row, time_ns);
        }
    }

    /// Puts the lines of a group into record `row`: fields of those that a parser reads, the others
    /// as further lines of the last field.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn put_group<'p>(
        &mut self,
        logs: &mut LogBatch,
        rules: &LineRules,
        row: usize,
        text: &[u8],
        parts: &[GroupPart],
        parsers: impl Fn(usize) -> &'p Parser,
        parsed: &mut Parsed,
    ) {
        let now_ns = logs.times()[row];
        let mut field: Option<(usize, Vec<u8>)> = None;
        let mut start = 0;
        for (index, part) in parts.iter().enumerate() {
            let line = &text[start..part.end];
            start = part.end;
            if let Some(parser) = part.parser {
                put_lines(logs, row, field.take());
                let slice = logs.store(line);
                let fits = parsers(parser).parse(line, now_ns, parsed);
                if fits && parsed.write(logs, row, slice) {
                    field = (parsed.last_text_column(logs, row))
                        .map(|(column, text)| (column, logs.bytes(text).to_vec()));
                    if let Some(time_ns) = parsed.time_ns.filter(|_| index == 0) {
                        logs.set_time(row, time_ns);
                    }
                    continue;
                }
            }
            let (_, lines) =
                field.get_or_insert_with(|| (logs.column_index_or_insert(&rules.key), Vec::new()));
            if !lines.is_empty() {
                lines.push(b'\n');
            }
            lines.extend_from_slice(line);
        }
        put_lines(logs, row, field);
    }

    /// Adds a record of a line as `parser` reads it, or with the whole line under `key`.
    pub(super) fn push_plain(
        &mut self,
        logs: &mut LogBatch,
        rules: &LineRules,
        plain: &PlainLine<'_>,
        parsed: &mut Parsed,
    ) {
        let cri = rules.parser.as_ref().and_then(|parser| parser.cri());
        if let Some(pattern) = cri
            && let Some((ranges, time_ns)) = pattern.cut(plain.line)
        {
            let row = self.record(logs, time_ns, plain.position, plain.start);
            for (field, range) in ranges.into_iter().enumerate() {
                let Some(range) = range else { continue };
                let column = *self.fields[field]
                    .get_or_insert_with(|| logs.column_index_or_share(&pattern.names[field]));
                let text = plain.text.sub(range.start, range.end);
                logs.set(column, row, Value::Text(text));
            }
            return;
        }
        let row = self.record(logs, plain.now_ns, plain.position, plain.start);
        if let Some(parser) = &rules.parser
            && parser.parse(plain.line, plain.now_ns, parsed)
            && parsed.write(logs, row, plain.text)
        {
            if let Some(time_ns) = parsed.time_ns {
                logs.set_time(row, time_ns);
            }
            return;
        }
        let column = logs.column_index_or_insert(&rules.key);
        logs.set(column, row, Value::Text(plain.text));
    }
}
