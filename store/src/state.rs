//! The small tables that parts do not hold, in one checksummed file: high-water marks, metric
//! metadata and exemplars, as they were when a head was sealed.
//!
//! A new file is written beside the old one with each flush and named by the manifest, so tables,
//! parts and the WAL's start always belong together.
//!
//! ```text
//!  0  4  magic "KSST"
//!  4  4  version, 2 (1: no units, no exemplars)
//!  8  4  bytes of the body                             (integers little-endian)
//! 12  4  CRC32C of bytes 0..12 and of the body
//! 16     body: number of marks (varint), marks, number of metadata (varint), metadata,
//!        exemplars (drawn in `exemplars.rs`)
//! mark:     source id (16 bytes), offset (varint), ordinal (varint), 0, or 1 and
//!           when it last moved (signed varint, Unix ms)
//! metadata: name (text), type (1 byte: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 summary), help, unit (texts)
//! ```

use std::collections::BTreeMap;

use kansoku_model::metric::Family;
use kansoku_model::{MetricBatch, MetricKind, Position, Slice, SourceId};

use crate::bytes::{Malformed, put_signed, put_text, put_varint};
use crate::exemplars::Exemplars;
use crate::marks::Marks;
use crate::sealed;

const FILE: sealed::Kind = sealed::Kind {
    magic: b"KSST",
    version: 2,
    other_file: "no state file",
    other_version: "state file of an unknown version",
    damaged: "checksum of the state file does not match",
};
/// The largest state file that is read: sixteen million marks.
pub const FILE_MAX_BYTES: u64 = 1 << 30;

/// Families whose metadata is kept; more would be names made of ids.
const METADATA_MAX: usize = 65_536;
/// Longer help texts and units are cut: nobody reads them whole.
const TEXT_MAX_BYTES: usize = 1024;

/// What is known of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub kind: MetricKind,
    pub help: Box<str>,
    pub unit: Box<str>,
}

/// What is known of each metric family by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<Box<str>, Described>);

impl Metadata {
    /// Whether `learn` would change nothing.
    pub fn knows(&self, batch: &MetricBatch) -> bool {
        batch.families().iter().all(|family| {
            let new = Told::of(batch, family);
            match self.0.get(batch.text(family.name)) {
                Some(known) => new.says_nothing() || new.is(known),
                None => new.says_nothing() || self.0.len() >= METADATA_MAX,
            }
        })
    }

    /// Takes over what a batch says of its families; the newest wins.
    pub fn learn(&mut self, batch: &MetricBatch) {
        for family in batch.families() {
            let name = batch.text(family.name);
            let new = Told::of(batch, family);
            if new.says_nothing() {
                continue;
            }
            match self.0.get_mut(name) {
                Some(known) if new.is(known) => {}
                Some(known) => *known = new.kept(),
                None => {
                    if self.0.len() < METADATA_MAX {
                        self.0.insert(name.into(), new.kept());
                    }
                }
            }
        }
    }
}

/// What a batch says of a family, as far as it is kept.
struct Told<'a> {
    kind: MetricKind,
    help: &'a str,
    unit: &'a str,
}

impl<'a> Told<'a> {
    fn of(batch: &'a MetricBatch, family: &Family) -> Self {
        let cut = |slice: Slice| {
            let text = batch.text(slice);
            &text[..text.floor_char_boundary(TEXT_MAX_BYTES)]
        };
        Self {
            kind: family.kind,
            help: cut(family.help),
            unit: cut(family.unit),
        }
    }

    fn says_nothing(&self) -> bool {
        self.kind == MetricKind::Unknown && self.help.is_empty() && self.unit.is_empty()
    }

    fn is(&self, known: &Described) -> bool {
        (self.kind, self.help, self.unit) == (known.kind, &*known.help, &*known.unit)
    }

    fn kept(&self) -> Described {
        Described {
            kind: self.kind,
            help: self.help.into(),
            unit: self.unit.into(),
        }
    }
}

/// What a state file holds.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub marks: Marks,
    pub metadata: Metadata,
    pub exemplars: Exemplars,
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
        for (name, described) in &self.metadata.0 {
            put_text(&mut body, name.as_bytes());
            body.push(described.kind as u8);
            put_text(&mut body, described.help.as_bytes());
            put_text(&mut body, described.unit.as_bytes());
        }
        self.exemplars.encode(&mut body);
        FILE.seal(&body)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (version, mut r) = FILE.open(bytes)?;
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
            let described = Described {
                kind: kind_of(r.byte()?)?,
                help: r.str()?.into(),
                unit: if version == 1 { "" } else { r.str()? }.into(),
            };
            state.metadata.0.insert(name, described);
        }
        if version > 1 {
            state.exemplars = Exemplars::decode(&mut r)?;
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
        let back = State::decode(&good).unwrap();
        assert_eq!((back.marks, back.metadata), (state.marks, state.metadata));
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
        assert_eq!(metadata.0["a"].help.len(), 1023);
        b.clear();
        let family = b.family("a", MetricKind::Counter, "h");
        b.set_unit(family, "seconds");
        metadata.learn(&b);
        let expected = Described {
            kind: MetricKind::Counter,
            help: "h".into(),
            unit: "seconds".into(),
        };
        assert_eq!(metadata.0["a"], expected);
        assert_eq!(metadata.0.len(), 1);
    }
}
