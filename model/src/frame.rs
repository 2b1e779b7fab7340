//! The frame: one encoded batch, the same bytes on the wire, in the spill and in the WAL.
//!
//! ```text
//! offset size
//!  0     4    magic "KSF1"
//!  4     1    kind: 1 logs, 2 metrics
//!  5     1    flags: bit 0 = payload is zstd, bit 1 = payload is an LZ4 block
//!  6     2    reserved, 0
//!  8    16    source id                        (all integers little-endian)
//! 24     8+4  from: offset, ordinal  (exclusive)
//! 36     8+4  to: offset, ordinal    (inclusive)
//! 48     4    payload bytes as stored
//! 52     4    payload bytes when decompressed
//! 56     4    CRC32C of bytes 0..56 and the stored payload
//! 60     n    payload
//! ```
//! The payload is a list of varints and texts, drawn at [`encode_logs`] and [`encode_metrics`]; a
//! text is a varint length and its bytes. Decoding any bytes ends in a batch or an error, never in
//! a panic, and never allocates more than a small multiple of [`MAX_PAYLOAD_BYTES`].

mod extras;
mod histograms;
mod time_texts;

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

pub use self::histograms::{put_histogram, take_histogram};
use self::time_texts::TimeTexts;
use crate::metric::Point;
use crate::{
    Column, FamilyId, KubernetesMetadata, Labels, LogBatch, MetricBatch, MetricKind, Position,
    RecordBatch, Resource, Slice, Source, SourceId, Suffix, Value,
};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 60;
/// The largest payload, compressed or not. Larger batches must be split before they are encoded.
pub const MAX_PAYLOAD_BYTES: usize = 128 << 20;
/// Payloads below this are not worth a compressor's header.
const COMPRESS_FROM_BYTES: usize = 256;
const COMPRESSION_LEVEL: i32 = 1;
const MAGIC: &[u8; 4] = b"KSF1";
const FLAG_ZSTD: u8 = 1;
const FLAG_LZ4: u8 = 2;

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Half the work of zstd, for about twice the bytes.
    Lz4,
    Zstd,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does: a torn tail, or more is to come.
    #[error("frame is cut off: {have} of {need} bytes")]
    Truncated { have: usize, need: usize },
    /// The bytes are something else or damaged.
    #[error("damaged frame: {0}")]
    Damaged(&'static str),
}

/// A checked frame whose payload has not been decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub source: Source,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the frame at the start of `bytes`: magic, lengths and checksum.
    ///
    /// # Errors
    /// `Truncated` when more bytes could complete it, else `Damaged`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let frame = Self::parse_unverified(bytes)?;
        if checksum(frame.bytes) != u32_at(frame.bytes, 56) {
            return Err(FrameError::Damaged("checksum does not match"));
        }
        Ok(frame)
    }

    /// Checks magic and lengths only. What is damaged may decode into other records than were written.
    ///
    /// # Errors
    /// `Truncated` when more bytes could complete it, else `Damaged`.
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Header {
            source,
            frame_bytes: need,
        } = Header::read(bytes)?;
        let Some(bytes) = bytes.get(..need) else {
            let have = bytes.len();
            return Err(FrameError::Truncated { have, need });
        };
        Ok(Self { source, bytes })
    }

    /// The whole frame, header and payload.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Decodes the batch.
    ///
    /// # Errors
    /// When the payload does not decompress or does not follow its format.
    pub fn decode(&self) -> Result<RecordBatch, FrameError> {
        let stored = &self.bytes[HEADER_BYTES..];
        let raw_len = u32_at(self.bytes, 52) as usize;
        let damaged = FrameError::Damaged("payload does not decompress");
        let payload = match self.bytes[5] {
            0 => stored.to_vec(),
            FLAG_ZSTD => decompress_zstd(stored, raw_len).ok_or(damaged)?,
            FLAG_LZ4 => lz4_flex::block::decompress(stored, raw_len).map_err(|_| damaged)?,
            _ => return Err(FrameError::Damaged("unknown compression")),
        };
        if payload.len() != raw_len {
            return Err(FrameError::Damaged(
                "payload has another length than promised",
            ));
        }
        match self.bytes[4] {
            1 => decode_logs(payload, self.source).map(RecordBatch::Logs),
            2 => decode_metrics(&payload, self.source).map(RecordBatch::Metrics),
            _ => Err(FrameError::Damaged("unknown kind of batch")),
        }
    }
}

/// What the first bytes of a frame say; only the whole frame can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub source: Source,
    /// Length of the whole frame.
    pub frame_bytes: usize,
}

impl Header {
    /// Reads the first [`HEADER_BYTES`] of a frame.
    ///
    /// # Errors
    /// `Truncated` when there are fewer, `Damaged` when they cannot begin a frame.
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let magic = &bytes[..bytes.len().min(4)];
        if magic != &MAGIC[..magic.len()] {
            return Err(FrameError::Damaged("no frame magic"));
        }
        if bytes.len() < HEADER_BYTES {
            let have = bytes.len();
            return Err(FrameError::Truncated {
                have,
                need: HEADER_BYTES,
            });
        }
        let stored = u32_at(bytes, 48) as usize;
        if stored > MAX_PAYLOAD_BYTES || u32_at(bytes, 52) as usize > MAX_PAYLOAD_BYTES {
            return Err(FrameError::Damaged(
                "payload is larger than any frame may be",
            ));
        }
        let position = |at| Position {
            offset: u64_at(bytes, at),
            ordinal: u32_at(bytes, at + 8),
        };
        let id = u128::from(u64_at(bytes, 8)) | u128::from(u64_at(bytes, 16)) << 64;
        Ok(Self {
            source: Source {
                id: SourceId(id),
                from: position(24),
                to: position(36),
            },
            frame_bytes: HEADER_BYTES + stored,
        })
    }
}

/// Appends the frame of `batch` to `out`, compressed with zstd, and returns its length.
///
/// # Errors
/// When the batch is larger than [`MAX_PAYLOAD_BYTES`].
pub fn encode(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<usize, FrameError> {
    encode_as(Compression::Zstd, batch, out)
}

/// As [`encode`], with a compression of choice.
///
/// # Errors
/// When the batch is larger than [`MAX_PAYLOAD_BYTES`].
pub fn encode_as(
    compression: Compression,
    batch: &RecordBatch,
    out: &mut Vec<u8>,
) -> Result<usize, FrameError> {
    match batch {
        RecordBatch::Logs(b) => with_kept(&PAYLOAD, |w| {
            encode_logs(b, w);
            finish(compression, 1, &b.source, w, out)
        }),
        RecordBatch::Metrics(b) => with_kept(&PAYLOAD, |w| {
            encode_metrics(b, w);
            finish(compression, 2, &b.source, w, out)
        }),
    }
}

/// A thread keeps the memory of its last payload and of what it became, up to this size each.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static PAYLOAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static COMPRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on an empty buffer whose memory the thread keeps.
fn with_kept<T>(
    kept: &'static LocalKey<RefCell<Vec<u8>>>,
    work: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    with_used(kept, |buffer| {
        buffer.clear();
        work(buffer)
    })
}

/// Runs `work` on the buffer as the thread's last work left it.
fn with_used<T>(
    kept: &'static LocalKey<RefCell<Vec<u8>>>,
    work: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let mut buffer = kept.take();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        kept.set(buffer);
    }
    result
}

fn finish(
    compression: Compression,
    kind: u8,
    source: &Source,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, FrameError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FrameError::Damaged("batch is larger than any frame may be"));
    }
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let is_small = payload.len() < COMPRESS_FROM_BYTES;
    let flags = match compression {
        _ if is_small => 0,
        Compression::None => 0,
        Compression::Lz4 => FLAG_LZ4,
        Compression::Zstd => FLAG_ZSTD,
    };
    match flags {
        FLAG_LZ4 => compress_lz4(payload, out),
        FLAG_ZSTD => compress_zstd(payload, out),
        _ => out.extend_from_slice(payload),
    }
    let stored = out.len() - start - HEADER_BYTES;
    let frame = &mut out[start..];
    frame[..4].copy_from_slice(MAGIC);
    frame[4] = kind;
    frame[5] = flags;
    frame[8..24].copy_from_slice(&source.id.0.to_le_bytes());
    frame[24..32].copy_from_slice(&source.from.offset.to_le_bytes());
    frame[32..36].copy_from_slice(&source.from.ordinal.to_le_bytes());
    frame[36..44].copy_from_slice(&source.to.offset.to_le_bytes());
    frame[44..48].copy_from_slice(&source.to.ordinal.to_le_bytes());
    frame[48..52].copy_from_slice(&(stored as u32).to_le_bytes());
    frame[52..56].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = checksum(frame);
    frame[56..60].copy_from_slice(&crc.to_le_bytes());
    Ok(frame.len())
}

/// Appends `payload` as an LZ4 block.
fn compress_lz4(payload: &[u8], out: &mut Vec<u8>) {
    // What is in the buffer will be written over: zeros there would be work for nothing.
    with_used(&COMPRESSED, |compressed| {
        let bound = lz4_flex::block::get_maximum_output_size(payload.len());
        if compressed.len() < bound {
            compressed.resize(bound, 0);
        }
        let n = lz4_flex::block::compress_into(payload, compressed);
        let n = n.expect("the bound is enough for any bytes");
        out.extend_from_slice(&compressed[..n]);
    });
}

/// Appends `payload`, compressed with zstd. The compressor's context of some hundred KiB is made once
/// per thread.
fn compress_zstd(payload: &[u8], out: &mut Vec<u8>) {
    thread_local! {
        static COMPRESSOR: RefCell<zstd::bulk::Compressor<'static>> = RefCell::new(
            zstd::bulk::Compressor::new(COMPRESSION_LEVEL).expect("the level exists"),
        );
    }
    with_kept(&COMPRESSED, |compressed| {
        compressed.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        COMPRESSOR.with_borrow_mut(|compressor| {
            compressor
                .compress_to_buffer(payload, compressed)
                .expect("zstd compresses any bytes");
        });
        out.extend_from_slice(compressed);
    });
}

/// What zstd made `stored` of, with a context that is made once per thread as well.
fn decompress_zstd(stored: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = Some(zstd::bulk::Decompressor::new().ok()?);
        }
        decompressor.as_mut()?.decompress(stored, raw_len).ok()
    })
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..56]), &frame[HEADER_BYTES..])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}

// ---- payload of logs ----

/// How a column's values are laid out.
const COLUMN_TEXTS: u8 = 0; // every value is text: lengths, then all bytes
const COLUMN_SAME: u8 = 1; // every value is the same: one tagged value
const COLUMN_TAGGED: u8 = 2; // one tagged value per record
const COLUMN_TIMES: u8 = 3; // every value is the record's time as text: digits after the point, suffix

/// tag, resource, record count, times (first, then differences, zigzag), positions (offset
/// differences; then 0, or 1 and all ordinals), column count, columns (name, layout, values), and
/// when any record has metadata one more column (layout, values).
fn encode_logs(b: &LogBatch, w: &mut Vec<u8>) {
    w.reserve(b.size_bytes() + 256);
    put_text(w, b.tag.as_bytes());
    let kind_at = put_resource(w, &b.resource);
    if b.kubernetes_is_column && b.resource.kubernetes.is_some() {
        w[kind_at] = KUBERNETES_IN_RECORDS;
    }
    put_varint(w, b.len() as u64);
    let mut last = 0i64;
    for &t in b.times() {
        put_varint(w, zigzag(t.wrapping_sub(last)));
        last = t;
    }
    let mut last = 0u64;
    for p in b.positions() {
        put_varint(w, zigzag(p.offset.wrapping_sub(last) as i64));
        last = p.offset;
    }
    let ordinals = b.positions().iter().any(|p| p.ordinal != 0);
    w.push(u8::from(ordinals));
    if ordinals {
        for p in b.positions() {
            put_varint(w, u64::from(p.ordinal));
        }
    }
    put_varint(w, b.columns().len() as u64);
    for c in b.columns() {
        put_text(w, c.name.as_bytes());
        put_column(w, b, &c.values);
    }
    // Nothing follows the columns of records without metadata.
    if !b.metadata_values().is_empty() {
        put_column(w, b, b.metadata_values());
    }
}

fn put_column(w: &mut Vec<u8>, b: &LogBatch, values: &[Value]) {
    let texts = values.iter().all(|v| matches!(v, Value::Text(_)));
    let same = values.len() > 1
        && values[1..].iter().all(|v| match (v, &values[0]) {
            (Value::Text(x), Value::Text(y)) | (Value::Json(x), Value::Json(y)) => {
                x == y || b.bytes(*x) == b.bytes(*y)
            }
            (x, y) => x == y,
        });
    if same {
        w.push(COLUMN_SAME);
        put_value(w, b, values[0]);
    } else if let Some(form) = texts.then(|| form_of(b, values)).flatten() {
        w.push(COLUMN_TIMES);
        w.push(form.n_digits as u8);
        put_text(w, form.suffix());
    } else if texts {
        w.push(COLUMN_TEXTS);
        let slices = || {
            values.iter().map(|v| match v {
                Value::Text(s) => b.bytes(*s),
                _ => unreachable!("all values are text"),
            })
        };
        slices().for_each(|s| put_varint(w, s.len() as u64));
        slices().for_each(|s| w.extend_from_slice(s));
    } else {
        w.push(COLUMN_TAGGED);
        values.iter().for_each(|v| put_value(w, b, *v));
    }
}

/// The form in which all of these texts are their records' times.
fn form_of(b: &LogBatch, values: &[Value]) -> Option<TimeTexts> {
    let text = |value: &Value| match value {
        Value::Text(slice) => Some(b.bytes(*slice)),
        _ => None,
    };
    let mut form = TimeTexts::of(text(values.first()?)?)?;
    let fits = values.len() * form.len() <= MAX_PAYLOAD_BYTES;
    let mut rows = values.iter().zip(b.times());
    (fits && rows.all(|(value, time)| text(value) == form.text(*time))).then_some(form)
}

fn put_value(w: &mut Vec<u8>, b: &LogBatch, value: Value) {
    match value {
        Value::Absent => w.push(0),
        Value::Null => w.push(1),
        Value::Bool(v) => w.push(2 + u8::from(v)),
        Value::Int(v) => {
            w.push(4);
            put_varint(w, zigzag(v));
        }
        Value::Float(v) => {
            w.push(5);
            w.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        Value::Text(s) => {
            w.push(6);
            put_text(w, b.bytes(s));
        }
        Value::Json(s) => {
            w.push(7);
            put_text(w, b.bytes(s));
        }
    }
}

fn decode_logs(mut payload: Vec<u8>, source: Source) -> Result<LogBatch, FrameError> {
    let mut r = Reader {
        bytes: &payload,
        at: 0,
    };
    let tag: Arc<str> = r.str()?.into();
    let (resource, kubernetes_is_column) = r.resource()?;
    let n = r.count(2)?;
    let mut times = Vec::with_capacity(n);
    let mut last = 0i64;
    for _ in 0..n {
        last = last.wrapping_add(unzigzag(r.varint()?));
        times.push(last);
    }
    let mut positions = Vec::with_capacity(n);
    let mut offset = 0u64;
    for _ in 0..n {
        offset = offset.wrapping_add(unzigzag(r.varint()?) as u64);
        positions.push(Position::at(offset));
    }
    if r.byte()? != 0 {
        for p in &mut positions {
            p.ordinal = r.u32()?;
        }
    }
    let mut columns = Vec::new();
    // Texts that follow from the times lie behind the payload.
    let mut made = Vec::new();
    for _ in 0..r.count(2)? {
        let name: Arc<str> = r.str()?.into();
        // A damaged count of columns must not multiply with the count of records.
        if columns.len() * n > 4 * MAX_PAYLOAD_BYTES / size_of::<Value>() {
            return Err(FrameError::Damaged("too many fields"));
        }
        columns.push(Column {
            name,
            values: r.column(&times, &mut made)?,
        });
    }
    let metadata = if r.at < payload.len() {
        r.column(&times, &mut made)?
    } else {
        Vec::new()
    };
    r.end()?;
    payload.append(&mut made);
    let mut batch = LogBatch::new(tag, Arc::new(resource), payload);
    batch.source = source;
    batch.kubernetes_is_column = kubernetes_is_column;
    for (time, position) in times.into_iter().zip(positions) {
        batch.push(time, position);
    }
    for column in columns {
        batch.put_column(column);
    }
    batch.put_metadata(metadata);
    Ok(batch)
}

// ---- payload of metrics ----

/// tag, resource, batch time (zigzag), text of all names in one piece, families (name, help:
/// slices; kind), label pairs (name, value: slices), points (family, suffix, first pair, pairs,
/// 0 or 1 and a time (zigzag, from the batch time)), then all values as 8 bytes each.
fn encode_metrics(b: &MetricBatch, w: &mut Vec<u8>) {
    w.reserve(b.size_bytes());
    put_text(w, b.tag.as_bytes());
    put_resource(w, &b.resource);
    put_varint(w, zigzag(b.time_ms));
    put_varint(w, b.families().len() as u64);
    for f in b.families() {
        put_text(w, b.text(f.name).as_bytes());
        put_text(w, b.text(f.help).as_bytes());
        w.push(f.kind as u8);
    }
    put_varint(w, b.points().len() as u64);
    let mut last_labels = (u32::MAX, 0);
    for p in b.points() {
        put_varint(w, u64::from(p.family.0));
        // Bit 0: own time; bit 1: the labels of the point before; bits 2-3: suffix.
        let repeats = p.labels == last_labels;
        w.push(u8::from(p.time_ms.is_some()) | u8::from(repeats) << 1 | (p.suffix as u8) << 2);
        if let Some(t) = p.time_ms {
            put_varint(w, zigzag(t.wrapping_sub(b.time_ms)));
        }
        if !repeats {
            put_varint(w, u64::from(p.labels.1));
            for (name, value) in b.labels_of(p) {
                put_text(w, name.as_bytes());
                put_text(w, value.as_bytes());
            }
            last_labels = p.labels;
        }
    }
    for p in b.points() {
        w.extend_from_slice(&p.value.to_bits().to_le_bytes());
    }
    let has_extras = extras::are_in(b);
    if has_extras || !b.histograms().is_empty() {
        histograms::put(w, b);
    }
    if has_extras {
        extras::put(w, b);
    }
}

fn decode_metrics(payload: &[u8], source: Source) -> Result<MetricBatch, FrameError> {
    let mut r = Reader {
        bytes: payload,
        at: 0,
    };
    let tag: Arc<str> = r.str()?.into();
    let resource = Arc::new(r.resource()?.0);
    let mut batch = MetricBatch::new(tag, resource, unzigzag(r.varint()?));
    batch.source = source;
    let n_families = r.count(3)?;
    for _ in 0..n_families {
        let (name, help) = (r.str()?, r.str()?);
        let kind = match r.byte()? {
            0 => MetricKind::Unknown,
            1 => MetricKind::Counter,
            2 => MetricKind::Gauge,
            3 => MetricKind::Histogram,
            4 => MetricKind::Summary,
            _ => return Err(FrameError::Damaged("unknown metric type")),
        };
        batch.new_family(name, kind, help);
    }
    let n_points = r.count(10)?;
    let mut points = Vec::with_capacity(n_points);
    let mut labels = None;
    for _ in 0..n_points {
        let family = r.u32()?;
        if family as usize >= n_families {
            return Err(FrameError::Damaged("point of an unknown family"));
        }
        let bits = r.byte()?;
        let suffix = match bits >> 2 {
            0 => Suffix::None,
            1 => Suffix::Bucket,
            2 => Suffix::Sum,
            3 => Suffix::Count,
            _ => return Err(FrameError::Damaged("unknown suffix")),
        };
        let time_ms = if bits & 1 == 0 {
            None
        } else {
            Some(batch.time_ms.wrapping_add(unzigzag(r.varint()?)))
        };
        if bits & 2 == 0 {
            let mut pairs = Vec::new();
            for _ in 0..r.count(2)? {
                pairs.push((r.str()?, r.str()?));
            }
            labels = Some(batch.label_set(pairs));
        }
        let labels = labels.ok_or(FrameError::Damaged("first point has no labels"))?;
        points.push(Point {
            family: FamilyId(family),
            suffix,
            labels,
            time_ms,
            value: 0.0,
        });
    }
    for mut point in points {
        point.value = f64::from_bits(r.u64()?);
        batch.push(point);
    }
    if r.at < payload.len() {
        histograms::read(&mut r, &mut batch, n_families)?;
    }
    if r.at < payload.len() {
        extras::read(&mut r, &mut batch)?;
    }
    r.end()?;
    Ok(batch)
}

// ---- pieces ----

/// Whether a resource has pod metadata, and whether outputs add it to the records.
const NO_KUBERNETES: u8 = 0;
const KUBERNETES_OF_ALL: u8 = 1;
const KUBERNETES_IN_RECORDS: u8 = 2;

/// labels, attributes, one of the three constants above, the pod's metadata. Returns where the
/// constant is.
fn put_resource(w: &mut Vec<u8>, resource: &Resource) -> usize {
    put_text(w, resource.labels.as_bytes());
    put_pairs(w, &resource.attributes);
    let kind_at = w.len();
    let Some(k) = &resource.kubernetes else {
        w.push(NO_KUBERNETES);
        return kind_at;
    };
    w.push(KUBERNETES_OF_ALL);
    for (_, value) in k.scalars() {
        put_text(w, value.as_bytes());
    }
    put_pairs(w, &k.labels);
    put_pairs(w, &k.annotations);
    kind_at
}

fn put_pairs(w: &mut Vec<u8>, pairs: &[(String, String)]) {
    put_varint(w, pairs.len() as u64);
    for (name, value) in pairs {
        put_text(w, name.as_bytes());
        put_text(w, value.as_bytes());
    }
}

fn put_text(w: &mut Vec<u8>, text: &[u8]) {
    put_varint(w, text.len() as u64);
    w.extend_from_slice(text);
}

fn put_varint(w: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        w.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    w.push(n as u8);
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Reads a payload; every method fails instead of reading past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const SHORT: FrameError = FrameError::Damaged("payload ends early");

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        let bytes = self.bytes.get(self.at..self.at + 8).ok_or(SHORT)?;
        self.at += 8;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn varint(&mut self) -> Result<u64, FrameError> {
        let (mut n, mut shift) = (0u64, 0u32);
        loop {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
            shift += 7;
            if shift > 63 {
                return Err(FrameError::Damaged("varint is too long"));
            }
        }
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        u32::try_from(self.varint()?).map_err(|_| FrameError::Damaged("number is too large"))
    }

    /// A count of things that take at least `min_bytes` each of what is left.
    fn count(&mut self, min_bytes: usize) -> Result<usize, FrameError> {
        let n = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        if n > (self.bytes.len() - self.at) / min_bytes {
            return Err(SHORT);
        }
        Ok(n)
    }

    fn slice(&mut self) -> Result<Slice, FrameError> {
        let len = self.count(1)?;
        let start = self.at;
        self.at += len;
        Ok(Slice {
            start: start as u32,
            len: len as u32,
        })
    }

    fn text(&mut self) -> Result<&'a [u8], FrameError> {
        let s = self.slice()?;
        Ok(&self.bytes[s.start as usize..][..s.len as usize])
    }

    fn str(&mut self) -> Result<&'a str, FrameError> {
        std::str::from_utf8(self.text()?).map_err(|_| FrameError::Damaged("name is not UTF-8"))
    }

    fn pairs(&mut self) -> Result<Vec<(String, String)>, FrameError> {
        let n = self.count(2)?;
        (0..n)
            .map(|_| Ok((self.str()?.to_owned(), self.str()?.to_owned())))
            .collect()
    }

    /// The resource, and whether the records hold its pod's metadata.
    fn resource(&mut self) -> Result<(Resource, bool), FrameError> {
        let labels = Labels::from_bytes(self.text()?).ok_or(FrameError::Damaged("labels"))?;
        let attributes = self.pairs()?;
        let kind = self.byte()?;
        let kubernetes = match kind {
            NO_KUBERNETES => None,
            _ => Some(KubernetesMetadata {
                pod_name: self.str()?.to_owned(),
                namespace_name: self.str()?.to_owned(),
                pod_id: self.str()?.to_owned(),
                host: self.str()?.to_owned(),
                pod_ip: self.str()?.to_owned(),
                container_name: self.str()?.to_owned(),
                docker_id: self.str()?.to_owned(),
                container_hash: self.str()?.to_owned(),
                container_image: self.str()?.to_owned(),
                labels: self.pairs()?,
                annotations: self.pairs()?,
            }),
        };
        let resource = Resource {
            labels,
            attributes,
            kubernetes,
        };
        Ok((resource, kind == KUBERNETES_IN_RECORDS))
    }

    fn value(&mut self) -> Result<Value, FrameError> {
        Ok(match self.byte()? {
            0 => Value::Absent,
            1 => Value::Null,
            2 => Value::Bool(false),
            3 => Value::Bool(true),
            4 => Value::Int(unzigzag(self.varint()?)),
            5 => Value::Float(f64::from_bits(self.u64()?)),
            6 => Value::Text(self.slice()?),
            7 => Value::Json(self.slice()?),
            _ => return Err(FrameError::Damaged("unknown type of value")),
        })
    }

    /// A value for each of the records with these times; texts that the payload does not hold are
    /// appended to `made`.
    fn column(&mut self, times: &[i64], made: &mut Vec<u8>) -> Result<Vec<Value>, FrameError> {
        let n = times.len();
        match self.byte()? {
            COLUMN_SAME => Ok(vec![self.value()?; n]),
            COLUMN_TAGGED => (0..n).map(|_| self.value()).collect(),
            COLUMN_TEXTS => {
                let lens = (0..n).map(|_| self.u32()).collect::<Result<Vec<_>, _>>()?;
                let text = |len: u32| {
                    let start = self.at;
                    self.at += len as usize;
                    if self.at > self.bytes.len() {
                        return Err(SHORT);
                    }
                    let start = start as u32;
                    Ok(Value::Text(Slice { start, len }))
                };
                lens.into_iter().map(text).collect()
            }
            COLUMN_TIMES => {
                let damaged = FrameError::Damaged("no times as text");
                let n_digits = usize::from(self.byte()?);
                let mut form = TimeTexts::new(n_digits, self.text()?).ok_or(damaged.clone())?;
                if made.len() + n * form.len() > MAX_PAYLOAD_BYTES {
                    return Err(damaged);
                }
                let base = self.bytes.len();
                let text = |time: &i64| {
                    let text = form.text(*time).ok_or_else(|| damaged.clone())?;
                    let start = (base + made.len()) as u32;
                    made.extend_from_slice(text);
                    let len = text.len() as u32;
                    Ok(Value::Text(Slice { start, len }))
                };
                times.iter().map(text).collect()
            }
            _ => Err(FrameError::Damaged("unknown column layout")),
        }
    }

    fn end(&self) -> Result<(), FrameError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(FrameError::Damaged("payload has bytes after its end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Counts, NativeHistogram, ResetHint, Span};

    fn logs() -> LogBatch {
        let resource = Resource {
            labels: Labels::from_pairs([("job", "x")]),
            attributes: vec![("host.name".into(), "n1".into())],
            kubernetes: Some(KubernetesMetadata {
                pod_name: "p".into(),
                labels: vec![("app".into(), "a".into())],
                ..Default::default()
            }),
        };
        let mut b = LogBatch::new("kube.x".into(), Arc::new(resource), Vec::new());
        let mut form = TimeTexts::of(b"2023-11-14T22:13:20.000000000+02:00").expect("a form");
        for i in 0..200u64 {
            let row = b.push(
                1_700_000_000_000_000_000 - i as i64,
                Position {
                    offset: 100 * i,
                    ordinal: (i == 7).into(),
                },
            );
            b.set_text("stream", row, b"stdout");
            let text = form.text(b.times()[row]).expect("a time").to_owned();
            b.set_text("time", row, &text);
            b.set_text("almost", row, if i == 9 { b"no time" } else { &text });
            b.set_text("log", row, format!("line {i} \u{89b3}").as_bytes());
            if i % 3 == 0 {
                let at = b.column_index_or_insert("n");
                b.set(at, row, Value::Int(-(i as i64)));
                let at = b.column_index_or_insert("f");
                b.set(at, row, Value::Float(0.5));
            }
        }
        let metadata = b.store(b"{\"severity\":9}");
        b.set_metadata(5, metadata);
        b.kubernetes_is_column = true;
        b.source = Source {
            id: SourceId(u128::MAX - 5),
            from: Position::at(3),
            to: Position {
                offset: 20_000,
                ordinal: 2,
            },
        };
        b
    }

    fn metrics() -> MetricBatch {
        let mut b = MetricBatch::new("node".into(), Arc::default(), 1_700_000_000_000);
        let f = b.family("a_total", MetricKind::Counter, "Help.");
        for i in 0..50 {
            b.sample(f, &[("cpu", &i.to_string())], f64::from(i) / 3.0);
        }
        let labels = b.label_set([("le", "+Inf")]);
        for t in [5, 6] {
            b.push(Point {
                family: f,
                suffix: Suffix::Bucket,
                labels,
                time_ms: Some(t),
                value: f64::from_bits(0x7ff0_0000_0000_0002),
            });
        }
        for (counts, time_ms) in [
            (
                Counts::Integer {
                    count: 9,
                    zero: 1,
                    negative: vec![1],
                    positive: vec![4, -3],
                },
                None,
            ),
            (
                Counts::Float {
                    count: 2.5,
                    zero: 0.5,
                    negative: vec![1.0],
                    positive: vec![0.5, 0.5],
                },
                Some(5),
            ),
        ] {
            let span = |offset, length| Span { offset, length };
            let histogram = NativeHistogram {
                schema: -4,
                zero_threshold: 0.001,
                sum: f64::from_bits(0x7ff0_0000_0000_0002),
                negative_spans: vec![span(-7, 1)],
                positive_spans: vec![span(0, 1), span(3, 1)],
                counts,
                reset_hint: if time_ms.is_none() {
                    ResetHint::Gauge
                } else {
                    ResetHint::No
                },
                custom_bounds: Vec::new(),
            };
            let point = Point {
                family: f,
                suffix: Suffix::None,
                labels,
                time_ms,
                value: histogram.count(),
            };
            b.push_sample(point, Some(histogram));
        }
        b
    }

    /// Every reading that matters, so that two batches with different arenas can be compared.
    fn view(b: &RecordBatch) -> String {
        match b {
            RecordBatch::Logs(b) => {
                let mut out = Vec::new();
                for row in 0..b.len() {
                    crate::json::write_fields(&mut out, b, row, true);
                    out.extend_from_slice(b.metadata(row).unwrap_or_default());
                }
                format!(
                    "{:?}{:?}{:?}{:?}{:?}{:?}{}",
                    b.kubernetes_is_column,
                    b.source,
                    b.tag,
                    b.resource,
                    b.times(),
                    b.positions(),
                    String::from_utf8_lossy(&out)
                )
            }
            RecordBatch::Metrics(b) => b
                .points()
                .iter()
                .map(|p| {
                    format!(
                        "{} {} {:x} {:?}\n",
                        b.series_of(p),
                        b.time_of(p),
                        p.value.to_bits(),
                        b.family_of(p).kind
                    )
                })
                .chain(b.histograms().iter().map(|h| {
                    let (series, time_ms) = (b.series_of(&h.point), b.time_of(&h.point));
                    format!("{series} {time_ms} {:?}\n", h.histogram)
                }))
                .collect(),
        }
    }

    #[test]
    fn batches_round_trip() {
        let mut larger = logs();
        larger.store(&b"a line of a log, again ".repeat(40));
        larger.set_text("log", 0, &b"a line of a log, again ".repeat(40));
        for batch in [logs(), larger]
            .map(RecordBatch::Logs)
            .into_iter()
            .chain([RecordBatch::Metrics(metrics())])
        {
            for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
                let mut bytes = b"before".to_vec();
                let n = encode_as(compression, &batch, &mut bytes).unwrap();
                bytes.extend_from_slice(b"after");
                let frame = Frame::parse(&bytes[6..]).unwrap();
                assert_eq!(frame.as_bytes().len(), n);
                assert_eq!(frame.source, *batch.source());
                assert_eq!(view(&frame.decode().unwrap()), view(&batch));
            }
        }
    }

    #[test]
    fn texts_that_follow_from_the_times_are_not_stored() {
        let payload = payload_of(|w| encode_logs(&logs(), w));
        let start = b"2023-11-15T00:13:";
        let n_stored = payload.windows(start.len()).filter(|w| w == start).count();
        assert_eq!(n_stored, 199, "of the column with another text");
    }

    #[test]
    fn payloads_with_a_right_checksum_that_do_not_decompress_are_damage() {
        for flags in [FLAG_ZSTD, FLAG_LZ4, FLAG_LZ4 | FLAG_ZSTD, 0x80] {
            for len in [0, 10, MAX_PAYLOAD_BYTES as u32] {
                let mut bytes = Vec::new();
                let batch = RecordBatch::Logs(logs());
                encode_as(Compression::None, &batch, &mut bytes).unwrap();
                bytes[5] = flags;
                bytes[52..56].copy_from_slice(&len.to_le_bytes());
                let crc = checksum(&bytes);
                bytes[56..60].copy_from_slice(&crc.to_le_bytes());
                assert!(
                    Frame::parse(&bytes).unwrap().decode().is_err(),
                    "{flags} {len}"
                );
            }
        }
    }

    #[test]
    fn every_cut_is_truncated_and_every_flip_is_damage() {
        let mut bytes = Vec::new();
        encode(&RecordBatch::Logs(logs()), &mut bytes).unwrap();
        for cut in 0..bytes.len() {
            assert!(
                matches!(
                    Frame::parse(&bytes[..cut]),
                    Err(FrameError::Truncated { .. })
                ),
                "cut at {cut}"
            );
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            assert!(Frame::parse(&bad).is_err(), "flip at {at}");
        }
    }

    fn payload_of(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut payload = Vec::new();
        write(&mut payload);
        payload
    }

    /// Payloads with a right checksum but wrong content: decoding must fail or give some batch.
    #[test]
    fn damaged_payloads_do_not_panic() {
        for (kind, payload) in [
            (1, payload_of(|w| encode_logs(&logs(), w))),
            (2, payload_of(|w| encode_metrics(&metrics(), w))),
        ] {
            for at in 0..payload.len() {
                for mask in [0x01, 0x80, 0xff] {
                    let mut bad = payload.clone();
                    bad[at] ^= mask;
                    let mut bytes = Vec::new();
                    finish(
                        Compression::None,
                        kind,
                        &Source::default(),
                        &bad,
                        &mut bytes,
                    )
                    .unwrap();
                    let _ = Frame::parse(&bytes).unwrap().decode();
                }
            }
        }
    }
}
