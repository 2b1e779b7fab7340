//! The stages of a query as they are run over decoded blocks.
//!
//! Filters on the line that stand before anything changes it come first, whatever their place: a
//! literal is searched in the text of the whole block at once, and only lines that pass are looked
//! at by the stages.

use std::sync::Arc;

use kansoku_model::log::Slice;
use kansoku_model::select::LogBlock;
use kansoku_model::{AnyOf, FieldsWanted, LineAutomaton};
use memchr::memmem::Finder;

use super::ast::{Grouping, LogExpr};
use super::record::{DUPLICATE_SUFFIX, Record, clean_text};
use super::stages::unwrap::Unwrap;
use super::stages::{LabelFilter, LabelsRead, LineFilter, Stage};

/// Stages in the order they are run.
pub struct Pipeline {
    /// Filters on the line as it is stored.
    filters: Vec<Arc<dyn Stage>>,
    stages: Vec<Arc<dyn Stage>>,
    /// The only labels worth extracting, when that is known.
    wanted: Option<Vec<String>>,
}

impl Pipeline {
    /// For a log query: every label is in the answer.
    #[must_use]
    pub fn new(log: &LogExpr) -> Self {
        let (mut filters, mut stages) = (Vec::new(), Vec::new());
        let mut line_changed = false;
        for stage in &log.stages {
            line_changed |= stage.changes_line();
            if stage.as_line_filter().is_some() && !line_changed {
                filters.push(Arc::clone(stage));
            } else {
                stages.push(Arc::clone(stage));
            }
        }
        // Plain literals first: they are cheapest and may be searched in the whole block.
        filters.sort_by_key(|f| needle_of(f.as_ref()).is_none());
        Self {
            filters,
            stages,
            wanted: None,
        }
    }

    /// For a metric query, whose grouping may need few labels.
    #[must_use]
    pub fn for_metric(log: &LogExpr, unwrap: Option<&Unwrap>, grouping: Option<&Grouping>) -> Self {
        let mut pipeline = Self::new(log);
        let Some(grouping) = grouping.filter(|g| !g.without) else {
            return pipeline;
        };
        let mut read = LabelsRead {
            names: grouping.names.clone(),
            all: false,
        };
        for stage in &log.stages {
            stage.labels_read(&mut read);
        }
        if let Some(unwrap) = unwrap {
            unwrap.labels_read(&mut read);
        }
        if !read.all {
            let mut wanted = read.names;
            let plain: Vec<String> = wanted
                .iter()
                .filter_map(|n| n.strip_suffix(DUPLICATE_SUFFIX).map(str::to_owned))
                .collect();
            wanted.extend(plain);
            wanted.sort_unstable();
            wanted.dedup();
            pipeline.wanted = Some(wanted);
        }
        pipeline
    }

    /// Whether entries pass untouched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.stages.is_empty()
    }

    /// Whether the labels of an entry are those of its stream and its metadata.
    #[must_use]
    pub fn keeps_labels(&self) -> bool {
        self.stages.is_empty()
    }

    /// The only labels that parsers need to extract.
    #[must_use]
    pub fn wanted(&self) -> Option<&[String]> {
        self.wanted.as_deref()
    }

    /// What every entry of the answer contains, as far as that is easily told.
    #[must_use]
    pub fn needles(&self) -> Vec<AnyOf> {
        let filters = self.filters.iter().filter_map(|f| f.as_line_filter());
        let mut needles: Vec<AnyOf> = filters.filter_map(LineFilter::required).collect();
        let mut stages = self.stages.iter();
        if stages.next().is_some_and(|first| first.takes_fields()) {
            let filters = stages.map_while(|stage| stage.as_label_filter());
            needles.extend(filters.flat_map(LabelFilter::required));
        }
        needles
    }

    /// What every line of the answer passes and no needle tells.
    #[must_use]
    pub fn automata(&self) -> Vec<Arc<LineAutomaton>> {
        let filters = self.filters.iter().filter_map(|f| f.as_line_filter());
        let filters = filters.filter(|filter| filter.required().is_none());
        filters.filter_map(LineFilter::automaton).collect()
    }

    /// Automata that say all there is to say about a line, if nothing else looks at it.
    #[must_use]
    pub fn whole_automata(&self) -> Option<Vec<Arc<LineAutomaton>>> {
        if self.filters.is_empty() || !self.stages.is_empty() {
            return None;
        }
        let automaton = |filter: &Arc<dyn Stage>| filter.as_line_filter()?.automaton();
        self.filters.iter().map(automaton).collect()
    }

    /// The only fields that anything is made of, when that is known and labels are all that is looked
    /// at; whether empty ones are passed over stands beside them.
    #[must_use]
    pub fn fields(&self) -> Option<(FieldsWanted, bool)> {
        let wanted = self.wanted.as_ref()?;
        let (first, rest) = self.stages.split_first()?;
        // A name with the suffix of duplicates may be a field's by another name.
        let is_known = self.filters.is_empty()
            && rest.iter().all(|stage| stage.as_label_filter().is_some())
            && !wanted.iter().any(|name| name.ends_with(DUPLICATE_SUFFIX));
        let (of, skips_empty) = first.extraction().filter(|_| is_known)?;
        let names = wanted.clone();
        Some((FieldsWanted { of, names }, skips_empty))
    }

    /// The filters behind the parser, for a pipeline that has `fields`.
    pub fn field_filters(&self) -> impl Iterator<Item = &LabelFilter> {
        let filters = self.stages.iter().skip(1);
        filters.filter_map(|stage| stage.as_label_filter())
    }

    /// The rows of a block whose lines pass the filters.
    pub fn surviving_rows(&self, block: &LogBlock, rows: &mut Vec<u32>) {
        rows.clear();
        if block.are_told {
            rows.extend(0..block.times.len() as u32);
            return;
        }
        let mut filters = self.filters.as_slice();
        match filters.first().and_then(|f| needle_of(f.as_ref())) {
            Some(finder) => {
                rows_containing(finder, block, rows);
                filters = &filters[1..];
            }
            None => rows.extend(0..block.lines.len() as u32),
        }
        let filters: Vec<&LineFilter> = filters.iter().filter_map(|f| f.as_line_filter()).collect();
        if !filters.is_empty() {
            rows.retain(|row| {
                let line = block.bytes(block.lines[*row as usize]);
                filters.iter().all(|f| f.keeps(line))
            });
        }
    }

    /// Runs the stages that are left after `surviving_rows`.
    pub fn process(&self, record: &mut Record<'_>) -> bool {
        self.stages.iter().all(|stage| stage.process(record))
    }

    /// Runs the stages behind the parser, for a record that has been parsed.
    pub fn process_parsed(&self, record: &mut Record<'_>) -> bool {
        self.stages
            .iter()
            .skip(1)
            .all(|stage| stage.process(record))
    }
}

/// The literal of a filter that has one worth searching for.
fn needle_of(stage: &dyn Stage) -> Option<&Finder<'static>> {
    let finder = stage.as_line_filter()?.needle()?;
    (!finder.needle().is_empty()).then_some(finder)
}

/// Searches the text of the block, not line by line, when the lines lie in it one after the other.
fn rows_containing(finder: &Finder<'_>, block: &LogBlock, rows: &mut Vec<u32>) {
    let end = |line: &Slice| line.start as usize + line.len as usize;
    let in_order = block
        .lines
        .windows(2)
        .all(|pair| end(&pair[0]) <= pair[1].start as usize);
    if !in_order {
        let lines = block.lines.iter().enumerate();
        rows.extend(
            lines
                .filter(|(_, line)| finder.find(block.bytes(**line)).is_some())
                .map(|(row, _)| row as u32),
        );
        return;
    }
    let len = finder.needle().len();
    let mut hit: Option<usize> = None;
    for (row, line) in block.lines.iter().enumerate() {
        let start = line.start as usize;
        let at = match hit {
            Some(at) if at >= start => at,
            _ => match finder.find(&block.text[start..]) {
                Some(offset) => start + offset,
                None => return,
            },
        };
        hit = Some(at);
        // A hit that reaches past the line lies across two lines, or in what is between them.
        if at + len <= end(line) {
            rows.push(row as u32);
        }
    }
}

/// Makes the record hold entry number `row` with its metadata. Gives the bytes of the metadata.
pub fn load_record<'a>(record: &mut Record<'a>, block: &'a LogBlock, row: usize) -> usize {
    record.reset(block.times[row], block.bytes(block.lines[row]));
    let mut bytes = 0;
    for (name, values) in &block.metadata {
        if let Some(Some(slice)) = values.get(row) {
            let value = block.bytes(*slice);
            bytes += value.len();
            record.labels.add_metadata(name, &clean_text(value));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::{Expr, parse};

    #[test]
    fn automata_are_made_where_no_needle_tells() {
        for (filters, n, whole) in [
            (r#"|= "x" |~ "timeout" |> "<_> GET <_>""#, 0, None),
            (r#"!= "x" !~ "a+" !~ "timeout""#, 3, Some(3)),
            (r#"|~ "[0-9]+" |= "x""#, 1, Some(2)),
            (r#"|~ "[0-9]+" or "b.c" != "d" or "e""#, 2, Some(2)),
            (r#"!= ip("10.0.0.1") !> "<_> GET""#, 0, None),
            (r#"| line_format "y" != "x""#, 0, None),
        ] {
            let Expr::Log(log) = parse(&format!(r#"{{a="b"}} {filters}"#)).unwrap() else {
                panic!("{filters}")
            };
            let pipeline = Pipeline::new(&log);
            assert_eq!(pipeline.automata().len(), n, "{filters}");
            assert_eq!(
                pipeline.whole_automata().map(|all| all.len()),
                whole,
                "{filters}"
            );
        }
    }

    fn block(text: &str, lines: &[(u32, u32)]) -> LogBlock {
        LogBlock {
            times: (0..lines.len() as i64).collect(),
            lines: lines
                .iter()
                .map(|(start, len)| Slice {
                    start: *start,
                    len: *len,
                })
                .collect(),
            text: text.as_bytes().to_vec(),
            ..LogBlock::default()
        }
    }

    #[test]
    fn hits_across_lines_and_between_them_do_not_count() {
        let finder = Finder::new("ab");
        for (text, lines, expected) in [
            ("xaby abz b", &[(0, 4), (5, 3), (9, 1)][..], &[0, 1][..]),
            ("xa bab", &[(0, 2), (2, 1), (3, 3)], &[2]),
            ("xabx", &[(0, 2), (2, 2)], &[]),
            ("ab ab ab", &[(0, 2), (6, 2)], &[0, 1]),
            ("x ab x", &[(0, 1), (5, 1)], &[]),
            // Lines that share their text or lie in another order.
            ("ab x", &[(0, 2), (3, 1), (0, 2)], &[0, 2]),
            ("", &[], &[]),
        ] {
            let mut rows = Vec::new();
            rows_containing(&finder, &block(text, lines), &mut rows);
            assert_eq!(rows, expected, "{text:?}");
        }
    }
}
