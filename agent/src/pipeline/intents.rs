//! What an output is about to send and what it has delivered, in a log that survives kill -9.
//!
//! ```text
//! each record   4 bytes length of the payload, 4 bytes XXH3 of it, payload; little-endian
//! payload       1 byte kind: 1 intent, 2 done, 3 derived intent; then for each batch of the request
//!               40 bytes: source id (16), from: offset and ordinal (8+4), to: offset and ordinal
//!               (8+4); of a derived intent another 40 for the input's batch it was made of
//! ```
//! The rule: an intent is written before its request is sent, and "done" before its batches are
//! acknowledged. So after a crash what was delivered is not sent again, and what was under way is
//! sent again as the same request: the same batches under the same id. Nothing is synced: the log is
//! against kill -9; after a power failure the last requests may come twice.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kansoku_model::{Position, RecordBatch, Source, SourceId};

use crate::log;

/// The log is written anew, with what still matters, at this size.
const COMPACT_BYTES: u64 = 1 << 20;
/// A log written anew remembers this many sources, those that were last delivered from.
const MAX_MARKS: usize = 4096;
const INTENT: u8 = 1;
const DONE: u8 = 2;
/// Some of the batches were made by filters under a source of their own.
const DERIVED_INTENT: u8 = 3;
const MEMBER_BYTES: usize = 40;
/// Length and checksum.
const HEAD_BYTES: usize = 8;

/// What a request is made of, by its batches.
pub(crate) type Members = Vec<Source>;

/// A request that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) members: Members,
    /// The ranges of the inputs' batches that the members were made of, one for each of them.
    pub(crate) roots: Vec<Source>,
}

impl Intent {
    fn of(members: impl Iterator<Item = (Source, Source)>) -> Self {
        // What came out of a spill, or from no input, stands for itself.
        let rooted = |(member, root): (Source, Source)| match root.id.is_some() {
            true => (member, root),
            false => (member, member),
        };
        let (members, roots) = members.map(rooted).unzip();
        Self { members, roots }
    }
}

/// What an earlier life left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// How far each source has been delivered.
    pub(crate) marks: HashMap<SourceId, Position>,
    /// Requests that were under way, oldest first.
    pub(crate) requests: Vec<Intent>,
}

impl Recovered {
    /// Where batches of a source have to end, so that the requests can be made again.
    pub(crate) fn cuts(&self, source: SourceId) -> BTreeSet<Position> {
        let intents = self.requests.iter();
        let ranges = intents.flat_map(|i| i.members.iter().chain(&i.roots));
        let of_source = ranges.filter(|m| m.id == source);
        let ends = of_source.flat_map(|m| [m.from, m.to]);
        ends.chain(self.marks.get(&source).copied()).collect()
    }

    /// What batches of a source covered that the requests were made of. Between `cuts` there is also
    /// what was in no request.
    pub(crate) fn ranges(&self, source: SourceId) -> BTreeSet<(Position, Position)> {
        let intents = self.requests.iter();
        let ranges = intents.flat_map(|i| i.members.iter().chain(&i.roots));
        let of_source = ranges.filter(|m| m.id == source);
        of_source.map(|m| (m.from, m.to)).collect()
    }

    /// The other sources of the requests that have a batch of this one.
    pub(crate) fn partners(&self, source: SourceId) -> BTreeSet<SourceId> {
        let with_it = |i: &&Intent| i.roots.iter().any(|m| m.id == source);
        let intents = self.requests.iter().filter(with_it);
        let ids = intents.flat_map(|i| i.roots.iter().map(|m| m.id));
        ids.filter(|id| *id != source).collect()
    }
}

/// The log of one output.
pub(crate) struct Intents {
    path: PathBuf,
    component: String,
    /// Taken while a record is written.
    state: Mutex<State>,
}

struct State {
    file: File,
    len: u64,
    /// With a number that grows with each delivery, to know which were last.
    marks: HashMap<SourceId, (Position, u64)>,
    n_done: u64,
    requests: Vec<Intent>,
    /// A write failed; it has been reported.
    failed: bool,
}

impl State {
    fn apply(&mut self, kind: u8, intent: &Intent) {
        let members = &intent.members;
        // A source is always with the same worker, which has one request under way: a new one means
        // that the one before is over or was divided.
        let among = |m: &Source| members.iter().any(|n| n.id == m.id);
        let shares = |r: &Intent| r.members.iter().any(among);
        self.requests.retain(|r| !shares(r));
        if kind != DONE {
            self.requests.push(intent.clone());
            return;
        }
        for member in members.iter().filter(|m| m.id.is_some()) {
            self.n_done += 1;
            let mark = self.marks.entry(member.id).or_default();
            *mark = (mark.0.max(member.to), self.n_done);
        }
    }
}

impl Intents {
    /// Opens the log of an output in `folder`; also gives what it says.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn open(folder: &Path, output: &str) -> io::Result<(Arc<Self>, Recovered)> {
        fs::create_dir_all(folder)?;
        let safe = |c: char| if c == '/' || c == '\0' { '_' } else { c };
        let name: String = output.chars().map(safe).collect();
        let path = folder.join(format!("{name}.intents"));
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).read(true).open(&path)?;
        let bytes = fs::read(&path)?;
        let mut state = State {
            file,
            len: 0,
            marks: HashMap::new(),
            n_done: 0,
            requests: Vec::new(),
            failed: false,
        };
        while let Some((kind, intent, end)) = read_record(&bytes, state.len as usize) {
            state.apply(kind, &intent);
            state.len = end as u64;
        }
        // What follows the last whole record was being written when the agent was killed.
        state.file.set_len(state.len)?;
        let recovered = Recovered {
            marks: state.marks.iter().map(|(s, (to, _))| (*s, *to)).collect(),
            requests: state.requests.clone(),
        };
        let intents = Self {
            path,
            component: format!("output:{output}"),
            state: Mutex::new(state),
        };
        Ok((Arc::new(intents), recovered))
    }

    /// A request with these batches is about to be sent; each comes with the input's batch that it
    /// was made of.
    pub(crate) fn intend(&self, batches: impl Iterator<Item = (Source, Source)>) {
        let intent = Intent::of(batches);
        let kind = match intent.roots == intent.members {
            true => INTENT,
            false => DERIVED_INTENT,
        };
        self.write(kind, &intent);
    }

    /// These batches are delivered, or will never be.
    pub(crate) fn done(&self, batches: impl Iterator<Item = Source>) {
        self.write(DONE, &Intent::of(batches.map(|b| (b, b))));
    }

    fn write(&self, kind: u8, intent: &Intent) {
        if !intent.members.iter().any(|m| m.id.is_some()) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = Vec::new();
        put_record(&mut record, kind, intent);
        state.apply(kind, intent);
        let mut written = state.file.write_all(&record);
        state.len += record.len() as u64;
        if written.is_err() {
            // A record cut in two would hide all that follow.
            written = self.compact(&mut state);
        } else if state.len >= COMPACT_BYTES {
            written = self.compact(&mut state);
        }
        match written {
            Ok(()) => state.failed = false,
            Err(error) if !state.failed => {
                state.failed = true;
                log::error(
                    &self.component,
                    format_args!(
                        "cannot write {}: {error}; after a crash requests may come twice",
                        self.path.display()
                    ),
                );
            }
            Err(_) => {}
        }
    }

    fn compact(&self, state: &mut State) -> io::Result<()> {
        let mut marks: Vec<_> = state.marks.drain().collect();
        marks.sort_unstable_by_key(|(_, (_, n))| std::cmp::Reverse(*n));
        marks.truncate(MAX_MARKS);
        let mut bytes = Vec::new();
        // Oldest first, so that their order is kept.
        for (id, (to, _)) in marks.iter().rev() {
            let member = Source {
                id: *id,
                from: *to,
                to: *to,
            };
            let members = vec![member];
            let roots = Vec::new();
            put_record(&mut bytes, DONE, &Intent { members, roots });
        }
        state.marks = marks.into_iter().collect();
        for request in &state.requests {
            put_record(&mut bytes, DERIVED_INTENT, request);
        }
        let new = self.path.with_extension("new");
        fs::write(&new, &bytes)?;
        fs::rename(&new, &self.path)?;
        state.file = OpenOptions::new().append(true).open(&self.path)?;
        state.len = bytes.len() as u64;
        Ok(())
    }
}

fn put_record(out: &mut Vec<u8>, kind: u8, intent: &Intent) {
    let mut payload = Vec::with_capacity(1 + 2 * intent.members.len() * MEMBER_BYTES);
    payload.push(kind);
    let roots = intent.roots.iter().filter(|_| kind == DERIVED_INTENT);
    for m in intent.members.iter().chain(roots) {
        payload.extend_from_slice(&m.id.0.to_le_bytes());
        for p in [m.from, m.to] {
            payload.extend_from_slice(&p.offset.to_le_bytes());
            payload.extend_from_slice(&p.ordinal.to_le_bytes());
        }
    }
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(&payload));
    out.extend_from_slice(&payload);
}

pub(crate) fn checksum(payload: &[u8]) -> [u8; 4] {
    (xxhash_rust::xxh3::xxh3_64(payload) as u32).to_le_bytes()
}

/// The record at `at`, with its end; `None` when there is no whole one.
fn read_record(bytes: &[u8], at: usize) -> Option<(u8, Intent, usize)> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let len = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let start = at + HEAD_BYTES;
    let end = start.checked_add(len)?;
    let payload = bytes.get(start..end)?;
    if head[4..] != checksum(payload) {
        return None;
    }
    let (kind, members) = payload.split_first()?;
    let read = |m: &[u8]| -> Option<Source> {
        let position = |at: usize| -> Option<Position> {
            Some(Position {
                offset: u64::from_le_bytes(m.get(at..at + 8)?.try_into().ok()?),
                ordinal: u32::from_le_bytes(m.get(at + 8..at + 12)?.try_into().ok()?),
            })
        };
        Some(Source {
            id: SourceId(u128::from_le_bytes(m.get(..16)?.try_into().ok()?)),
            from: position(16)?,
            to: position(28)?,
        })
    };
    let members = members.chunks_exact(MEMBER_BYTES).map(read);
    let mut members = members.collect::<Option<Members>>()?;
    let roots = match *kind {
        DERIVED_INTENT => members.split_off(members.len() / 2),
        _ => members.clone(),
    };
    Some((*kind, Intent { members, roots }, end))
}

/// What is left of a batch when `mark` of its source has been delivered before; `None` = nothing.
pub(crate) fn behind(batch: RecordBatch, mark: Position) -> Option<RecordBatch> {
    let source = *batch.source();
    if source.to <= mark {
        return None;
    }
    if source.from >= mark {
        return Some(batch);
    }
    let RecordBatch::Logs(mut logs) = batch else {
        return Some(batch);
    };
    let delivered: Vec<bool> = logs.positions().iter().map(|p| *p <= mark).collect();
    logs.retain(|row| !delivered[row]);
    logs.source.from = mark;
    (!logs.is_empty()).then_some(RecordBatch::Logs(logs))
}

#[cfg(test)]
mod tests {
    use kansoku_model::LogBatch;

    use super::*;

    fn batch(source: u128, from: u64, to: u64) -> RecordBatch {
        let mut logs = LogBatch::new("t".into(), Arc::default(), Vec::new());
        for n in from..to {
            logs.push(0, Position::at(n + 1));
        }
        logs.source = Source {
            id: SourceId(source),
            from: Position::at(from),
            to: Position::at(to),
        };
        RecordBatch::Logs(logs)
    }

    fn as_it_is(batch: &RecordBatch) -> (Source, Source) {
        (*batch.source(), *batch.source())
    }

    #[test]
    fn what_filters_made_of_a_batch_cuts_the_input_where_that_batch_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let of = |source, from, to| *batch(source, from, to).source();
        let request = [
            (of(11, 3, 4), of(1, 2, 6)),
            (of(2, 0, 3), of(2, 0, 3)),
            (of(3, 0, 9), Source::default()),
        ];
        let (intents, _) = Intents::open(dir.path(), "o").unwrap();
        intents.intend(request.into_iter());
        for _ in 0..2 {
            let (again, recovered) = Intents::open(dir.path(), "o").unwrap();
            let members: Vec<Source> = request.iter().map(|r| r.0).collect();
            assert_eq!(recovered.requests[0].members, members);
            let cuts = |id| -> Vec<u64> {
                let cuts = recovered.cuts(SourceId(id));
                cuts.iter().map(|p| p.offset).collect()
            };
            assert_eq!(
                (cuts(1), cuts(2), cuts(3)),
                (vec![2, 6], vec![0, 3], vec![0, 9])
            );
            let partners = recovered.partners(SourceId(1));
            assert_eq!(Vec::from_iter(partners), [SourceId(2), SourceId(3)]);
            // The same out of a log that was written anew.
            again.compact(&mut again.state.lock().unwrap()).unwrap();
        }
    }

    #[test]
    fn a_crash_at_any_byte_leaves_what_was_known_before_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let batches = [batch(1, 0, 5), batch(2, 0, 3), batch(1, 5, 9)];
        let (intents, nothing) = Intents::open(dir.path(), "o/1").unwrap();
        assert_eq!(nothing, Recovered::default());
        intents.intend(batches[..2].iter().map(as_it_is));
        intents.done(batches[..2].iter().map(|b| *b.source()));
        intents.intend(batches[2..].iter().map(as_it_is));
        let path = dir.path().join("o_1.intents");
        let whole = fs::read(&path).unwrap();
        let first = HEAD_BYTES + 1 + 2 * MEMBER_BYTES;
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (_, recovered) = Intents::open(dir.path(), "o/1").unwrap();
            let delivered = cut >= 2 * first;
            assert_eq!(
                recovered.marks.len(),
                if delivered { 2 } else { 0 },
                "at {cut}"
            );
            let expected = match cut {
                _ if cut < first => None,
                _ if !delivered => Some(2),
                _ if cut < whole.len() => None,
                _ => Some(1),
            };
            assert_eq!(
                recovered.requests.first().map(|i| i.members.len()),
                expected,
                "at {cut}"
            );
        }
        let (_, recovered) = Intents::open(dir.path(), "o/1").unwrap();
        let cuts: Vec<u64> = recovered
            .cuts(SourceId(1))
            .iter()
            .map(|p| p.offset)
            .collect();
        assert_eq!(cuts, [5, 9]);
    }

    #[test]
    fn it_stays_small_and_keeps_the_last_marks() {
        let dir = tempfile::tempdir().unwrap();
        let (intents, _) = Intents::open(dir.path(), "o").unwrap();
        let n = 3 * COMPACT_BYTES / (2 * (HEAD_BYTES + 1 + MEMBER_BYTES) as u64);
        for i in 1..=n {
            let one = [batch(u128::from(i), 0, 1)];
            intents.intend(one.iter().map(as_it_is));
            intents.done(one.iter().map(|b| *b.source()));
        }
        intents.intend([batch(1, 1, 2)].iter().map(as_it_is));
        drop(intents);
        assert!(fs::metadata(dir.path().join("o.intents")).unwrap().len() <= COMPACT_BYTES);
        let (_, recovered) = Intents::open(dir.path(), "o").unwrap();
        assert!(recovered.marks.contains_key(&SourceId(u128::from(n))));
        assert!(recovered.marks.len() >= MAX_MARKS);
        assert_eq!(recovered.requests.len(), 1);
    }

    #[test]
    fn delivered_records_are_left_out() {
        let mark = Position::at(4);
        assert!(behind(batch(1, 0, 4), mark).is_none());
        assert_eq!(behind(batch(1, 4, 6), mark), Some(batch(1, 4, 6)));
        assert_eq!(behind(batch(1, 0, 6), mark), Some(batch(1, 4, 6)));
    }
}
