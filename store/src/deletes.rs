//! Deletes: what was asked to be taken away, how it is kept, and which rows it takes.
//!
//! A delete takes entries or samples that were stored before it, by selector and time range, and never
//! what comes later. It has a number from the counter that numbers flushes and parts, so "before" is a
//! comparison of numbers and survives any restart. The rule: from the moment it is durable, no query
//! shows what it takes; a merge leaves it out once it is settled, that is, cannot be taken back.
//!
//! ```text
//! deletes-<number>:
//!  0  4  magic "KSDL"
//!  4  4  version, 1
//!  8  4  bytes of the body                             (integers little-endian)
//! 12  4  CRC32C of bytes 0..12 and of the body
//! 16     body: number of deletes (varint), each:
//!          id (text), number (varint), settled (varint, 0: not yet), flags (1 byte: 1 logs, 2 wanted now, 4 done),
//!          selector (text), first and last time it takes (signed; logs: Unix ns, samples: Unix ms),
//!          when it was asked for (signed, Unix ms)
//! ```

use std::fmt;
use std::sync::Arc;

use kansoku_model::select::LogBlock;
use kansoku_model::{Labels, Matcher};

use crate::bytes::{Malformed, Reader, put_signed, put_text, put_varint};
use crate::manifest::Signal;
use crate::part::Part;
use crate::samples::{SampleColumns, range};
use crate::{rows, sealed};

const FILE: sealed::Kind = sealed::Kind {
    magic: b"KSDL",
    version: 1,
    other_file: "no file of deletes",
    other_version: "deletes of an unknown version; use a newer kansoku",
    damaged: "checksum of the deletes does not match",
};
/// The largest file of deletes that is read.
pub const FILE_MAX_BYTES: u64 = 64 << 20;
/// Deletes that are not done: each is looked at by every query.
pub const ACTIVE_MAX: usize = 1000;
/// Deletes of logs that are done and still listed; the oldest go.
const DONE_MAX: usize = 1000;

/// Whether a delete takes a line.
pub type LineTest = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What a selector says, in the store's terms.
#[derive(Clone)]
pub struct Selector {
    /// All must pass the labels.
    pub matchers: Vec<Matcher>,
    /// The lines it takes; all without.
    pub lines: Option<LineTest>,
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Selector");
        out.field("matchers", &self.matchers);
        out.field("has_lines", &self.lines.is_some()).finish()
    }
}

/// Reads a selector: the caller's languages are not the store's.
pub type ParseSelector = fn(DeleteKind, &str) -> Result<Selector, String>;

/// What a delete takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteKind {
    Logs,
    Samples,
}

impl DeleteKind {
    pub(crate) fn signal(self) -> Signal {
        match self {
            Self::Logs => Signal::Logs,
            Self::Samples => Signal::Samples,
        }
    }
}

/// A request to delete.
#[derive(Debug, Clone)]
pub struct DeleteRequest {
    /// What it is listed and cancelled by.
    pub id: String,
    pub kind: DeleteKind,
    pub selector: String,
    /// First time that is taken; logs: Unix nanoseconds, samples: Unix milliseconds.
    pub from: i64,
    /// Last time that is taken.
    pub to: i64,
    /// Unix milliseconds.
    pub now_ms: i64,
    /// May be taken back until the store's time for that is over; then its rows go soon, not only
    /// when parts happen to be merged.
    pub can_be_cancelled: bool,
}

/// A delete as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteInfo {
    pub id: String,
    pub kind: DeleteKind,
    pub selector: String,
    pub from: i64,
    pub to: i64,
    pub asked_ms: i64,
    /// No longer to be taken back.
    pub is_settled: bool,
    /// Nothing of what it takes is on the disk any more.
    pub is_done: bool,
}

/// A delete that is known.
#[derive(Debug, Clone)]
pub struct Delete {
    pub id: String,
    /// Takes from parts whose flushes are all below.
    pub number: u64,
    /// Parts from this number on were written without what it takes; 0 while it can be taken back.
    pub settled: u64,
    /// Parts are rewritten for it.
    pub is_wanted_now: bool,
    pub is_done: bool,
    pub kind: DeleteKind,
    pub text: String,
    pub selector: Selector,
    pub from: i64,
    pub to: i64,
    pub asked_ms: i64,
}

impl Delete {
    /// Whether the part was stored before the delete and may still hold what it takes.
    pub fn covers(&self, part: &Part) -> bool {
        let (entry, totals) = (part.entry(), part.totals());
        !self.is_done
            && entry.signal == self.kind.signal()
            && entry.flushes.1 < self.number
            && (self.settled == 0 || entry.number < self.settled)
            && totals.min_time <= self.to
            && totals.max_time >= self.from
    }

    /// Whether rows of these labels and between these times are concerned.
    pub fn touches(&self, labels: &Labels, min: i64, max: i64) -> bool {
        min <= self.to && max >= self.from && self.matches(labels)
    }

    /// Whether all rows of these labels and between these times are taken.
    pub fn takes_all(&self, labels: &Labels, min: i64, max: i64) -> bool {
        self.selector.lines.is_none() && self.from <= min && max <= self.to && self.matches(labels)
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.selector
            .matchers
            .iter()
            .all(|m| m.matches_labels(labels))
    }

    pub fn info(&self) -> DeleteInfo {
        DeleteInfo {
            id: self.id.clone(),
            kind: self.kind,
            selector: self.text.clone(),
            from: self.from,
            to: self.to,
            asked_ms: self.asked_ms,
            is_settled: self.settled > 0,
            is_done: self.is_done,
        }
    }
}

/// Takes the samples of one series away that one of the deletes takes.
pub fn strike_samples(deletes: &[&Delete], labels: &Labels, samples: &mut SampleColumns) {
    for delete in deletes {
        let (Some(first), Some(last)) = (samples.times.first(), samples.times.last()) else {
            return;
        };
        if !delete.touches(labels, *first, *last) {
            continue;
        }
        samples.remove(range(&samples.times, delete.from, delete.to));
    }
}

/// Takes the entries of one stream away that one of the deletes takes.
pub fn strike_entries<'a>(
    deletes: impl IntoIterator<Item = &'a Delete>,
    labels: &Labels,
    block: &mut LogBlock,
) {
    let deletes: Vec<&Delete> = deletes.into_iter().filter(|d| d.matches(labels)).collect();
    if deletes.is_empty() {
        return;
    }
    let takes = |delete: &Delete, row: usize| {
        let line = block.bytes(block.lines[row]);
        (delete.from..=delete.to).contains(&block.times[row])
            && delete.selector.lines.as_ref().is_none_or(|test| test(line))
    };
    let kept: Vec<bool> = (0..block.times.len())
        .map(|row| !deletes.iter().any(|d| takes(d, row)))
        .collect();
    rows::retain(block, &kept);
}

/// The content of a file of deletes.
pub fn encode(deletes: &[Arc<Delete>]) -> Vec<u8> {
    let mut body = Vec::new();
    put_varint(&mut body, deletes.len() as u64);
    for d in deletes {
        put_text(&mut body, d.id.as_bytes());
        put_varint(&mut body, d.number);
        put_varint(&mut body, d.settled);
        let is_logs = u8::from(d.kind == DeleteKind::Logs);
        body.push(is_logs | u8::from(d.is_wanted_now) << 1 | u8::from(d.is_done) << 2);
        put_text(&mut body, d.text.as_bytes());
        for time in [d.from, d.to, d.asked_ms] {
            put_signed(&mut body, time);
        }
    }
    FILE.seal(&body)
}

/// Reads a file of deletes.
///
/// # Errors
/// What is wrong with it: what it holds must not come back, so a store without it is not opened.
pub fn decode(bytes: &[u8], parse: ParseSelector) -> Result<Vec<Arc<Delete>>, String> {
    let malformed = |e: Malformed| e.0.to_owned();
    let (_, mut r) = FILE.open(bytes).map_err(malformed)?;
    let n = r.count(8).map_err(malformed)?;
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        all.push(Arc::new(take_delete(&mut r, parse)?));
    }
    r.end().map_err(malformed)?;
    Ok(all)
}

fn take_delete(r: &mut Reader<'_>, parse: ParseSelector) -> Result<Delete, String> {
    let (mut delete, flags) = take_fields(r).map_err(|e| e.0.to_owned())?;
    (delete.is_wanted_now, delete.is_done) = (flags & 2 != 0, flags & 4 != 0);
    if !delete.is_done {
        delete.selector = parse(delete.kind, &delete.text)
            .map_err(|e| format!("the delete of {} cannot be read: {e}", delete.text))?;
    }
    Ok(delete)
}

fn take_fields(r: &mut Reader<'_>) -> Result<(Delete, u8), Malformed> {
    let (id, number, settled) = (r.str()?.to_owned(), r.varint()?, r.varint()?);
    let flags = r.byte()?;
    let kind = if flags & 1 == 1 {
        DeleteKind::Logs
    } else {
        DeleteKind::Samples
    };
    let delete = Delete {
        id,
        number,
        settled,
        is_wanted_now: false,
        is_done: false,
        kind,
        text: r.str()?.to_owned(),
        selector: Selector {
            matchers: Vec::new(),
            lines: None,
        },
        from: r.signed()?,
        to: r.signed()?,
        asked_ms: r.signed()?,
    };
    Ok((delete, flags))
}

/// Deletes of samples that are done are forgotten, those of logs stay listed for a while.
pub fn forget_done(deletes: &mut Vec<Arc<Delete>>) {
    deletes.retain(|d| !d.is_done || d.kind == DeleteKind::Logs);
    let n_done = deletes.iter().filter(|d| d.is_done).count();
    let mut surplus = n_done.saturating_sub(DONE_MAX);
    deletes.retain(|d| {
        let goes = d.is_done && surplus > 0;
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(_: DeleteKind, text: &str) -> Result<Selector, String> {
        let (name, value) = text.split_once('=').ok_or("expected name=value")?;
        Ok(Selector {
            matchers: vec![Matcher::equal(name, value)],
            lines: None,
        })
    }

    fn delete(number: u64, is_done: bool) -> Arc<Delete> {
        Arc::new(Delete {
            id: format!("id-{number}"),
            number,
            settled: number / 2,
            is_wanted_now: number.is_multiple_of(2),
            is_done,
            kind: DeleteKind::Logs,
            text: "app=a".into(),
            selector: parse(DeleteKind::Logs, "app=a").unwrap(),
            from: -5,
            to: i64::MAX,
            asked_ms: 7,
        })
    }

    #[test]
    fn the_file_comes_back_and_any_damage_is_noticed() {
        let all = [delete(3, false), delete(8, true)];
        let bytes = encode(&all);
        let read = decode(&bytes, parse).unwrap();
        let shown = |all: &[Arc<Delete>]| -> Vec<String> {
            let all = all.iter();
            all.map(|d| format!("{:?} {} {}", d.info(), d.number, d.is_wanted_now))
                .collect()
        };
        assert_eq!(shown(&read), shown(&all));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged, parse).is_err(), "byte {at}");
            assert!(decode(&bytes[..at], parse).is_err(), "{at} bytes");
        }
        let refuse: ParseSelector = |_, _| Err("no".into());
        let error = decode(&bytes, refuse).unwrap_err();
        assert_eq!(error, "the delete of app=a cannot be read: no");
    }

    #[test]
    fn done_ones_are_listed_for_a_while() {
        let mut all: Vec<_> = (0..DONE_MAX as u64 + 5)
            .map(|n| delete(n, n != 2))
            .collect();
        forget_done(&mut all);
        assert_eq!(all.len(), DONE_MAX + 1);
        assert_eq!(all[0].number, 2, "what is not done stays");
    }

    #[test]
    fn samples_go_by_time_and_labels() {
        let (a, b) = (delete(1, false), delete(2, false));
        let narrow = Delete {
            from: 20,
            to: 30,
            ..Delete::clone(&b)
        };
        let labels = Labels::from_pairs([("app", "a")]);
        let mut samples = SampleColumns {
            times: vec![10, 20, 30, 40],
            values: vec![1.0, 2.0, 3.0, 4.0],
            ..SampleColumns::default()
        };
        strike_samples(&[&narrow], &labels, &mut samples);
        assert_eq!(samples.times, [10, 40]);
        assert_eq!(samples.values, [1.0, 4.0]);
        let other = Labels::from_pairs([("app", "b")]);
        strike_samples(&[&a], &other, &mut samples);
        assert_eq!(samples.times, [10, 40]);
        strike_samples(&[&a, &narrow], &labels, &mut samples);
        assert!(samples.is_empty() && samples.values.is_empty());
    }
}
