//! Prometheus' text exposition format 0.0.4: what `/metrics` answers.
//!
//! Families are sorted by name, labels within a series too. A series that was already written is
//! dropped and counted: the first wins and a scrape never fails over a duplicate. Resource labels
//! are left out, because whoever scrapes adds the target's labels. Only points that have a time of
//! their own are written with one.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::io::Write;

use kansoku_model::metric::{Family, Point};
use kansoku_model::prehashed::Prehashed;
use kansoku_model::{MetricBatch, MetricKind};
use xxhash_rust::xxh3::xxh3_128;

/// The answer's `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const WRITES: &str = "writing to memory cannot fail";

/// Label sets that several points of a batch share, as they stand in the exposition: all families of a
/// container have the same labels.
struct SharedLabels {
    /// How often each set is used, by the place of its first pair; at most 2.
    uses: Vec<u8>,
    /// Where its text lies, by the same place.
    spans: Vec<(u32, u32)>,
    text: Vec<u8>,
}

impl SharedLabels {
    fn of(batch: &MetricBatch) -> Self {
        let end = |p: &Point| {
            if p.labels.1 > 0 {
                p.labels.0 as usize + 1
            } else {
                0
            }
        };
        let mut uses = vec![0; batch.points().iter().map(end).max().unwrap_or(0)];
        let mut is_any = false;
        for point in batch.points().iter().filter(|p| p.labels.1 > 0) {
            let n = &mut uses[point.labels.0 as usize];
            is_any |= *n == 1;
            *n = 2.min(*n + 1);
        }
        let spans = if is_any {
            vec![(0, 0); uses.len()]
        } else {
            Vec::new()
        };
        Self {
            uses,
            spans,
            text: Vec::new(),
        }
    }

    fn write<'a>(
        &mut self,
        out: &mut Vec<u8>,
        batch: &'a MetricBatch,
        point: &Point,
        pairs: &mut Vec<(&'a str, &'a str)>,
    ) {
        if point.labels.1 == 0 {
            return;
        }
        let at = point.labels.0 as usize;
        if self.uses[at] < 2 {
            return write_labels(out, batch, point, pairs);
        }
        let (mut start, mut end) = self.spans[at];
        if start == end {
            start = self.text.len() as u32;
            write_labels(&mut self.text, batch, point, pairs);
            end = self.text.len() as u32;
            self.spans[at] = (start, end);
        }
        out.extend_from_slice(&self.text[start as usize..end as usize]);
    }
}

/// The points of a batch in order of their families.
struct Order {
    points: Vec<u32>,
    /// Where the points of each family begin, and at last where they end.
    starts: Vec<u32>,
}

impl Order {
    fn of(batch: &MetricBatch) -> Self {
        let mut starts = vec![0u32; batch.families().len() + 1];
        for point in batch.points() {
            starts[point.family.0 as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut points = vec![0u32; batch.points().len()];
        for (index, point) in batch.points().iter().enumerate() {
            let slot = &mut next[point.family.0 as usize];
            points[*slot as usize] = index as u32;
            *slot += 1;
        }
        Self { points, starts }
    }

    fn n_families(&self) -> usize {
        self.starts.len() - 1
    }

    fn of_family(&self, index: usize) -> &[u32] {
        &self.points[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

/// Batches on their way to text, a piece at a time: the text of a large node takes several times the
/// memory of its samples.
pub struct Exposition<B> {
    batches: Vec<B>,
    orders: Vec<Order>,
    labels: Vec<SharedLabels>,
    /// Families that have points, by batch and place in it, in order of their names.
    parts: Vec<(u32, u32)>,
    /// The part that is written, and the next of its points.
    at: (usize, usize),
    /// The series of the family that is written.
    seen: HashSet<u128, Prehashed>,
    n_duplicates: u64,
    /// Where each value lies in the text, if that is wanted.
    values: Option<Vec<ValueAt>>,
}

/// Where a value lies in a text.
#[derive(Debug, Clone, Copy)]
struct ValueAt {
    /// The batch, and the point in it.
    point: (u32, u32),
    start: u32,
    end: u32,
}

impl<B: Borrow<MetricBatch>> Exposition<B> {
    /// One exposition of all batches.
    pub fn new(batches: Vec<B>) -> Self {
        let orders: Vec<Order> = batches.iter().map(|b| Order::of(b.borrow())).collect();
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for (batch, order) in orders.iter().enumerate() {
            let families = 0..order.n_families();
            let full = families.filter(|family| !order.of_family(*family).is_empty());
            parts.extend(full.map(|family| (batch as u32, family as u32)));
        }
        // Parts of one name stay in the order in which they came.
        parts.sort_by_key(|part| name_of(&batches, *part));
        Self {
            orders,
            labels: batches
                .iter()
                .map(|b| SharedLabels::of(b.borrow()))
                .collect(),
            batches,
            parts,
            at: (0, 0),
            seen: HashSet::default(),
            n_duplicates: 0,
            values: None,
        }
    }

    /// Appends lines until `out` has that many bytes; `false` when there are no more.
    pub fn write_some(&mut self, out: &mut Vec<u8>, n_bytes: usize) -> bool {
        let mut pairs = Vec::new();
        while let Some(&part) = self.parts.get(self.at.0) {
            let batch: &MetricBatch = self.batches[part.0 as usize].borrow();
            let family = &batch.families()[part.1 as usize];
            let name = batch.text(family.name);
            let other = |at: Option<usize>| at.and_then(|at| self.parts.get(at));
            let is_same = |part: &(u32, u32)| name_of(&self.batches, *part) == name;
            let is_first = !other(self.at.0.checked_sub(1)).is_some_and(is_same);
            if self.at.1 == 0 && is_first {
                write_header(out, name, batch, family);
                self.seen.clear();
            }
            let points = self.orders[part.0 as usize].of_family(part.1 as usize);
            let is_only = is_first && !other(Some(self.at.0 + 1)).is_some_and(is_same);
            let is_alone = is_only && points.len() == 1;
            let labels = &mut self.labels[part.0 as usize];
            for index in &points[self.at.1..] {
                self.at.1 += 1;
                let point = &batch.points()[*index as usize];
                let start = out.len();
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(point.suffix.as_str().as_bytes());
                labels.write(out, batch, point, &mut pairs);
                if is_alone || self.seen.insert(xxh3_128(&out[start..])) {
                    out.push(b' ');
                    let value_start = out.len();
                    write_value(out, point.value);
                    if let Some(values) = &mut self.values {
                        values.push(ValueAt {
                            point: (part.0, *index),
                            start: value_start as u32,
                            end: out.len() as u32,
                        });
                    }
                    if let Some(time_ms) = point.time_ms {
                        write!(out, " {time_ms}").expect(WRITES);
                    }
                    out.push(b'\n');
                } else {
                    out.truncate(start);
                    self.n_duplicates += 1;
                }
                if out.len() >= n_bytes {
                    return true;
                }
            }
            self.at = (self.at.0 + 1, 0);
        }
        false
    }

    /// The batches again, and the number of duplicate series that were left out.
    pub fn into_batches(self) -> (Vec<B>, u64) {
        (self.batches, self.n_duplicates)
    }
}

/// The text that was made last and its samples. From one scrape to the next the series of a node stay and
/// values change, so all else is taken from there: names, labels, order, what is doubled.
#[derive(Default)]
pub struct LastText {
    batches: Vec<MetricBatch>,
    text: Vec<u8>,
    /// In order of the text.
    values: Vec<ValueAt>,
    n_duplicates: u64,
}

impl LastText {
    /// Texts of more series are not remembered: they take a megabyte, and as much again for the samples.
    pub const MAX_SERIES: usize = 8192;

    /// Appends all batches as one exposition and gives the number of duplicate series left out, as
    /// [`Exposition`] does; `None` when they are too many to be remembered.
    pub fn write(&mut self, out: &mut Vec<u8>, batches: &[MetricBatch]) -> Option<u64> {
        if batches.iter().map(|b| b.points().len()).sum::<usize>() > Self::MAX_SERIES {
            *self = Self::default();
            return None;
        }
        let is_known = self.batches.len() == batches.len()
            && (self.batches.iter().zip(batches)).all(|(last, batch)| last.has_series_of(batch));
        if !is_known {
            self.remember(batches);
        }
        out.reserve(self.text.len() + self.text.len() / 16);
        let mut written = 0;
        for at in &self.values {
            let (batch, point) = (at.point.0 as usize, at.point.1 as usize);
            let value = batches[batch].points()[point].value;
            if self.batches[batch].points()[point].value.to_bits() != value.to_bits() {
                out.extend_from_slice(&self.text[written..at.start as usize]);
                write_value(out, value);
                written = at.end as usize;
            }
        }
        out.extend_from_slice(&self.text[written..]);
        Some(self.n_duplicates)
    }

    fn remember(&mut self, batches: &[MetricBatch]) {
        let mut exposition = Exposition::new(batches.iter().collect());
        exposition.values = Some(std::mem::take(&mut self.values));
        exposition.values.iter_mut().for_each(Vec::clear);
        self.text.clear();
        exposition.write_some(&mut self.text, usize::MAX);
        self.n_duplicates = exposition.n_duplicates;
        self.values = exposition.values.take().unwrap_or_default();
        self.batches.clear();
        self.batches.extend_from_slice(batches);
    }
}

fn name_of<B: Borrow<MetricBatch>>(batches: &[B], (batch, family): (u32, u32)) -> &str {
    let batch: &MetricBatch = batches[batch as usize].borrow();
    batch.text(batch.families()[family as usize].name)
}

/// Appends all batches as one exposition and returns the number of duplicate series left out.
pub fn write(out: &mut Vec<u8>, batches: &[&MetricBatch]) -> u64 {
    let mut exposition = Exposition::new(batches.to_vec());
    exposition.write_some(out, usize::MAX);
    exposition.n_duplicates
}

fn write_header(out: &mut Vec<u8>, name: &str, batch: &MetricBatch, family: &Family) {
    let help = batch.text(family.help);
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    write_escaped(out, help, b"\\\n");
    let kind = match family.kind {
        MetricKind::Unknown => "untyped",
        kind => kind.as_str(),
    };
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

fn write_labels<'a>(
    out: &mut Vec<u8>,
    batch: &'a MetricBatch,
    point: &Point,
    pairs: &mut Vec<(&'a str, &'a str)>,
) {
    pairs.clear();
    pairs.extend(batch.labels_of(point));
    pairs.sort_unstable_by_key(|(name, _)| *name);
    for (i, (name, value)) in pairs.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        write_escaped(out, value, b"\\\"\n");
        out.push(b'"');
    }
    out.push(b'}');
}

/// Puts a backslash before each of the bytes, and a newline as `\n`.
fn write_escaped<const N: usize>(out: &mut Vec<u8>, text: &str, special: &[u8; N]) {
    // Every byte is compared: the loop compiles to a few vector instructions.
    let is_special = |byte: u8| special.iter().fold(false, |any, s| any | (byte == *s));
    if !text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            byte if special.contains(&byte) => out.extend_from_slice(&[b'\\', byte]),
            byte => out.push(byte),
        }
    }
}

/// Writes a value as Prometheus' own clients do: the shortest digits that give the number back,
/// with an exponent below 1e-4 and from 1e6 on.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        let text: &[u8] = if value > 0.0 { b"+Inf" } else { b"-Inf" };
        out.extend_from_slice(text);
        return;
    }
    let size = value.abs();
    if size < MAX_EXACT && value.fract() == 0.0 && (value != 0.0 || value.is_sign_positive()) {
        write_whole(out, value as i64);
        return;
    }
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        write!(out, "{value}").expect(WRITES);
        return;
    }
    let start = out.len();
    write!(out, "{value:e}").expect(WRITES);
    let e = start + memchr::memchr(b'e', &out[start..]).expect("exponent form has an e");
    let (sign, digits) = match out.get(e + 1) {
        Some(b'-') => (b'-', e + 2),
        _ => (b'+', e + 1),
    };
    let exponent: [u8; 3] = match out[digits..] {
        [a] => [b'0', a, 0],
        [a, b] => [a, b, 0],
        [a, b, c, ..] => [a, b, c],
        [] => [b'0', b'0', 0],
    };
    out.truncate(e + 1);
    out.push(sign);
    out.extend(exponent.iter().filter(|d| **d != 0));
}

/// Below this every whole number has its own digits and no shorter ones.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The same for a whole number, whose digits need no search for the shortest.
fn write_whole(out: &mut Vec<u8>, value: i64) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    if value.unsigned_abs() < 1_000_000 {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if value < 0 {
        out.push(b'-');
    }
    let (first, rest) = digits.split_at(1);
    let rest = rest.trim_end_matches('0');
    out.extend_from_slice(first.as_bytes());
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest.as_bytes());
    }
    let exponent = digits.len() - 1; // 6 to 15
    write!(out, "e+{exponent:02}").expect(WRITES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_prometheus_clients() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (127_203.0, "127203"),
            (1_000_000.0, "1e+06"),
            (-1_000_000.0, "-1e+06"),
            (-7.0, "-7"),
            (-0.0, "-0"),
            (9_007_199_254_740_991.0, "9.007199254740991e+15"),
            (18_446_744_073_709_551_616.0, "1.8446744073709552e+19"),
            (999_999.5, "999999.5"),
            (2_088_894.0, "2.088894e+06"),
            (1_795_251_167.0, "1.795251167e+09"),
            (1.652_000_000_000_000_1, "1.6520000000000001"),
            (0.000_232_445, "0.000232445"),
            (9.5573e-05, "9.5573e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = Vec::new();
            write_value(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("text"), text);
        }
    }

    #[test]
    fn points_share_label_sets() {
        let mut batches = [MetricBatch::default(), MetricBatch::default()];
        for (n, batch) in batches.iter_mut().enumerate() {
            let value = format!("{n}\"");
            let sets = [
                batch.label_set([("b", value.as_str()), ("a", "x")]),
                batch.label_set([]),
                batch.label_set([("b", "alone")]),
            ];
            for (name, used) in [
                ("one", &sets[..]),
                ("two", &sets[..2]),
                ("three", &sets[..2]),
            ] {
                let family = batch.family(name, MetricKind::Gauge, "");
                for labels in used {
                    batch.push(Point {
                        family,
                        suffix: kansoku_model::Suffix::None,
                        labels: *labels,
                        time_ms: None,
                        value: 1.0,
                    });
                }
            }
        }
        let mut out = Vec::new();
        let n_duplicates = write(&mut out, &[&batches[0], &batches[1]]);
        let text = String::from_utf8(out).expect("text");
        let series: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
        let pairs = [r#"{a="x",b="0\""}"#, "", r#"{a="x",b="1\""}"#];
        let of = |name: &str| pairs.map(|labels| format!("{name}{labels} 1"));
        let mut expected = of("one").to_vec();
        expected.insert(2, "one{b=\"alone\"} 1".into());
        expected.extend(of("three").into_iter().chain(of("two")));
        assert_eq!(series, expected);
        assert_eq!(n_duplicates, 4);
    }

    #[test]
    fn pieces_make_up_the_whole() {
        let mut batches = [MetricBatch::default(), MetricBatch::default()];
        for batch in &mut batches {
            for name in ["b", "a", "empty", "c"] {
                let family = batch.family(name, MetricKind::Gauge, "Some.");
                for n in (0..9).filter(|_| name != "empty") {
                    let label = (n % 8).to_string();
                    batch.sample(family, &[("n", &label)], f64::from(n));
                }
            }
        }
        let mut whole = Vec::new();
        let n_duplicates = write(&mut whole, &[&batches[0], &batches[1]]);
        assert_eq!(n_duplicates, 30);
        for n_bytes in [1, 7, 100, whole.len() - 1, whole.len(), 1 << 20] {
            let mut exposition = Exposition::new(batches.to_vec());
            let (mut all, mut piece) = (Vec::new(), Vec::new());
            loop {
                piece.clear();
                let is_more = exposition.write_some(&mut piece, n_bytes);
                all.extend_from_slice(&piece);
                if !is_more {
                    break;
                }
            }
            assert!(all == whole, "{n_bytes}");
            assert_eq!(exposition.into_batches().1, n_duplicates);
        }
    }

    #[test]
    fn a_remembered_text_is_the_one_that_would_be_made_anew() {
        // Values, series, and the order of points of five scrapes.
        let scrapes: [&[(&str, &str, f64)]; 7] = [
            &[
                ("b", "x", 1.0),
                ("a", "x", 0.5),
                ("b", "x", 2.0),
                ("b", "y", 1e300),
            ],
            &[
                ("b", "x", 10.0),
                ("a", "x", 0.5),
                ("b", "x", 3.0),
                ("b", "y", f64::NAN),
            ],
            &[
                ("b", "x", 1.0),
                ("a", "x", -0.0),
                ("b", "x", 2.0),
                ("b", "y", 7.0),
            ],
            &[
                ("b", "x", 1.0),
                ("a", "x", 0.0),
                ("b", "z", 2.0),
                ("b", "y", 7.0),
            ],
            &[("b", "x", 1.0), ("a", "x", 0.0), ("b", "z", 2.0)],
            &[],
            &[("a", "", 1e6)],
        ];
        let mut last = LastText::default();
        for scrape in scrapes {
            let mut batches = [MetricBatch::default(), MetricBatch::default()];
            for (n, (name, label, value)) in scrape.iter().enumerate() {
                let batch = &mut batches[usize::from(n > 2)];
                let family = batch.family(name, MetricKind::Gauge, "Some.");
                batch.sample(family, &[("l", label)], *value);
            }
            for _ in 0..2 {
                let (mut anew, mut text) = (Vec::new(), Vec::new());
                let n_duplicates = write(&mut anew, &[&batches[0], &batches[1]]);
                assert_eq!(last.write(&mut text, &batches), Some(n_duplicates));
                assert_eq!(String::from_utf8(text), String::from_utf8(anew));
            }
        }
        let mut many = MetricBatch::default();
        let family = many.family("a", MetricKind::Gauge, "");
        for _ in 0..=LastText::MAX_SERIES {
            many.sample(family, &[], 1.0);
        }
        assert_eq!(last.write(&mut Vec::new(), &[many]), None);
    }

    #[test]
    fn families_are_merged_sorted_escaped_and_freed_of_duplicates() {
        let mut a = MetricBatch::default();
        let z = a.family("z_total", MetricKind::Counter, "Last\nof \\all.");
        a.sample(z, &[("b", "q\"\\\n"), ("a", "")], 1.0);
        a.family("unused", MetricKind::Gauge, "No point.");
        let mut b = MetricBatch::default();
        let z = b.family("z_total", MetricKind::Gauge, "other");
        b.sample(z, &[("a", ""), ("b", "q\"\\\n")], 2.0);
        b.sample(z, &[], 3.0);
        let up = b.family("up", MetricKind::Unknown, "Up.");
        b.sample(up, &[], 1.0);
        let mut out = Vec::new();
        assert_eq!(write(&mut out, &[&a, &b]), 1);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "# HELP up Up.\n# TYPE up untyped\nup 1\n\
             # HELP z_total Last\\nof \\\\all.\n# TYPE z_total counter\n\
             z_total{a=\"\",b=\"q\\\"\\\\\\n\"} 1\nz_total 3\n"
        );
    }
}
