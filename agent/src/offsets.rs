//! How far each file has been delivered, kept in SQLite: Fluent Bit's own table and one beside it.
//!
//! `in_tail_files` has exactly Fluent Bit's columns, so that a database can change hands in both
//! directions. What Fluent Bit has no room for stands in `kansoku_tail_files` under the same id:
//! the source id, hashes that recognise the content, and the last position delivered; places of
//! single outputs stand in `kansoku_tail_cursors`. The marker, a hash of the bytes before the offset,
//! is Fluent Bit's own (XXH3 of at most 32 bytes). Hashes cover bytes that never change once written.
//!
//! The rule: a row is written before the first batch of its generation is sent, and its offset moves
//! only after delivery.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use kansoku_model::{Position, SourceId};
use rusqlite::{Connection, OptionalExtension, params};

/// A second process that holds the database is waited for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS in_tail_files (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER, inode INTEGER, created INTEGER,
  rotated INTEGER DEFAULT 0, offset_marker INTEGER DEFAULT 0, offset_marker_size INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS kansoku_tail_files (
  id INTEGER PRIMARY KEY, device INTEGER NOT NULL, source BLOB NOT NULL, created_ns INTEGER NOT NULL,
  head_hash INTEGER NOT NULL, head_size INTEGER NOT NULL,
  marker_offset INTEGER NOT NULL, marker_hash INTEGER NOT NULL, marker_size INTEGER NOT NULL,
  sent_offset INTEGER NOT NULL, sent_ordinal INTEGER NOT NULL, finished INTEGER NOT NULL,
  cuts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS kansoku_tail_cursors (
  id INTEGER NOT NULL, output TEXT NOT NULL, offset INTEGER NOT NULL, sent_offset INTEGER NOT NULL,
  sent_ordinal INTEGER NOT NULL, PRIMARY KEY (id, output));
CREATE TABLE IF NOT EXISTS kansoku_tail_state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
";

/// A hash of `size` bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Print {
    pub hash: u64,
    pub size: u32,
}

impl Print {
    /// The print of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            hash: xxhash_rust::xxh3::xxh3_64(bytes),
            size: bytes.len() as u32,
        }
    }
}

/// Unfinished records were sent as they were when the file stood at `offset`, because their rest did
/// not come in time. Remembered before they are sent, so that a second reading cuts alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub offset: u64,
    /// Bits 0 and 1: partial lines of standard output and error; bits 2 and 3: their groups. Bit 4:
    /// all of them were handed on to the next generation, bit 5: what was handed on came back.
    pub streams: u8,
    /// The least ordinal of what was cut.
    pub ordinal: u32,
}

/// How far one output has got, when it is further than the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub output: String,
    /// As in [`Checkpoint::offset`].
    pub offset: u64,
    /// As in [`Checkpoint::sent`].
    pub sent: Position,
}

/// One generation of one file: a row of both tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The row; 0 = not stored yet.
    pub id: i64,
    /// The path under which the file was found first; kept when it is rotated.
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    pub source: SourceId,
    pub created_ns: i64,
    /// Everything before is delivered; reading resumes here.
    pub offset: u64,
    /// Records up to here are delivered, also those after `offset`.
    pub sent: Position,
    /// The first bytes of the file.
    pub head: Print,
    /// The bytes before `offset`.
    pub marker: Print,
    pub cuts: Vec<Cut>,
    /// Of the outputs that are further than the slowest, for which `offset` and `sent` stand.
    pub cursors: Vec<Cursor>,
    /// It has another name by now.
    pub rotated: bool,
    /// It was read to its end and closed; kept only so that it is not read again.
    pub finished: bool,
    /// It comes from a database that only Fluent Bit has written: there are no prints.
    pub foreign: bool,
    /// Fluent Bit has moved the offset since we wrote the row.
    pub moved: bool,
}

/// Options `db` and `db.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetOptions {
    pub path: PathBuf,
    /// `off`, `normal`, `full` or `extra`.
    pub sync: String,
    /// No other process may open the database meanwhile.
    pub locking: bool,
    /// `wal`, `delete`, `truncate`, `persist`, `memory` or `off`.
    pub journal_mode: String,
}

/// The database, or nothing when no `db` is set: then offsets live as long as the process.
pub struct Offsets {
    connection: Option<Connection>,
    /// Named in errors.
    path: PathBuf,
    /// When the agent that used the database before was last alive; `None` for a new database.
    pub last_alive: Option<SystemTime>,
}

impl Offsets {
    /// Without a database.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            connection: None,
            path: PathBuf::new(),
            last_alive: None,
        }
    }

    /// Opens or makes the database.
    ///
    /// # Errors
    /// When it cannot be opened, is locked, or is no database.
    pub fn open(options: &OffsetOptions) -> anyhow::Result<Self> {
        let shown = options.path.display();
        let modified = modified(&options.path);
        let open = || -> rusqlite::Result<(Connection, Option<i64>, bool)> {
            let connection = Connection::open(&options.path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            if options.locking {
                connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            }
            let mode = &options.journal_mode;
            connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", &options.sync)?;
            let used = connection
                .prepare("SELECT 1 FROM sqlite_master WHERE name = 'in_tail_files'")?
                .exists([])?;
            connection.execute_batch(SCHEMA)?;
            add_marker_columns(&connection)?;
            let alive = connection
                .query_row(
                    "SELECT value FROM kansoku_tail_state WHERE name = 'alive_ns'",
                    [],
                    |row| row.get(0),
                )
                .optional()?;
            Ok((connection, alive, used))
        };
        let (connection, alive, used) = open().with_context(|| {
            let folder = options.path.parent().filter(|f| !f.as_os_str().is_empty());
            match folder.filter(|folder| !folder.is_dir()) {
                Some(folder) => format!(
                    "cannot use the offset database {shown}: {} is no folder; create it or change 'db'",
                    folder.display()
                ),
                None => format!(
                    "cannot use the offset database {shown}; check 'db' and that no other process holds it"
                ),
            }
        })?;
        let last_alive = match alive {
            Some(ns) => Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns as u64)),
            None if used => modified,
            None => None,
        };
        Ok(Self {
            connection: Some(connection),
            path: options.path.clone(),
            last_alive,
        })
    }

    /// Whether anything outlives the process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.connection.is_some()
    }

    /// All rows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn load(&self) -> anyhow::Result<Vec<Checkpoint>> {
        let Some(connection) = &self.connection else {
            return Ok(Vec::new());
        };
        let mut query = connection.prepare(
            "SELECT f.id, f.name, f.offset, f.inode, f.created, f.rotated,
                    k.device, k.source, k.created_ns, k.head_hash, k.head_size, k.marker_offset,
                    k.marker_hash, k.marker_size, k.sent_offset, k.sent_ordinal, k.finished, k.cuts,
                    f.offset_marker, f.offset_marker_size
             FROM in_tail_files f LEFT JOIN kansoku_tail_files k ON k.id = f.id ORDER BY f.id",
        )?;
        let rows = query.query_map([], read_row)?;
        let mut rows: Vec<Checkpoint> = rows.collect::<rusqlite::Result<_>>()?;
        let mut query = connection.prepare(
            "SELECT output, offset, sent_offset, sent_ordinal FROM kansoku_tail_cursors
             WHERE id = ?1 ORDER BY output",
        )?;
        for row in &mut rows {
            let cursors = query.query_map([row.id], |r| {
                Ok(Cursor {
                    output: r.get(0)?,
                    offset: r.get::<_, i64>(1)? as u64,
                    sent: Position {
                        offset: r.get::<_, i64>(2)? as u64,
                        ordinal: r.get(3)?,
                    },
                })
            })?;
            // Fluent Bit may have moved the row's offset since; then the cursors speak of the past.
            let offset = row.offset;
            let moved = row.moved;
            let ahead = |c: &Cursor| !moved && c.offset >= offset;
            row.cursors = cursors
                .filter(|c| c.as_ref().map_or(true, ahead))
                .collect::<rusqlite::Result<_>>()?;
        }
        Ok(rows)
    }

    /// Inserts rows with id 0, which get one, and updates the others; in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save<'a>(
        &mut self,
        checkpoints: impl IntoIterator<Item = &'a mut Checkpoint>,
        now: SystemTime,
    ) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let mut checkpoints: Vec<&mut Checkpoint> = checkpoints.into_iter().collect();
        let new: Vec<usize> = (0..checkpoints.len())
            .filter(|&at| checkpoints[at].id == 0)
            .collect();
        let mut write = || -> anyhow::Result<()> {
            let transaction = connection.transaction()?;
            for c in &mut checkpoints {
                write_row(&transaction, c)?;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO kansoku_tail_state VALUES ('alive_ns', ?1)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute([nanoseconds(now)])?;
            Ok(transaction.commit()?)
        };
        let written = write();
        if written.is_err() {
            // Rolled back: the rows are not there, and their ids will be given to others.
            new.into_iter().for_each(|at| checkpoints[at].id = 0);
        }
        written.with_context(|| {
            let shown = self.path.display();
            format!("cannot write the offset database {shown}; check its disk")
        })
    }

    /// Forgets rows.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove(&mut self, ids: &[i64]) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let transaction = connection.transaction()?;
        for id in ids {
            transaction.execute("DELETE FROM in_tail_files WHERE id = ?1", [id])?;
            transaction.execute("DELETE FROM kansoku_tail_files WHERE id = ?1", [id])?;
            transaction.execute("DELETE FROM kansoku_tail_cursors WHERE id = ?1", [id])?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Databases of older Fluent Bits have no markers; it adds the columns in the same way.
fn add_marker_columns(connection: &Connection) -> rusqlite::Result<()> {
    for column in ["offset_marker", "offset_marker_size"] {
        let known = connection
            .prepare("SELECT 1 FROM pragma_table_info('in_tail_files') WHERE name = ?1")?
            .exists([column])?;
        if !known {
            let add = format!("ALTER TABLE in_tail_files ADD COLUMN {column} INTEGER DEFAULT 0");
            connection.execute_batch(&add)?;
        }
    }
    Ok(())
}

/// Unix nanoseconds.
#[must_use]
pub fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_nanos() as i64)
}

/// The latest write to the database or to its write-ahead log.
fn modified(path: &Path) -> Option<SystemTime> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    [path, Path::new(&wal)]
        .iter()
        .filter_map(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok())
        .max()
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Checkpoint> {
    // SQLite's integers are signed; hashes and device numbers use all 64 bits.
    let unsigned = |at: usize| row.get::<_, Option<i64>>(at).map(|v| v.unwrap_or(0) as u64);
    let source: Option<Vec<u8>> = row.get(7)?;
    let source = source.and_then(|b| <[u8; 16]>::try_from(b).ok());
    let offset = unsigned(2)?;
    let created_s: Option<i64> = row.get(4)?;
    let marker_fits = unsigned(11)? == offset;
    let created_ns: Option<i64> = row.get(8)?;
    Ok(Checkpoint {
        id: row.get(0)?,
        path: PathBuf::from(row.get::<_, String>(1)?),
        device: unsigned(6)?,
        inode: unsigned(3)?,
        source: SourceId(source.map_or(0, u128::from_le_bytes)),
        created_ns: created_ns.unwrap_or(created_s.unwrap_or(0).saturating_mul(1_000_000_000)),
        offset,
        sent: Position {
            offset: unsigned(14)?.max(offset),
            ordinal: unsigned(15)? as u32,
        },
        head: Print {
            hash: unsigned(9)?,
            size: unsigned(10)? as u32,
        },
        // Fluent Bit may have moved the offset since; then its marker speaks of it.
        marker: if marker_fits && source.is_some() {
            Print {
                hash: unsigned(12)?,
                size: unsigned(13)? as u32,
            }
        } else {
            Print {
                hash: unsigned(18)?,
                size: (unsigned(19)? as u32).min(offset.min(32) as u32),
            }
        },
        cuts: parse_cuts(&row.get::<_, Option<String>>(17)?.unwrap_or_default()),
        cursors: Vec::new(),
        rotated: unsigned(5)? != 0,
        finished: unsigned(16)? != 0 && marker_fits,
        foreign: source.is_none(),
        moved: source.is_some() && !marker_fits,
    })
}

fn write_row(transaction: &rusqlite::Transaction<'_>, c: &mut Checkpoint) -> anyhow::Result<()> {
    let name = c.path.to_string_lossy();
    if c.id == 0 {
        transaction
            .prepare_cached(
                "INSERT INTO in_tail_files
                 (name, offset, inode, created, rotated, offset_marker, offset_marker_size)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                name,
                c.offset as i64,
                c.inode as i64,
                c.created_ns / 1_000_000_000,
                c.rotated,
                c.marker.hash as i64,
                c.marker.size,
            ])?;
        c.id = transaction.last_insert_rowid();
    } else {
        transaction
            .prepare_cached(
                "UPDATE in_tail_files SET offset = ?2, inode = ?3, rotated = ?4,
                 offset_marker = ?5, offset_marker_size = ?6 WHERE id = ?1",
            )?
            .execute(params![
                c.id,
                c.offset as i64,
                c.inode as i64,
                c.rotated,
                c.marker.hash as i64,
                c.marker.size,
            ])?;
    }
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO kansoku_tail_files
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            c.id,
            c.device as i64,
            c.source.0.to_le_bytes().as_slice(),
            c.created_ns,
            c.head.hash as i64,
            c.head.size,
            c.offset as i64,
            c.marker.hash as i64,
            c.marker.size,
            c.sent.offset as i64,
            c.sent.ordinal,
            c.finished,
            format_cuts(&c.cuts),
        ])?;
    transaction
        .prepare_cached("DELETE FROM kansoku_tail_cursors WHERE id = ?1")?
        .execute([c.id])?;
    for cursor in &c.cursors {
        transaction
            .prepare_cached("INSERT INTO kansoku_tail_cursors VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                c.id,
                cursor.output,
                cursor.offset as i64,
                cursor.sent.offset as i64,
                cursor.sent.ordinal,
            ])?;
    }
    Ok(())
}

fn format_cuts(cuts: &[Cut]) -> String {
    let mut text = String::new();
    for cut in cuts {
        let _ = write!(text, "{}:{}:{} ", cut.offset, cut.streams, cut.ordinal);
    }
    text
}

fn parse_cuts(text: &str) -> Vec<Cut> {
    let parse = |word: &str| {
        let mut numbers = word.split(':');
        Some(Cut {
            offset: numbers.next()?.parse().ok()?,
            streams: numbers.next()?.parse().ok()?,
            ordinal: numbers.next().unwrap_or("0").parse().ok()?,
        })
    };
    text.split_whitespace().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &Path) -> OffsetOptions {
        OffsetOptions {
            path: path.to_owned(),
            sync: "normal".into(),
            locking: false,
            journal_mode: "wal".into(),
        }
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            id: 0,
            path: "/var/log/containers/x.log".into(),
            device: u64::MAX,
            inode: 42,
            source: SourceId(u128::MAX - 5),
            created_ns: 1_795_251_600_123_456_789,
            offset: 1000,
            sent: Position {
                offset: 1200,
                ordinal: 3,
            },
            head: Print::of(b"first bytes"),
            marker: Print::of(b"last bytes"),
            cuts: vec![
                Cut {
                    offset: 1100,
                    streams: 3,
                    ordinal: 1,
                },
                Cut {
                    offset: 1200,
                    streams: 1,
                    ordinal: 0,
                },
            ],
            cursors: vec![Cursor {
                output: "es.0".into(),
                offset: 1500,
                sent: Position {
                    offset: 1600,
                    ordinal: 2,
                },
            }],
            rotated: false,
            finished: false,
            foreign: false,
            moved: false,
        }
    }

    #[test]
    fn rows_come_back_as_they_were_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tail.db");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_251_700);
        let mut row = checkpoint();
        {
            let mut offsets = Offsets::open(&options(&path)).unwrap();
            assert_eq!(offsets.last_alive, None);
            offsets.save([&mut row], now).unwrap();
            row.offset = 1300;
            row.rotated = true;
            offsets.save([&mut row], now).unwrap();
        }
        let mut offsets = Offsets::open(&options(&path)).unwrap();
        assert_eq!(offsets.last_alive, Some(now));
        row.sent = Position {
            offset: 1300,
            ordinal: 3,
        };
        assert_eq!(offsets.load().unwrap(), [row.clone()]);
        offsets.remove(&[row.id]).unwrap();
        assert_eq!(offsets.load().unwrap(), []);
    }

    #[test]
    fn a_database_of_fluent_bit_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flb.db");
        let written_by_fluent_bit = Connection::open(&path).unwrap();
        written_by_fluent_bit
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL,
                 offset INTEGER, inode INTEGER, created INTEGER, rotated INTEGER DEFAULT 0);
                 INSERT INTO in_tail_files VALUES (7, '/a.log', 512, 99, 1795251600, 0);",
            )
            .unwrap();
        drop(written_by_fluent_bit);
        let mut offsets = Offsets::open(&options(&path)).unwrap();
        assert!(offsets.last_alive.is_some());
        let mut rows = offsets.load().unwrap();
        let row = &mut rows[0];
        assert!(row.foreign && !row.source.is_some());
        assert_eq!((row.id, row.offset, row.inode), (7, 512, 99));
        // We go on, then Fluent Bit does, then we do: the source stays, the marker does not.
        row.source = SourceId(9);
        row.marker = Print::of(b"m");
        offsets.save(rows.iter_mut(), SystemTime::now()).unwrap();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute(
                "UPDATE in_tail_files SET offset = 600, offset_marker = -9, offset_marker_size = 32
                 WHERE id = 7",
                [],
            )
            .unwrap();
        let rows = offsets.load().unwrap();
        assert_eq!(rows[0].source, SourceId(9));
        let marker = Print {
            hash: -9_i64 as u64,
            size: 32,
        };
        assert_eq!((rows[0].marker, rows[0].moved), (marker, true));
        assert_eq!((rows[0].offset, rows[0].foreign), (600, false));
    }

    #[test]
    fn rows_that_a_full_disk_refused_are_inserted_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tail.db");
        let mut offsets = Offsets::open(&options(&path)).unwrap();
        let at_most_pages = |offsets: &Offsets, n: u32| {
            let connection = offsets.connection.as_ref().unwrap();
            let set = |_: &rusqlite::Row<'_>| Ok(());
            connection
                .pragma_update_and_check(None, "max_page_count", n, set)
                .unwrap();
        };
        // One page less than there are means those that there are.
        at_most_pages(&offsets, 1);
        let (mut a, mut b) = (checkpoint(), checkpoint());
        a.source = SourceId(1);
        b.path = "x".repeat(20_000).into();
        let error = offsets
            .save([&mut a, &mut b], SystemTime::now())
            .unwrap_err();
        assert!(
            format!("{error:#}").contains("tail.db; check its disk: "),
            "{error:#}"
        );
        assert_eq!((a.id, b.id), (0, 0));
        at_most_pages(&offsets, 1000);
        offsets.save([&mut b], SystemTime::now()).unwrap();
        offsets.save([&mut a], SystemTime::now()).unwrap();
        let rows = offsets.load().unwrap();
        let sources: Vec<SourceId> = rows.iter().map(|row| row.source).collect();
        assert_eq!(sources, [b.source, a.source]);
    }

    #[test]
    fn what_is_no_database_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(
            &path,
            "not a database, but long enough to be read as one".repeat(40),
        )
        .unwrap();
        let error = Offsets::open(&options(&path)).err().expect("refused");
        assert!(error.to_string().contains("x.db"), "{error:#}");
    }
}
