//! Where reading of a file begins.

use super::*;

#[test]
fn at_the_first_start_old_files_begin_at_their_end_and_new_ones_at_their_head() {
    let mut b = Bench::new(&[]);
    b.append("old.log", "old\n");
    b.start();
    assert_eq!(b.records(), Vec::<String>::new());
    b.append("old.log", "news\n");
    b.append("new.log", "first\n");
    assert_eq!(b.records(), ["news", "first"]);
    b.crash();
    b.append("born_while_down.log", "missed by nobody\n");
    b.append("old.log", "more\n");
    b.start();
    assert_eq!(b.records(), ["missed by nobody", "more"]);
}

#[test]
fn files_too_old_are_let_go_of_and_go_on_where_they_stood() {
    let mut b = Bench::new(&[
        ("ignore_older", "1h"),
        ("ignore_active_older_files", "on"),
        ("read_from_head", "on"),
    ]);
    let age = |b: &Bench, name: &str, hours: u64| {
        let file = File::options().append(true).open(b.path(name)).unwrap();
        let time = SystemTime::now() - Duration::from_secs(3600 * hours);
        file.set_modified(time).unwrap();
    };
    b.append("a.log", "1\n");
    b.append("never.log", "old\n");
    age(&b, "never.log", 2);
    b.start();
    assert_eq!(b.records(), ["1"]);
    age(&b, "a.log", 2);
    assert_eq!(b.records(), Vec::<String>::new());
    assert_eq!(b.records(), Vec::<String>::new());
    assert!(b.running.as_ref().unwrap().0.generations.is_empty());
    for name in ["a.log", "never.log"] {
        b.append(name, "2\n");
    }
    assert_eq!(b.records(), ["2", "2"]);
}

#[test]
fn a_database_of_fluent_bit_is_continued_where_it_stopped() {
    let mut b = Bench::new(&[]);
    b.append("a.log", "sent by fluent bit\nnot yet\n");
    let inode = fs::metadata(b.path("a.log")).unwrap().ino();
    let db = rusqlite::Connection::open(b.path("tail.db")).unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER,
         inode INTEGER, created INTEGER, rotated INTEGER DEFAULT 0, offset_marker INTEGER DEFAULT 0,
         offset_marker_size INTEGER DEFAULT 0);
         INSERT INTO in_tail_files VALUES (1, '{}', 19, {inode}, 1795251600, 0, {}, 19);",
        b.path("a.log").display(),
        crate::offsets::Print::of(b"sent by fluent bit\n").hash as i64
    ))
    .unwrap();
    b.start();
    assert_eq!(b.records(), ["not yet"]);
    b.crash();
    let row: (i64, i64) = db
        .query_row("SELECT offset, inode FROM in_tail_files", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    assert_eq!(row, (27, inode as i64));
}
