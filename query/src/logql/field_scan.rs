//! A range function over a block whose fields came as columns.
//!
//! Groups of entries are filtered, converted and numbered a column at a time; then all entries are
//! taken in order of time, as they are when their lines are read. So sums come out the same to the
//! last bit, and series in the same order.

use kansoku_model::select::LogBlockRef;
use kansoku_model::{FieldBlock, FieldsWanted, Labels};

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

/// The groups of a block with what they are looked at for.
fn columns<'a>(
    (wanted, skips_empty): &'a (FieldsWanted, bool),
    block: &'a FieldBlock,
    stream: &'a Labels,
) -> Vec<GroupColumns<'a>> {
    let groups = block.groups.iter();
    let columns = groups.map(|group| GroupColumns {
        group,
        names: &wanted.names,
        stream,
        skips_empty: *skips_empty,
    });
    columns.collect()
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
        let Some(fields) = self.fields else {
            return Ok(());
        };
        let columns = columns(fields, block, block_ref.labels());
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
                        self.take_row(&block.lines, line, &mut record, false, &mut None, watch)?;
                    }
                }
                DOUBTED => {
                    if let Some((_, group, at)) = doubted.next() {
                        let Some(steps) = self.cursor.steps_of(time_ns) else {
                            continue;
                        };
                        columns[*group].fill(&mut record, time_ns, *at);
                        if self.pipeline.process_parsed(&mut record) {
                            self.take_record(&mut record, steps, false, &mut None, watch)?;
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
                            *keyed.series.insert(self.series_of(&record, watch)?)
                        }
                    };
                    self.statistics.entries_passed += 1;
                    let value = verdicts.values.get(row).copied().unwrap_or(1.0);
                    self.add(series, steps, time_ns, value, 0, watch)?;
                }
            }
        }
        Ok(())
    }

    /// Counts a block's entries by their fields, all for the same steps. False when a stage has to look
    /// at one of them; then nothing was counted.
    pub fn count_fields(
        &mut self,
        block: &FieldBlock,
        block_ref: &dyn LogBlockRef,
        steps: (usize, usize),
        watch: &mut Watch<'_>,
    ) -> Result<bool, QueryError> {
        let Some(fields) = self.fields else {
            return Ok(false);
        };
        let columns = columns(fields, block, block_ref.labels());
        let mut counts: Vec<(usize, usize, i64)> = Vec::new();
        for (group, columns) in columns.iter().enumerate() {
            let outcomes = columns.passing(self.pipeline.field_filters());
            if outcomes == PerRow::All(Outcome::Fail) {
                continue;
            }
            if outcomes.any(Outcome::Doubt) {
                return Ok(false);
            }
            let keys = columns.keys(self.group_names());
            // Per key one of its entries and how many there are.
            let mut of_keys: Vec<(usize, i64)> = Vec::new();
            for row in 0..columns.group.n_rows {
                if outcomes.get(row) == Outcome::Pass {
                    let key = keys.get(row) as usize;
                    if key >= of_keys.len() {
                        of_keys.resize(key + 1, (row, 0));
                    }
                    let of_key = &mut of_keys[key];
                    *of_key = (row, of_key.1 + 1);
                }
            }
            let of_keys = of_keys.into_iter().filter(|(_, n)| *n > 0);
            counts.extend(of_keys.map(|(row, n)| (group, row, n)));
        }
        let mut record = Record::new(block_ref.labels());
        record.labels.want_only(self.pipeline.wanted());
        let (oldest_ns, _) = block_ref.time_range_ns();
        for (group, row, n) in counts {
            columns[group].fill(&mut record, oldest_ns, row);
            let series = self.series_of(&record, watch)?;
            self.statistics.entries_passed += n as u64;
            self.add_total(series, steps, n, 0);
        }
        let n_rows = block.groups.iter().map(|group| group.n_rows as u64);
        self.statistics.entries_read += n_rows.sum::<u64>();
        self.statistics.bytes_read += block.line_bytes;
        Ok(true)
    }

    /// The labels by which entries are told apart.
    fn group_names(&self) -> &[String] {
        self.grouping.map_or(&[][..], |grouping| &grouping.names)
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
        let keys = columns.keys(self.group_names());
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
