//! The tail driven by hand: no thread, no events, no waiting. A "crash" drops it with everything
//! that has not been acknowledged; the store beside it drops repeats as the aggregator does.

mod any_order;
mod compressed;
mod delivery;
mod handing;
mod joining;
mod lines;
mod opening;
mod rotation;

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
        settings
            .check(crate::inputs::tail::option_list::OPTIONS)
            .unwrap();
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
            let unfinished = |g: &Generation| g.is_waiting() || g.has_handed();
            let closing =
                |g: &Generation| (g.rotated.is_some() && !unfinished(g)) || g.lag.is_some();
            if batches.is_empty() && !open.clone().any(|g| busy(g) || closing(g)) {
                return;
            }
        }
        let (tailer, _) = self.running.as_ref().unwrap();
        for (key, g) in &tailer.generations {
            let open = (g.hot, g.begun, g.closed, g.rotated.is_some(), g.has_batch());
            let kept = (g.is_waiting(), g.has_handed(), g.heir, g.has_flights());
            let may_read = (tailer.may_read(*key, g), tailer.has_room_for(g));
            eprintln!(
                "{key} {} at {}: {open:?} {kept:?} {may_read:?} {:?}",
                g.real.display(),
                g.offset(),
                g.lag
            );
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

const CRI: &[(&str, &str)] = &[
    ("multiline.parser", "docker, cri"),
    ("read_from_head", "on"),
];
