//! A range function over a block whose fields came as columns.
//!
//! Groups of entries are filtered, converted and numbered a column at a time; then all entries are
//! taken in order of time, as they are when their lines are read. So sums come out the same to the
//! last bit, and series in the same order.

use kansoku_model::FieldBlock;
use kansoku_model::select::LogBlockRef;

use super::engine::Watch;
use super::error::QueryError;
use super::field_columns::{GroupColumns, Outcome, PerRow};
use super::range_query::Scan;
use super::record::Record;

/// Where an entry's series and value come from; other numbers are of `Keyed`.
const LEFT_OUT: u32 = u32::MAX;
const DOUBTED: u32 = u32::MAX - 1;
const LINE: u32 = u32::MAX - 2;

/// Entries of one group that have the same labels of those that are grouped by.
struct Keyed {
    group: usize,
    /// One of them, by its number in the group.
    row: usize,
    /// Found when the first is taken.
    series: Option<usize>,
}

/// What is known of the entries of a block.
struct Verdicts {
    /// Per entry.
    kinds: Vec<u32>,
    /// Per entry, for queries that unwrap.
    values: Vec<f64>,
    keyed: Vec<Keyed>,
    /// Number of an entry that the stages must decide on, its group and its number there.
    doubted: Vec<(u32, usize, usize)>,
}

impl Scan<'_> {
    /// Takes a block's entries by their fields.
    pub fn take_fields(
        &mut self,
        block: &FieldBlock,
        block_ref: &dyn LogBlockRef,
        watch: &mut Watch<'_>,
    ) -> Result<(), QueryError> {
        self.statistics.entries_read += block.times.len() as u64;
        self.statistics.bytes_read += block.line_bytes;
        let Some((wanted, skips_empty)) = self.fields else {
            return Ok(());
        };
        let columns: Vec<GroupColumns<'_>> = block
            .groups
            .iter()
            .map(|group| GroupColumns {
                group,
                names: &wanted.names,
                stream: block_ref.labels(),
                skips_empty: *skips_empty,
            })
            .collect();
        watch.check()?;
        let mut verdicts = self.verdicts(block, &columns);
        verdicts.doubted.sort_unstable();
        let mut doubted = verdicts.doubted.iter();
        let mut lines = 0..block.lines.times.len();
        let mut record = Record::new(block_ref.labels());
        record.labels.want_only(self.pipeline.wanted());
        for (row, kind) in verdicts.kinds.iter().enumerate() {
            watch.tick()?;
            let time_ns = block.times[row];
            match *kind {
                LEFT_OUT => {}
                LINE => {
                    if let Some(line) = lines.next() {
                        self.take_row(&block.lines, line, &mut record, false, &mut None)?;
                    }
                }
                DOUBTED => {
                    if let Some((_, group, at)) = doubted.next() {
                        let Some(steps) = self.cursor.steps_of(time_ns) else {
                            continue;
                        };
                        columns[*group].fill(&mut record, time_ns, *at);
                        if self.pipeline.process_parsed(&mut record) {
                            self.take_record(&mut record, steps, false, &mut None)?;
                        }
                    }
                }
                key => {
                    let Some(steps) = self.cursor.steps_of(time_ns) else {
                        continue;
                    };
                    let keyed = &mut verdicts.keyed[key as usize];
                    let series = match keyed.series {
                        Some(series) => series,
                        None => {
                            columns[keyed.group].fill(&mut record, time_ns, keyed.row);
                            *keyed.series.insert(self.series_of(&record)?)
                        }
                    };
                    self.statistics.entries_passed += 1;
                    let value = verdicts.values.get(row).copied().unwrap_or(1.0);
                    self.add(series, steps, time_ns, value, 0)?;
                }
            }
        }
        Ok(())
    }

    fn verdicts(&self, block: &FieldBlock, columns: &[GroupColumns<'_>]) -> Verdicts {
        let n = block.times.len();
        let mut verdicts = Verdicts {
            kinds: vec![LEFT_OUT; n],
            values: vec![0.0; if self.expr.unwrap.is_some() { n } else { 0 }],
            keyed: Vec::new(),
            doubted: Vec::new(),
        };
        for row in &block.line_rows {
            verdicts.kinds[*row as usize] = LINE;
        }
        for (group, columns) in columns.iter().enumerate() {
            self.judge(group, columns, &mut verdicts);
        }
        verdicts
    }

    fn judge(&self, group: usize, columns: &GroupColumns<'_>, verdicts: &mut Verdicts) {
        let mut outcomes = columns.passing(self.pipeline.field_filters());
        if outcomes == PerRow::All(Outcome::Fail) {
            return;
        }
        let mut values = PerRow::All((Outcome::Pass, 1.0));
        if let Some(unwrap) = &self.expr.unwrap {
            values = columns.unwrapped(unwrap);
            outcomes = outcomes.then_valued(&values);
            outcomes = outcomes.then(&columns.passing(unwrap.filters.iter()));
        }
        if outcomes == PerRow::All(Outcome::Fail) {
            return;
        }
        let names = self.grouping.map_or(&[][..], |grouping| &grouping.names);
        let keys = columns.keys(names);
        // Number of a key in `keyed`.
        let mut numbers: Vec<u32> = Vec::new();
        for (at, row) in columns.group.rows.iter().enumerate() {
            let kind = &mut verdicts.kinds[*row as usize];
            match outcomes.get(at) {
                Outcome::Fail => {}
                Outcome::Doubt => {
                    *kind = DOUBTED;
                    verdicts.doubted.push((*row, group, at));
                }
                Outcome::Pass => {
                    let key = keys.get(at) as usize;
                    if key >= numbers.len() {
                        numbers.resize(key + 1, u32::MAX);
                    }
                    if numbers[key] == u32::MAX {
                        numbers[key] = verdicts.keyed.len() as u32;
                        verdicts.keyed.push(Keyed {
                            group,
                            row: at,
                            series: None,
                        });
                    }
                    *kind = numbers[key];
                    if let Some(value) = verdicts.values.get_mut(*row as usize) {
                        *value = values.get(at).1;
                    }
                }
            }
        }
    }
}
