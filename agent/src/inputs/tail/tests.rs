//! The tail driven by hand: no thread, no events, no waiting. A "crash" drops it with everything
//! that has not been acknowledged; the store beside it drops repeats as the aggregator does.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use kansoku_model::{LogBatch, Position, RecordBatch, Settings, SourceId, Value};

use super::*;
use crate::pipeline::Captured;
use crate::plugin::Environment;

/// Keeps every record once, by the marks of the sources.
#[derive(Default)]
struct Store {
    marks: HashMap<SourceId, Position>,
    records: Vec<String>,
    n_repeated: usize,
    /// Keep all fields, not the text alone.
    whole: bool,
}

fn all_fields(logs: &LogBatch, row: usize) -> String {
    let has = |c: &&kansoku_model::Column| c.values[row] != Value::Absent;
    let columns = logs.columns().iter().filter(has);
    let shown: Vec<String> = columns
        .map(|c| match c.values[row] {
            Value::Int(n) => format!("{}={n}", c.name),
            _ => format!("{}={}", c.name, text_of(logs, &c.name, row)),
        })
        .collect();
    shown.join("|")
}

fn text_of(logs: &LogBatch, column: &str, row: usize) -> String {
    match logs.column(column).map(|c| c.values[row]) {
        Some(Value::Text(s)) => String::from_utf8_lossy(logs.bytes(s)).into_owned(),
        other => format!("{other:?}"),
    }
}

impl Store {
    fn take(&mut self, batch: &RecordBatch) {
        let RecordBatch::Logs(logs) = batch else {
            panic!("logs expected")
        };
        let mark = self.marks.entry(logs.source.id).or_default();
        let mut last = logs.source.from;
        for (row, &position) in logs.positions().iter().enumerate() {
            assert!(
                position > last,
                "positions must grow: {last:?} {position:?}"
            );
            last = position;
            if position > *mark {
                self.records.push(if self.whole {
                    all_fields(logs, row)
                } else {
                    text_of(logs, "log", row)
                });
            } else {
                self.n_repeated += 1;
            }
        }
        assert!(last <= logs.source.to);
        *mark = (*mark).max(logs.source.to);
    }

    fn take_records(&mut self) -> Vec<String> {
        std::mem::take(&mut self.records)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Bench {
    dir: tempfile::TempDir,
    options: Vec<(String, String)>,
    running: Option<(Tailer, Captured)>,
    store: Store,
    n_outputs: usize,
    /// Of the second output, which takes nothing while it is dead.
    second: Store,
    is_second_dead: bool,
}

impl Bench {
    /// A folder, a database, and a tail of `*.log` that is not started yet.
    fn new(options: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut all = vec![
            ("path".to_owned(), path("*.log")),
            ("db".to_owned(), path("tail.db")),
            ("rotate_wait".to_owned(), "0".to_owned()),
            ("inotify_watcher".to_owned(), "off".to_owned()),
        ];
        all.extend(
            options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        Self {
            dir,
            options: all,
            running: None,
            store: Store::default(),
            n_outputs: 1,
            second: Store::default(),
            is_second_dead: false,
        }
    }

    fn started(options: &[(&str, &str)]) -> Self {
        let mut bench = Self::new(options);
        bench.start();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    /// As kubelet and logrotate do it: the compressed file is complete before the original goes.
    fn compress(&self, name: &str) {
        let packed = self.path(&format!("{name}.gz"));
        fs::write(&packed, gzip(&fs::read(self.path(name)).unwrap())).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn environment() -> Environment {
        let parser = |pairs: &[(&str, &str)]| {
            let settings = Settings::of("parser", pairs);
            let parser = kansoku_parsers::line::Parser::new(&settings, &|_| None).unwrap();
            (parser.name().to_owned(), Arc::new(parser))
        };
        let first = r"^(?<time>\d+) (?<level>[A-Z]+) (?<msg>.*)$";
        let more = r"^K=(?<k>.*)$";
        Environment {
            parsers: Arc::new(
                [
                    parser(&[
                        ("name", "first"),
                        ("format", "regex"),
                        ("regex", first),
                        ("time_key", "time"),
                        ("time_format", "%s"),
                    ]),
                    parser(&[("name", "more"), ("format", "regex"), ("regex", more)]),
                    parser(&[("name", "json"), ("format", "json")]),
                    parser(&[
                        ("name", "first_json"),
                        ("format", "regex"),
                        ("regex", r#"^{"log":"(?<time>\d+) "#),
                    ]),
                ]
                .into_iter()
                .collect(),
            ),
            multilines: Arc::new(
                (kansoku_parsers::line::multiline::builtin::all().into_iter())
                    .map(|m| (m.name().to_owned(), Arc::new(m)))
                    .chain([("stanza".to_owned(), Arc::new(Self::stanza()))])
                    .collect(),
            ),
            ..Environment::default()
        }
    }

    /// A multiline parser of a user's: JSON lines, joined per stream up to one that ends with a dot.
    fn stanza() -> kansoku_parsers::line::multiline::Multiline {
        let json = [("name", "json"), ("format", "json")];
        let json = Settings::of("parser", &json);
        let json = Arc::new(kansoku_parsers::line::Parser::new(&json, &|_| None).unwrap());
        let settings = Settings::of(
            "multiline_parser",
            &[
                ("name", "stanza"),
                ("type", "endswith"),
                ("match_string", "."),
                ("parser", "json"),
                ("key_content", "log"),
                ("key_group", "stream"),
            ],
        );
        kansoku_parsers::line::multiline::Multiline::new(&settings, &|_| Some(json.clone()))
            .unwrap()
    }

    fn start(&mut self) {
        let pairs: Vec<(&str, &str)> = (self.options.iter())
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let settings = Settings::of("tail", &pairs);
        settings.check(super::super::option_list::OPTIONS).unwrap();
        let options = TailOptions::new(&settings, &Self::environment()).unwrap();
        let (link, captured) = Link::captured_by("kube.*", Duration::ZERO, self.n_outputs);
        let mut tailer = Tailer::new(Arc::new(options), link).unwrap();
        tailer.tick = Duration::ZERO;
        self.running = Some((tailer, captured));
        self.look();
    }

    /// Scans, and does one round without delivering anything.
    fn look(&mut self) {
        let (tailer, _) = self.running.as_mut().unwrap();
        tailer.next_scan = Instant::now();
        tailer.step(false);
    }

    /// Goes on until nothing is left to read, send or acknowledge.
    fn settle(&mut self) {
        self.look();
        let mut n_quiet = 0;
        for _ in 0..10_000 {
            let (tailer, captured) = self.running.as_mut().unwrap();
            tailer.next_flush = tailer.next_flush.map(|_| Instant::now());
            tailer.step(false);
            let batches = captured.take();
            batches.iter().for_each(|b| self.store.take(b));
            if self.n_outputs == 2 && !self.is_second_dead {
                let batches = captured.take_of(1);
                batches.iter().for_each(|b| self.second.take(b));
            }
            n_quiet = if batches.is_empty() { n_quiet + 1 } else { 0 };
            if self.is_second_dead && n_quiet > 20 {
                return;
            }
            tailer.chores();
            tailer.take_acknowledgements();
            tailer.save();
            let open = tailer.generations.values();
            let busy = |g: &Generation| {
                g.hot && tailer.has_room_for(g) || g.has_batch() || g.has_flights()
            };
            let closing = |g: &Generation| g.rotated.is_some() || g.lag.is_some();
            if batches.is_empty() && !open.clone().any(|g| busy(g) || closing(g)) {
                return;
            }
        }
        panic!("the tail does not come to rest");
    }

    /// Reads and sends, but no acknowledgement comes back before the crash.
    fn deliver_and_crash(&mut self) {
        for _ in 0..4 {
            let (tailer, captured) = self.running.as_mut().unwrap();
            tailer.next_flush = tailer.next_flush.map(|_| Instant::now());
            tailer.step(false);
            let batches = captured.take_unacknowledged();
            batches.iter().for_each(|b| self.store.take(b));
        }
        self.crash();
    }

    /// As a crash after rows were stored and before anything was sent.
    fn crash_after_storing(&mut self) {
        let (tailer, _) = self.running.as_mut().unwrap();
        let keys: Vec<Key> = tailer.generations.keys().copied().collect();
        assert!(tailer.store_before_sending(&keys));
        self.crash();
    }

    fn crash(&mut self) {
        self.running = None;
    }

    /// The fields of everything that comes, one record after the other.
    fn fields(&mut self) -> Vec<String> {
        self.store.whole = true;
        let records = self.records();
        self.store.whole = false;
        records
    }

    fn records(&mut self) -> Vec<String> {
        self.settle();
        self.store.take_records()
    }

    fn counters(&self) -> &crate::pipeline::InputCounters {
        &self.running.as_ref().unwrap().0.link.counters
    }
}

#[test]
fn lines_arrive_as_they_are_written_and_unfinished_ones_wait() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "one\r\ntwo\n\nunfin");
    assert_eq!(b.records(), ["one", "two", ""]);
    b.append("a.log", "ished\n");
    assert_eq!(b.records(), ["unfinished"]);
}

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

const CRI: &[(&str, &str)] = &[
    ("multiline.parser", "docker, cri"),
    ("read_from_head", "on"),
];

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

#[test]
fn every_generation_between_two_looks_is_read_in_order() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.20260101-000001");
    b.append("a.log", "3\n");
    b.rename("a.log", "a.log.20260101-000002");
    b.append("a.log", "4\nunfinished");
    b.rename("a.log", "a.log.20260101-000003");
    b.append("a.log", "5\n");
    assert_eq!(b.records(), ["2", "3", "4", "unfinished", "5"]);
    b.append("a.log", "6\n");
    assert_eq!(b.records(), ["6"]);
}

#[test]
fn what_was_rotated_and_deleted_while_the_agent_was_down_is_found_by_its_content() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.crash();
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.1");
    b.append("a.log", "3\n");
    b.rename("a.log.1", "a.log.2");
    b.rename("a.log", "a.log.1");
    b.append("a.log", "4\n");
    b.start();
    assert_eq!(b.records(), ["2", "3", "4"]);
    b.crash();
    fs::remove_file(b.path("a.log.2")).unwrap();
    b.start();
    assert_eq!(b.records(), Vec::<String>::new(), "nothing is read twice");
}

#[test]
fn generations_compressed_while_the_agent_is_down_are_read_to_their_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1 all read\n");
    assert_eq!(b.records(), ["1 all read"]);
    b.rename("a.log", "a.log.20260101-000001");
    b.append("a.log", "2 begun\n");
    assert_eq!(b.records(), ["2 begun"]);
    b.crash();
    b.append("a.log", "3 not read\n");
    for n in 2..5 {
        b.rename("a.log", &format!("a.log.20260101-00000{n}"));
        b.append("a.log", format!("{} generation {n}\n", n + 2));
    }
    for n in 1..4 {
        b.compress(&format!("a.log.20260101-00000{n}"));
    }
    b.start();
    let expected = [
        "3 not read",
        "4 generation 2",
        "5 generation 3",
        "6 generation 4",
    ];
    assert_eq!(b.records(), expected);
    // Nothing is read again: not by looks, not after a restart, not when the rest is compressed.
    b.compress("a.log.20260101-000004");
    for _ in 0..3 {
        assert_eq!(b.records(), Vec::<String>::new());
    }
    b.crash();
    b.start();
    b.rename("a.log", "a.log.20260101-000005");
    b.append("a.log", "7\n");
    assert_eq!(b.records(), ["7"]);
    assert_eq!(b.store.n_repeated, 0);
}

#[test]
fn a_generation_compressed_while_it_is_read_is_read_once() {
    let mut b = Bench::new(&[]);
    b.options[2].1 = "3600".to_owned();
    b.start();
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.append("a.log", "2\n");
    b.rename("a.log", "a.log.1");
    b.append("a.log", "3\n");
    b.look();
    b.compress("a.log.1");
    b.deliver_and_crash();
    b.start();
    for _ in 0..3 {
        b.look();
    }
    b.options[2].1 = "0".to_owned();
    b.crash();
    b.start();
    let mut records = b.records();
    records.sort();
    assert_eq!(records, ["2", "3"]);
}

#[test]
fn what_was_not_to_be_read_is_not_read_compressed_either() {
    for (from_head, expected) in [("off", vec!["new"]), ("on", vec!["oldest", "old", "new"])] {
        let mut b = Bench::new(&[("read_from_head", from_head)]);
        b.append("a.log.2", "oldest\n");
        b.compress("a.log.2");
        b.append("a.log.1", "old\n");
        b.append("a.log", "");
        for name in ["a.log.2.gz", "a.log.1"] {
            let file = File::options().append(true).open(b.path(name)).unwrap();
            let time = SystemTime::now() - Duration::from_secs(3600);
            file.set_modified(time).unwrap();
        }
        b.start();
        b.append("a.log", "new\n");
        assert_eq!(b.records(), expected);
        b.rename("a.log.2.gz", "a.log.3.gz");
        b.rename("a.log.1", "a.log.2");
        b.compress("a.log.2");
        b.rename("a.log", "a.log.1");
        b.append("a.log", "newer\n");
        assert_eq!(b.records(), ["newer"], "{from_head}");
    }
}

#[test]
fn compressed_files_that_match_are_read_and_damaged_ones_as_far_as_they_go() {
    let mut b = Bench::new(&[("read_from_head", "on")]);
    b.options[0].1 = b.path("*.gz").display().to_string();
    b.append("a.gz", gzip(b"1\n2\n"));
    let lines: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    let whole = gzip(lines.as_bytes());
    b.append("b.gz", &whole[..whole.len() / 2]);
    b.append("c.gz", "no gzip\n");
    b.start();
    let mut records = b.records();
    let n = records.len() - 3;
    for line in ["1", "2", "no gzip"] {
        assert!(records.contains(&line.to_owned()));
    }
    records.retain(|r| r.starts_with("line "));
    assert!(n > 1000 && records.len() == n && records[n - 1] == format!("line {}", n - 1));
    assert_eq!(b.counters().files_lost.get(), 1);
    b.crash();
    b.start();
    assert_eq!(b.records(), Vec::<String>::new());
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    b.look();
    b.append("a.log", "2\n");
    fs::remove_file(b.path("a.log")).unwrap();
    assert_eq!(b.records(), ["1", "2"]);
    b.append("a.log", "a new file, perhaps with the same inode\n");
    assert_eq!(b.records(), ["a new file, perhaps with the same inode"]);
}

#[test]
fn a_copy_made_before_truncation_is_read_to_its_end() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    b.append("a.log", "2\n");
    fs::copy(b.path("a.log"), b.path("a.log.1")).unwrap();
    File::create(b.path("a.log")).unwrap();
    assert_eq!(b.records(), ["2"]);
    b.append("a.log", "3 and the file is longer than it was before\n");
    assert_eq!(b.records(), ["3 and the file is longer than it was before"]);
    // The same while the agent is down, and grown past the old offset at once.
    b.crash();
    b.append("a.log", "4\n");
    b.rename("a.log.1", "a.log.2");
    fs::copy(b.path("a.log"), b.path("a.log.1")).unwrap();
    File::create(b.path("a.log")).unwrap();
    b.append(
        "a.log",
        "5 is longer than anything that stood here before it came along, really\n",
    );
    b.start();
    let last = "5 is longer than anything that stood here before it came along, really";
    assert_eq!(b.records(), ["4", last]);
}

#[test]
fn truncation_without_a_copy_starts_again_even_when_the_file_has_grown_past_the_offset() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    assert_eq!(b.records(), ["1"]);
    File::create(b.path("a.log")).unwrap();
    b.append("a.log", "new and longer\n");
    assert_eq!(b.records(), ["new and longer"]);
    // A writer without O_APPEND leaves a hole.
    let writer = File::options().write(true).open(b.path("a.log")).unwrap();
    writer.set_len(0).unwrap();
    use std::os::unix::fs::FileExt;
    writer.write_at(b"after the hole\n", 15).unwrap();
    assert_eq!(b.records(), ["after the hole"]);
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

#[test]
fn while_the_pipeline_is_full_new_files_are_held_open() {
    let mut b = Bench::started(&[]);
    for n in 0..12 {
        b.append("a.log", format!("{n:07}").repeat(150_000) + "\n");
    }
    b.look();
    for _ in 0..20 {
        b.running.as_mut().unwrap().0.step(false);
    }
    assert!(!b.running.as_ref().unwrap().0.link.has_room());
    b.append("b.log", "short-lived\n");
    b.look();
    fs::remove_file(b.path("b.log")).unwrap();
    b.look();
    let records = b.records();
    assert_eq!(records.len(), 13);
    assert!(records.contains(&"short-lived".to_owned()));
}

#[test]
fn a_dead_output_keeps_nobody_waiting_and_misses_nothing_not_even_after_crashes() {
    for partial in [false, true] {
        let mut b = Bench::new(CRI);
        b.n_outputs = 2;
        b.start();
        let mut n = 0;
        let mut expected = Vec::new();
        let mut write = |b: &Bench, n_lines: usize| {
            for _ in 0..n_lines {
                let text = format!("{n:07}").repeat(40_000);
                let (begin, end) = text.split_at(100);
                let flag = if partial { "P" } else { "F" };
                b.append(
                    "a.log",
                    format!("2026-11-21T09:00:00Z stdout {flag} {begin}\n"),
                );
                b.append("a.log", format!("2026-11-21T09:00:00Z stderr F {n}\n"));
                b.append("a.log", format!("2026-11-21T09:00:00Z stdout F {end}\n"));
                n += 1;
                expected.push(text);
            }
            expected.len()
        };
        let count = |store: &Store| {
            let parts: usize = store.records.iter().map(String::len).sum();
            parts / 280_000
        };
        write(&b, 2);
        b.settle();
        assert_eq!((count(&b.store), count(&b.second)), (2, 2));
        b.is_second_dead = true;
        let n_written = write(&b, 40);
        b.settle();
        assert_eq!(count(&b.store), n_written, "the first has all");
        assert!(b.running.as_ref().unwrap().0.generations.len() > 1);
        // Rotated meanwhile, and killed: the first gets nothing again that was saved.
        b.rename("a.log", "a.log.00001");
        let n_written = write(&b, 20);
        b.settle();
        b.crash();
        b.start();
        b.settle();
        assert_eq!(count(&b.store), n_written);
        assert_eq!(b.store.n_repeated, 0, "its cursor was further");
        b.is_second_dead = false;
        b.deliver_and_crash();
        b.start();
        b.settle();
        let n_written = write(&b, 3);
        b.settle();
        for store in [&b.store, &b.second] {
            assert_eq!(count(store), n_written);
            let order: Vec<usize> = (store.records.iter())
                .filter_map(|r| r.parse().ok().filter(|_| r.len() < 7))
                .collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted, (0..n_written).collect::<Vec<_>>());
            assert_eq!(order.len(), n_written, "each once");
        }
        let tailer = &b.running.as_ref().unwrap().0;
        assert!(tailer.generations.values().all(|g| g.lag.is_none()));
    }
}

#[test]
fn batches_end_where_requests_ended_before_a_crash() {
    let mut b = Bench::started(&[("read_from_head", "on")]);
    b.append("a.log", "");
    b.look();
    b.append("a.log", "1\n22\n333\n4444\n");
    let (tailer, captured) = b.running.as_mut().unwrap();
    // At the end of a line, and within the line that ended a group before it.
    let ends = [Position::at(5), Position::at(6)];
    for generation in tailer.generations.values_mut() {
        generation.ends = Arc::new(ends);
        generation.hot = true;
    }
    let mut ends = Vec::new();
    for _ in 0..6 {
        tailer.next_flush = Some(Instant::now());
        tailer.step(false);
        ends.extend(captured.take().iter().map(|b| b.source().to.offset));
    }
    assert_eq!(ends, [5, 9, 14]);
}

#[test]
fn the_lag_says_what_is_not_delivered_and_ends_with_the_delivery() {
    let mut b = Bench::new(CRI);
    b.append("a.log", "2026-11-21T09:00:00Z stdout F done\n");
    b.start();
    b.settle();
    let text = "2020-01-01T00:00:00Z stdout F old\n2026-11-21T09:00:00Z stdout P begin\n";
    b.append("a.log", text);
    b.look();
    let tailer = &mut b.running.as_mut().unwrap().0;
    tailer.step(false);
    tailer.measure();
    assert_eq!(b.counters().lag_bytes.get(), text.len() as u64);
    let years = b.counters().lag_seconds.get() / (365 * 24 * 3600);
    assert!((5..50).contains(&years), "{years}");
    b.append("a.log", "2026-11-21T09:00:00Z stdout F end\n");
    b.settle();
    let tailer = &mut b.running.as_mut().unwrap().0;
    tailer.measure();
    assert!(
        tailer.next_measure.is_none(),
        "nothing wakes it up any more"
    );
    assert_eq!(b.counters().lag_bytes.get(), 0);
    assert_eq!(b.counters().lag_seconds.get(), 0);
}

#[test]
fn a_younger_generation_does_not_overtake_an_older_one() {
    for of_request in [false, true] {
        let mut b = Bench::started(&[]);
        b.append("a.log", "1\n");
        b.look();
        if of_request {
            // Else a request of before a crash that has batches of both could not be made again.
            let mut generations = b.running.as_mut().unwrap().0.generations.values_mut();
            generations.next().unwrap().ends = Arc::new([Position::at(2)]);
        }
        b.rename("a.log", "a.log.1");
        b.append("a.log", "2\n");
        for _ in 0..10 {
            b.look();
            let (tailer, _) = b.running.as_mut().unwrap();
            tailer.next_flush = tailer.next_flush.map(|_| Instant::now());
        }
        let (_, captured) = b.running.as_mut().unwrap();
        let n_under_way = captured
            .take()
            .iter()
            .map(|batch| b.store.take(batch))
            .count();
        assert_eq!(n_under_way, if of_request { 2 } else { 1 });
        b.settle();
        assert_eq!(b.store.take_records(), ["1", "2"]);
    }
}

#[test]
fn what_was_under_way_before_a_crash_is_read_before_anything_else() {
    let mut b = Bench::started(&[]);
    let names = ["a.log", "b.log", "c.log"];
    names.iter().for_each(|name| b.append(name, ""));
    b.look();
    for name in names {
        b.append(
            name,
            "a request has a line of each\n".to_owned() + &"x".repeat(1 << 20) + "\n",
        );
        (0..6).for_each(|_| b.append(name, "y".repeat(1 << 20) + "\n"));
    }
    for generation in b.running.as_mut().unwrap().0.generations.values_mut() {
        generation.ends = Arc::new([Position::at(29)]);
        generation.hot = true;
    }
    for _ in 0..20 {
        b.running.as_mut().unwrap().0.step(false);
    }
    let (tailer, captured) = b.running.as_ref().unwrap();
    assert!(!tailer.link.has_room(), "there is more than fits");
    let taken = captured.take();
    let firsts = taken.iter().filter(|b| b.source().to == Position::at(29));
    assert_eq!(firsts.count(), 3);
    taken.iter().for_each(|batch| b.store.take(batch));
    assert_eq!(b.records().len(), 3 * 8);
}

#[test]
fn a_file_linked_under_two_names_is_read_once() {
    let mut b = Bench::started(&[]);
    b.append("a.log", "1\n");
    fs::hard_link(b.path("a.log"), b.path("b.log")).unwrap();
    std::os::unix::fs::symlink(b.path("a.log"), b.path("c.log")).unwrap();
    assert_eq!(b.records(), ["1"]);
}

/// A small generator, so that a failing run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn any_order_of_writes_rotations_and_crashes_gives_every_line_once() {
    for seed in 1..=60_u64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut b = Bench::started(&[("multiline.parser", "cri")]);
        // What is rotated away before its name was ever seen cannot be asked for.
        b.append("a.log", "2026-11-21T09:00:00Z stdout F line 0\n");
        b.look();
        let (mut n_written, mut n_rotated) = (1, 0);
        let mut trace = Vec::new();
        for _ in 0..40 {
            let action = random.below(10);
            trace.push(action);
            match action {
                0..=2 => {
                    for _ in 0..=random.below(20) {
                        b.append(
                            "a.log",
                            format!("2026-11-21T09:00:00Z stdout F line {n_written}\n"),
                        );
                        n_written += 1;
                    }
                }
                3 if b.path("a.log").exists() => {
                    b.rename("a.log", &format!("a.log.{n_rotated:05}"));
                    n_rotated += 1;
                }
                4 if b.path("a.log").exists() => {
                    fs::copy(b.path("a.log"), b.path(&format!("a.log.{n_rotated:05}"))).unwrap();
                    n_rotated += 1;
                    File::options()
                        .write(true)
                        .open(b.path("a.log"))
                        .unwrap()
                        .set_len(0)
                        .unwrap();
                    // Twice between two looks would leave an unread copy that nothing tells from a
                    // copy of what is yet to come.
                    b.settle();
                }
                5 => {
                    b.deliver_and_crash();
                    b.start();
                }
                6 => {
                    b.crash();
                    b.start();
                }
                7 => b.look(),
                8 => {
                    let oldest = (0..n_rotated)
                        .map(|n| format!("a.log.{n:05}"))
                        .find(|name| b.path(name).exists());
                    if let Some(oldest) = oldest {
                        b.compress(&oldest);
                    }
                }
                _ => b.settle(),
            }
        }
        // A name that never comes back cannot be asked for its generations.
        b.append(
            "a.log",
            format!("2026-11-21T09:00:00Z stdout F line {n_written}\n"),
        );
        n_written += 1;
        b.settle();
        let mut got = b.store.take_records();
        let mut expected: Vec<String> = (0..n_written).map(|n| format!("line {n}")).collect();
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "seed {seed}: {trace:?}");
    }
}
