//! Loki's push end to end: the agent's loki output into the aggregator, every line read back by LogQL
//! with its labels and structured metadata, while both are killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::pods::now_ns;
use kansoku_tests::program::{Program, wait_for_equal};

/// Application, trace and line.
type Line = (String, String, String);

/// A file of JSON records of one application, each with a time, a number and a trace.
struct App {
    name: &'static str,
    file: File,
    written: Vec<Line>,
}

impl App {
    fn new(root: &Path, name: &'static str) -> Self {
        let file = File::create(root.join(format!("{name}.log"))).expect("the folder is ours");
        Self {
            name,
            file,
            written: Vec::new(),
        }
    }

    fn lines(&mut self, n: usize) {
        let mut text = String::new();
        for _ in 0..n {
            let number = self.written.len();
            let time = jiff::Timestamp::from_nanosecond(now_ns().into()).expect("now is a time");
            let (app, trace) = (self.name, format!("trace-{number:05}"));
            text += &format!(
                "{{\"time\":\"{time}\",\"app\":\"{app}\",\"trace\":\"{trace}\",\"n\":{number},\"msg\":\"caf\u{e9} \\\"{number}\\\"\"}}\n"
            );
            let line = format!("{{\"msg\":\"caf\u{e9} \\\"{number}\\\"\",\"n\":{number}}}");
            self.written.push((app.to_owned(), trace, line));
        }
        self.file
            .write_all(text.as_bytes())
            .expect("the log is writable");
    }
}

fn agent(root: &Path, port: u16) -> Program {
    let parsers = root.join("parsers.conf");
    let parser = "[PARSER]\n    Name timed\n    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%LZ\n";
    std::fs::write(&parsers, parser).expect("the folder is ours");
    let configuration = format!(
        "[SERVICE]\n    Flush 0.1\n    scheduler.base 1\n    scheduler.cap 1\n    Parsers_File {}\n\
         [INPUT]\n    Name tail\n    Path {}\n    DB {}\n    Read_from_Head On\n    Refresh_Interval 1\n    Parser timed\n\
         [OUTPUT]\n    Name loki\n    Match *\n    Host 127.0.0.1\n    Port {port}\n    Labels job=test, app=$app\n    \
         Structured_Metadata trace_id=$trace\n    Remove_Keys app, trace\n",
        parsers.display(),
        root.join("*.log").display(),
        root.join("tail.db").display(),
    );
    Program::agent(root, &configuration)
}

/// How often each line is there, with what it is filed under.
fn stored(aggregator: &Aggregator, query: &str, since_ns: i64) -> BTreeMap<Line, usize> {
    let (start, end) = (since_ns.to_string(), (now_ns() + 1_000_000_000).to_string());
    let parameters = [
        ("query", query),
        ("start", &start),
        ("end", &end),
        ("limit", "5000"),
    ];
    let mut found = BTreeMap::new();
    let reply = aggregator.get("/loki/api/v1/query_range", &parameters);
    if reply.status == 503 {
        return found;
    }
    let json = reply.json();
    for stream in json["data"]["result"].as_array().expect("streams") {
        let label = |name: &str| stream["stream"][name].as_str().unwrap_or("").to_owned();
        assert_eq!(label("job"), "test");
        for value in stream["values"].as_array().expect("values") {
            // Whether what is not ASCII is escaped is a setting of the agent.
            let line: serde_json::Value =
                serde_json::from_str(value[1].as_str().expect("a line")).expect("JSON");
            let line = line.to_string();
            *found
                .entry((label("app"), label("trace_id"), line))
                .or_default() += 1;
        }
    }
    found
}

#[test]
fn every_line_comes_back_with_its_labels_and_metadata() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let since_ns = now_ns() - 1_000_000_000;
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let mut agent = agent(root, aggregator.port);
    let mut apps = ["shop", "cart", "mail"].map(|name| App::new(root, name));
    agent.start();
    apps.iter_mut().for_each(|app| app.lines(200));
    let expected = |apps: &[App; 3]| -> Vec<Line> {
        let mut all: Vec<Line> = apps.iter().flat_map(|app| app.written.clone()).collect();
        all.sort_unstable();
        all
    };
    let keys = |found: BTreeMap<Line, usize>| found.into_keys().collect::<Vec<Line>>();
    let all = r#"{job="test"}"#;
    wait_for_equal(&expected(&apps), || {
        keys(stored(&aggregator, all, since_ns))
    });
    let found = stored(&aggregator, all, since_ns);
    assert!(
        found.values().all(|n| *n == 1),
        "nothing twice while all is well"
    );

    for round in 0..6 {
        apps.iter_mut().for_each(|app| app.lines(100));
        std::thread::sleep(Duration::from_millis(70 * (round % 3)));
        if round % 2 == 0 {
            agent.kill();
            agent.start();
        } else {
            aggregator.program.kill();
            aggregator.program.start();
            aggregator.wait_until_ready();
        }
    }
    wait_for_equal(&expected(&apps), || {
        keys(stored(&aggregator, all, since_ns))
    });
    assert_eq!(agent.terminate().code(), Some(0));
    assert_eq!(keys(stored(&aggregator, all, since_ns)), expected(&apps));
    // Metadata and labels select.
    let one = r#"{app="cart"} | trace_id="trace-00150" | json | n=150"#;
    let found = keys(stored(&aggregator, one, since_ns));
    let texts: Vec<&str> = found.iter().map(|(.., line)| &**line).collect();
    assert_eq!(texts, ["{\"msg\":\"caf\u{e9} \\\"150\\\"\",\"n\":150}"]);
    aggregator.end();
}
