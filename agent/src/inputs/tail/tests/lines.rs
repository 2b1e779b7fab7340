//! What lines become, one by one.

use super::*;

#[test]
fn lines_arrive_as_they_are_written_and_unfinished_ones_wait() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "one\r\ntwo\n\nunfin");
    assert_eq!(b.records(), ["one", "two", ""]);
    b.append("a.log", "ished\n");
    assert_eq!(b.records(), ["unfinished"]);
}

#[test]
fn other_encodings_become_utf8_line_by_line() {
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let mut b = Bench::new(&[("unicode.encoding", "auto"), ("read_from_head", "on")]);
    b.append("a.log", utf16("\u{feff}gr\u{fc}n\n\u{a0a}\r\n"));
    b.append("b.log", "plain \u{e9}\n");
    b.start();
    assert_eq!(b.records(), ["gr\u{fc}n", "\u{a0a}", "plain \u{e9}"]);
    b.crash();
    b.append("a.log", utf16("more"));
    b.append("a.log", [10]);
    b.start();
    assert_eq!(b.records(), Vec::<String>::new());
    b.append("a.log", [0]);
    assert_eq!(b.records(), ["more"]);

    let mut b = Bench::new(&[("generic.encoding", "ShiftJIS"), ("read_from_head", "on")]);
    b.append("a.log", b"\x8a\xcf\x91\xaa\n\xff\n");
    b.start();
    assert_eq!(b.records(), ["\u{89b3}\u{6e2c}", "\u{fffd}"]);
}

#[test]
fn lines_over_the_bound_are_cut_or_skipped_and_the_next_one_is_whole() {
    let long = "é".repeat(3_000_000);
    let text = format!("before\n{long}\nafter\n");
    for (options, expected) in [
        (vec![("read_from_head", "on")], vec![6, 2 << 20, 5]),
        (
            vec![("read_from_head", "on"), ("skip_long_lines", "on")],
            vec![6, 5],
        ),
        (
            vec![("read_from_head", "on"), ("buffer_max_size", "99")],
            vec![6, 98, 5],
        ),
    ] {
        let mut b = Bench::new(&options);
        b.append("a.log", &text);
        b.start();
        let lengths: Vec<usize> = b.records().iter().map(String::len).collect();
        assert_eq!(lengths, expected);
        let c = b.counters();
        assert_eq!(c.long_line_truncated.get() + c.long_line_skipped.get(), 1);
        assert!(b.running.as_ref().unwrap().0.buffer.capacity() < 1 << 20);
    }
}

#[test]
fn a_long_line_that_grows_slowly_is_not_read_again_and_again() {
    let mut b = Bench::started(&[]);
    let piece = "y".repeat(100_000);
    for _ in 0..5 {
        b.append("a.log", &piece);
        assert_eq!(b.records(), Vec::<String>::new());
    }
    b.append("a.log", "\nz\n");
    assert_eq!(b.records(), [piece.repeat(5), "z".to_owned()]);
}
