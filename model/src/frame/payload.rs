//! What the payloads of logs and metrics are made of: varints, texts, resources.

use super::time_texts::TimeTexts;
use super::{FrameError, MAX_PAYLOAD_BYTES};
use crate::{KubernetesMetadata, Labels, Resource, Slice, Value};

/// How a column's values are laid out.
pub(super) const COLUMN_TEXTS: u8 = 0; // every value is text: lengths, then all bytes
pub(super) const COLUMN_SAME: u8 = 1; // every value is the same: one tagged value
pub(super) const COLUMN_TAGGED: u8 = 2; // one tagged value per record
pub(super) const COLUMN_TIMES: u8 = 3; // every value is the record's time as text: digits after the point, suffix

/// Whether a resource has pod metadata, and whether outputs add it to the records.
pub(super) const NO_KUBERNETES: u8 = 0;
pub(super) const KUBERNETES_OF_ALL: u8 = 1;
pub(super) const KUBERNETES_IN_RECORDS: u8 = 2;

/// labels, attributes, one of the three constants above, the pod's metadata. Returns where the
/// constant is.
pub(super) fn put_resource(w: &mut Vec<u8>, resource: &Resource) -> usize {
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

pub(super) fn put_pairs(w: &mut Vec<u8>, pairs: &[(String, String)]) {
    put_varint(w, pairs.len() as u64);
    for (name, value) in pairs {
        put_text(w, name.as_bytes());
        put_text(w, value.as_bytes());
    }
}

pub(super) fn put_text(w: &mut Vec<u8>, text: &[u8]) {
    put_varint(w, text.len() as u64);
    w.extend_from_slice(text);
}

pub(super) fn put_varint(w: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        w.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    w.push(n as u8);
}

pub(super) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

pub(super) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Reads a payload; every method fails instead of reading past the end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

pub(super) const SHORT: FrameError = FrameError::Damaged("payload ends early");

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        let bytes = self.bytes.get(self.at..self.at + 8).ok_or(SHORT)?;
        self.at += 8;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    pub(super) fn varint(&mut self) -> Result<u64, FrameError> {
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

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        u32::try_from(self.varint()?).map_err(|_| FrameError::Damaged("number is too large"))
    }

    /// A count of things that take at least `min_bytes` each of what is left.
    pub(super) fn count(&mut self, min_bytes: usize) -> Result<usize, FrameError> {
        let n = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
        if n > (self.bytes.len() - self.at) / min_bytes {
            return Err(SHORT);
        }
        Ok(n)
    }

    pub(super) fn slice(&mut self) -> Result<Slice, FrameError> {
        let len = self.count(1)?;
        let start = self.at;
        self.at += len;
        Ok(Slice {
            start: start as u32,
            len: len as u32,
        })
    }

    pub(super) fn text(&mut self) -> Result<&'a [u8], FrameError> {
        let s = self.slice()?;
        Ok(&self.bytes[s.start as usize..][..s.len as usize])
    }

    pub(super) fn str(&mut self) -> Result<&'a str, FrameError> {
        std::str::from_utf8(self.text()?).map_err(|_| FrameError::Damaged("name is not UTF-8"))
    }

    pub(super) fn pairs(&mut self) -> Result<Vec<(String, String)>, FrameError> {
        let n = self.count(2)?;
        (0..n)
            .map(|_| Ok((self.str()?.to_owned(), self.str()?.to_owned())))
            .collect()
    }

    /// The resource, and whether the records hold its pod's metadata.
    pub(super) fn resource(&mut self) -> Result<(Resource, bool), FrameError> {
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

    pub(super) fn value(&mut self) -> Result<Value, FrameError> {
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
    pub(super) fn column(
        &mut self,
        times: &[i64],
        made: &mut Vec<u8>,
    ) -> Result<Vec<Value>, FrameError> {
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

    pub(super) fn end(&self) -> Result<(), FrameError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(FrameError::Damaged("payload has bytes after its end"))
        }
    }
}
