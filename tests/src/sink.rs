//! A destination for native frames that keeps what the aggregator would keep: every record once, by
//! the high-water mark of its source. How it answers can be changed at any time.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{Frame, LogBatch, Position, RecordBatch, SourceId, Value};

/// How long a test waits for records that never come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the sink behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Keeps and says so.
    Accept,
    /// Keeps, takes its time, and says so.
    Slow(Duration),
    /// Answers with this status and keeps nothing.
    Refuse(u16),
    /// Closes every connection.
    Down,
    /// Every n-th request is kept, but the connection is reset instead of an answer.
    LoseEveryNthAnswer(u64),
}

struct State {
    behaviour: Behaviour,
    marks: HashMap<SourceId, Position>,
    /// How often each line was kept.
    lines: HashMap<String, u32>,
    n_kept: usize,
    n_repeated: usize,
    n_requests: u64,
    /// Lines whose source gave them in another order than its positions say.
    n_disordered: usize,
}

/// The sink; it listens until the test's process ends.
#[derive(Clone)]
pub struct Sink {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Sink {
    /// Listens on a port of the system's choice.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let sink = Self {
            port,
            state: Arc::new(Mutex::new(State {
                behaviour: Behaviour::Accept,
                marks: HashMap::new(),
                lines: HashMap::new(),
                n_kept: 0,
                n_repeated: 0,
                n_requests: 0,
                n_disordered: 0,
            })),
        };
        let shared = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = shared.clone();
                std::thread::spawn(move || sink.serve(stream));
            }
        });
        sink
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behaves differently from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// Records kept so far.
    #[must_use]
    pub fn n_kept(&self) -> usize {
        self.lock().n_kept
    }

    /// Records that came again and were dropped.
    #[must_use]
    pub fn n_repeated(&self) -> usize {
        self.lock().n_repeated
    }

    /// Requests seen so far.
    #[must_use]
    pub fn n_requests(&self) -> u64 {
        self.lock().n_requests
    }

    /// Waits until `n` records are kept.
    ///
    /// # Panics
    /// When they do not come.
    pub fn wait_for(&self, n: usize) {
        self.wait_until(&format!("{n} records"), |s| s.n_kept() >= n);
    }

    /// Waits until `reached` is true.
    ///
    /// # Panics
    /// When it does not become true.
    pub fn wait_until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !reached(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain for {what}: {} kept, {} repeated, {} requests",
                self.n_kept(),
                self.n_repeated(),
                self.n_requests()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Checks that exactly these lines are kept, each once.
    ///
    /// # Panics
    /// With the first differences.
    pub fn assert_holds(&self, expected: &[String]) {
        let state = self.lock();
        let lost: Vec<&String> = expected
            .iter()
            .filter(|line| !state.lines.contains_key(*line))
            .collect();
        let twice: Vec<&String> = state
            .lines
            .iter()
            .filter(|(_, n)| **n > 1)
            .map(|(line, _)| line)
            .collect();
        assert!(
            lost.is_empty() && twice.is_empty() && state.lines.len() == expected.len(),
            "lost {} {:?}, duplicated {} {:?}, {} kept of {} written",
            lost.len(),
            &lost[..lost.len().min(5)],
            twice.len(),
            &twice[..twice.len().min(5)],
            state.lines.len(),
            expected.len()
        );
        assert_eq!(state.n_disordered, 0, "records of a source out of order");
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(clone) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::new(clone);
        let mut stream = stream;
        loop {
            if self.lock().behaviour == Behaviour::Down {
                return;
            }
            let Some(body) = read_request(&mut reader) else {
                return;
            };
            let Some(status) = self.judge(&body) else {
                return;
            };
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// The status to answer; `None` = reset the connection.
    fn judge(&self, body: &[u8]) -> Option<u16> {
        let (behaviour, n) = {
            let mut state = self.lock();
            state.n_requests += 1;
            (state.behaviour, state.n_requests)
        };
        match behaviour {
            Behaviour::Accept => self.keep(body),
            Behaviour::Slow(pause) => {
                self.keep(body);
                std::thread::sleep(pause);
            }
            Behaviour::Refuse(status) => return Some(status),
            Behaviour::Down => return None,
            Behaviour::LoseEveryNthAnswer(every) => {
                self.keep(body);
                if n.is_multiple_of(every) {
                    return None;
                }
            }
        }
        Some(204)
    }

    fn keep(&self, mut body: &[u8]) {
        let mut state = self.lock();
        while !body.is_empty() {
            let frame = Frame::parse(body).expect("the agent sends whole frames");
            body = &body[frame.as_bytes().len()..];
            if let RecordBatch::Logs(logs) = frame.decode().expect("frames decode") {
                state.keep(&logs);
            }
        }
    }
}

impl State {
    fn keep(&mut self, logs: &LogBatch) {
        let mark = self.marks.get(&logs.source.id).copied().unwrap_or_default();
        let mut last = logs.source.from;
        for (row, &position) in logs.positions().iter().enumerate() {
            self.n_disordered += usize::from(position <= last);
            last = position;
            if position <= mark {
                self.n_repeated += 1;
                continue;
            }
            let Some(Value::Text(text)) = logs.column("log").map(|c| c.values[row]) else {
                panic!("every record has a log field")
            };
            let line = String::from_utf8_lossy(logs.bytes(text)).into_owned();
            *self.lines.entry(line).or_default() += 1;
            self.n_kept += 1;
        }
        self.marks.insert(logs.source.id, mark.max(logs.source.to));
    }
}

/// The body of the next request; `None` at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0usize;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
