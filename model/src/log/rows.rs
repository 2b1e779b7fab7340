//! Operations of filters on whole rows and columns of a batch: take rows out and put them back, copy
//! some into a batch of their own, repeat them, order columns.
//!
//! The rule: the arena only grows, so that slices taken before stay valid.

use std::sync::Arc;

use super::{Column, LogBatch, Value, retain_by};
use crate::{Position, json};

/// The field under which outputs add the pod's metadata.
pub const KUBERNETES: &str = "kubernetes";

/// How many records a filter may make of one: positions are numbered apart by this much.
pub const MAX_SPLIT: u32 = 1024;

/// Records taken out of a batch; their bytes stay in its arena.
#[derive(Debug, Default)]
pub struct Rows {
    times: Vec<i64>,
    positions: Vec<Position>,
    columns: Vec<Column>,
    metadata: Vec<Value>,
}

impl Rows {
    /// As [`LogBatch::spread_positions`], for rows that were taken out of a batch before.
    pub fn spread_positions(&mut self) {
        spread(&mut self.positions);
    }
}

fn spread(positions: &mut [Position]) {
    for position in positions {
        position.ordinal = position.ordinal.saturating_mul(MAX_SPLIT);
    }
}

impl LogBatch {
    /// Moves the pod's metadata from the resource into a column, for filters that change it, move it
    /// or read whole records. Outputs add it no more; the resource still names the source.
    pub fn kubernetes_to_column(&mut self) {
        if self.kubernetes_is_column || self.resource.kubernetes.is_none() {
            return;
        }
        self.kubernetes_is_column = true;
        let resource = self.resource.clone();
        let Some(meta) = &resource.kubernetes else {
            return;
        };
        let object = Value::Json(self.store_with(|out| json::write_kubernetes(out, meta)));
        let column = self.column_mut(KUBERNETES);
        for value in &mut column.values {
            if *value == Value::Absent {
                *value = object;
            }
        }
    }

    /// Gives a column another name; one that has the name already goes.
    pub fn rename_column(&mut self, at: usize, name: &str) -> usize {
        let mut column = self.columns.remove(at);
        let clash = self.column_index(name);
        column.name = name.into();
        let at = match clash {
            Some(clash) => {
                self.columns.remove(clash);
                at - usize::from(clash < at)
            }
            None => at,
        };
        self.columns.insert(at, column);
        at
    }

    /// The index of the column called `name`, which is put behind column `after` when it is new.
    pub fn column_behind(&mut self, after: usize, name: &str) -> usize {
        if let Some(at) = self.column_index(name) {
            return at;
        }
        let values = vec![Value::Absent; self.len()];
        let name = name.into();
        self.columns.insert(after + 1, Column { name, values });
        after + 1
    }

    /// Puts the columns whose name passes `first` before the others; each part keeps its order.
    pub fn order_columns(&mut self, mut first: impl FnMut(&str) -> bool) {
        self.columns.sort_by_key(|c| !first(&c.name));
    }

    /// Puts the columns with these indices first, in this order; the others keep theirs behind.
    pub fn put_columns_first(&mut self, order: &[usize]) {
        let rank = |at: usize| order.iter().position(|o| *o == at).unwrap_or(order.len());
        let columns = std::mem::take(&mut self.columns).into_iter().enumerate();
        let mut ranked: Vec<(usize, Column)> = columns.map(|(at, c)| (rank(at), c)).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        self.columns = ranked.into_iter().map(|(_, column)| column).collect();
    }

    /// Takes out all columns: the records stay, without fields.
    pub fn take_columns(&mut self) -> Vec<Column> {
        std::mem::take(&mut self.columns)
    }

    /// Removes the columns whose name does not pass `keep`.
    pub fn retain_columns(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.columns.retain(|c| keep(&c.name));
    }

    /// Removes the columns that no record has.
    pub fn drop_absent_columns(&mut self) {
        self.columns
            .retain(|c| c.values.iter().any(|v| *v != Value::Absent));
    }

    /// Takes out the rows for which `taken` is true.
    pub fn take_rows(&mut self, taken: &[bool]) -> Rows {
        let kept: Vec<bool> = taken.iter().map(|t| !t).collect();
        let mut rows = Rows {
            times: self.times.clone(),
            positions: self.positions.clone(),
            columns: self.columns.clone(),
            metadata: self.metadata.clone(),
        };
        retain_by(&mut rows.times, taken);
        retain_by(&mut rows.positions, taken);
        for column in &mut rows.columns {
            retain_by(&mut column.values, taken);
        }
        if !rows.metadata.is_empty() {
            retain_by(&mut rows.metadata, taken);
        }
        self.retain(|row| kept[row]);
        rows
    }

    /// Puts rows back that were taken out of this very batch, in order of their positions.
    pub fn merge_rows(&mut self, rows: Rows) {
        let n = self.len();
        for row in 0..rows.times.len() {
            self.push(rows.times[row], rows.positions[row]);
        }
        for column in rows.columns {
            let at = self.column_index_or_insert(&column.name);
            self.columns[at].values[n..].copy_from_slice(&column.values);
        }
        if !rows.metadata.is_empty() {
            self.metadata.resize(n, Value::Absent);
            self.metadata.extend(rows.metadata);
        }
        // Stable, so that records at one position keep their order.
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&row| self.positions[row]);
        if order.iter().enumerate().any(|(i, &row)| i != row) {
            self.select(&order);
        }
    }

    /// Repeats each row `counts[row]` times (0 drops it). What comes of one record is numbered from
    /// its own position on, so that positions stay apart whatever the next batch holds.
    ///
    /// # Panics
    /// When there is not one count per record.
    pub fn repeat_rows(&mut self, counts: &[u32]) {
        assert_eq!(counts.len(), self.len(), "one count per record");
        self.spread_positions();
        if counts.iter().all(|&n| n == 1) {
            return;
        }
        let order: Vec<usize> = (counts.iter().enumerate())
            .flat_map(|(row, &n)| std::iter::repeat_n(row, n.min(MAX_SPLIT) as usize))
            .collect();
        self.select(&order);
        for i in 1..order.len() {
            if order[i] == order[i - 1] {
                self.positions[i].ordinal = self.positions[i - 1].ordinal + 1;
            }
        }
    }

    /// Makes room between positions for the records that a filter makes of one. Every batch of a
    /// source has to pass this, or what one batch holds would overtake the next.
    pub fn spread_positions(&mut self) {
        spread(&mut self.positions);
        let to = &mut self.source.to;
        let scaled = to.ordinal.saturating_mul(MAX_SPLIT);
        to.ordinal = scaled.saturating_add(MAX_SPLIT - 1);
        let from = &mut self.source.from;
        if from.ordinal != 0 {
            let scaled = from.ordinal.saturating_mul(MAX_SPLIT);
            from.ordinal = scaled.saturating_add(MAX_SPLIT - 1);
        }
    }

    /// A batch under `tag` with copies of the given rows; nothing else of the arena comes along.
    #[must_use]
    pub fn copy_rows(&self, rows: &[usize], tag: Arc<str>) -> Self {
        let mut copy = Self::new(tag, self.resource.clone(), Vec::new());
        copy.source = self.source;
        copy.kubernetes_is_column = self.kubernetes_is_column;
        for &row in rows {
            copy.push(self.times[row], self.positions[row]);
        }
        for column in &self.columns {
            let values = self.copied(rows, &column.values, &mut copy);
            let name = column.name.clone();
            copy.columns.push(Column { name, values });
        }
        copy.drop_absent_columns();
        if !self.metadata.is_empty() {
            copy.metadata = self.copied(rows, &self.metadata, &mut copy);
        }
        copy
    }

    fn copied(&self, rows: &[usize], values: &[Value], copy: &mut Self) -> Vec<Value> {
        let mut last: Option<(Value, Value)> = None;
        let one = |&row: &usize| {
            let value = values[row];
            // A value that is the same for all records is one slice.
            if let Some((from, to)) = last
                && from == value
            {
                return to;
            }
            let copied = match value {
                Value::Text(slice) => Value::Text(copy.store(self.bytes(slice))),
                Value::Json(slice) => Value::Json(copy.store(self.bytes(slice))),
                other => other,
            };
            last = Some((value, copied));
            copied
        };
        rows.iter().map(one).collect()
    }

    fn select(&mut self, order: &[usize]) {
        self.times = order.iter().map(|&row| self.times[row]).collect();
        self.positions = order.iter().map(|&row| self.positions[row]).collect();
        for column in &mut self.columns {
            column.values = order.iter().map(|&row| column.values[row]).collect();
        }
        if !self.metadata.is_empty() {
            self.metadata = order.iter().map(|&row| self.metadata[row]).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KubernetesMetadata, Resource};

    fn batch(lines: &[&str]) -> LogBatch {
        let kubernetes = Some(KubernetesMetadata {
            pod_name: "web".into(),
            ..KubernetesMetadata::default()
        });
        let resource = Resource {
            kubernetes,
            ..Resource::default()
        };
        let mut b = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
        for (i, line) in lines.iter().enumerate() {
            let row = b.push(0, Position::at(i as u64 + 1));
            b.set_text("log", row, line.as_bytes());
        }
        b.source.to = Position::at(lines.len() as u64);
        b
    }

    fn json(b: &LogBatch) -> String {
        let one = |row: usize| {
            let mut out = Vec::new();
            json::write_fields(&mut out, b, row, true);
            let position = b.positions()[row];
            let fields = String::from_utf8_lossy(&out).into_owned();
            format!("{}.{} {fields}", position.offset, position.ordinal)
        };
        (0..b.len()).map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn rows_are_taken_changed_and_put_back_in_order() {
        let mut b = batch(&["a", "b", "c"]);
        let rest = b.take_rows(&[true, false, true]);
        assert_eq!(json(&b), r#"2.0 "log":"b""#);
        b.set_text("new", 0, b"x");
        b.merge_rows(rest);
        let expected = r#"1.0 "log":"a"; 2.0 "log":"b","new":"x"; 3.0 "log":"c""#;
        assert_eq!(json(&b), expected);
    }

    #[test]
    fn copies_hold_only_their_own_bytes() {
        let mut b = batch(&["first", "second"]);
        b.kubernetes_to_column();
        b.kubernetes_to_column();
        let copy = b.copy_rows(&[1], "other".into());
        assert_eq!(&*copy.tag, "other");
        assert!(copy.kubernetes_is_column);
        assert_eq!(copy.arena(), b"second{\"pod_name\":\"web\"}");
        assert_eq!(
            json(&copy),
            r#"2.0 "log":"second","kubernetes":{"pod_name":"web"}"#
        );
    }

    #[test]
    fn repeated_rows_have_positions_of_their_own() {
        let mut b = batch(&["a", "b", "c"]);
        b.positions[2] = Position {
            offset: 2,
            ordinal: 1,
        };
        b.repeat_rows(&[0, 2, 1]);
        let expected = r#"2.0 "log":"b"; 2.1 "log":"b"; 2.1024 "log":"c""#;
        assert_eq!(json(&b), expected);
        assert!(b.source.to >= b.positions[2]);
    }

    #[test]
    fn columns_are_renamed_and_ordered() {
        let mut b = batch(&["a"]);
        b.set_text("x", 0, b"1");
        b.set_text("y", 0, b"2");
        assert_eq!(b.rename_column(2, "log"), 1);
        b.order_columns(|name| name == "log");
        let at = b.column_behind(0, "between");
        b.set(at, 0, Value::Null);
        assert_eq!(json(&b), r#"1.0 "log":"2","between":null,"x":"1""#);
    }
}
