//! Records as messages of the forward protocol, in the three modes Fluent Bit uses.
//!
//! `[tag, [entries], options]` as a rule, with `compress` the entries as one gzipped binary; one
//! `[tag, time, record, options]` per record when the tag is made of the record's fields.

use std::io::Write;

use base64::Engine;
use kansoku_model::LogBatch;
use ring::digest::{Context, SHA512};

use crate::accessor::Template;
use crate::msgpack::{
    self, write_array_header, write_bin_header, write_event_time, write_int, write_text,
};
use crate::render::{kubernetes_json, split_seconds};

/// How messages look; from the settings of a node.
pub(crate) struct Style {
    pub(crate) tag: Option<Template>,
    pub(crate) time_as_integer: bool,
    pub(crate) retain_metadata: bool,
    pub(crate) gzip: bool,
    pub(crate) with_options: bool,
    pub(crate) with_chunk: bool,
    pub(crate) extra: Vec<(String, String)>,
}

/// One message and the acknowledgement to wait for.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    /// Set when the server has to acknowledge.
    pub(crate) chunk: Option<String>,
    /// How many batches of the request are done with this message and those before it.
    pub(crate) n_batches: usize,
}

/// The name of message `n` of a request: a repeat has the same, so that a server can tell. (Fluent
/// Bit takes the digest of the content, by which two equal chunks look like a repeat.)
fn chunk_id(request_id: &str, n: usize) -> String {
    let mut context = Context::new(&SHA512);
    context.update(request_id.as_bytes());
    context.update(&(n as u64).to_le_bytes());
    base64::engine::general_purpose::STANDARD.encode(&context.finish().as_ref()[..16])
}

impl Style {
    /// All messages of a request: batches of one tag that follow each other share one.
    pub(crate) fn messages(&self, batches: &[&LogBatch], request_id: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut done = 0;
        for group in batches.chunk_by(|a, b| a.tag == b.tag) {
            done += group.len();
            match &self.tag {
                Some(tag) if !tag.is_static() => {
                    self.one_each(tag, group, request_id, done, &mut messages);
                }
                _ => {
                    let message = self.whole(group, request_id, done, messages.len());
                    messages.push(message);
                }
            }
        }
        messages
    }

    fn whole(&self, group: &[&LogBatch], request_id: &str, done: usize, n: usize) -> Message {
        let tag = match &self.tag {
            Some(template) => template.of_tag(&group[0].tag),
            None => group[0].tag.to_string(),
        };
        let n_records: usize = group.iter().map(|b| b.len()).sum();
        let mut entries = Vec::new();
        for batch in group {
            let kubernetes = msgpack::from_json(&kubernetes_json(batch));
            for row in 0..batch.len() {
                self.write_entry(&mut entries, batch, row, &kubernetes);
            }
        }
        let chunk = self.with_chunk.then(|| chunk_id(request_id, n));
        let mut bytes = Vec::with_capacity(entries.len() + 256);
        write_array_header(&mut bytes, if self.with_options { 3 } else { 2 });
        write_text(&mut bytes, tag.as_bytes());
        if self.gzip {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&entries)
                .expect("writing to memory succeeds");
            entries = gzip.finish().expect("writing to memory succeeds");
            write_bin_header(&mut bytes, entries.len());
        } else {
            write_array_header(&mut bytes, n_records);
        }
        bytes.append(&mut entries);
        if self.with_options {
            self.write_options(&mut bytes, chunk.as_deref(), Some(n_records), None);
        }
        Message {
            bytes,
            chunk,
            n_batches: done,
        }
    }

    fn one_each(
        &self,
        template: &Template,
        group: &[&LogBatch],
        request_id: &str,
        done: usize,
        messages: &mut Vec<Message>,
    ) {
        let before = done - group.len();
        let mut tag = Vec::new();
        for (at, batch) in group.iter().enumerate() {
            let kubernetes = msgpack::from_json(&kubernetes_json(batch));
            let reading = template.over(batch);
            for row in 0..batch.len() {
                let mut bytes = Vec::new();
                write_array_header(&mut bytes, 4);
                tag.clear();
                reading.write(&mut tag, row);
                write_text(&mut bytes, &tag);
                self.write_time(&mut bytes, batch.times()[row]);
                msgpack::write_record(&mut bytes, batch, row, &kubernetes);
                let n = messages.len();
                let chunk = self.with_chunk.then(|| chunk_id(request_id, n));
                self.write_options(&mut bytes, chunk.as_deref(), None, batch.metadata(row));
                let is_last = row + 1 == batch.len();
                messages.push(Message {
                    bytes,
                    chunk,
                    n_batches: before + at + usize::from(is_last),
                });
            }
        }
    }

    fn write_entry(&self, out: &mut Vec<u8>, batch: &LogBatch, row: usize, kubernetes: &[u8]) {
        if self.retain_metadata && !self.time_as_integer {
            return msgpack::write_event(out, batch, row, kubernetes);
        }
        write_array_header(out, 2);
        self.write_time(out, batch.times()[row]);
        msgpack::write_record(out, batch, row, kubernetes);
    }

    fn write_time(&self, out: &mut Vec<u8>, time_ns: i64) {
        if self.time_as_integer {
            write_int(out, split_seconds(time_ns).0);
        } else {
            write_event_time(out, time_ns);
        }
    }

    fn write_options(
        &self,
        out: &mut Vec<u8>,
        chunk: Option<&str>,
        n_records: Option<usize>,
        metadata: Option<&[u8]>,
    ) {
        let gzip = self.gzip && n_records.is_some();
        let optional = [
            chunk.is_some(),
            n_records.is_some(),
            gzip,
            metadata.is_some(),
        ];
        let n = 1 + self.extra.len() + optional.iter().filter(|&&there| there).count();
        // The wide header, as Fluent Bit writes it.
        out.push(0xdf);
        out.extend_from_slice(&(n as u32).to_be_bytes());
        if let Some(chunk) = chunk {
            write_text(out, b"chunk");
            write_text(out, chunk.as_bytes());
        }
        if let Some(n) = n_records {
            write_text(out, b"size");
            write_int(out, n as i64);
        }
        if gzip {
            write_text(out, b"compressed");
            write_text(out, b"gzip");
        }
        // 0 = logs.
        write_text(out, b"fluent_signal");
        write_int(out, 0);
        for (key, value) in &self.extra {
            write_text(out, key.as_bytes());
            write_text(out, value.as_bytes());
        }
        if let Some(json) = metadata {
            write_text(out, b"metadata");
            msgpack::write_json(out, json);
        }
    }
}
