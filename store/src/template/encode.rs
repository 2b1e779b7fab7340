//! Choosing the layout of each column, and writing it.
//!
//! A column is tried as one value, integers and decimals first; what is left is estimated as packed
//! characters, as a dictionary and as plain bytes, and may be cut into templates of its own, which
//! stay when they are smaller than the estimate of the best other layout.

use std::collections::HashMap;
use std::io;

use kansoku_model::Slice;
use kansoku_model::prehashed::Prehashed;
use xxhash_rust::xxh3::xxh3_64;

use super::packed::Plan;
use super::split::{Group, Split, split};
use super::{DEPTH_MAX, Streams, clock, numbers, tag};
use crate::bytes::{put_text, put_varint};
use crate::column::{Effort, ints};

/// The most entries of a dictionary.
const DICTIONARY_MAX: usize = 4096;
/// Rows after which a dictionary must have begun to repeat.
const DICTIONARY_TRIAL_ROWS: usize = 64;
/// Text that tells how well a column compresses.
const SAMPLE_BYTES: usize = 16 << 10;
/// Columns of fewer rows are not cut again: the description of templates would be larger.
const NEST_FROM_ROWS: usize = 16;
/// What zstd makes of a byte of templates and dictionaries, for estimates.
const TEXT_RATIO: f64 = 0.4;

/// What encoding needs again and again.
pub struct Encoder {
    estimator: zstd::bulk::Compressor<'static>,
    effort: Effort,
}

impl Encoder {
    /// # Errors
    /// When zstd has no memory for its context.
    pub fn new(effort: Effort) -> io::Result<Self> {
        Ok(Self {
            estimator: zstd::bulk::Compressor::new(1)?,
            effort,
        })
    }
}

/// Encodes `lines`, slices of `text`, whose entries have these times.
pub fn encode(encoder: &mut Encoder, text: &[u8], lines: &[Slice], times: &[i64]) -> Streams {
    debug_assert_eq!(lines.len(), times.len());
    let mut writer = Writer {
        text,
        encoder,
        out: Streams::default(),
        sample: Vec::new(),
    };
    match split(lines, text, Some(times)) {
        Some(split) if !lines.is_empty() => writer.put_templates(&split, Some(times), 0),
        _ => writer.put_raw(lines),
    }
    writer.out
}

struct Writer<'a> {
    text: &'a [u8],
    encoder: &'a mut Encoder,
    out: Streams,
    sample: Vec<u8>,
}

/// How long the streams were at some moment.
#[derive(Clone, Copy)]
struct Mark([usize; 4]);

/// A column as entries and codes.
struct Dictionary<'a> {
    /// The most frequent first.
    entries: Vec<&'a [u8]>,
    codes: Vec<i64>,
    cost: f64,
}

impl<'a> Writer<'a> {
    fn bytes(&self, slice: Slice) -> &'a [u8] {
        &self.text[slice.start as usize..][..slice.len as usize]
    }

    fn mark(&self) -> Mark {
        let out = &self.out;
        Mark([&out.structure, &out.numbers, &out.texts, &out.packed].map(Vec::len))
    }

    fn go_back(&mut self, Mark([structure, numbers, texts, packed]): Mark) {
        self.out.structure.truncate(structure);
        self.out.numbers.truncate(numbers);
        self.out.texts.truncate(texts);
        self.out.packed.truncate(packed);
    }

    /// About what was written since `mark` takes on the disk.
    fn cost_since(&self, mark: Mark) -> f64 {
        let Mark(now) = self.mark();
        let [structure, numbers, texts, packed] =
            std::array::from_fn(|i| (now[i] - mark.0[i]) as f64);
        (structure + texts) * TEXT_RATIO + numbers + packed
    }

    /// Appends integers to the numbers, and their length to the structure.
    fn put_numbers(&mut self, values: &[i64]) {
        let before = self.out.numbers.len();
        ints::encode_loose(values, self.encoder.effort, &mut self.out.numbers);
        let len = self.out.numbers.len() - before;
        put_varint(&mut self.out.structure, len as u64);
    }

    // ---- columns ----

    fn put_column(&mut self, values: &[Slice], depth: usize) {
        let first = values.first().map_or(&[][..], |v| self.bytes(*v));
        let text = self.text;
        let texts = values
            .iter()
            .map(|s| &text[s.start as usize..][..s.len as usize]);
        if texts.clone().all(|t| t == first) {
            self.out.structure.push(tag::CONSTANT);
            put_text(&mut self.out.structure, first);
            return;
        }
        if let Some((integers, width)) = numbers::integers(texts.clone()) {
            self.out.structure.push(tag::INTEGERS);
            put_varint(&mut self.out.structure, width as u64);
            self.put_numbers(&integers);
            return;
        }
        if let Some((mantissas, scales, width)) = numbers::decimals(texts) {
            self.out.structure.push(tag::DECIMALS);
            put_varint(&mut self.out.structure, width as u64);
            self.put_numbers(&scales);
            self.put_numbers(&mantissas);
            return;
        }
        self.put_texts(values, depth);
    }

    fn put_texts(&mut self, values: &[Slice], depth: usize) {
        let dictionary = self.dictionary(values);
        let plan = match &dictionary {
            // Few different values: no packing beats their codes.
            Some(d) if d.entries.len() * 8 < values.len() => None,
            _ => Plan::new(values, self.text),
        };
        let raw_cost = self.raw_cost(values);
        let packed_cost = plan.as_ref().map_or(f64::MAX, |plan| {
            plan.data_len(values.len()).map_or(f64::MAX, |n| n as f64)
        });
        let dictionary_cost = dictionary.as_ref().map_or(f64::MAX, |d| d.cost);
        let best = raw_cost.min(packed_cost).min(dictionary_cost);
        let is_id = packed_cost <= best && plan.as_ref().is_some_and(|p| p.alphabet().len() <= 16);
        // Less than half a byte a value: templates would not find anything either.
        let is_small = best < values.len() as f64 / 2.0;
        if depth + 1 < DEPTH_MAX && values.len() >= NEST_FROM_ROWS && !is_id && !is_small {
            let mark = self.mark();
            if let Some(split) = split(values, self.text, None)
                && split.groups.iter().any(|g| !g.kinds.is_empty())
            {
                self.put_templates(&split, None, depth + 1);
                if self.cost_since(mark) < best {
                    return;
                }
                self.go_back(mark);
            }
        }
        match (dictionary, plan) {
            (Some(dictionary), _) if dictionary_cost <= best => self.put_dictionary(&dictionary),
            (_, Some(plan)) if packed_cost <= best => self.put_packed(&plan, values),
            _ => self.put_raw(values),
        }
    }

    fn put_packed(&mut self, plan: &Plan, values: &[Slice]) {
        self.out.structure.push(tag::PACKED);
        plan.describe(&mut self.out.structure);
        plan.pack(values, self.text, &mut self.out.packed);
    }

    fn put_raw(&mut self, values: &[Slice]) {
        self.out.structure.push(tag::RAW);
        let lens: Vec<i64> = values.iter().map(|s| i64::from(s.len)).collect();
        self.put_numbers(&lens);
        let n: usize = values.iter().map(|s| s.len as usize).sum();
        put_varint(&mut self.out.structure, n as u64);
        self.out.texts.reserve(n);
        for value in values {
            let bytes = self.bytes(*value);
            self.out.texts.extend_from_slice(bytes);
        }
    }

    /// About what the values take as plain bytes, from a sample.
    fn raw_cost(&mut self, values: &[Slice]) -> f64 {
        self.sample.clear();
        let mut n = 0;
        for value in values {
            n += value.len as usize;
            if self.sample.len() < SAMPLE_BYTES {
                let bytes = self.bytes(*value);
                self.sample.extend_from_slice(bytes);
            }
        }
        let packed = self.encoder.estimator.compress(&self.sample);
        let packed = packed.map_or(self.sample.len(), |p| p.len());
        let ratio = packed as f64 / self.sample.len().max(1) as f64;
        // The lengths take about half a byte each.
        n as f64 * ratio.min(1.0) + values.len() as f64 / 2.0
    }

    fn dictionary(&self, values: &[Slice]) -> Option<Dictionary<'a>> {
        let mut known: HashMap<u64, u32, Prehashed> = HashMap::default();
        let (mut entries, mut counts): (Vec<&[u8]>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut codes = Vec::with_capacity(values.len());
        for (row, value) in values.iter().enumerate() {
            let bytes = self.bytes(*value);
            let code = *known.entry(xxh3_64(bytes)).or_insert_with(|| {
                entries.push(bytes);
                counts.push(0);
                entries.len() as u32 - 1
            });
            if entries[code as usize] != bytes {
                return None;
            }
            let is_varied = row >= DICTIONARY_TRIAL_ROWS && entries.len() > row / 2;
            if entries.len() > DICTIONARY_MAX || is_varied {
                return None;
            }
            counts[code as usize] += 1;
            codes.push(i64::from(code));
        }
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        order.sort_by_key(|code| std::cmp::Reverse(counts[*code as usize]));
        let mut ranks = vec![0; entries.len()];
        for (rank, code) in order.iter().enumerate() {
            ranks[*code as usize] = rank as i64;
        }
        codes.iter_mut().for_each(|c| *c = ranks[*c as usize]);
        let n = values.len() as f64;
        let bits: f64 = counts
            .iter()
            .map(|c| f64::from(*c) * (n / f64::from(*c)).log2())
            .sum();
        let text: usize = entries.iter().map(|e| e.len() + 1).sum();
        Some(Dictionary {
            entries: order.iter().map(|code| entries[*code as usize]).collect(),
            codes,
            cost: bits / 8.0 + text as f64 * TEXT_RATIO,
        })
    }

    fn put_dictionary(&mut self, dictionary: &Dictionary<'_>) {
        self.out.structure.push(tag::DICTIONARY);
        put_varint(&mut self.out.structure, dictionary.entries.len() as u64);
        let lens: Vec<i64> = dictionary.entries.iter().map(|e| e.len() as i64).collect();
        self.put_numbers(&lens);
        put_varint(&mut self.out.structure, lens.iter().sum::<i64>() as u64);
        for entry in &dictionary.entries {
            self.out.texts.extend_from_slice(entry);
        }
        self.put_numbers(&dictionary.codes);
    }

    // ---- templates ----

    fn put_templates(&mut self, split: &Split, times: Option<&[i64]>, depth: usize) {
        self.out.structure.push(tag::TEMPLATES);
        put_varint(&mut self.out.structure, split.groups.len() as u64);
        for group in &split.groups {
            put_varint(&mut self.out.structure, group.rows.len() as u64);
            put_varint(&mut self.out.structure, group.kinds.len() as u64);
            self.out.structure.extend_from_slice(&group.kinds);
            for piece in &group.pieces {
                let bytes = self.bytes(*piece);
                put_text(&mut self.out.structure, bytes);
            }
        }
        let ids: Vec<i64> = split.ids.iter().map(|id| i64::from(*id)).collect();
        self.put_numbers(&ids);
        if !split.whole.is_empty() {
            self.put_raw(&split.whole);
        }
        for group in &split.groups {
            self.put_slots(group, times, depth);
        }
    }

    fn put_slots(&mut self, group: &Group, times: Option<&[i64]>, depth: usize) {
        let n = group.kinds.len();
        let mut values = Vec::with_capacity(group.rows.len());
        for (slot, &kind) in group.kinds.iter().enumerate() {
            values.clear();
            values.extend(group.slots.iter().skip(slot).step_by(n));
            match times {
                Some(times) if kind != 0 => self.put_times(group, &values, times),
                _ => self.put_column(&values, depth),
            }
        }
    }

    fn put_times(&mut self, group: &Group, values: &[Slice], times: &[i64]) {
        let distances: Vec<i64> = values
            .iter()
            .zip(&group.rows)
            .map(|(value, row)| {
                let parsed = clock::parse(self.bytes(*value), times[*row as usize]);
                parsed.expect("the cutter parsed it before").2
            })
            .collect();
        self.out.structure.push(tag::TIMES);
        self.put_numbers(&distances);
    }
}
