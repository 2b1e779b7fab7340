//! Remote write 2.0: `io.prometheus.write.v2.Request`, whose texts are numbers in a table of symbols.
//!
//! What becomes of a series is the same as in version 1, by the same code. A series whose numbers lead
//! nowhere is refused alone.

use kansoku_model::MetricKind;
use kansoku_model::labels::METRIC_NAME;

use super::super::WireError;
use super::super::protobuf::{Field, Message};
use super::{Decoder, Exemplar, Limits, NoSeries, SeriesSink, WriteRequest, each, read_sample};

/// Decodes a decompressed body.
///
/// # Errors
/// When it is no protobuf of this shape.
pub fn decode_symbols(body: &[u8], limits: &Limits) -> Result<WriteRequest, WireError> {
    decode_symbols_into(body, limits, &mut NoSeries)
}

/// Decodes a decompressed body and gives the samples to `sink`, as far as it takes their series.
///
/// # Errors
/// When it is no protobuf of this shape; forget what the sink got then.
pub fn decode_symbols_into(
    body: &[u8],
    limits: &Limits,
    sink: &mut impl SeriesSink,
) -> Result<WriteRequest, WireError> {
    let mut symbols: Vec<&[u8]> = Vec::new();
    each(body, 4, |field| {
        symbols.push(field.bytes()?.0);
        Ok(())
    })?;
    let mut decoder = Decoder::new(limits, sink);
    let (mut refs, mut spelling) = (Vec::new(), Vec::new());
    each(body, 5, |field| {
        series(&mut decoder, field, &symbols, &mut refs, &mut spelling)
    })?;
    Ok(decoder.request)
}

/// The symbol of a number.
fn symbol<'a>(symbols: &[&'a [u8]], number: u64) -> Option<&'a [u8]> {
    symbols.get(usize::try_from(number).ok()?).copied()
}

/// The labels of these numbers, names and values in turn.
fn labels<'a>(
    symbols: &[&'a [u8]],
    refs: &[u64],
    out: &mut Vec<(&'a [u8], &'a [u8])>,
) -> Result<(), String> {
    out.clear();
    let (pairs, rest) = refs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("{} label references are no pairs", refs.len()));
    }
    for [name, value] in pairs {
        let pair = symbol(symbols, *name).zip(symbol(symbols, *value));
        let pair = pair.ok_or_else(|| {
            let n = symbols.len();
            format!(
                "label references {name} and {value} are not both below {n}, the number of symbols"
            )
        });
        out.push(pair?);
    }
    Ok(())
}

fn series<'a, S: SeriesSink>(
    decoder: &mut Decoder<'a, '_, S>,
    field: Field<'a>,
    symbols: &[&'a [u8]],
    refs: &mut Vec<u64>,
    spelling: &mut Vec<u8>,
) -> Result<(), WireError> {
    decoder.clear();
    refs.clear();
    let mut metadata = None;
    let mut message = field.message()?;
    while let Some((number, field)) = message.next()? {
        match number {
            1 => field.varints(&mut |n| refs.push(n))?,
            2 => decoder.samples.push(read_sample(field.message()?)?),
            3 => decoder.histograms.push(field.message()?),
            4 => decoder.exemplars.push(field.message()?),
            5 => metadata = Some(field.message()?),
            _ => {}
        }
    }
    let n_samples = decoder.samples.len() + decoder.histograms.len();
    let mut read = std::mem::take(&mut decoder.labels);
    let found = labels(symbols, refs, &mut read);
    decoder.labels = read;
    if let Err(reason) = found {
        // A series without samples counts, too: nothing of it was taken.
        decoder.request.refused.add(n_samples.max(1), || reason);
        return Ok(());
    }
    if n_samples == 0 {
        let reason = "a series has neither samples nor histograms";
        decoder.request.refused.add(1, || reason.into());
        return Ok(());
    }
    // The bytes that version 1 has for these labels: one series has one spelling in both.
    spelling.clear();
    for (name, value) in &decoder.labels {
        let len = 2 + varint_len(name.len()) + name.len() + varint_len(value.len()) + value.len();
        spelling.push(LABEL);
        put_varint(spelling, len);
        for (tag, text) in [(NAME, name), (VALUE, value)] {
            spelling.push(tag);
            put_varint(spelling, text.len());
            spelling.extend_from_slice(text);
        }
    }
    if let Some(metadata) = metadata {
        self::metadata(decoder, metadata, symbols)?;
    }
    let known = decoder.sink.find(spelling);
    if let Some(series) = known {
        let are_good = decoder.give(series);
        if are_good && decoder.histograms.is_empty() && decoder.exemplars.is_empty() {
            return Ok(());
        }
    }
    let mut exemplars = Vec::with_capacity(decoder.exemplars.len());
    for message in std::mem::take(&mut decoder.exemplars) {
        exemplars.extend(exemplar(message, symbols, refs)?);
    }
    decoder.put(Some(&*spelling), known, &exemplars)
}

/// Fields 1 of a series, and 1 and 2 of a label, in version 1.
const LABEL: u8 = 1 << 3 | 2;
const NAME: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;

fn varint_len(n: usize) -> usize {
    1 + (n.max(1).ilog2() / 7) as usize
}

fn put_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn exemplar<'a>(
    mut message: Message<'a>,
    symbols: &[&'a [u8]],
    refs: &mut Vec<u64>,
) -> Result<Option<Exemplar<'a>>, WireError> {
    refs.clear();
    let mut exemplar = Exemplar {
        labels: Vec::new(),
        value: 0.0,
        time_ms: 0,
    };
    while let Some((number, field)) = message.next()? {
        match number {
            1 => field.varints(&mut |n| refs.push(n))?,
            2 => exemplar.value = field.double()?,
            3 => exemplar.time_ms = field.int()?,
            _ => {}
        }
    }
    let found = labels(symbols, refs, &mut exemplar.labels);
    Ok(found.is_ok().then_some(exemplar))
}

/// Type, help and unit of the series at hand.
fn metadata<'a, S: SeriesSink>(
    decoder: &mut Decoder<'a, '_, S>,
    mut message: Message<'a>,
    symbols: &[&'a [u8]],
) -> Result<(), WireError> {
    let (mut kind, mut help, mut unit) = (0, 0, 0);
    while let Some((number, field)) = message.next()? {
        match number {
            1 => kind = field.int()?,
            3 => help = field.int()?.cast_unsigned(),
            4 => unit = field.int()?.cast_unsigned(),
            _ => {}
        }
    }
    let kind = match kind {
        1 => MetricKind::Counter,
        2 | 6 | 7 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        5 => MetricKind::Summary,
        _ => MetricKind::Unknown,
    };
    let text = |bytes: Option<&'a [u8]>| std::str::from_utf8(bytes?).ok();
    let name = decoder
        .labels
        .iter()
        .find(|(n, _)| *n == METRIC_NAME.as_bytes());
    let Some(name) = text(name.map(|(_, value)| *value)) else {
        return Ok(());
    };
    let help = text(symbol(symbols, help)).unwrap_or("");
    let unit = text(symbol(symbols, unit)).unwrap_or("");
    if kind == MetricKind::Unknown && help.is_empty() && unit.is_empty() {
        return Ok(());
    }
    // The series of a classic histogram or a summary are of the family without the ending.
    let endings: &[&str] = match kind {
        MetricKind::Histogram => &["_bucket", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    let name = endings
        .iter()
        .find_map(|e| name.strip_suffix(e))
        .unwrap_or(name);
    if name.is_empty() || decoder.families.contains_key(name) {
        return Ok(());
    }
    let batch = &mut decoder.request.batch;
    let id = batch.new_family(name, kind, help);
    if !unit.is_empty() {
        batch.set_unit(id, unit);
    }
    decoder.families.insert(name, id);
    Ok(())
}
