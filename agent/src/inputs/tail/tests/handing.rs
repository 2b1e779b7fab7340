//! Records that a rotation cuts in two.

use super::*;

/// How the file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotation {
    Rename,
    CopyAndTruncate,
}

/// Options, what is written to each generation, and the records.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);

const CASES: [Case<'_>; 5] = [
    (
        CRI,
        &["T stdout P begin-\n", "T stdout F end\n"],
        &["begin-end"],
    ),
    (
        CRI,
        &[
            "T stdout F one\nT stdout P a-\nT stderr F two\nT stderr P b-\n",
            "T stdout P c-\nT stderr F d\nT stderr F three\nT stdout F e\nT stdout F four\n",
        ],
        &["one", "two", "b-d", "three", "a-c-e", "four"],
    ),
    (
        CRI,
        &[
            "T stdout P a-\n",
            "T stdout P b-\n",
            "",
            "T stdout P c-\n",
            "T stdout F d\nT stdout F e\n",
        ],
        &["a-b-c-d", "e"],
    ),
    (
        &[("multiline.parser", "java"), ("read_from_head", "on")],
        &[
            "plain\nException in thread \"main\" java.lang.RuntimeException: x\n    at a.b(C.java:1)\n",
            "    at a.b(C.java:2)\nafter\n",
        ],
        &[
            "plain\n",
            "Exception in thread \"main\" java.lang.RuntimeException: x\n    at a.b(C.java:1)\n    at a.b(C.java:2)\n",
            "after\n",
        ],
    ),
    (
        &[
            ("docker_mode", "on"),
            ("parser", "json"),
            ("read_from_head", "on"),
        ],
        &[
            "{\"log\":\"a\\n\",\"stream\":\"stdout\"}\n{\"log\":\"begin \",\"stream\":\"stdout\"}\n",
            "{\"log\":\"end\\n\",\"stream\":\"stdout\"}\n",
        ],
        &["a\n", "begin end\n"],
    ),
];

/// What happens at a step: nothing, a look, all there is to do, a crash before or after sending.
fn happen(b: &mut Bench, what: u64) {
    match what {
        0 => {}
        1 => b.look(),
        2 => b.settle(),
        3 => {
            b.crash();
            b.start();
        }
        _ => {
            b.deliver_and_crash();
            b.start();
        }
    }
}

#[test]
fn a_record_across_a_rotation_is_one_record_whatever_happens_meanwhile() {
    for (number, (options, generations, expected)) in CASES.into_iter().enumerate() {
        for rotation in [Rotation::Rename, Rotation::CopyAndTruncate] {
            // Of all histories of four steps every eleventh, so that all pairs of events come up.
            for events in (0..5_u64.pow(4)).step_by(11) {
                let mut b = Bench::started(options);
                b.append("a.log", "");
                b.look();
                let mut left = events;
                let mut step = |b: &mut Bench| {
                    happen(b, left % 5);
                    left /= 5;
                };
                for (n, text) in generations.iter().enumerate() {
                    if n > 0 && rotation == Rotation::Rename {
                        b.rename("a.log", &format!("a.log.{n:05}"));
                        b.append("a.log", "");
                    } else if n > 0 {
                        // A copy of what was never read cannot be told from news.
                        b.settle();
                        fs::copy(b.path("a.log"), b.path(&format!("a.log.{n:05}"))).unwrap();
                        File::create(b.path("a.log")).unwrap();
                        b.settle();
                    }
                    step(&mut b);
                    let text = text.replace("T ", "2026-11-21T09:00:00Z ");
                    b.append("a.log", text);
                    step(&mut b);
                }
                b.settle();
                let mut records = b.store.take_records();
                if number == 4 {
                    records.retain(|r| !r.is_empty());
                }
                let history = format!("case {number}, {rotation:?}, events {events}");
                assert_eq!(records, expected, "{history}");
                b.crash();
                b.start();
                b.settle();
                assert_eq!(b.store.take_records(), [""; 0], "{history}");
                let tailer = &b.running.as_ref().unwrap().0;
                let open = tailer.generations.values();
                assert_eq!(open.filter(|g| g.rotated.is_some()).count(), 0, "{history}");
            }
        }
    }
}

#[test]
fn what_nobody_goes_on_with_is_not_lost() {
    let mut b = Bench::started(CRI);
    b.append("a.log", "2026-11-21T09:00:00Z stdout P begin-\n");
    b.settle();
    b.rename("a.log", "a.log.1");
    b.append("a.log", "2026-11-21T09:00:00Z stderr F other\n");
    assert_eq!(b.records(), ["other"]);
    // Handed on; then the younger generation vanishes.
    b.crash();
    fs::remove_file(b.path("a.log")).unwrap();
    b.start();
    assert_eq!(b.records(), ["begin-"]);
    b.crash();
    b.start();
    assert_eq!(b.records(), [""; 0]);
}

#[test]
fn an_inherited_part_that_waits_too_long_is_cut_in_the_same_place_after_a_crash() {
    for lines in ["", "2026-11-21T09:00:00Z stderr F other\n"] {
        let mut b = Bench::started(CRI);
        b.append("a.log", "2026-11-21T09:00:00Z stdout P begin-\n");
        b.settle();
        b.rename("a.log", "a.log.1");
        b.append(
            "a.log",
            format!("{lines}2026-11-21T09:00:00Z stderr F last\n"),
        );
        b.settle();
        let (tailer, _) = b.running.as_mut().unwrap();
        let rules = &tailer.options.rules;
        for generation in tailer.generations.values_mut() {
            generation.cut_all(rules, &mut tailer.scratch, (Instant::now(), 0));
        }
        tailer.next_flush = Some(Instant::now());
        b.deliver_and_crash();
        b.append("a.log", "2026-11-21T09:00:00Z stdout F end\n");
        b.start();
        b.settle();
        let mut records = b.store.take_records();
        records.retain(|r| r != "other" && r != "last");
        assert_eq!(records, ["begin-", "end"]);
    }
}

#[test]
fn a_part_waits_while_its_rest_cannot_be_read() {
    let mut b = Bench::started(&[CRI[0], CRI[1], ("multiline_flush", "0")]);
    b.append("a.log", "2026-11-21T09:00:00Z stdout P begin-\n");
    b.look();
    b.rename("a.log", "a.log.1");
    b.append("a.log", "2026-11-21T09:00:00Z stdout F end\n");
    let (tailer, _) = b.running.as_mut().unwrap();
    tailer.scan();
    tailer.chores();
    assert_eq!(b.records(), ["begin-end"]);
}
