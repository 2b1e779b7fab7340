//! The payload of a batch of metrics.

use std::sync::Arc;

use super::payload::{Reader, put_resource, put_text, put_varint, unzigzag, zigzag};
use super::{FrameError, extras, histograms};
use crate::metric::Point;
use crate::{FamilyId, MetricBatch, MetricKind, Source, Suffix};

/// tag, resource, batch time (zigzag), text of all names in one piece, families (name, help:
/// slices; kind), label pairs (name, value: slices), points (family, suffix, first pair, pairs,
/// 0 or 1 and a time (zigzag, from the batch time)), then all values as 8 bytes each.
pub(super) fn encode_metrics(b: &MetricBatch, w: &mut Vec<u8>) {
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

pub(super) fn decode_metrics(payload: &[u8], source: Source) -> Result<MetricBatch, FrameError> {
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
