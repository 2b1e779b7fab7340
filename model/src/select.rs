//! What a query asks of a store and what it gets back.
//!
//! The query engines are written against these traits; the store's snapshot implements them, and
//! tests implement them over plain vectors.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::histogram::NativeHistogram;
use crate::{AnyOf, FieldBlock, FieldsWanted, FloatRun, Labels, LineAutomaton, Literals, Slice};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL and LogQL write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label. A missing label counts as the empty text.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    /// The text or the pattern as the user wrote it.
    pub value: String,
    regex: Option<regex::Regex>,
    /// What is known of the texts that the pattern matches.
    literals: Option<Literals>,
    /// Name and value as they were asked for, if one of them is no UTF-8.
    asked: Option<Box<(Vec<u8>, Vec<u8>)>>,
}

/// The most memory a compiled pattern may take.
const REGEX_MAX_BYTES: usize = 4 << 20;

impl Matcher {
    /// A matcher; patterns are anchored at both ends, and `.` matches a newline as in Prometheus 3.
    ///
    /// # Errors
    /// When the pattern is no regular expression or is too large.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, regex::Error> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(
                regex::RegexBuilder::new(&format!("^(?s:{value})$"))
                    .size_limit(REGEX_MAX_BYTES)
                    .build()?,
            ),
        };
        let literals = regex.as_ref().and_then(|_| Literals::of(value));
        Ok(Self {
            name: name.to_owned(),
            op,
            value: value.to_owned(),
            regex,
            literals,
            asked: None,
        })
    }

    /// A matcher whose name or value may be no UTF-8: no label has such a name or value. `name` and `value` have U+FFFD
    /// for what is none.
    ///
    /// # Errors
    /// As `new`, of the pattern with U+FFFD.
    pub fn of_bytes(name: &[u8], op: MatchOp, value: &[u8]) -> Result<Self, regex::Error> {
        let [near_name, near_value] = [name, value].map(String::from_utf8_lossy);
        let is_text = near_name.as_bytes() == name && near_value.as_bytes() == value;
        Ok(Self {
            asked: (!is_text).then(|| Box::new((name.to_vec(), value.to_vec()))),
            ..Self::new(&near_name, op, &near_value)?
        })
    }

    /// Name and value as they were asked for.
    #[must_use]
    pub fn asked(&self) -> (&[u8], &[u8]) {
        match &self.asked {
            Some(asked) => (&asked.0, &asked.1),
            None => (self.name.as_bytes(), self.value.as_bytes()),
        }
    }

    /// `name="value"`.
    #[must_use]
    pub fn equal(name: &str, value: &str) -> Self {
        Self::new(name, MatchOp::Equal, value).expect("no pattern to compile")
    }

    /// Whether a label value (empty when missing) passes.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        if let Some(asked) = &self.asked {
            return self.matches_none(asked);
        }
        self.compares(value) == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// What every label set gives, as none has what is asked for.
    fn matches_none(&self, (name, value): &(Vec<u8>, Vec<u8>)) -> bool {
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        let matched = !is_text(name) && is_text(value) && self.compares("");
        matched == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    fn compares(&self, value: &str) -> bool {
        match (&self.regex, &self.literals) {
            (_, Some(Literals::Set(texts))) => {
                texts.binary_search_by(|t| t.as_str().cmp(value)).is_ok()
            }
            (Some(regex), prefix) => {
                let can_be = match prefix {
                    Some(Literals::Prefix(prefix)) => value.starts_with(prefix),
                    _ => true,
                };
                can_be && regex.is_match(value)
            }
            (None, _) => self.value == value,
        }
    }

    /// Of `=` and `=~`: the only values that can pass, or how all of them begin. None when every
    /// value has to be tried.
    #[must_use]
    pub fn wanted(&self) -> Option<Literals> {
        match self.op {
            _ if self.asked.is_some() => None,
            MatchOp::Equal => Some(Literals::Set(vec![self.value.clone()])),
            MatchOp::Regex => self.literals.clone(),
            MatchOp::NotEqual | MatchOp::NotRegex => None,
        }
    }

    /// Whether a label set passes.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.asked(), self.op) == (other.asked(), other.op)
    }
}

/// Why a store could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The query asks for more than it may have.
    #[error("{0}")]
    Limit(String),
    /// The query ran out of time or its client went away.
    #[error("{0}")]
    Cancelled(String),
    /// The store failed.
    #[error("{0}")]
    Storage(String),
}

/// Samples of one series, in order of time, each time once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeriesData {
    pub labels: Labels,
    /// Unix milliseconds.
    pub times: Vec<i64>,
    /// Bit-exact, staleness markers included.
    pub values: Vec<f64>,
    /// The samples that are histograms, at their places; the values there are staleness markers, so that who
    /// looks at floats only sees none. Empty when all samples are floats.
    pub histograms: Vec<Option<Arc<NativeHistogram>>>,
    /// When what each sample counts began (Unix ms), 0 where that is not known. Empty when it is known of none.
    pub starts: Vec<i64>,
}

impl SeriesData {
    /// About the memory that it holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let histograms = self.histograms.iter();
        let histograms = histograms.flatten().map(|h| h.size_bytes());
        size_of::<Self>()
            + self.labels.as_bytes().len()
            + (self.times.capacity() + self.values.capacity() + self.starts.capacity()) * 8
            + self.histograms.capacity() * size_of::<Option<Arc<NativeHistogram>>>()
            + histograms.sum::<usize>()
    }
}

/// Gives metric samples.
pub trait SeriesSource: Sync {
    /// The series that pass all `matchers` with their samples in `from_ms..=to_ms`. Series without
    /// a sample in that range are left out. Order is not defined.
    ///
    /// # Errors
    /// `Limit` as soon as more than `max_samples` samples would be returned.
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Vec<SeriesData>, SelectError>;

    /// The same series, to be read one after the other; some may turn out to have no sample in the range.
    ///
    /// # Errors
    /// As `select`; a source that reads nothing yet has no use for `max_samples`.
    fn find<'a>(
        &'a self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        max_samples: usize,
    ) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        let mut all = self.select(matchers, from_ms, to_ms, max_samples)?;
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Box::new(all))
    }
}

/// Series that were found, in order of their labels; several threads may read them at a time.
pub trait SeriesSet: Sync {
    /// How many there are.
    fn n_series(&self) -> usize;
    /// About how many samples they have in the range.
    fn n_samples(&self) -> u64;
    /// The labels of the series at `at`.
    fn labels(&self, at: usize) -> &Labels;
    /// What reading them has cost so far.
    fn cost(&self) -> ReadCost {
        ReadCost::default()
    }
    /// Reads them for one thread; cheapest in their order.
    fn reader(&self) -> Box<dyn SeriesReader + '_>;
}

/// What was read of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCost {
    pub n_parts: u64,
    pub n_heads: u64,
    /// Blocks of samples that were decoded.
    pub n_blocks: u64,
    /// Bytes read of parts, as they are stored.
    pub n_bytes: u64,
}

/// Reads series of a [`SeriesSet`].
pub trait SeriesReader {
    /// Puts the samples of the series at `at` into `out`, in place of what is there; its labels are
    /// left as they are.
    ///
    /// # Errors
    /// The store's.
    fn read(&mut self, at: usize, out: &mut SeriesData) -> Result<(), SelectError>;

    /// Puts the samples of the series at `at` into `out`, in place of what is there, when they are nothing but floats
    /// that lie in order. False when they are to be read by `read`; `out` says nothing then.
    ///
    /// # Errors
    /// The store's.
    fn read_floats(&mut self, _at: usize, _out: &mut FloatRun) -> Result<bool, SelectError> {
        Ok(false)
    }
}

/// Series in memory.
impl SeriesSet for Vec<SeriesData> {
    fn n_series(&self) -> usize {
        self.len()
    }

    fn n_samples(&self) -> u64 {
        self.iter().map(|one| one.times.len() as u64).sum()
    }

    fn labels(&self, at: usize) -> &Labels {
        &self[at].labels
    }

    fn reader(&self) -> Box<dyn SeriesReader + '_> {
        Box::new(Held(self))
    }
}

struct Held<'a>(&'a [SeriesData]);

impl SeriesReader for Held<'_> {
    fn read(&mut self, at: usize, out: &mut SeriesData) -> Result<(), SelectError> {
        let labels = std::mem::take(&mut out.labels);
        out.clone_from(&self.0[at]);
        out.labels = labels;
        Ok(())
    }
}

/// Which end of time comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Newest first.
    #[default]
    Backward,
    /// Oldest first.
    Forward,
}

/// Which log entries are wanted.
#[derive(Debug, Clone)]
pub struct LogSelect {
    /// All must pass the stream labels.
    pub matchers: Vec<Matcher>,
    /// Unix nanoseconds, included.
    pub from_ns: i64,
    /// Unix nanoseconds, excluded.
    pub to_ns: i64,
    pub direction: Direction,
    /// What every wanted line contains: blocks and entries that surely lack one of these may be left
    /// out.
    pub needles: Vec<AnyOf>,
    /// What every wanted line passes: entries that surely do not may be left out.
    pub automata: Vec<Arc<LineAutomaton>>,
    /// How many lines pass all automata is all that is asked of them: their texts may be left out.
    pub counts_only: bool,
}

/// Entries of one stream, decoded; times ascend.
#[derive(Debug, Clone, Default)]
pub struct LogBlock {
    /// Unix nanoseconds.
    pub times: Vec<i64>,
    /// Each line in `text`.
    pub lines: Vec<Slice>,
    /// Structured metadata: a name and one slice of `text` per entry, `None` where it is absent.
    pub metadata: Vec<(Box<str>, Vec<Option<Slice>>)>,
    pub text: Vec<u8>,
    /// The entries surely pass all automata, and their lines were left out: they are empty.
    pub are_told: bool,
}

impl LogBlock {
    /// The bytes of a slice.
    #[must_use]
    pub fn bytes(&self, slice: Slice) -> &[u8] {
        &self.text[slice.start as usize..][..slice.len as usize]
    }

    /// Forgets all entries but these.
    pub fn keep(&mut self, rows: Range<usize>) {
        if rows.len() == self.times.len() {
            return;
        }
        self.times.truncate(rows.end);
        self.times.drain(..rows.start);
        self.lines.truncate(rows.end);
        self.lines.drain(..rows.start);
        for (_, values) in &mut self.metadata {
            values.truncate(rows.end);
            values.drain(..rows.start);
        }
    }

    /// The memory that it holds, as good as to the byte.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let metadata = self
            .metadata
            .iter()
            .map(|(name, values)| name.len() + values.capacity() * size_of::<Option<Slice>>());
        self.times.capacity() * size_of::<i64>()
            + self.lines.capacity() * size_of::<Slice>()
            + metadata.sum::<usize>()
            + self.text.capacity()
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.lines.clear();
        self.metadata.clear();
        self.text.clear();
        self.are_told = false;
    }
}

/// A block of one stream that has not been decoded yet.
pub trait LogBlockRef {
    /// The stream's labels.
    fn labels(&self) -> &Labels;
    /// Time of the oldest and of the newest entry, also of those outside the selected range.
    fn time_range_ns(&self) -> (i64, i64);
    /// Decodes the entries within the selected time range into `out`, which is cleared first. Those
    /// that lack one of the selected needles may be left out.
    ///
    /// # Errors
    /// When the block cannot be read.
    fn load(&self, out: &mut LogBlock) -> Result<(), SelectError>;
    /// As `load`, of a part of the selected time range: entries outside of `from_ns..to_ns` may be left
    /// out.
    ///
    /// # Errors
    /// When the block cannot be read.
    fn load_within(
        &self,
        _from_ns: i64,
        _to_ns: i64,
        out: &mut LogBlock,
    ) -> Result<(), SelectError> {
        self.load(out)
    }
    /// Reads fields of the entries within the selected time range into `out`, which is cleared first.
    /// Entries that lack one of the selected needles may be left out. False when they are not kept so:
    /// then the lines must be loaded.
    ///
    /// # Errors
    /// When the block cannot be read.
    fn load_fields(
        &self,
        _wanted: &FieldsWanted,
        _out: &mut FieldBlock,
    ) -> Result<bool, SelectError> {
        Ok(false)
    }
    /// As `load_fields`, when all entries of the block are selected and nobody asks when each was: `out`
    /// gets groups alone, without times and numbers of rows. False when that cannot be or saves nothing.
    ///
    /// # Errors
    /// When the block cannot be read.
    fn load_fields_unordered(
        &self,
        _wanted: &FieldsWanted,
        _out: &mut FieldBlock,
    ) -> Result<bool, SelectError> {
        Ok(false)
    }
    /// Number of entries and bytes of their lines, when that is known without reading and all of them
    /// are within the selected range.
    fn totals(&self) -> Option<(u64, u64)> {
        None
    }
    /// Decodes only the times within the selected range; line lengths in bytes beside them.
    ///
    /// # Errors
    /// When the block cannot be read.
    fn load_times(&self, times: &mut Vec<i64>, lens: &mut Vec<u32>) -> Result<(), SelectError>;
    /// The most memory that loading takes in any of these ways, what is filled with it.
    fn loading_bytes(&self) -> usize;
    /// Whether any entry may have structured metadata. A block that knows it has none lets queries
    /// that only count read nothing but times.
    fn has_metadata(&self) -> bool {
        true
    }
}

/// What is called with each block; it may break when it has enough.
pub type VisitBlock<'a> = dyn FnMut(&dyn LogBlockRef) -> Result<ControlFlow<()>, SelectError> + 'a;

/// Gives log entries.
pub trait LogSource: Sync {
    /// Calls `visit` with every block that may hold wanted entries: ordered by newest entry
    /// (latest first) when going backward, by oldest entry (earliest first) when going forward. So
    /// a visitor that has enough entries newer than a block's newest may break. Blocks of one
    /// stream may overlap in time; no entry is given twice.
    ///
    /// # Errors
    /// The store's, or what `visit` returned.
    fn select(&self, wanted: &LogSelect, visit: &mut VisitBlock<'_>) -> Result<(), SelectError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_anchor_and_treat_missing_as_empty() {
        let labels = Labels::from_pairs([("job", "node\nx")]);
        let cases = [
            (MatchOp::Equal, "job", "node\nx", true),
            (MatchOp::Regex, "job", "node", false),
            (MatchOp::Regex, "job", "node.x", true),
            (MatchOp::NotRegex, "job", "a|b", true),
            (MatchOp::Equal, "other", "", true),
            (MatchOp::Regex, "other", ".*", true),
            (MatchOp::NotEqual, "other", "", false),
        ];
        for (op, name, value, expected) in cases {
            let m = Matcher::new(name, op, value).unwrap();
            assert_eq!(
                m.matches_labels(&labels),
                expected,
                "{name}{}{value}",
                op.as_str()
            );
        }
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }
}
