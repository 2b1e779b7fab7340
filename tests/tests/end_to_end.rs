//! The whole line with the real programs: a node's log folders, /proc and cgroups, the agent, the
//! aggregator, its store, and what the query APIs give back.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kansoku_tests::aggregator::{Aggregator, Found, metric};
use kansoku_tests::http;
use kansoku_tests::pods::{ContainerLog, now_ns, service, shipping};
use kansoku_tests::program::{Program, free_port, wait_for, wait_for_equal};
use kansoku_tests::random::Random;

const MINUTE_NS: i64 = 60_000_000_000;

/// What `counts` must say.
fn expected_counts(logs: &[ContainerLog]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for log in logs {
        for line in &log.written {
            *counts
                .entry((log.pod.clone(), line.stream.to_owned()))
                .or_default() += 1;
        }
    }
    counts
}

/// The lines of one log as a query must give them.
fn expected_lines(log: &ContainerLog) -> Vec<Found> {
    let mut lines: Vec<Found> = log
        .written
        .iter()
        .map(|line| Found {
            time_ns: line.time_ns,
            pod: log.pod.clone(),
            stream: line.stream.to_owned(),
            text: line.text.clone(),
        })
        .collect();
    lines.sort();
    lines
}

/// Every line of every log is there once, as it was written.
fn assert_holds(aggregator: &Aggregator, logs: &[ContainerLog], start_ns: i64) {
    for log in logs {
        let selector = format!("{{pod=\"{}\"}}", log.pod);
        let found = aggregator.all(&selector, start_ns, now_ns(), "forward");
        let expected = expected_lines(log);
        let times = |lines: &[Found]| lines.iter().map(|l| l.time_ns).collect::<Vec<_>>();
        let (found_times, expected_times) = (times(&found), times(&expected));
        let lost = expected_times
            .iter()
            .filter(|t| found_times.binary_search(t).is_err())
            .count();
        let doubled = found_times.windows(2).filter(|w| w[0] == w[1]).count();
        assert_eq!(
            (lost, doubled),
            (0, 0),
            "lost and doubled of {}: expected {:?}, found {:?}",
            log.pod,
            &expected[..expected.len().min(3)],
            &found[..found.len().min(3)]
        );
        let differs = found.iter().zip(&expected).find(|(f, e)| f != e);
        assert_eq!(differs, None, "{}", log.pod);
        assert_eq!(found.len(), expected.len(), "{}", log.pod);
    }
}

/// All that containers write: both streams, partial lines of both at a time, JSON, bytes that are
/// no UTF-8, empty lines.
fn fill(log: &mut ContainerLog, random: &mut Random, n: usize) {
    for i in 0..n {
        let stream = if random.one_in(4) { "stderr" } else { "stdout" };
        match random.below(10) {
            0 => log.line(stream, ""),
            1 => log.line(stream, b"caf\xe9 \xff\xfe \xc3".as_slice()),
            2 => log.line(
                stream,
                format!(r#"{{"level":"info","n":{i},"nested":{{"a":[1,2]}},"text":"\u00e9\n"}}"#),
            ),
            3 => log.parts(stream, &[b"a first part, ", b"", b"and its end"]),
            4 => log.line(
                stream,
                "tabs\tquotes\" back\\slashes \u{1f980} \u{0}\u{1b}[31m",
            ),
            5 => log.line(stream, "x".repeat(20_000)),
            _ => log.line(stream, format!("{i} a line as any other, level=info")),
        }
    }
    log.flush(usize::MAX);
}

#[test]
fn every_line_and_sample_comes_back_through_both_query_apis() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let start_ns = now_ns() - 10 * MINUTE_NS;
    let mut random = Random::new(1);
    let mut logs: Vec<ContainerLog> = (0..4)
        .map(|n| ContainerLog::new(root, "shop", &format!("web-{n}"), "app", start_ns))
        .collect();
    for log in &mut logs {
        fill(log, &mut random, 300);
    }
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let agent_port = free_port();
    let cgroup = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/cgroup/v2/tree");
    let configuration = format!(
        "{}{}[INPUT]\n    Name node_exporter_metrics\n    Tag node\n    Scrape_Interval 1\n\
         [INPUT]\n    Name container_metrics\n    Tag containers\n    Scrape_Interval 1\n    path.cgroup {cgroup}\n",
        service(agent_port),
        shipping(root, aggregator.port, ""),
    );
    let mut agent = Program::agent(root, &configuration);
    agent.start();

    // What is written while it runs, also to a container that is new.
    logs.push(ContainerLog::new(root, "shop", "late-0", "app", start_ns));
    for log in &mut logs {
        fill(log, &mut random, 100);
    }
    let expected = expected_counts(&logs);
    wait_for_equal(&expected, || aggregator.counts(r#"{namespace="shop"}"#));
    assert_eq!(expected.values().sum::<u64>(), 4 * 400 + 100);
    assert_holds(&aggregator, &logs, start_ns);

    // Backward gives the same lines as forward, a limit the first of them in its direction.
    let selector = r#"{pod="web-0"}"#;
    let lines = expected_lines(&logs[0]);
    let backward = aggregator.all(selector, start_ns, now_ns(), "backward");
    assert_eq!(backward, lines);
    let start = start_ns.to_string();
    for (direction, expected) in [
        ("forward", lines[..7].to_vec()),
        ("backward", lines[lines.len() - 7..].to_vec()),
    ] {
        let parameters = [
            ("query", selector),
            ("start", &start),
            ("limit", "7"),
            ("direction", direction),
        ];
        let mut found = aggregator.range(&parameters);
        found.sort();
        assert_eq!(found, expected, "{direction}");
    }
    let json = aggregator.counts(r#"{namespace="shop"} | json | level="info" | n >= 0"#);
    let n_json = lines_that(&logs, |text| text.starts_with('{'));
    assert_eq!(json.values().sum::<u64>(), n_json);

    metrics_of_this_machine(&aggregator);
    expositions(&aggregator, agent_port, expected.values().sum());

    let status = agent.terminate();
    assert_eq!(status.code(), Some(0), "the agent ended with {status}");
    aggregator.end();
    aggregator.start();
    assert_eq!(aggregator.counts(r#"{namespace="shop"}"#), expected);
    aggregator.end();
}

fn lines_that(logs: &[ContainerLog], wanted: impl Fn(&str) -> bool) -> u64 {
    let lines = logs.iter().flat_map(|log| &log.written);
    lines.filter(|line| wanted(&line.text)).count() as u64
}

fn metrics_of_this_machine(aggregator: &Aggregator) {
    // Two ticks, so that there is a rate.
    wait_for("two ticks", || {
        let n = aggregator.promql_value("min(count_over_time(node_load1[5m]))")?;
        (n >= 2.0).then_some(())
    });
    let meminfo = fs::read_to_string("/proc/meminfo").expect("this is Linux");
    let total = meminfo
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok());
    assert_eq!(
        aggregator.promql_value("node_memory_MemTotal_bytes"),
        total.map(|kib: f64| kib * 1024.0)
    );
    let stat = fs::read_to_string("/proc/stat").expect("this is Linux");
    let cpus = stat.lines().filter(|l| l.starts_with("cpu")).count() - 1;
    assert_eq!(
        aggregator.promql_value(r#"count(node_cpu_seconds_total{mode="idle"})"#),
        Some(cpus as f64)
    );
    // A CPU does something or nothing all the time, give or take the ticks of the kernel.
    let busy = aggregator.promql_value("sum(irate(node_cpu_seconds_total[5m]))");
    assert!(busy.is_some_and(|b| b > 0.0), "{busy:?}");
    let uname = aggregator.promql("node_uname_info");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("this is Linux");
    assert_eq!(uname[0].0["release"], release.trim());
    // From the captured tree.
    let usage = r#"container_memory_usage_bytes{id="/kubepods.slice"}"#;
    assert_eq!(aggregator.promql_value(usage), Some(112_000_000.0));
    assert!(aggregator.promql_value("count(container_cpu_usage_seconds_total)") > Some(0.0));

    // The samples may be of this very second: the range ends with the one after it.
    let end = now_ns() / 1_000_000_000 + 1;
    let (from, to) = ((end - 60).to_string(), end.to_string());
    let parameters = [
        ("query", "node_memory_MemTotal_bytes"),
        ("start", from.as_str()),
        ("end", to.as_str()),
        ("step", "1"),
    ];
    let range = aggregator.get("/api/v1/query_range", &parameters).json();
    let values = range["data"]["result"][0]["values"].as_array();
    let values = values.expect("a matrix of one series");
    assert!(!values.is_empty());
    for value in values {
        let value: Option<f64> = value[1].as_str().and_then(|v| v.parse().ok());
        assert_eq!(value, total.map(|kib: f64| kib * 1024.0));
    }
}

fn expositions(aggregator: &Aggregator, agent_port: u16, n_lines: u64) {
    let agents = http::get(agent_port, "/metrics").expect("the agent answers");
    assert_eq!(agents.status, 200);
    let text = agents.text();
    for family in [
        "node_cpu_seconds_total",
        "node_memory_MemTotal_bytes",
        "container_memory_usage_bytes",
    ] {
        assert!(text.contains(&format!("# TYPE {family} ")), "{family}");
    }
    let records = r#"fluentbit_input_records_total{name="tail.0"}"#;
    assert_eq!(metric(&text, records), Some(n_lines as f64));
    let health = http::get(agent_port, "/api/v1/health").expect("the agent answers");
    assert_eq!(health.status, 200);

    let stored = aggregator.metric(r#"kansoku_ingest_records_total{protocol="frames"}"#);
    assert!(stored > Some(n_lines as f64), "{stored:?}");
    let page = aggregator.get("/", &[]);
    assert_eq!(page.status, 200);
    assert!(page.text().to_lowercase().starts_with("<!doctype html"));
}

/// Writes to the logs until told to stop, now and then half a line, now and then a new generation.
fn keep_writing(logs: &Mutex<Vec<ContainerLog>>, stop: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        {
            let mut logs = logs.lock().expect("no test thread panicked");
            let at = random.below(logs.len() as u64) as usize;
            let log = &mut logs[at];
            for _ in 0..random.below(80) {
                n += 1;
                let text = format!(
                    "line {n:07} of {}, long enough to be like any other",
                    log.pod
                );
                if random.one_in(20) {
                    let (first, second) = text.split_at(20);
                    log.parts("stdout", &[first.as_bytes(), second.as_bytes()]);
                } else {
                    log.line("stdout", text);
                }
            }
            if random.one_in(30) {
                log.rotate();
            } else {
                log.flush(random.below(8000) as usize);
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(12)));
    }
    for log in logs.lock().expect("no test thread panicked").iter_mut() {
        log.flush(usize::MAX);
    }
}

/// Both programs are killed at random moments while files grow and rotate.
fn killed_at_random_moments(seed: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let start_ns = now_ns() - 10 * MINUTE_NS;
    let mut logs: Vec<ContainerLog> = (0..3)
        .map(|n| ContainerLog::new(root, "chaos", &format!("web-{n}"), "app", start_ns))
        .collect();
    for log in &mut logs {
        log.line("stdout", "the first line");
        log.flush(usize::MAX);
    }
    let mut aggregator = Aggregator::new(root, &[]);
    aggregator.start();
    let configuration = service(0) + &shipping(root, aggregator.port, "");
    let mut agent = Program::agent(root, &configuration);
    agent.start();
    // Generations that were rotated before the agent ever saw the name are not its business.
    let first = expected_counts(&logs);
    wait_for_equal(&first, || aggregator.counts(r#"{namespace="chaos"}"#));
    let logs = Mutex::new(logs);
    let mut random = Random::new(seed);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_writing(&logs, &stop, seed + 1));
        for kill in 0..12 {
            // The moment of the kill is what is random here.
            std::thread::sleep(Duration::from_millis(60 + random.below(450)));
            if kill % 2 == 0 {
                agent.kill();
                std::thread::sleep(Duration::from_millis(random.below(200)));
                agent.start();
            } else {
                aggregator.program.kill();
                std::thread::sleep(Duration::from_millis(random.below(200)));
                aggregator.program.start();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    aggregator.wait_until_ready();
    let logs = logs.into_inner().expect("no test thread panicked");
    let expected = expected_counts(&logs);
    wait_for_equal(&expected, || aggregator.counts(r#"{namespace="chaos"}"#));
    // What comes late would be doubled: the agent says all it has before it ends.
    let status = agent.terminate();
    assert_eq!(status.code(), Some(0), "the agent ended with {status}");
    assert_eq!(aggregator.counts(r#"{namespace="chaos"}"#), expected);
    assert_holds(&aggregator, &logs, start_ns);
    aggregator.end();
    assert!(!agent.log().contains("panicked") && !aggregator.program.log().contains("panicked"));
}

#[test]
fn nothing_is_lost_or_doubled_when_both_are_killed_at_random_moments() {
    killed_at_random_moments(11);
}

#[test]
fn nothing_is_lost_or_doubled_when_both_are_killed_at_other_moments() {
    killed_at_random_moments(42);
}
