//! Captured journals through the reader: what journalctl shows comes once, also after a restart and past damage.

use serde_json::Value as Json;

use super::*;
use crate::pipeline::Captured;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/journal");

/// A folder with one of the captured journals, which systemd-journal-remote wrote.
fn folder_with(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let packed = std::fs::read(format!("{FIXTURES}/{name}.journal.zst")).expect("the fixture");
    let journal = zstd::stream::decode_all(&packed[..]).expect("zstd");
    std::fs::write(dir.path().join("system.journal"), journal).expect("room");
    dir
}

fn reader(folder: &Path, pairs: &[(&str, &str)]) -> (Reader, Captured) {
    let settings = Settings::of("systemd", pairs);
    settings.check(PLUGIN.options).expect("valid");
    let options = Options {
        folders: vec![folder.to_owned()],
        filters: (settings.all("systemd_filter"))
            .map(|s| s.value.clone().into_bytes())
            .collect(),
        all_filters: settings.text("systemd_filter_type", "or") == "and",
        from_tail: settings.bool("read_from_tail", false).expect("valid"),
        max_entries: 25,
        max_fields: 8000,
        lowercase: settings.bool("lowercase", false).expect("valid"),
        strip_underscores: settings.bool("strip_underscores", false).expect("valid"),
        db: Some(folder.join("systemd.db")),
        db_sync: "full".into(),
        host_name: "n".into(),
    };
    let (link, captured) = Link::captured("host.*", Duration::from_secs(1));
    (Reader::new(options, link).expect("a reader"), captured)
}

/// Reads all there is, as (tag, JSON object) in order of time.
fn records(reader: &mut Reader, captured: &Captured) -> Vec<(String, Json)> {
    reader.scan();
    while reader.read_all().expect("not stopped") > 0 {}
    let mut all = Vec::new();
    for batch in captured.take() {
        let RecordBatch::Logs(batch) = &*batch else {
            panic!("logs")
        };
        assert!(batch.source.from < batch.positions()[0]);
        for row in 0..batch.len() {
            let mut out = b"{".to_vec();
            json::write_fields(&mut out, batch, row, true);
            out.push(b'}');
            let object = serde_json::from_slice(&out).expect("JSON");
            all.push((batch.times()[row], batch.tag.to_string(), object));
        }
    }
    reader.settle();
    reader.save();
    all.sort_by_key(|(time_ns, ..)| *time_ns);
    all.into_iter()
        .map(|(_, tag, object)| (tag, object))
        .collect()
}

/// What journalctl tells of the same entry, in our form.
fn expected(line: &str) -> Json {
    let mut entry: serde_json::Map<String, Json> = serde_json::from_str(line).expect("JSON");
    entry.retain(|name, _| !name.starts_with("__"));
    for value in entry.values_mut() {
        // Bytes that are no text stand there as numbers.
        let bytes: Option<Vec<u8>> = (value.as_array()).and_then(|all| {
            let byte = |v: &Json| v.as_u64().and_then(|n| u8::try_from(n).ok());
            all.iter().map(byte).collect()
        });
        if let Some(bytes) = bytes {
            *value = String::from_utf8_lossy(&bytes).into_owned().into();
        }
    }
    entry.into()
}

#[test]
fn entries_are_those_of_journalctl() {
    for name in ["regular", "compact"] {
        let dir = folder_with(name);
        let (mut reader, captured) = reader(dir.path(), &[]);
        let found = records(&mut reader, &captured);
        let text = std::fs::read_to_string(format!("{FIXTURES}/{name}.json")).expect("fixture");
        let expected: Vec<Json> = text.lines().map(expected).collect();
        assert_eq!(found.len(), 60);
        for ((tag, found), expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
            let unit = found["_SYSTEMD_UNIT"].as_str().unwrap_or("unknown");
            assert_eq!(*tag, format!("host.{unit}"));
        }
        assert_eq!(found.len(), expected.len());
    }
}

#[test]
fn what_is_delivered_is_not_read_again() {
    let dir = folder_with("compact");
    let (mut first, captured) = reader(dir.path(), &[]);
    assert_eq!(records(&mut first, &captured).len(), 60);
    let (mut second, captured) = reader(dir.path(), &[]);
    assert_eq!(records(&mut second, &captured), []);
}

#[test]
fn what_is_not_acknowledged_comes_again() {
    let dir = folder_with("compact");
    let (mut first, captured) = reader(dir.path(), &[]);
    first.scan();
    while first.read_all().expect("not stopped") > 0 {}
    assert!(!captured.take_unacknowledged().is_empty());
    first.settle();
    first.save();
    let (mut second, captured) = reader(dir.path(), &[]);
    assert_eq!(records(&mut second, &captured).len(), 60);
}

#[test]
fn a_database_of_fluent_bit_is_continued() {
    let dir = folder_with("compact");
    let text = std::fs::read_to_string(format!("{FIXTURES}/compact.json")).expect("fixture");
    let entry: Json = serde_json::from_str(text.lines().nth(39).expect("60 lines")).expect("JSON");
    let db = rusqlite::Connection::open(dir.path().join("systemd.db")).expect("a database");
    db.execute_batch("CREATE TABLE in_systemd_cursor (cursor TEXT NOT NULL, updated INTEGER)")
        .expect("a table");
    let cursor = entry["__CURSOR"].as_str().expect("text");
    db.execute("INSERT INTO in_systemd_cursor VALUES (?1, 1)", [cursor])
        .expect("a row");
    let (mut reader, captured) = reader(dir.path(), &[]);
    let found = records(&mut reader, &captured);
    assert_eq!(found.len(), 20);
    assert_eq!(found[0].1["MESSAGE"], "entry number 40");
}

#[test]
fn filters_names_and_the_tail() {
    let cases: [(&[(&str, &str)], usize); 5] = [
        (
            &[("systemd_filter", "_SYSTEMD_UNIT=containerd.service")],
            17,
        ),
        (
            &[
                ("systemd_filter", "_SYSTEMD_UNIT=containerd.service"),
                ("systemd_filter", "PRIORITY=0"),
            ],
            23,
        ),
        (
            &[
                ("systemd_filter", "_SYSTEMD_UNIT=containerd.service"),
                ("systemd_filter", "PRIORITY=0"),
                ("systemd_filter_type", "and"),
            ],
            2,
        ),
        (&[("read_from_tail", "on")], 0),
        (&[("lowercase", "on"), ("strip_underscores", "on")], 60),
    ];
    for (pairs, n) in cases {
        let dir = folder_with("compact");
        let (mut reader, captured) = reader(dir.path(), pairs);
        let found = records(&mut reader, &captured);
        assert_eq!(found.len(), n, "{pairs:?}");
        if n == 60 {
            assert_eq!(found[0].1["hostname"], "node-1");
        }
    }
}

/// The bytes of the captured journal in `folder`.
fn journal_of(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("system.journal");
    let bytes = std::fs::read(&path).expect("it is there");
    (path, bytes)
}

fn messages(found: &[(String, Json)]) -> Vec<String> {
    let message = |(_, object): &(String, Json)| object["MESSAGE"].as_str().map(str::to_owned);
    found.iter().filter_map(message).collect()
}

#[test]
fn a_file_that_is_no_journal_ends_alone() {
    let dir = folder_with("compact");
    std::fs::write(dir.path().join("bad.journal"), "no journal").expect("room");
    let (mut reader, captured) = reader(dir.path(), &[]);
    assert_eq!(records(&mut reader, &captured).len(), 60);
    assert_eq!(reader.finished.len(), 2);
}

#[test]
fn a_damaged_object_costs_itself() {
    for name in ["compact", "regular"] {
        let dir = folder_with(name);
        let file = JournalFile::open(&dir.path().join("system.journal")).expect("a journal");
        let array = file.header.entry_array_offset as usize;
        let (path, whole) = journal_of(dir.path());
        let (start, width) = (array + 24, if file.header.is_compact { 4 } else { 8 });
        let offset = |n: usize| {
            let mut wide = [0; 8];
            wide[..width].copy_from_slice(&whole[start + n * width..][..width]);
            u64::from_le_bytes(wide) as usize
        };
        // (damaged bytes, with what, entries that are left, damaged objects)
        let cases = [
            (offset(2)..offset(2) + 64, 0xff, 59, 2),
            (offset(0)..offset(0) + 16, 0, 59, 2),
            // The sequence number alone.
            (offset(1) + 16..offset(1) + 24, 0xff, 59, 2),
            // The first array, as a whole and its items alone.
            (array..array + 24, 0xff, 60, 2),
            (start..start + width, 0xff, 60, 1),
            (start..start + width, 0, 60, 1),
        ];
        for (range, byte, n_left, n_damaged) in cases {
            let mut bytes = whole.clone();
            bytes[range.clone()].fill(byte);
            std::fs::write(&path, bytes).expect("room");
            let _ = std::fs::remove_file(dir.path().join("systemd.db"));
            let (mut first, captured) = reader(dir.path(), &[]);
            let found = records(&mut first, &captured);
            assert_eq!(found.len(), n_left, "{name} {range:?} {byte}");
            assert_eq!(
                first.link.counters.damaged.get(),
                n_damaged,
                "{name} {range:?}"
            );
            assert_eq!(first.finished.len(), 1, "read to its end");
            // A restart goes on where this one stopped.
            let (mut second, captured) = reader(dir.path(), &[]);
            assert_eq!(records(&mut second, &captured), []);
        }
    }
}

/// Wherever 64 bytes are wrong, at most what they held is missing, and nothing comes twice.
#[test]
fn damage_anywhere_leaves_the_rest() {
    let dir = folder_with("compact");
    let file = JournalFile::open(&dir.path().join("system.journal")).expect("a journal");
    let end = file.header.tail_object_offset as usize + 64;
    let (path, whole) = journal_of(dir.path());
    let (mut first, captured) = reader(dir.path(), &[]);
    let all = messages(&records(&mut first, &captured));
    // The hash tables in front are not read.
    let from = file.header.entry_array_offset as usize - 4096;
    for (n, at) in (from..end).step_by(184).enumerate() {
        let mut bytes = whole.clone();
        bytes[at..at + 64].fill([0, 0xff, 0x55][n % 3]);
        std::fs::write(&path, bytes).expect("room");
        let _ = std::fs::remove_file(dir.path().join("systemd.db"));
        let (mut reader, captured) = reader(dir.path(), &[]);
        let found = messages(&records(&mut reader, &captured));
        let known: Vec<&String> = all.iter().filter(|m| found.contains(m)).collect();
        assert!(known.len() >= 57, "byte {at}: {} of 60", known.len());
        let mut once = found.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), found.len(), "byte {at}");
    }
}

#[test]
fn a_file_that_leads_in_a_circle_ends() {
    use std::os::unix::fs::FileExt;
    let dir = folder_with("regular");
    let path = dir.path().join("system.journal");
    let array = JournalFile::open(&path)
        .expect("a journal")
        .header
        .entry_array_offset;
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("opened");
    file.write_all_at(&array.to_le_bytes(), array + 16)
        .expect("written");
    let mut journal = JournalFile::open(&path).expect("a journal");
    let n_counted = journal.header.n_entries;
    let mut n = 0;
    let error = loop {
        match journal.next() {
            Ok(entry) => assert!(entry.is_some() && n < n_counted),
            Err(error) => break error,
        }
        n += 1;
    };
    assert!(error.to_string().contains("leads back to"), "{error}");
}

#[test]
fn the_database_belongs_to_one_agent() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().display().to_string();
    let database = dir.path().join("systemd.db");
    let path = database.display().to_string();
    let settings = Settings::of("systemd", &[("path", &folder), ("db", &path)]);
    let input = build(&settings, &Environment::default()).expect("valid");
    assert_eq!(input.databases(), [database]);
}
