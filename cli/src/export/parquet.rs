//! Parquet files: a column per label, beside time and line or value. Written by the parquet crate, one
//! row group at a time; columns of labels are dictionaries, so that a label costs what differs.
//!
//! What has no column of its own (metadata, labels that came to be meanwhile) is JSON in `metadata`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::destination::Destination;
use super::samples::Chunk;
use crate::error::{Error, Result};
use crate::lines::{Entry, Labels};

/// Rows of a row group, and the bytes of texts at which it ends earlier.
const GROUP_ROWS: usize = 100_000;
const GROUP_BYTES: usize = 32 << 20;
/// Beyond so many columns labels go into `metadata`.
const LABELS_MAX: usize = 1000;

fn bad(error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(e) => (*e).into(),
            Err(e) => Error::failed(format!("cannot write the Parquet file: {e}")),
        },
        other => Error::failed(format!("cannot write the Parquet file: {other}")),
    }
}

/// Columns of labels and which label stands in which.
struct LabelColumns {
    /// Position by label.
    at: HashMap<String, usize>,
    rows: Vec<Vec<Option<ByteArray>>>,
}

impl LabelColumns {
    fn new(names: &[String]) -> Self {
        Self {
            at: names
                .iter()
                .cloned()
                .enumerate()
                .map(|(n, name)| (name, n))
                .collect(),
            rows: vec![Vec::new(); names.len()],
        }
    }

    /// Adds a row; gives what has no column, and the bytes that were added.
    fn push<'l>(&mut self, labels: &'l Labels) -> (Vec<(&'l String, &'l String)>, usize) {
        self.rows.iter_mut().for_each(|column| column.push(None));
        let (mut others, mut n_bytes) = (Vec::new(), 0);
        for (name, value) in labels {
            match self.at.get(name) {
                Some(at) => {
                    n_bytes += value.len();
                    if let Some(cell) = self.rows[*at].last_mut() {
                        *cell = Some(ByteArray::from(value.as_str()));
                    }
                }
                None => others.push((name, value)),
            }
        }
        (others, n_bytes)
    }
}

fn field(
    name: &str,
    physical: Physical,
    repetition: Repetition,
    logical: Option<LogicalType>,
) -> Result<Arc<Type>> {
    let built = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build();
    Ok(Arc::new(built.map_err(bad)?))
}

fn text(name: &str, repetition: Repetition) -> Result<Arc<Type>> {
    field(
        name,
        Physical::BYTE_ARRAY,
        repetition,
        Some(LogicalType::String),
    )
}

/// The names of the columns of labels: those that are taken get a prefix.
fn column_names(labels: &[String], taken: &[&str]) -> Vec<String> {
    let mut used: BTreeSet<String> = taken.iter().map(|t| (*t).to_owned()).collect();
    labels
        .iter()
        .map(|label| {
            let mut name = label.clone();
            while !used.insert(name.to_lowercase()) {
                name.insert_str(0, "label_");
            }
            name
        })
        .collect()
}

fn open(
    destination: Destination,
    fields: Vec<Arc<Type>>,
) -> Result<SerializedFileWriter<Destination>> {
    let schema = Type::group_type_builder("schema")
        .with_fields(fields)
        .build()
        .map_err(bad)?;
    let properties = WriterProperties::builder()
        .set_created_by(concat!("kansoku version ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    SerializedFileWriter::new(destination, Arc::new(schema), Arc::new(properties)).map_err(bad)
}

/// Writes the next column of a row group: values, and which rows have one where not all do.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Destination>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let next = group.next_column().map_err(bad)?;
    let mut column =
        next.ok_or_else(|| Error::failed("a row has more cells than there are columns"))?;
    column
        .typed::<T>()
        .write_batch(values, levels, None)
        .map_err(bad)?;
    column.close().map_err(bad)
}

fn optional(
    group: &mut SerializedRowGroupWriter<'_, Destination>,
    cells: &mut Vec<Option<ByteArray>>,
) -> Result<()> {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<ByteArray> = cells.drain(..).flatten().collect();
    column::<ByteArrayType>(group, &values, Some(&levels))
}

/// Lines as a table: `timestamp`, labels, `line`, `metadata`.
pub struct LogTable {
    writer: SerializedFileWriter<Destination>,
    times: Vec<i64>,
    labels: LabelColumns,
    lines: Vec<ByteArray>,
    metadata: Vec<Option<ByteArray>>,
    n_bytes: usize,
}

impl LogTable {
    /// A table with columns for these labels.
    ///
    /// # Errors
    /// When the destination takes nothing.
    pub fn new(destination: Destination, labels: BTreeSet<String>) -> Result<Self> {
        let labels: Vec<String> = labels.into_iter().take(LABELS_MAX).collect();
        let time = LogicalType::timestamp(true, TimeUnit::NANOS);
        let mut fields = vec![field(
            "timestamp",
            Physical::INT64,
            Repetition::REQUIRED,
            Some(time),
        )?];
        for name in column_names(&labels, &["timestamp", "line", "metadata"]) {
            fields.push(text(&name, Repetition::OPTIONAL)?);
        }
        fields.push(text("line", Repetition::REQUIRED)?);
        fields.push(text("metadata", Repetition::OPTIONAL)?);
        Ok(Self {
            writer: open(destination, fields)?,
            times: Vec::new(),
            labels: LabelColumns::new(&labels),
            lines: Vec::new(),
            metadata: Vec::new(),
            n_bytes: 0,
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When the destination takes no more.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        self.times.push(entry.time_ns);
        let (others, n_bytes) = self.labels.push(&entry.labels);
        let others = others.into_iter().chain(&entry.metadata);
        let metadata: serde_json::Map<String, serde_json::Value> = others
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let metadata =
            (!metadata.is_empty()).then(|| serde_json::Value::Object(metadata).to_string());
        self.n_bytes += n_bytes + entry.line.len() + metadata.as_ref().map_or(0, String::len);
        self.lines.push(ByteArray::from(entry.line.as_str()));
        self.metadata
            .push(metadata.map(|text| ByteArray::from(text.into_bytes())));
        if self.times.len() >= GROUP_ROWS || self.n_bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        if self.times.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(bad)?;
        column::<Int64Type>(&mut group, &self.times, None)?;
        for cells in &mut self.labels.rows {
            optional(&mut group, cells)?;
        }
        column::<ByteArrayType>(&mut group, &self.lines, None)?;
        optional(&mut group, &mut self.metadata)?;
        group.close().map_err(bad)?;
        self.times.clear();
        self.lines.clear();
        self.n_bytes = 0;
        Ok(())
    }

    /// Writes the rest; gives the destination back.
    ///
    /// # Errors
    /// When the destination takes no more.
    pub fn finish(mut self) -> Result<Destination> {
        self.write_group()?;
        self.writer.into_inner().map_err(bad)
    }
}

/// Samples as a table: `timestamp`, `name`, labels, `value`.
pub struct SampleTable {
    writer: SerializedFileWriter<Destination>,
    times: Vec<i64>,
    names: Vec<ByteArray>,
    labels: LabelColumns,
    values: Vec<f64>,
    n_bytes: usize,
}

impl SampleTable {
    /// A table with columns for these labels.
    ///
    /// # Errors
    /// When there are too many labels or the destination takes nothing.
    pub fn new(destination: Destination, labels: BTreeSet<String>) -> Result<Self> {
        let labels: Vec<String> = labels
            .into_iter()
            .filter(|name| name != "__name__")
            .collect();
        if labels.len() > LABELS_MAX {
            return Err(Error::failed(format!(
                "the series have {} labels, and a Parquet file gets {LABELS_MAX} columns at most; narrow the selector or use --format jsonl",
                labels.len()
            )));
        }
        let time = LogicalType::timestamp(true, TimeUnit::MILLIS);
        let mut fields = vec![
            field(
                "timestamp",
                Physical::INT64,
                Repetition::REQUIRED,
                Some(time),
            )?,
            text("name", Repetition::REQUIRED)?,
        ];
        for name in column_names(&labels, &["timestamp", "name", "value"]) {
            fields.push(text(&name, Repetition::OPTIONAL)?);
        }
        fields.push(field(
            "value",
            Physical::DOUBLE,
            Repetition::REQUIRED,
            None,
        )?);
        Ok(Self {
            writer: open(destination, fields)?,
            times: Vec::new(),
            names: Vec::new(),
            labels: LabelColumns::new(&labels),
            values: Vec::new(),
            n_bytes: 0,
        })
    }

    /// Adds the samples of a series.
    ///
    /// # Errors
    /// When a value is no number or the destination takes no more.
    pub fn push(&mut self, chunk: &Chunk) -> Result<()> {
        let name = chunk.labels.get("__name__").map_or("", String::as_str);
        let name = ByteArray::from(name);
        for (time_ms, value) in &chunk.samples {
            let (others, n_bytes) = self.labels.push(&chunk.labels);
            let unknown = others.iter().find(|(name, _)| *name != "__name__");
            if let Some((name, _)) = unknown {
                return Err(Error::failed(format!(
                    "series with a label \"{name}\" came to be while they were exported; export again, or up to an earlier --end"
                )));
            }
            let value = value
                .parse()
                .map_err(|_| Error::failed(format!("\"{value}\" is no number")))?;
            self.times.push(*time_ms);
            self.names.push(name.clone());
            self.values.push(value);
            self.n_bytes += n_bytes;
            if self.times.len() >= GROUP_ROWS || self.n_bytes >= GROUP_BYTES {
                self.write_group()?;
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        if self.times.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(bad)?;
        column::<Int64Type>(&mut group, &self.times, None)?;
        column::<ByteArrayType>(&mut group, &self.names, None)?;
        for cells in &mut self.labels.rows {
            optional(&mut group, cells)?;
        }
        column::<DoubleType>(&mut group, &self.values, None)?;
        group.close().map_err(bad)?;
        self.times.clear();
        self.names.clear();
        self.values.clear();
        self.n_bytes = 0;
        Ok(())
    }

    /// Writes the rest; gives the destination back.
    ///
    /// # Errors
    /// When the destination takes no more.
    pub fn finish(mut self) -> Result<Destination> {
        self.write_group()?;
        self.writer.into_inner().map_err(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    #[test]
    fn names_of_columns_are_unique() {
        let labels = ["Line", "app", "line", "label_line"].map(str::to_owned);
        assert_eq!(
            column_names(&labels, &["line"]),
            [
                "label_Line",
                "app",
                "label_label_line",
                "label_label_label_line"
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let names = BTreeSet::from(["app".to_owned(), "line".to_owned()]);
        let mut table = LogTable::new(Destination::open(&path).unwrap(), names).unwrap();
        let pairs = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        for n in 0..GROUP_ROWS as i64 + 1 {
            let entry = Entry {
                time_ns: n,
                line: format!("line {n}"),
                labels: if n % 2 == 0 {
                    pairs(&[("app", "x"), ("line", "l")])
                } else {
                    pairs(&[("late", "y")])
                }
                .into(),
                metadata: Labels::new(),
            };
            table.push(&entry).unwrap();
        }
        table.finish().unwrap().finish().unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .unwrap()
            .map(|r| r.unwrap().to_string())
            .collect();
        assert_eq!(rows.len(), GROUP_ROWS + 1);
        assert!(
            rows[0].contains("\"x\"") && rows[0].contains("line 0"),
            "{}",
            rows[0]
        );
        assert!(rows[1].contains("late"), "{}", rows[1]);
    }
}
