//! Samples by reference as they stand in the WAL: definitions of series, and samples that name
//! their series by number.
//!
//! It knows no file; `wal.rs` puts these bodies into entries. A definition holds in the whole of its
//! segment, and stands there twice with samples in between, so that one damaged entry takes no other
//! along. The rule: any bytes are read or refused, without a panic and without memory that they do
//! not justify, and samples never go to a series that is not theirs.
//!
//! ```text
//!  0  4  magic: "KSD1" definitions, "KSS1" samples, "KSS2" samples with start times
//!  4  4  bytes of the content                          (little-endian)
//!  8     one LZ4 block of the content:
//! KSD1   number of series (varint), each: reference (varint), labels (text)
//! KSS1   number of runs (varint)
//!        per run: reference, less that of the run before (signed)
//!        per run: number of samples, 1 or more (varint)
//!        per sample: Unix ms, less those of the sample before (signed)
//!        KSS2, per sample: when what it counts began (Unix ms, 0: unknown), less that of the sample before (signed)
//!        per sample: the value's bits (8 bytes, little-endian)
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::Labels;
use kansoku_model::frame::MAX_PAYLOAD_BYTES;

use crate::bytes::{Malformed, Reader, put_signed, put_text, put_u32, put_varint};
use crate::references::{Samples, SeriesTable};
use crate::wal;

pub const DEFINITIONS: &[u8; 4] = b"KSD1";
pub const SAMPLES: &[u8; 4] = b"KSS1";
pub const STARTED: &[u8; 4] = b"KSS2";
/// Content of one entry of definitions, about.
const DEFINITIONS_BYTES: usize = 1 << 20;
/// Samples of one entry, about.
const ENTRY_SAMPLES: usize = 1 << 17;
/// LZ4 makes nothing longer than this many times its bytes.
const LZ4_MAX_RATIO: usize = 255;

/// Appends entries that define `references` of `table`.
pub fn put_definitions(out: &mut Vec<u8>, table: &SeriesTable, references: &[u32]) {
    let (mut content, mut series, mut n) = (Vec::new(), Vec::new(), 0);
    for (i, &reference) in references.iter().enumerate() {
        put_varint(&mut series, u64::from(reference));
        put_text(&mut series, table.labels(reference).as_bytes());
        n += 1;
        if series.len() >= DEFINITIONS_BYTES || i + 1 == references.len() {
            put_varint(&mut content, n);
            content.append(&mut series);
            put_packed(out, DEFINITIONS, &content);
            content.clear();
            n = 0;
        }
    }
}

/// Appends entries that hold all of `samples`.
pub fn put_samples(out: &mut Vec<u8>, samples: &Samples) {
    let (mut first, mut at, mut content) = (0, 0, Vec::new());
    while first < samples.runs.len() {
        let start = at;
        let mut end = first;
        while end < samples.runs.len() && at - start < ENTRY_SAMPLES {
            at += samples.runs[end].1 as usize;
            end += 1;
        }
        content.clear();
        put_runs(
            &mut content,
            &samples.runs[first..end],
            &samples.times[start..at],
            &samples.values[start..at],
            samples.starts.get(start..at).unwrap_or_default(),
        );
        let is_started = !samples.starts.is_empty();
        put_packed(out, if is_started { STARTED } else { SAMPLES }, &content);
        first = end;
    }
}

fn put_runs(out: &mut Vec<u8>, runs: &[(u32, u32)], times: &[i64], values: &[f64], starts: &[i64]) {
    out.reserve(10 + runs.len() * 3 + times.len() * 10);
    put_varint(out, runs.len() as u64);
    let mut last = 0;
    for (reference, _) in runs {
        put_signed(out, i64::from(*reference) - last);
        last = i64::from(*reference);
    }
    runs.iter()
        .for_each(|(_, n)| put_varint(out, u64::from(*n)));
    let mut last = 0i64;
    for &time in times {
        put_signed(out, time.wrapping_sub(last));
        last = time;
    }
    let mut last = 0i64;
    for &start in starts {
        put_signed(out, start.wrapping_sub(last));
        last = start;
    }
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

fn put_packed(out: &mut Vec<u8>, magic: &[u8; 4], content: &[u8]) {
    let mut body = magic.to_vec();
    put_u32(&mut body, content.len() as u32);
    let start = body.len();
    body.resize(
        start + lz4_flex::block::get_maximum_output_size(content.len()),
        0,
    );
    let n = lz4_flex::block::compress_into(content, &mut body[start..])
        .expect("room for the worst case");
    body.truncate(start + n);
    wal::put_entry(out, &body);
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut r = Reader::new(body);
    r.take(4)?;
    let len = r.u32()? as usize;
    if len > MAX_PAYLOAD_BYTES || len > r.rest().len() * LZ4_MAX_RATIO + 64 {
        return Err(Malformed("content is too long"));
    }
    let content = lz4_flex::block::decompress(r.rest(), len);
    content
        .ok()
        .filter(|content| content.len() == len)
        .ok_or(Malformed("content is no LZ4 block of its length"))
}

/// What the references of one segment stand for in the table of today.
#[derive(Debug)]
pub struct Replayed {
    table: Arc<SeriesTable>,
    /// By the segment's reference: the table's and one, or 0.
    dense: Vec<u32>,
    /// References from `DENSE_MAX` on.
    sparse: HashMap<u32, u32>,
}

/// References below this are found by place: four megabytes at the most, whatever a segment says.
const DENSE_MAX: u32 = 1 << 20;

impl Replayed {
    /// For a segment of which nothing has been read.
    pub fn new(table: Arc<SeriesTable>) -> Self {
        Self {
            table,
            dense: Vec::new(),
            sparse: HashMap::new(),
        }
    }

    fn known(&self, reference: u32) -> Option<u32> {
        if reference >= DENSE_MAX {
            return self.sparse.get(&reference).copied();
        }
        self.dense.get(reference as usize)?.checked_sub(1)
    }

    fn set(&mut self, reference: u32, known: u32) {
        if reference >= DENSE_MAX {
            self.sparse.insert(reference, known);
            return;
        }
        let at = reference as usize;
        if self.dense.len() <= at {
            self.dense.resize(at + 1, 0);
        }
        self.dense[at] = known + 1;
    }

    /// Reads definitions. All of a segment go before its samples.
    pub fn define(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let content = unpack(body)?;
        let mut r = Reader::new(&content);
        for _ in 0..r.count(2)? {
            let reference = r.varint32()?;
            let bytes = r.text()?;
            if let Some(known) = self.known(reference) {
                if self.table.labels(known).as_bytes() != bytes {
                    return Err(Malformed("a reference stands for two series"));
                }
                continue;
            }
            let labels = Labels::from_bytes(bytes).ok_or(Malformed("labels are not canonical"))?;
            let known = self.table.refer(labels);
            self.set(reference, known);
        }
        r.end()
    }

    /// Reads samples; gives them and the number of those whose series was not defined.
    pub fn samples(&self, body: &[u8]) -> Result<(Samples, u64), Malformed> {
        let content = unpack(body)?;
        let mut r = Reader::new(&content);
        let n_runs = r.count(2)?;
        let mut runs = Vec::with_capacity(n_runs);
        let mut last = 0i64;
        for _ in 0..n_runs {
            last = last.wrapping_add(r.signed()?);
            let reference = u32::try_from(last).map_err(|_| Malformed("reference is too large"))?;
            runs.push((self.known(reference), 0));
        }
        let mut n_samples = 0usize;
        for run in &mut runs {
            run.1 = r.varint32()?;
            n_samples = n_samples.saturating_add(run.1 as usize);
        }
        if n_samples > r.rest().len() / 9 {
            return Err(Malformed("samples are missing"));
        }
        let mut times = Vec::with_capacity(n_samples);
        let mut last = 0i64;
        for _ in 0..n_samples {
            last = last.wrapping_add(r.signed()?);
            times.push(last);
        }
        let mut starts = Vec::new();
        if body.starts_with(STARTED) {
            let mut last = 0i64;
            starts.reserve_exact(n_samples);
            for _ in 0..n_samples {
                last = last.wrapping_add(r.signed()?);
                starts.push(last);
            }
        }
        let (bits, []) = r.rest().as_chunks::<8>() else {
            return Err(Malformed("bytes are left over"));
        };
        if bits.len() != n_samples {
            return Err(Malformed("not as many values as times"));
        }
        let values = bits.iter().map(|b| f64::from_bits(u64::from_le_bytes(*b)));
        let mut samples = Samples::new(&self.table);
        if runs.iter().all(|(reference, _)| reference.is_some()) {
            samples.runs = runs
                .iter()
                .filter_map(|(r, n)| r.map(|r| (r, *n)))
                .collect();
            samples.times = times;
            samples.values = values.collect();
            samples.starts = starts;
            return Ok((samples, 0));
        }
        let starts = starts.into_iter().map(Some).chain(std::iter::repeat(None));
        let mut rest = times.into_iter().zip(values).zip(starts);
        let mut n_lost = 0;
        for (reference, n) in runs {
            let own = rest.by_ref().take(n as usize);
            let Some(reference) = reference else {
                n_lost += own.count() as u64;
                continue;
            };
            samples.runs.push((reference, n));
            own.for_each(|((time, value), start)| {
                samples.times.push(time);
                samples.values.push(value);
                samples.starts.extend(start);
            });
        }
        Ok((samples, n_lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::references::SampleWriter;
    use crate::testing::Random;

    fn table(n: usize) -> Arc<SeriesTable> {
        let table = Arc::new(SeriesTable::new(64 << 20));
        (0..n).for_each(|i| {
            table.refer(Labels::from_pairs([
                ("__name__", "m"),
                ("i", &i.to_string()),
            ]));
        });
        table
    }

    /// The bodies of entries.
    fn bodies(mut entries: &[u8]) -> Vec<&[u8]> {
        let mut out = Vec::new();
        while !entries.is_empty() {
            let len = u32::from_le_bytes(entries[..4].try_into().unwrap()) as usize;
            out.push(&entries[8..8 + len]);
            entries = &entries[8 + len..];
        }
        out
    }

    #[test]
    fn all_times_and_bits_come_back_over_many_entries() {
        let table = table(50);
        let mut writer = SampleWriter::new(&table);
        let mut random = Random(1);
        for i in 0..3 * ENTRY_SAMPLES {
            let (time, bits) = match i % 3 {
                0 => (random.next() as i64, random.next()),
                1 => (i64::MIN, 0x7ff0_0000_0000_0002),
                _ => (1_767_312_000_000 + i as i64, 1f64.to_bits()),
            };
            let (reference, value) = (random.below(50) as u32, f64::from_bits(bits));
            // The first entry's samples have no start times, but one of the request's has.
            let start = if i > 2 * ENTRY_SAMPLES { time / 2 } else { 0 };
            writer.push_started(reference, time, value, start);
        }
        let sent = writer.finish();
        assert_eq!(sent.starts.len(), sent.times.len());
        let mut out = Vec::new();
        put_definitions(&mut out, &table, &(0..50).collect::<Vec<u32>>());
        put_samples(&mut out, &sent);
        let bodies = bodies(&out);
        assert!(bodies.len() > 3);
        let other = Arc::new(SeriesTable::new(0));
        other.refer(Labels::from_pairs([("another", "one")]));
        let mut replayed = Replayed::new(Arc::clone(&other));
        replayed.define(bodies[0]).unwrap();
        let (mut times, mut bits, mut series) = (Vec::new(), Vec::new(), Vec::new());
        let mut starts = Vec::new();
        for body in &bodies[1..] {
            let (got, n_lost) = replayed.samples(body).unwrap();
            assert_eq!(n_lost, 0);
            times.extend(got.times);
            starts.extend(got.starts);
            bits.extend(got.values.iter().map(|v| v.to_bits()));
            series.extend(got.runs.iter().map(|(r, n)| (other.labels(*r), *n)));
        }
        assert_eq!(times, sent.times);
        assert_eq!(starts, sent.starts);
        assert!(bits.into_iter().eq(sent.values.iter().map(|v| v.to_bits())));
        let expected = sent.runs.iter().map(|(r, n)| (table.labels(*r), *n));
        assert!(series.into_iter().eq(expected));
    }

    #[test]
    fn samples_without_a_definition_are_counted_and_the_others_kept() {
        let table = table(3);
        let mut writer = SampleWriter::new(&table);
        [(0, 1), (1, 2), (1, 3), (2, 4)]
            .iter()
            .for_each(|(r, t)| writer.push_started(*r, *t, *t as f64, 10 - *t));
        let mut out = Vec::new();
        put_definitions(&mut out, &table, &[0, 2]);
        put_samples(&mut out, &writer.finish());
        let bodies = bodies(&out);
        let mut replayed = Replayed::new(Arc::new(SeriesTable::new(0)));
        replayed.define(bodies[0]).unwrap();
        let (got, n_lost) = replayed.samples(bodies[1]).unwrap();
        assert_eq!((n_lost, &got.times[..]), (2, &[1, 4][..]));
        assert_eq!(
            (&got.values[..], &got.starts[..]),
            (&[1.0, 4.0][..], &[9, 6][..])
        );
        assert_eq!(got.runs, [(0, 1), (1, 1)]);
    }

    #[test]
    fn references_of_any_size_are_known() {
        let mut replayed = Replayed::new(table(3));
        for (reference, known) in [(0, 2), (DENSE_MAX - 1, 1), (DENSE_MAX, 0), (u32::MAX, 2)] {
            assert_eq!(replayed.known(reference), None);
            replayed.set(reference, known);
            assert_eq!(replayed.known(reference), Some(known));
        }
        assert_eq!(
            (replayed.known(1), replayed.known(DENSE_MAX + 1)),
            (None, None)
        );
    }

    #[test]
    fn cuts_and_flips_are_refused_or_read_and_never_panic() {
        let table = table(5);
        let mut writer = SampleWriter::new(&table);
        (0..40).for_each(|i| writer.push(i % 5, i64::from(i), f64::from(i)));
        let mut out = Vec::new();
        put_definitions(&mut out, &table, &[0, 1, 2, 3, 4]);
        put_samples(&mut out, &writer.finish());
        for body in bodies(&out) {
            let read = |body: &[u8]| {
                let mut replayed = Replayed::new(Arc::new(SeriesTable::new(0)));
                (
                    replayed.define(body).is_ok(),
                    replayed.samples(body).is_ok(),
                )
            };
            for cut in 0..body.len() {
                assert_eq!(read(&body[..cut]), (false, false), "cut at {cut}");
            }
            for bit in 0..body.len() * 8 {
                let mut bad = body.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                read(&bad);
            }
        }
    }
}
