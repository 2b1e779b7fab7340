//! Prometheus remote write 1.0: a `prometheus.WriteRequest` becomes one metric batch.
//!
//! Not here: remote write 2.0 and native histograms, which the batch cannot hold yet; histograms
//! are refused by count, never dropped in silence. The one rule: what is valid in a request is
//! kept and what is not is counted with the reason for the first, so that one bad series does not
//! take the others away. A sink that knows the series takes their samples without their labels.
//! Only bytes that are no protobuf fail the whole request.

use std::collections::HashMap;
use std::sync::Arc;

use kansoku_model::labels::METRIC_NAME;
use kansoku_model::metric::Point;
use kansoku_model::{FamilyId, MetricBatch, MetricKind, Suffix};

use super::protobuf::{Field, Message};
use super::{Refused, Window, WireError};

/// What a request may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Label pairs of one series.
    pub max_labels: usize,
    /// Times of samples.
    pub window: Window,
}

/// A store that knows series by the bytes of their labels, so that those of a known one are neither
/// decoded nor checked again.
pub trait SeriesSink {
    /// The series that was defined with these label bytes.
    fn find(&mut self, spelling: &[u8]) -> Option<u32>;
    /// Makes a series known by its label bytes. The labels are sorted, and good. `None`: it will not
    /// be kept; its samples go into the batch.
    fn define(&mut self, spelling: &[u8], labels: &[(&str, &str)]) -> Option<u32>;
    /// Takes a sample of a series that the other two gave.
    fn push(&mut self, series: u32, time_ms: i64, value: f64);
}

/// Knows no series: all samples go into the batch.
#[derive(Debug, Clone, Copy)]
pub struct NoSeries;

impl SeriesSink for NoSeries {
    fn find(&mut self, _: &[u8]) -> Option<u32> {
        None
    }
    fn define(&mut self, _: &[u8], _: &[(&str, &str)]) -> Option<u32> {
        None
    }
    fn push(&mut self, _: u32, _: i64, _: f64) {}
}

/// A decoded request.
#[derive(Debug)]
pub struct WriteRequest {
    /// All samples that were valid and that no sink took, and the metadata as families without points.
    pub batch: MetricBatch,
    pub n_samples: usize,
    /// Exemplars, which nothing stores yet.
    pub n_exemplars: usize,
    /// Samples and histograms that were not taken.
    pub refused: Refused,
}

/// Decodes a decompressed body.
///
/// # Errors
/// When it is no protobuf of this shape.
pub fn decode(body: &[u8], limits: &Limits) -> Result<WriteRequest, WireError> {
    decode_into(body, limits, &mut NoSeries)
}

/// Decodes a decompressed body and gives the samples to `sink`, as far as it takes their series.
///
/// # Errors
/// When it is no protobuf of this shape; forget what the sink got then.
pub fn decode_into(
    body: &[u8],
    limits: &Limits,
    sink: &mut impl SeriesSink,
) -> Result<WriteRequest, WireError> {
    let mut decoder = Decoder {
        limits,
        sink,
        families: HashMap::new(),
        labels: Vec::new(),
        samples: Vec::new(),
        request: WriteRequest {
            batch: MetricBatch::new("remote_write".into(), Arc::default(), 0),
            n_samples: 0,
            n_exemplars: 0,
            refused: Refused::default(),
        },
    };
    // Metadata first: a family is made once, with its type if the request tells it anywhere.
    each(body, 3, |field| decoder.metadata(field))?;
    each(body, 1, |field| decoder.series(field))?;
    Ok(decoder.request)
}

fn each<'a>(
    body: &'a [u8],
    wanted: u64,
    mut with: impl FnMut(Field<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut message = Message::new(body);
    while let Some((number, field)) = message.next()? {
        if number == wanted {
            with(field)?;
        }
    }
    Ok(())
}

struct Decoder<'a, 'l, S> {
    limits: &'l Limits,
    sink: &'l mut S,
    families: HashMap<&'a str, FamilyId>,
    /// Labels of the series at hand, kept for their memory.
    labels: Vec<(&'a [u8], &'a [u8])>,
    /// Time and value of the series at hand.
    samples: Vec<(i64, f64)>,
    request: WriteRequest,
}

impl<'a, S: SeriesSink> Decoder<'a, '_, S> {
    fn metadata(&mut self, field: Field<'a>) -> Result<(), WireError> {
        let (mut kind, mut name, mut help) = (0, "", "");
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => kind = field.int()?,
                2 => name = field.text()?,
                4 => help = field.text()?,
                _ => {}
            }
        }
        // Info and state sets are gauges by value; a gauge histogram has no word in the store.
        let kind = match kind {
            1 => MetricKind::Counter,
            2 | 6 | 7 => MetricKind::Gauge,
            3 => MetricKind::Histogram,
            5 => MetricKind::Summary,
            _ => MetricKind::Unknown,
        };
        if !name.is_empty() && !self.families.contains_key(name) {
            let id = self.request.batch.new_family(name, kind, help);
            self.families.insert(name, id);
        }
        Ok(())
    }

    fn series(&mut self, field: Field<'a>) -> Result<(), WireError> {
        self.samples.clear();
        let (mut n_histograms, mut n_exemplars) = (0, 0);
        let mut message = field.message()?;
        let whole = message.clone();
        // Where the labels are, and whether nothing else is among them.
        message.skip_short(1);
        let (mut at, mut is_one_run) = (message.position(), true);
        let mut spelled = 0..at;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => {
                    if spelled.is_empty() {
                        spelled.start = at;
                    } else {
                        is_one_run &= spelled.end == at;
                    }
                    spelled.end = message.position();
                }
                2 => self.samples.push(read_sample(field.message()?)?),
                3 => n_exemplars += 1,
                4 => n_histograms += 1,
                _ => {}
            }
            at = message.position();
        }
        let spelling = (is_one_run && n_histograms == 0)
            .then(|| whole.bytes_between(spelled.start, spelled.end));
        let known = spelling.and_then(|spelling| self.sink.find(spelling));
        if let Some(series) = known {
            self.request.n_exemplars += n_exemplars;
            return self.give(series, &whole);
        }
        self.read_labels(&whole)?;
        let labels = match self.checked_labels() {
            Ok(labels) => labels,
            Err(reason) => {
                let count = self.samples.len() + n_histograms;
                self.request.refused.add(count, || reason);
                return Ok(());
            }
        };
        self.request.n_exemplars += n_exemplars;
        if n_histograms > 0 {
            self.request.refused.add(n_histograms, || {
                format!(
                    "native histograms are not stored yet; send classic histograms for {}",
                    describe(&labels)
                )
            });
        }
        // A series of refused samples only is not worth a place.
        let window = self.limits.window;
        if !self
            .samples
            .iter()
            .any(|(time_ms, _)| window.holds(*time_ms))
        {
            self.refuse_outside(&labels);
            return Ok(());
        }
        match spelling.and_then(|spelling| self.sink.define(spelling, &labels)) {
            Some(series) => self.give(series, &whole)?,
            None => self.keep(&labels),
        }
        Ok(())
    }

    fn read_labels(&mut self, series: &Message<'a>) -> Result<(), WireError> {
        self.labels.clear();
        let mut message = series.clone();
        while let Some((number, field)) = message.next()? {
            if number == 1 {
                self.labels.push(read_label(field.message()?)?);
            }
        }
        Ok(())
    }

    /// Gives the samples at hand to the sink.
    fn give(&mut self, series: u32, message: &Message<'a>) -> Result<(), WireError> {
        let mut n_given = 0;
        for &(time_ms, value) in &self.samples {
            if self.limits.window.holds(time_ms) {
                self.sink.push(series, time_ms, value);
                n_given += 1;
            }
        }
        self.request.n_samples += n_given;
        if n_given < self.samples.len() {
            self.read_labels(message)?;
            if let Ok(labels) = self.checked_labels() {
                self.refuse_outside(&labels);
            }
        }
        Ok(())
    }

    /// Refuses those of the samples at hand whose times are not taken.
    fn refuse_outside(&mut self, labels: &[(&str, &str)]) {
        let window = self.limits.window;
        for &(time_ms, _) in &self.samples {
            if !window.holds(time_ms) {
                self.request.refused.add(1, || {
                    format!(
                        "out of bounds: time {time_ms} of {} is not within {} and {}",
                        describe(labels),
                        window.oldest_ms,
                        window.newest_ms
                    )
                });
            }
        }
    }

    /// The labels as sorted text, or why the series is refused.
    fn checked_labels(&mut self) -> Result<Vec<(&'a str, &'a str)>, String> {
        if self.labels.len() > self.limits.max_labels {
            return Err(format!(
                "series has {} labels, more than the limit of {} (limits.max_labels)",
                self.labels.len(),
                self.limits.max_labels
            ));
        }
        let text = |bytes: &'a [u8], what: &str| {
            std::str::from_utf8(bytes)
                .map_err(|_| format!("{what} is not UTF-8: {:?}", String::from_utf8_lossy(bytes)))
        };
        let mut labels = Vec::with_capacity(self.labels.len());
        for &(name, value) in &self.labels {
            if name.is_empty() {
                return Err("label name is empty".into());
            }
            labels.push((text(name, "label name")?, text(value, "label value")?));
        }
        labels.sort_unstable();
        if let Some(pair) = labels.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(format!(
                "label name {:?} is given twice in {}",
                pair[0].0,
                describe(&labels)
            ));
        }
        let named = labels
            .iter()
            .any(|(n, v)| *n == METRIC_NAME && !v.is_empty());
        if !named {
            return Err(format!("series has no metric name: {}", describe(&labels)));
        }
        Ok(labels)
    }

    fn keep(&mut self, labels: &[(&'a str, &'a str)]) {
        let name = labels
            .iter()
            .find(|(n, _)| *n == METRIC_NAME)
            .map_or("", |(_, v)| *v);
        let batch = &mut self.request.batch;
        let family = *self
            .families
            .entry(name)
            .or_insert_with(|| batch.new_family(name, MetricKind::Unknown, ""));
        let pairs = labels.iter().copied().filter(|(n, _)| *n != METRIC_NAME);
        let set = batch.label_set(pairs);
        for &(time_ms, value) in &self.samples {
            if !self.limits.window.holds(time_ms) {
                continue;
            }
            self.request.n_samples += 1;
            batch.push(Point {
                family,
                suffix: Suffix::None,
                labels: set,
                time_ms: Some(time_ms),
                value,
            });
        }
        self.refuse_outside(labels);
    }
}

fn read_label(mut message: Message<'_>) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    while let Some((number, field)) = message.next()? {
        match number {
            1 => name = field.bytes()?.0,
            2 => value = field.bytes()?.0,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_sample(mut message: Message<'_>) -> Result<(i64, f64), WireError> {
    let (mut time_ms, mut value) = (0, 0.0);
    while let Some((number, field)) = message.next()? {
        match number {
            1 => value = field.double()?,
            2 => time_ms = field.int()?,
            _ => {}
        }
    }
    Ok((time_ms, value))
}

/// A series in a message to its sender: bounded, since a label may be megabytes.
fn describe(labels: &[(&str, &str)]) -> String {
    const MAX_CHARS: usize = 200;
    let mut text = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let value: String = value.chars().take(MAX_CHARS).collect();
        text.push_str(&format!("{comma}{name}={value:?}"));
        if text.len() > MAX_CHARS {
            text.push_str(", ...");
            break;
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::write;
    use super::*;

    const LIMITS: Limits = Limits {
        max_labels: 64,
        window: Window::ANY,
    };

    fn series(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)]) -> Vec<u8> {
        let mut body = Vec::new();
        write::message(&mut body, 1, |w| {
            for (name, value) in labels {
                write::message(w, 1, |w| {
                    write::bytes(w, 1, name);
                    write::bytes(w, 2, value);
                });
            }
            for &(time, value) in samples {
                write::message(w, 2, |w| {
                    write::double(w, 1, value);
                    write::int(w, 2, time);
                });
            }
        });
        body
    }

    fn lines(request: &WriteRequest) -> Vec<String> {
        let b = &request.batch;
        b.points()
            .iter()
            .map(|p| format!("{} {} @{}", b.series_of(p), p.value, b.time_of(p)))
            .collect()
    }

    #[test]
    fn samples_keep_time_labels_and_bits() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let mut body = series(
            &[(b"__name__", b"up"), (b"job", b"node")],
            &[(-5, 1.0), (1_700_000_000_000, stale)],
        );
        // Unsorted labels and a name that only UTF-8 allows.
        let dotted = [(&b"z.z"[..], &b"1"[..]), (b"__name__", "観測".as_bytes())];
        body.extend(series(&dotted, &[(7, 2.5)]));
        let request = decode(&body, &LIMITS).unwrap();
        assert_eq!(
            lines(&request),
            [
                r#"{__name__="up", job="node"} 1 @-5"#,
                r#"{__name__="up", job="node"} NaN @1700000000000"#,
                r#"{__name__="観測", z.z="1"} 2.5 @7"#,
            ]
        );
        assert_eq!(request.batch.points()[1].value.to_bits(), stale.to_bits());
        assert_eq!((request.n_samples, request.refused.count), (3, 0));
    }

    /// Keeps all series, or only those that it has room for.
    struct Table {
        room: usize,
        spellings: Vec<(Vec<u8>, String)>,
        samples: Vec<String>,
        n_found: usize,
    }

    impl SeriesSink for Table {
        fn find(&mut self, spelling: &[u8]) -> Option<u32> {
            let at = self.spellings.iter().position(|(s, _)| s == spelling)?;
            self.n_found += 1;
            Some(at as u32)
        }

        fn define(&mut self, spelling: &[u8], labels: &[(&str, &str)]) -> Option<u32> {
            if self.spellings.len() == self.room {
                return None;
            }
            let text = describe(labels);
            self.spellings.push((spelling.to_vec(), text));
            Some(self.spellings.len() as u32 - 1)
        }

        fn push(&mut self, series: u32, time_ms: i64, value: f64) {
            let labels = &self.spellings[series as usize].1;
            self.samples.push(format!("{labels} {value} @{time_ms}"));
        }
    }

    #[test]
    fn with_a_sink_the_same_is_kept_and_refused() {
        let limits = Limits {
            max_labels: 3,
            window: Window {
                oldest_ms: 10,
                newest_ms: 20,
            },
        };
        let mut body = Vec::new();
        for time in [9, 15, 16, 21] {
            // A known one, unsorted; one that is never good; one in bounds now and then.
            let labels = [(&b"b"[..], &b"1"[..]), (b"__name__", b"up"), (b"a", b"2")];
            body.extend(series(&labels, &[(time, 1.0), (17, 2.0), (25, 3.0)]));
            body.extend(series(&[(b"a", b"b")], &[(time, 1.0)]));
            body.extend(series(&[(b"__name__", b"x"), (b"e", b"")], &[(time, 4.0)]));
            // Labels behind the samples, and around them: the second has no spelling.
            write::message(&mut body, 1, |w| {
                let label = |w: &mut Vec<u8>, name: &[u8]| {
                    write::message(w, 1, |w| {
                        write::bytes(w, 1, name);
                        write::bytes(w, 2, b"v");
                    });
                };
                label(w, b"__name__");
                write::message(w, 2, |w| {
                    write::double(w, 1, 5.0);
                    write::int(w, 2, time);
                });
                label(w, b"c");
            });
        }
        let plain = decode(&body, &limits).unwrap();
        for (room, n_kept) in [(0, 0), (1, 6), (9, 8)] {
            let mut table = Table {
                room,
                spellings: Vec::new(),
                samples: Vec::new(),
                n_found: 0,
            };
            let request = decode_into(&body, &limits, &mut table).unwrap();
            assert_eq!(table.samples.len(), n_kept);
            assert_eq!(table.n_found > 0, room > 0);
            let mut all = lines(&request);
            all.extend(table.samples);
            all.iter_mut()
                .for_each(|line| *line = line.replace(", e=\"\"", ""));
            all.sort();
            let mut expected = lines(&plain);
            expected.sort();
            assert_eq!(all, expected);
            assert_eq!(request.n_samples, plain.n_samples);
            assert_eq!(request.refused.count, plain.refused.count);
            assert_eq!(request.refused.first, plain.refused.first);
        }
    }

    #[test]
    fn bad_series_are_refused_and_their_neighbours_kept() {
        let good = series(&[(b"__name__", b"good")], &[(1, 1.0)]);
        type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];
        let cases: &[(Pairs<'_>, &str)] = &[
            (&[(b"a", b"b")], r#"series has no metric name: {a="b"}"#),
            (
                &[(b"__name__", b"")],
                r#"series has no metric name: {__name__=""}"#,
            ),
            (&[(b"__name__", b"x"), (b"", b"y")], "label name is empty"),
            (
                &[(b"__name__", b"x"), (b"a", b"1"), (b"a", b"2")],
                r#"label name "a" is given twice in {__name__="x", a="1", a="2"}"#,
            ),
            (
                &[(b"__name__", b"x"), (b"a", b"\xff")],
                "label value is not UTF-8: \"\u{fffd}\"",
            ),
        ];
        for (labels, reason) in cases {
            let mut body = series(labels, &[(1, 1.0), (2, 2.0)]);
            body.extend_from_slice(&good);
            let request = decode(&body, &LIMITS).unwrap();
            assert_eq!(lines(&request), [r#"{__name__="good"} 1 @1"#]);
            assert_eq!(request.refused.count, 2, "{reason}");
            assert_eq!(request.refused.first.as_deref(), Some(*reason));
        }
    }

    #[test]
    fn limits_hold() {
        let limits = Limits {
            max_labels: 1,
            window: Window {
                oldest_ms: 10,
                newest_ms: 20,
            },
        };
        let mut body = series(&[(b"__name__", b"x"), (b"a", b"b")], &[(15, 1.0)]);
        body.extend(series(
            &[(b"__name__", b"y")],
            &[(9, 1.0), (10, 2.0), (21, 3.0)],
        ));
        let request = decode(&body, &limits).unwrap();
        assert_eq!(lines(&request), [r#"{__name__="y"} 2 @10"#]);
        assert_eq!(request.refused.count, 3);
    }

    #[test]
    fn histograms_are_refused_by_count_and_metadata_gives_the_type() {
        let mut body = Vec::new();
        write::message(&mut body, 1, |w| {
            write::message(w, 1, |w| {
                write::bytes(w, 1, b"__name__");
                write::bytes(w, 2, b"h");
            });
            write::bytes(w, 4, b"");
        });
        body.extend(series(&[(b"__name__", b"c_total")], &[(1, 1.0)]));
        write::message(&mut body, 3, |w| {
            write::int(w, 1, 1);
            write::bytes(w, 2, b"c_total");
            write::bytes(w, 4, b"Help.");
        });
        let request = decode(&body, &LIMITS).unwrap();
        assert_eq!((request.refused.count, request.n_samples), (1, 1));
        let family = request.batch.families()[0];
        assert_eq!(family.kind, MetricKind::Counter);
        assert_eq!(request.batch.text(family.help), "Help.");
    }

    #[test]
    fn cuts_and_flips_never_panic() {
        let mut body = series(
            &[(b"__name__", b"up"), (b"job", b"node")],
            &[(1, 1.0), (2, 2.0)],
        );
        body.extend(series(&[(b"__name__", b"down")], &[(3, 1.0)]));
        for cut in 0..body.len() {
            let _ = decode(&body[..cut], &LIMITS);
        }
        for at in 0..body.len() {
            for mask in [0x01, 0x08, 0x80, 0xff] {
                let mut bad = body.clone();
                bad[at] ^= mask;
                let _ = decode(&bad, &LIMITS);
            }
        }
        assert!(decode(b"not protobuf at all", &LIMITS).is_err());
    }
}
