//! A request that was under way when the agent was killed comes again as the same request: the same
//! bytes under the same `Idempotency-Key`. The destination drops repeats by that key: an answer that
//! the agent had no time to note before it was killed does not count.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kansoku_tests::log_writer::LogWriter;
use kansoku_tests::program::{Program, wait_for};

/// A plain HTTP destination that notes every request, and while it hangs never answers.
#[derive(Default)]
struct Hanging {
    hangs: AtomicBool,
    /// Id, body, whether it was answered.
    requests: Mutex<Vec<(String, String, bool)>>,
}

impl Hanging {
    fn start(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let sink = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = sink.clone();
                std::thread::spawn(move || while sink.serve(&stream).is_some() {});
            }
        });
        port
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let (mut id, mut length) = (String::new(), 0usize);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "idempotency-key" => value.trim().clone_into(&mut id),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let answers = !self.hangs.load(Ordering::SeqCst);
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut requests = self.requests.lock().unwrap();
        requests.push((id, body, answers));
        drop(requests);
        if answers {
            let mut stream = stream;
            stream
                .write_all(b"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n")
                .ok()
        } else {
            // Until the agent is gone.
            let _ = reader.read(&mut [0]);
            None
        }
    }

    /// The lines that were answered; those of a request that came again once.
    fn answered_lines(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let mut kept: HashMap<&str, &str> = HashMap::new();
        for (id, body, _) in requests.iter().filter(|(_, _, answered)| *answered) {
            let first = kept.entry(id).or_insert(body);
            assert_eq!(first, body, "the same id with other bytes");
        }
        let lines = kept.into_values().flat_map(str::lines);
        lines.map(str::to_owned).collect()
    }
}

#[test]
fn a_request_under_way_is_repeated_as_it_was() {
    repeats_requests("");
}

#[test]
fn so_is_one_of_records_that_filters_moved_under_another_tag() {
    repeats_requests(
        "[FILTER]\n    Name rewrite_tag\n    Match kube.*\n    Rule $log [02468]\\ssome moved.$TAG false\n",
    );
}

#[test]
fn so_is_one_of_records_that_a_filter_looks_at_line_by_line() {
    repeats_requests(
        "[FILTER]\n    Name multiline\n    Match kube.*\n    multiline.key_content log\n    multiline.parser java\n",
    );
}

/// Kills the agent while a request hangs, lets the files grow, and looks for the same request again.
fn repeats_requests(filters: &str) {
    let root = tempfile::tempdir().unwrap();
    let sink = Arc::new(Hanging::default());
    let port = sink.start();
    let configuration = format!(
        "[SERVICE]\n    Flush 0.1\n    scheduler.base 1\n    scheduler.cap 1\n\
         [INPUT]\n    Name tail\n    Tag kube.*\n    Path {path}\n    DB {db}\n    \
         Read_from_Head On\n    Refresh_Interval 1\n    multiline.parser cri\n\
         {filters}\
         [OUTPUT]\n    Name http\n    Match *\n    Host 127.0.0.1\n    Port {port}\n    \
         Format json_lines\n",
        path = root.path().join("*.log").display(),
        db = root.path().join("tail.db").display(),
    );
    let mut logs: Vec<LogWriter> = (0..3)
        .map(|n| LogWriter::new(root.path(), &format!("file-{n}")))
        .collect();
    let mut agent = Program::agent(root.path(), &configuration);
    for round in 0..3 {
        sink.hangs.store(false, Ordering::SeqCst);
        logs.iter_mut().for_each(|log| log.lines(50));
        agent.start();
        let n_written = || logs.iter().map(|l| l.written.len()).sum::<usize>();
        let all = n_written();
        wait_for("all lines", || {
            (sink.answered_lines().len() >= all).then_some(())
        });

        sink.hangs.store(true, Ordering::SeqCst);
        let n_before = sink.requests.lock().unwrap().len();
        logs.iter_mut().for_each(|log| log.lines(20 + round));
        wait_for("a request that hangs", || {
            (sink.requests.lock().unwrap().len() > n_before).then_some(())
        });
        agent.kill();
        sink.hangs.store(false, Ordering::SeqCst);
        // The files have grown when it looks again.
        logs.iter_mut().for_each(|log| log.lines(30));
        agent.start();
        let all: usize = logs.iter().map(|l| l.written.len()).sum();
        wait_for("all lines", || {
            (sink.answered_lines().len() >= all).then_some(())
        });
        let requests = sink.requests.lock().unwrap();
        let (id, body, _) = &requests[n_before];
        assert!(!id.is_empty());
        let (_, repeat, _) = (requests.iter().skip(n_before))
            .find(|(i, _, answered)| *answered && i == id)
            .unwrap_or_else(|| panic!("no repeat of {id}"));
        assert_eq!(repeat, body, "the same id with other bytes");
        drop(requests);
        agent.kill();
    }
    let mut delivered = sink.answered_lines();
    let n_delivered = delivered.len();
    delivered.sort_unstable();
    delivered.dedup();
    let n_written: usize = logs.iter().map(|l| l.written.len()).sum();
    assert_eq!(
        (delivered.len(), n_delivered),
        (n_written, n_written),
        "none twice"
    );
}
