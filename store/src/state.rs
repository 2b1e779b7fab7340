//! The small tables that parts do not hold, in one checksummed file: high-water marks and metric
//! metadata, as they were when a head was sealed.
//!
//! A new file is written beside the old one with each flush and named by the manifest, so tables,
//! parts and the WAL's start always belong together.
//!
//! ```text
//!  0  4  magic "KSST"
//!  4  4  version, 1
//!  8  4  bytes of the body                             (integers little-endian)
//! 12  4  CRC32C of bytes 0..12 and of the body
//! 16     body: number of marks (varint), marks, number of metadata (varint), metadata
//! mark:     source id (16 bytes), offset (varint), ordinal (varint), 0, or 1 and
//!           when it last moved (signed varint, Unix ms)
//! metadata: name (text), type (1 byte: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 summary), help (text)
//! ```

use std::collections::BTreeMap;

use kansoku_model::{MetricBatch, MetricKind, Position, SourceId};

use crate::bytes::{Malformed, put_signed, put_text, put_varint};
use crate::marks::Marks;
use crate::sealed;

const FILE: sealed::Kind = sealed::Kind {
    magic: b"KSST",
    version: 1,
    other_file: "no state file",
    other_version: "state file of an unknown version",
    damaged: "checksum of the state file does not match",
};
/// The largest state file that is read: sixteen million marks.
pub const FILE_MAX_BYTES: u64 = 1 << 30;

/// Families whose metadata is kept; more would be names made of ids.
const METADATA_MAX: usize = 65_536;
/// Longer help texts are cut: nobody reads them whole.
const HELP_MAX_BYTES: usize = 1024;

/// Type and help of each metric family by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<Box<str>, (MetricKind, Box<str>)>);

impl Metadata {
    /// Whether `learn` would change nothing.
    pub fn knows(&self, batch: &MetricBatch) -> bool {
        batch.families().iter().all(|family| {
            let help = cut_help(batch.text(family.help));
            match self.0.get(batch.text(family.name)) {
                Some((kind, known)) => {
                    says_nothing(family.kind, help) || (*kind == family.kind && &**known == help)
                }
                None => says_nothing(family.kind, help) || self.0.len() >= METADATA_MAX,
            }
        })
    }

    /// Takes over what a batch says of its families; the newest wins.
    pub fn learn(&mut self, batch: &MetricBatch) {
        for family in batch.families() {
            let name = batch.text(family.name);
            let help = cut_help(batch.text(family.help));
            if says_nothing(family.kind, help) {
                continue;
            }
            match self.0.get_mut(name) {
                Some(known) if known.0 == family.kind && &*known.1 == help => {}
                Some(known) => *known = (family.kind, help.into()),
                None => {
                    if self.0.len() < METADATA_MAX {
                        self.0.insert(name.into(), (family.kind, help.into()));
                    }
                }
            }
        }
    }
}

fn cut_help(help: &str) -> &str {
    &help[..help.floor_char_boundary(HELP_MAX_BYTES)]
}

fn says_nothing(kind: MetricKind, help: &str) -> bool {
    kind == MetricKind::Unknown && help.is_empty()
}

/// What a state file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub marks: Marks,
    pub metadata: Metadata,
}

impl State {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.marks.len() as u64);
        for (id, mark) in self.marks.sorted() {
            body.extend_from_slice(&id.0.to_le_bytes());
            put_varint(&mut body, mark.to.offset);
            put_varint(&mut body, u64::from(mark.to.ordinal));
            body.push(u8::from(mark.moved_ms.is_some()));
            mark.moved_ms.iter().for_each(|t| put_signed(&mut body, *t));
        }
        put_varint(&mut body, self.metadata.0.len() as u64);
        for (name, (kind, help)) in &self.metadata.0 {
            put_text(&mut body, name.as_bytes());
            body.push(*kind as u8);
            put_text(&mut body, help.as_bytes());
        }
        FILE.seal(&body)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = FILE.open(bytes)?;
        let mut state = Self::default();
        for _ in 0..r.count(19)? {
            let id = u128::from_le_bytes(r.take(16)?.try_into().expect("sixteen bytes"));
            let to = Position {
                offset: r.varint()?,
                ordinal: r.varint32()?,
            };
            let moved_ms = if r.byte()? == 0 {
                None
            } else {
                Some(r.signed()?)
            };
            state.marks.set(SourceId(id), to, moved_ms);
        }
        for _ in 0..r.count(3)? {
            let name = r.str()?.into();
            let kind = kind_of(r.byte()?)?;
            state.metadata.0.insert(name, (kind, r.str()?.into()));
        }
        r.end()?;
        Ok(state)
    }
}

fn kind_of(byte: u8) -> Result<MetricKind, Malformed> {
    Ok(match byte {
        0 => MetricKind::Unknown,
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::Summary,
        _ => return Err(Malformed("unknown metric type")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[test]
    fn comes_back_and_any_damage_is_noticed() {
        let mut state = State::default();
        for id in [1, 7, u128::MAX] {
            let to = Position {
                offset: u64::MAX - 1,
                ordinal: 3,
            };
            state.marks.set(SourceId(id), to, (id > 1).then_some(-5));
        }
        state.metadata.learn(&samples(1, 0, "up", 0, &[1.0]));
        let good = state.encode();
        assert_eq!(State::decode(&good), Ok(state));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(State::decode(&bad).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(State::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn metadata_is_cut_and_the_newest_wins() {
        let mut metadata = Metadata::default();
        let mut b = MetricBatch::default();
        b.family("a", MetricKind::Gauge, &"観".repeat(1000));
        b.family("silent", MetricKind::Unknown, "");
        assert!(!metadata.knows(&b));
        metadata.learn(&b);
        assert!(metadata.knows(&b));
        assert_eq!(metadata.0["a"].1.len(), 1023);
        b.clear();
        b.family("a", MetricKind::Counter, "h");
        metadata.learn(&b);
        assert_eq!(metadata.0["a"], (MetricKind::Counter, "h".into()));
        assert_eq!(metadata.0.len(), 1);
    }
}
