//! Lines and samples to be exported: Parquet, JSON lines and OpenMetrics have as many rows as were
//! given, and what they hold reads as it was.
#![no_main]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use kansoku_cli::fuzzing::{self, Line, Series};
use kansoku_parsers::wire::prometheus_text;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::Value;

/// Rows of a Parquet file.
fn rows(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(path).expect("a file")).expect("a table");
    let rows = reader.get_row_iter(None).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn lines(lines: Vec<Line>, folder: &Path) {
    let Ok((table, json)) = fuzzing::export_lines(lines.clone(), folder) else {
        return;
    };
    let rows = rows(&table);
    let text = std::fs::read_to_string(json).expect("text");
    assert_eq!((rows.len(), text.lines().count()), (lines.len(), lines.len()));
    for (((_, line, labels, _), row), json) in lines.iter().zip(rows).zip(text.lines()) {
        let stored = row.get_column_iter().find(|(name, _)| *name == "line");
        assert_eq!(stored.map(|(_, field)| field), Some(&Field::Str(line.clone())));
        let json: Value = serde_json::from_str(json).expect(json);
        assert_eq!(json["line"], Value::from(line.as_str()));
        for (name, value) in labels {
            assert_eq!(json["labels"][name], Value::from(value.as_str()));
        }
    }
}

fn samples(series: &[Series], folder: &Path) {
    let n: usize = series.iter().map(|(_, samples)| samples.len()).sum();
    if let Ok(table) = fuzzing::export_parquet(series, folder) {
        assert_eq!(rows(&table).len(), n);
    }
    for one in series {
        let Ok((text, json)) = fuzzing::export_text(one) else {
            continue;
        };
        let json: Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(json["values"].as_array().map(Vec::len), Some(one.1.len()));
        let text = String::from_utf8(text).expect("text");
        assert_eq!(text.lines().count(), one.1.len() + 1, "{text}");
        let page = prometheus_text::parse(&text, true, "t".into(), Arc::default(), 7);
        let batch = &page.batch;
        for point in batch.points() {
            let series = batch.series_of(point);
            assert_eq!(series.metric_name(), one.0["__name__"], "{text}");
        }
    }
}

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
}

libfuzzer_sys::fuzz_target!(|input: (Vec<Line>, Vec<Series>)| {
    FOLDER.with(|folder| {
        lines(input.0, folder.path());
        samples(&input.1, folder.path());
    });
});
