//! Any rows, and any bytes, as the databases of `tail` (Fluent Bit's or ours) and `systemd`: they are
//! read or refused, and what was read is there again once it is saved.
#![no_main]

use std::time::SystemTime;

use arbitrary::Arbitrary;
use kansoku_agent::fuzzing::journal_cursors;
use kansoku_agent::offsets::{OffsetOptions, Offsets};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

#[derive(Debug, Arbitrary)]
enum Cell {
    Null,
    Int(i64),
    Small(u8),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
    Id([u8; 16]),
}

impl From<&Cell> for Value {
    fn from(cell: &Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Int(i) => Self::Integer(*i),
            Cell::Small(i) => Self::Integer(i64::from(*i)),
            Cell::Real(f) => Self::Real(*f),
            Cell::Text(text) => Self::Text(text.clone()),
            Cell::Blob(bytes) => Self::Blob(bytes.clone()),
            Cell::Id(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

#[derive(Debug, Arbitrary)]
enum Content {
    /// A row of `in_tail_files` and one of each table beside it.
    Rows(Vec<([Cell; 7], [Cell; 12], Option<[Cell; 4]>)>),
    Bytes(Vec<u8>),
}

fn options(path: &std::path::Path) -> OffsetOptions {
    OffsetOptions {
        path: path.to_owned(),
        sync: "off".to_owned(),
        locking: false,
        journal_mode: "memory".to_owned(),
    }
}

fn insert(connection: &Connection, table: &str, id: i64, cells: &[Cell]) {
    let marks = "?,".repeat(cells.len() + 1);
    let sql = format!(
        "INSERT INTO {table} VALUES ({})",
        marks.trim_end_matches(',')
    );
    let values = std::iter::once(Value::Integer(id)).chain(cells.iter().map(Value::from));
    // What the columns do not allow is not in a database.
    let _ = connection.execute(&sql, params_from_iter(values));
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |content: Content| {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("tail.db");
    match &content {
        Content::Bytes(bytes) => std::fs::write(&path, bytes).expect("a file"),
        Content::Rows(rows) => {
            drop(Offsets::open(&options(&path)).expect("a new one"));
            let connection = Connection::open(&path).expect("opened");
            for (i, (theirs, ours, cursor)) in rows.iter().enumerate() {
                let id = i as i64 + 1;
                insert(&connection, "in_tail_files", id, theirs);
                insert(&connection, "kansoku_tail_files", id, ours);
                if let Some(cursor) = cursor {
                    insert(&connection, "kansoku_tail_cursors", id, cursor);
                }
            }
        }
    }
    let _ = journal_cursors(&path);
    let Ok(mut offsets) = Offsets::open(&options(&path)) else {
        assert!(matches!(content, Content::Bytes(_)));
        return;
    };
    let Ok(mut rows) = offsets.load() else {
        return;
    };
    offsets.save(&mut rows, SystemTime::now()).expect("saved");
    drop(offsets);
    let offsets = Offsets::open(&options(&path)).expect("opened again");
    let mut again = offsets.load().expect("our own rows can be read");
    // They are ours now.
    for row in rows.iter_mut().chain(&mut again) {
        row.foreign = false;
        row.moved = false;
    }
    assert_eq!(rows, again);
});
