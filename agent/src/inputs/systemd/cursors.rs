//! How far each journal file has been delivered, in SQLite: Fluent Bit's own table with one cursor, and
//! a table beside it with a row per file.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use kansoku_parsers::journal::Cursor;
use rusqlite::{Connection, OptionalExtension, params};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS in_systemd_cursor (cursor TEXT NOT NULL, updated INTEGER);
CREATE TABLE IF NOT EXISTS kansoku_journal_files (
  file_id BLOB PRIMARY KEY, seqnum INTEGER NOT NULL, updated INTEGER NOT NULL);
";
/// Rows of files that are gone are kept for this long: their disk may only be away.
const KEEP_DAYS: i64 = 90;

/// The database, or nothing when no `db` is set.
pub(crate) struct Cursors {
    connection: Option<Connection>,
    /// By file id: the last sequence number delivered.
    pub delivered: HashMap<u128, u64>,
    /// Where Fluent Bit stood, when it wrote this database and we never did.
    pub foreign: Option<Cursor>,
}

impl Cursors {
    /// # Errors
    /// When the database cannot be opened or read.
    pub fn open(path: Option<&Path>, sync: &str) -> anyhow::Result<Self> {
        let mut cursors = Self {
            connection: None,
            delivered: HashMap::new(),
            foreign: None,
        };
        let Some(path) = path else {
            return Ok(cursors);
        };
        let connection =
            Connection::open(path).with_context(|| format!("failed to open {}", path.display()))?;
        cursors
            .load(&connection, sync)
            .with_context(|| format!("failed to use {}", path.display()))?;
        cursors.connection = Some(connection);
        Ok(cursors)
    }

    fn load(&mut self, connection: &Connection, sync: &str) -> rusqlite::Result<()> {
        connection.pragma_update(None, "synchronous", sync)?;
        connection.execute_batch(SCHEMA)?;
        let mut rows = connection.prepare("SELECT file_id, seqnum FROM kansoku_journal_files")?;
        let rows = rows.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get(1)?)))?;
        for row in rows {
            let (id, seqnum): ([u8; 16], i64) = row?;
            self.delivered
                .insert(u128::from_be_bytes(id), seqnum.cast_unsigned());
        }
        if self.delivered.is_empty() {
            let sql = "SELECT cursor FROM in_systemd_cursor ORDER BY updated DESC LIMIT 1";
            let text: Option<String> = connection.query_row(sql, [], |r| r.get(0)).optional()?;
            self.foreign = text.as_deref().and_then(Cursor::parse);
        }
        Ok(())
    }

    /// Forgets files that have been gone for long; `present` are those that are there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_gone(&mut self, present: &HashSet<u128>) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let old = unix_s() - KEEP_DAYS * 86_400;
        let gone = self.delivered.keys().filter(|id| !present.contains(id));
        for id in gone {
            connection.execute(
                "DELETE FROM kansoku_journal_files WHERE file_id = ?1 AND updated < ?2",
                params![id.to_be_bytes(), old],
            )?;
        }
        Ok(())
    }

    /// Writes how far the changed files are; `last` is the newest of their cursors.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save(&mut self, changed: &[(u128, u64)], last: Option<Cursor>) -> anyhow::Result<()> {
        self.delivered.extend(changed.iter().copied());
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let now_s = unix_s();
        let transaction = connection.transaction()?;
        for (id, seqnum) in changed {
            transaction.execute(
                "INSERT OR REPLACE INTO kansoku_journal_files VALUES (?1, ?2, ?3)",
                params![id.to_be_bytes(), seqnum.cast_signed(), now_s],
            )?;
        }
        if let Some(cursor) = last {
            transaction.execute("DELETE FROM in_systemd_cursor", [])?;
            transaction.execute(
                "INSERT INTO in_systemd_cursor VALUES (?1, ?2)",
                params![cursor.to_string(), now_s],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs() as i64)
}
