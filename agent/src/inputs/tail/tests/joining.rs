//! Records of several lines.

use super::*;

#[test]
fn partial_cri_lines_are_joined_per_stream() {
    let mut b = Bench::new(CRI);
    b.append(
        "a.log",
        "2026-11-21T09:00:00.1Z stdout P begin-\n\
         2026-11-21T09:00:00.2Z stderr F other\n\
         2026-11-21T09:00:00.3Z stdout P middle-\n\
         2026-11-21T09:00:00.4Z stdout F end\n\
         no cri line\n\
         {\"log\":\"docker \\\"quoted\\\"\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T09:00:01Z\"}\n",
    );
    b.start();
    let (tailer, captured) = b.running.as_mut().unwrap();
    for _ in 0..3 {
        tailer.next_flush = Some(Instant::now());
        tailer.step(false);
    }
    let batches = captured.take();
    let RecordBatch::Logs(logs) = &*batches[0] else {
        panic!("logs")
    };
    let row = |n: usize| {
        ["time", "stream", "_p", "log"]
            .map(|c| text_of(logs, c, n))
            .join(" ")
    };
    assert_eq!(row(0), "2026-11-21T09:00:00.2Z stderr F other");
    assert_eq!(row(1), "2026-11-21T09:00:00.1Z stdout P begin-middle-end");
    assert_eq!(row(2), "Some(Absent) Some(Absent) Some(Absent) no cri line");
    assert_eq!(
        row(3),
        "2026-11-21T09:00:01Z stdout Some(Absent) docker \"quoted\"\n"
    );
    assert_eq!(logs.times()[1] % 1_000_000_000, 100_000_000);
    assert_eq!(
        &*logs.tag,
        format!("kube.{}", {
            let path = b.dir.path().join("a.log").display().to_string();
            path.trim_start_matches('/')
                .replace('/', ".")
                .replace("..", ".")
        })
    );
    assert!(
        logs.resource
            .attribute("log.file.path")
            .unwrap()
            .ends_with("a.log")
    );
}

#[test]
fn a_crash_with_a_pending_part_repeats_nothing_and_loses_nothing() {
    let mut b = Bench::new(CRI);
    b.append(
        "a.log",
        "2026-11-21T09:00:00Z stdout P begin-\n2026-11-21T09:00:00Z stderr F other\n",
    );
    b.start();
    assert_eq!(b.records(), ["other"]);
    b.crash();
    b.append("a.log", "2026-11-21T09:00:00Z stdout F end\n");
    b.start();
    assert_eq!(b.records(), ["begin-end"]);
    assert_eq!(
        b.store.n_repeated, 0,
        "'other' was acknowledged and is not even sent again"
    );
}

#[test]
fn a_part_that_waited_too_long_is_cut_in_the_same_place_after_a_crash() {
    let mut b = Bench::new(&[CRI[0], CRI[1], ("multiline_flush", "0")]);
    b.append("a.log", "2026-11-21T09:00:00Z stdout P begin-\n");
    b.start();
    b.running.as_mut().unwrap().0.chores();
    b.deliver_and_crash();
    assert_eq!(b.store.take_records(), ["begin-"]);
    b.append("a.log", "2026-11-21T09:00:00Z stdout F end\n");
    b.start();
    assert_eq!(b.records(), ["end"]);
    assert_eq!(b.store.n_repeated, 1);
}

#[test]
fn a_part_of_each_stream_cut_at_the_same_place_at_different_times_is_lost_by_no_crash() {
    let mut b = Bench::new(&[CRI[0], CRI[1]]);
    b.append(
        "a.log",
        "2026-11-21T09:00:00Z stderr P one-\n2026-11-21T09:00:00Z stdout P two-\n",
    );
    b.start();
    assert_eq!(b.records(), Vec::<String>::new());
    for slot in [2, 1] {
        let (tailer, _) = b.running.as_mut().unwrap();
        let now = (Instant::now(), 0);
        let rules = &tailer.options.rules;
        for generation in tailer.generations.values_mut() {
            generation.cut(rules, &mut tailer.scratch, now, slot);
        }
        if slot == 2 {
            assert_eq!(b.records(), ["one-"]);
        }
    }
    b.crash_after_storing();
    b.start();
    assert_eq!(b.records(), ["two-"]);
}

const TRACE: [&str; 4] = [
    "Exception in thread \"main\" java.lang.RuntimeException: x",
    "    at a.b(C.java:1)",
    "    at a.b(C.java:2)",
    "after",
];

#[test]
fn a_trace_is_one_record_with_a_newline_at_its_end_as_in_fluent_bit() {
    let mut b = Bench::new(&[("multiline.parser", "java"), ("read_from_head", "on")]);
    b.append("a.log", format!("plain one\n{}\n", TRACE.join("\n")));
    b.start();
    let trace = TRACE[..3].join("\n") + "\n";
    assert_eq!(b.records(), ["plain one\n", &trace, "after\n"]);
}

#[test]
fn a_trace_within_a_runtimes_lines_is_joined_per_stream() {
    for list in ["docker, cri, java", "java, cri"] {
        let mut b = Bench::new(&[("multiline.parser", list), ("read_from_head", "on")]);
        let cri = |stream: &str, flag: &str, text: &str| {
            format!("2026-11-21T09:00:00Z {stream} {flag} {text}\n")
        };
        b.append(
            "a.log",
            cri("stdout", "F", TRACE[0]) + &cri("stderr", "F", "other"),
        );
        b.append(
            "a.log",
            cri("stdout", "P", "    at a.b") + &cri("stdout", "F", "(C.java:1)"),
        );
        b.start();
        assert_eq!(b.records(), ["other"]);
        // In the middle of the trace, and with a batch delivered but not acknowledged.
        b.append("a.log", cri("stderr", "F", "another"));
        b.deliver_and_crash();
        b.start();
        b.append(
            "a.log",
            cri("stdout", "F", TRACE[2]) + &cri("stdout", "F", TRACE[3]),
        );
        let trace = TRACE[..3].join("\n");
        assert_eq!(b.records(), ["another", &trace, "after"], "{list}");
    }
}

#[test]
fn a_trace_that_waits_too_long_goes_on_as_the_next_record_also_after_a_crash() {
    let mut b = Bench::new(&[("multiline.parser", "java"), ("read_from_head", "on")]);
    b.append("a.log", format!("{}\n{}\n", TRACE[0], TRACE[1]));
    b.start();
    assert_eq!(b.records(), Vec::<String>::new());
    let (tailer, _) = b.running.as_mut().unwrap();
    let rules = &tailer.options.rules;
    for generation in tailer.generations.values_mut() {
        generation.cut_all(rules, &mut tailer.scratch, (Instant::now(), 0));
    }
    tailer.next_flush = Some(Instant::now());
    b.deliver_and_crash();
    b.append("a.log", format!("{}\n{}\n", TRACE[2], TRACE[3]));
    b.start();
    let begin = TRACE[..2].join("\n") + "\n";
    let rest = format!("{}\n", TRACE[2]);
    assert_eq!(b.records(), [&begin, &rest, "after\n"]);
    assert_eq!(b.store.n_repeated, 1);
}

#[test]
fn a_users_multiline_parser_joins_a_field_per_group() {
    let mut b = Bench::new(&[("multiline.parser", "stanza"), ("read_from_head", "on")]);
    for (stream, text) in [("a", "one"), ("b", "1"), ("a", "two."), ("b", "2.")] {
        b.append(
            "a.log",
            format!("{{\"log\":\"{text}\",\"stream\":\"{stream}\"}}\n"),
        );
    }
    b.append("a.log", "no json\n");
    b.start();
    let records = b.fields();
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(records[0].starts_with("log=one") && records[0].contains("two.|stream=a"));
    assert!(records[1].starts_with("log=1") && records[1].contains("2.|stream=b"));
    assert_eq!(records[2], "log=no json\n");
}

#[test]
fn the_old_multiline_mode_joins_lines_to_the_last_field_as_fluent_bit_does() {
    let mut b = Bench::new(&[
        ("multiline", "on"),
        ("parser_firstline", "first"),
        ("parser_1", "more"),
        ("read_from_head", "on"),
        ("offset_key", "o"),
        ("multiline_flush", "3600"),
    ]);
    b.append(
        "a.log",
        "before\n123 INFO hello\n more\nK=v\n again\n124 WARN next\n",
    );
    b.start();
    let complete = [
        "o=0|log=before",
        "o=7|level=INFO|msg=hello\n more|k=v\n again",
    ];
    assert_eq!(b.fields(), complete);
    // The open group is read again, whatever of it there was.
    b.append("a.log", "rest\n");
    b.crash();
    b.append("a.log", "125 INFO x\n");
    b.start();
    assert_eq!(b.fields(), ["o=39|level=WARN|msg=next\nrest"]);
    assert_eq!(b.store.n_repeated, 0);
}

#[test]
fn docker_mode_joins_json_before_the_parser_as_fluent_bit_does() {
    let lines = "{\"log\":\"part \",\"stream\":\"stdout\",\"time\":\"t1\"}\n\
         {\"log\":\"end\\n\",\"stream\":\"stdout\",\"time\":\"t2\"}\nplain\n";
    let on = [("docker_mode", "on"), ("read_from_head", "on")];
    for (parser, expected) in [
        (
            Some(("parser", "json")),
            "log=part end\n|stream=stdout|time=t2",
        ),
        (
            None,
            "log={\"log\":\"part end\\n\",\"stream\":\"stdout\",\"time\":\"t2\"}",
        ),
    ] {
        let options: Vec<_> = on.into_iter().chain(parser).collect();
        let mut b = Bench::new(&options);
        b.append("a.log", lines);
        b.start();
        assert_eq!(b.fields(), [expected, "log=plain"]);
    }
}

#[test]
fn docker_mode_adds_complete_lines_to_a_first_line() {
    let mut b = Bench::new(&[
        ("docker_mode", "on"),
        ("docker_mode_parser", "first_json"),
        ("parser", "json"),
        ("read_from_head", "on"),
    ]);
    for text in ["123 A x", "more", "124 B y"] {
        b.append(
            "a.log",
            format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\"}}\n"),
        );
    }
    b.start();
    assert_eq!(b.records(), ["123 A x\nmore\n"]);
    b.append("a.log", "no json\n");
    assert_eq!(b.records(), ["124 B y\n", "no json"]);
}

#[test]
fn joined_records_are_cut_at_the_limit_without_losing_a_byte() {
    let mut b = Bench::new(&[CRI[0], CRI[1], ("multiline_buffer_limit", "1024")]);
    let part = "x".repeat(600);
    for flag in ["P", "P", "F"] {
        b.append(
            "a.log",
            format!("2026-11-21T09:00:00Z stdout {flag} {part}\n"),
        );
    }
    b.start();
    assert_eq!(b.records(), [&part[..], &part[..], &part[..]]);
    assert_eq!(b.counters().multiline_truncated.get(), 2);
}
