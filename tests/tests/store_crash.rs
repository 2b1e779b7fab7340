//! kill -9 of the aggregator while lines and samples come in as fast as it takes them: what it
//! acknowledged is there once.
//!
//! `KANSOKU_CRASH_KILLS=200 cargo nextest run --release -p kansoku-tests --test store_crash
//! --no-capture` kills it two hundred times instead of a few and tells how long recoveries took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kansoku_tests::aggregator::Aggregator;
use kansoku_tests::http::{self, Reply};
use kansoku_tests::push;
use kansoku_tests::random::Random;

/// Lines of a frame, and of a bucket in which they are counted.
const LINES: u64 = 500;
/// Series of a metrics sender; each request has a sample of each.
const SERIES: u64 = 1000;
const SENDERS: u64 = 2;
/// Points of a range query that are asked for at once.
const POINTS_MAX: u64 = 5000;

/// What one sender had acknowledged, all of it.
#[derive(Default)]
struct Sent {
    /// Frames or write requests.
    requests: u64,
    /// The next one was sent and not answered.
    is_unanswered: bool,
    /// Sent again, because their answer was lost.
    repeats: u64,
    /// Of those, how many the store had already.
    had: u64,
}

struct Crash {
    aggregator: Aggregator,
    t0_ms: i64,
    lines: Vec<Sent>,
    samples: Vec<Sent>,
}

impl Crash {
    /// Sends with all senders at once until the program is killed after `wait`.
    fn ingest_and_kill(&mut self, wait: Duration) {
        let (port, t0_ms, killed) = (self.aggregator.port, self.t0_ms, AtomicBool::new(false));
        let program = &mut self.aggregator.program;
        std::thread::scope(|scope| {
            let killed = &killed;
            for (sender, sent) in self.lines.iter_mut().enumerate() {
                scope.spawn(move || {
                    sent.send(killed, |at| {
                        let (from, t0_ns) = (at * LINES, t0_ms * 1_000_000);
                        let frame =
                            push::lines_frame("crash", sender as u64, t0_ns, from, from + LINES);
                        http::post(port, "/api/v1/frames", &[], &frame)
                    });
                });
            }
            for (sender, sent) in self.samples.iter_mut().enumerate() {
                scope.spawn(move || {
                    sent.send(killed, |at| {
                        let time_ms = t0_ms + at as i64 * 1000;
                        let body =
                            push::remote_write("crash", sender as u64, SERIES, time_ms, at as f64);
                        let kind = [
                            ("Content-Type", "application/x-protobuf"),
                            ("Content-Encoding", "snappy"),
                        ];
                        http::post(port, "/api/v1/write", &kind, &body)
                    });
                });
            }
            std::thread::sleep(wait);
            // First dead, then told: a sender goes on until it gets no answer.
            program.kill();
            killed.store(true, Ordering::Relaxed);
        });
    }

    /// The only value of a query at a time.
    fn value(&self, path: &str, query: &str, time: &str) -> f64 {
        let reply = self
            .aggregator
            .get(path, &[("query", query), ("time", time)]);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let text = &reply.json()["data"]["result"][0]["value"][1];
        text.as_str().map_or(0.0, |v| v.parse().unwrap())
    }

    /// Counts what each sender had acknowledged from its `since`th request on.
    fn count(&self, since: &[(u64, u64)]) {
        for (sender, &(lines_since, samples_since)) in since.iter().enumerate() {
            let n = self.samples[sender].requests - samples_since;
            if n > 0 {
                let last = self.samples[sender].requests - 1;
                let at = self.t0_ms + last as i64 * 1000;
                let at = &format!("{}.{:03}", at / 1000, at % 1000);
                let range = format!("crash{{sender=\"{sender}\"}}[{}ms]", n * 1000);
                let path = "/api/v1/query";
                let count = self.value(path, &format!("sum(count_over_time({range}))"), at);
                assert_eq!(count, (n * SERIES) as f64, "samples of sender {sender}");
                let sum = self.value(path, &format!("sum(sum_over_time({range}))"), at);
                let values: u64 = (samples_since..=last).sum();
                assert_eq!(sum, (values * SERIES) as f64, "their values");
            }
            let n = self.lines[sender].requests - lines_since;
            if n > 0 {
                let last = self.lines[sender].requests * LINES - 1;
                let at = &format!("{}000000", self.t0_ms + last as i64);
                let query = format!(
                    "sum(count_over_time({{app=\"crash\",sender=\"{sender}\"}}[{}ms]))",
                    n * LINES
                );
                let count = self.value("/loki/api/v1/query", &query, at);
                assert_eq!(count, (n * LINES) as f64, "lines of sender {sender}");
            }
        }
    }

    /// Counts the lines of every single frame.
    fn count_each_frame(&self) {
        for (sender, sent) in self.lines.iter().enumerate() {
            let query =
                format!("sum(count_over_time({{app=\"crash\",sender=\"{sender}\"}}[{LINES}ms]))");
            for first in (0..sent.requests).step_by(POINTS_MAX as usize) {
                let points = POINTS_MAX.min(sent.requests - first);
                // The window ends with the last line of a frame and includes it.
                let at = |frame: u64| (self.t0_ms + ((frame + 1) * LINES) as i64 - 1) * 1_000_000;
                let reply = self.aggregator.get(
                    "/loki/api/v1/query_range",
                    &[
                        ("query", &query),
                        ("start", &at(first).to_string()),
                        ("end", &at(first + points - 1).to_string()),
                        ("step", &format!("{}", LINES as f64 / 1000.0)),
                        ("align", "false"),
                    ],
                );
                let json = reply.json();
                let values = json["data"]["result"][0]["values"].as_array();
                let values = values.unwrap_or_else(|| panic!("{}", reply.text()));
                assert_eq!(values.len() as u64, points);
                let whole = LINES.to_string();
                for (i, value) in values.iter().enumerate() {
                    assert_eq!(value[1], *whole, "frame {} of {sender}", first + i as u64);
                }
            }
        }
    }
}

impl Sent {
    /// Sends one request after the other. One without an answer is the next one sent.
    fn send(&mut self, killed: &AtomicBool, post: impl Fn(u64) -> std::io::Result<Reply>) {
        loop {
            match post(self.requests) {
                Ok(reply) if reply.status < 300 => {
                    self.requests += 1;
                    self.repeats += u64::from(std::mem::take(&mut self.is_unanswered));
                    self.had +=
                        u64::from(!reply.body.is_empty() && reply.json()["duplicates"] == LINES);
                }
                Ok(reply) => {
                    assert_eq!(reply.status, 503, "{}", reply.text());
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(_) => {
                    self.is_unanswered = true;
                    if killed.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

#[test]
fn killed_again_and_again_under_full_ingest() {
    let wanted = std::env::var("KANSOKU_CRASH_KILLS").ok();
    let kills: usize = wanted.map_or(5, |n| n.parse().expect("a number of kills"));
    let dir = tempfile::tempdir().unwrap();
    // Small, so that heads are written out and parts merged when it is killed.
    let flags = ["--storage.retention.time=0", "--storage.memory-limit=48MiB"];
    let now = std::time::SystemTime::now();
    let now_ms = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let senders = || (0..SENDERS).map(|_| Sent::default()).collect();
    let mut crash = Crash {
        aggregator: Aggregator::new(dir.path(), &flags),
        t0_ms: now_ms as i64 - 90 * 86_400_000,
        lines: senders(),
        samples: senders(),
    };
    let (mut random, mut recoveries) = (Random::new(11), Vec::new());
    crash.aggregator.start();
    for _ in 0..kills {
        let since: Vec<(u64, u64)> = crash
            .lines
            .iter()
            .zip(&crash.samples)
            .map(|(lines, samples)| (lines.requests, samples.requests))
            .collect();
        crash.ingest_and_kill(Duration::from_millis(50 + random.below(1500)));
        let start = Instant::now();
        crash.aggregator.start();
        let took = start.elapsed().as_millis();
        let found = crash.aggregator.program.wait_to_say(" is open: ");
        recoveries.push((took, found));
        crash.count(&since);
    }
    crash.count(&[(0, 0); SENDERS as usize]);
    crash.count_each_frame();
    let log = crash.aggregator.program.log();
    assert!(!log.contains("damage"), "{log}");
    let of = |sent: &[Sent], what: fn(&Sent) -> u64| sent.iter().map(what).sum::<u64>();
    recoveries.sort_unstable();
    println!(
        "{kills} kills; {} lines, {} samples acknowledged, lost 0, twice 0; {} requests repeated, of which \
         the store had {} frames; {} flushes and merges in the last life; recovery ms: median {}, \
         nine in ten {}, longest {} ({})",
        of(&crash.lines, |s| s.requests) * LINES,
        of(&crash.samples, |s| s.requests) * SERIES,
        of(&crash.lines, |s| s.repeats) + of(&crash.samples, |s| s.repeats),
        of(&crash.lines, |s| s.had),
        crash
            .aggregator
            .metric("kansoku_store_flushes_total")
            .unwrap_or(0.0)
            + crash
                .aggregator
                .metric("kansoku_store_merges_total")
                .unwrap_or(0.0),
        recoveries[kills / 2].0,
        recoveries[kills * 9 / 10].0,
        recoveries[kills - 1].0,
        recoveries[kills - 1].1,
    );
    assert!(of(&crash.lines, |s| s.requests) > 0 && of(&crash.samples, |s| s.requests) > 0);
    crash.aggregator.end();
}
