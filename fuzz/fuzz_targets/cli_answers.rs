//! Any answers of a server, over HTTP and as WebSocket frames, to every command that asks one: it ends
//! after as many questions as there are answers, and fails in words. The clock of timers does not wait.
#![no_main]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kansoku_cli::fuzzing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const STATUSES: [&str; 12] = [
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "400 Bad",
    "401 Unauthorized",
    "404 Missing",
    "413 Large",
    "422 Unprocessable",
    "503 Away",
];
/// A status byte from here on opens a WebSocket.
const UPGRADES: u8 = 200;
/// Between answers; JSON holds none.
const SEPARATOR: u8 = 0x1e;
/// Questions that are asked although all are answered the same way.
const MAX_REQUESTS: usize = 256;
const LINES: [&str; 26] = [
    "logs p",
    "logs p --tail=3 --timestamps",
    "logs p -p -c c --limit-bytes=9 -o json",
    "logs -l app=x --all-containers --prefix -o yaml",
    "logs deploy/web --all-pods -o csv",
    "logs p -f --tail=2 --since=1h",
    "logs -l app=x -f --ignore-errors --max-log-requests=9",
    "query up",
    "query up -o csv",
    "query up -o yaml",
    "query {app=\"x\"}",
    "query rate({app=\"x\"}[5m]) --color=always",
    "range up",
    "range {app=\"x\"} --limit=0",
    "range {app=\"x\"} --limit=7 --newest-first -o json",
    "tail {app=\"x\"} --labels --timestamps",
    "top nodes --sort-by=cpu",
    "top pods -A --sum --containers",
    "top pods -l app=x --sort-by=memory -o json",
    "labels",
    "labels app --metrics -o yaml",
    "patterns {app=\"x\"}",
    "agents",
    "export logs {app=\"x\"} -f x.jsonl",
    "export logs {app=\"x\"} -f x.parquet",
    "export metrics up -f x.om",
];

#[derive(Default)]
struct Answers {
    waiting: VecDeque<Vec<u8>>,
    n_asked: usize,
}

struct World {
    runtime: Runtime,
    url: String,
    answers: Arc<Mutex<Answers>>,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let answers = Arc::<Mutex<Answers>>::default();
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = answers.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self {
            runtime,
            url,
            answers,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }
}

/// Answers requests, one after the other; when there is no answer left, that the query is wrong, which
/// no command asks again.
async fn serve(mut stream: TcpStream, answers: Arc<Mutex<Answers>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|l| l.split_once(": "));
            lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
        };
        let len: usize = value("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        while buffer.len() < end + len {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        buffer.drain(..end + len);
        let next = {
            let mut answers = answers.lock().expect("whole");
            answers.n_asked += 1;
            assert!(answers.n_asked <= MAX_REQUESTS, "it asks for ever");
            answers.waiting.pop_front()
        };
        let bytes = next.unwrap_or_else(|| b"\x06no more".to_vec());
        let (status, body) = bytes.split_first().unwrap_or((&0, &[]));
        let out = match value("sec-websocket-key") {
            Some(key) if *status >= UPGRADES => {
                let accept = fuzzing::handshake(&key);
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes()).await;
                // One message as it is, or the frames themselves.
                let mut frame = Vec::new();
                if status % 2 == 0 {
                    frame.extend([0x81, 126]);
                    frame.extend((body.len() as u16).to_be_bytes());
                }
                frame.extend_from_slice(body);
                let _ = stream.write_all(&frame).await;
                return;
            }
            _ => {
                let status = STATUSES[usize::from(*status) % STATUSES.len()];
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                [head.as_bytes(), body].concat()
            }
        };
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

thread_local! {
    static WORLD: World = World::new();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    let line = LINES[usize::from(which) % LINES.len()];
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    WORLD.with(|world| {
        {
            let mut answers = world.answers.lock().expect("whole");
            answers.n_asked = 0;
            answers.waiting = bytes.split(|b| *b == SEPARATOR).map(<[u8]>::to_vec).collect();
        }
        let run = fuzzing::run(&world.url, &words, world.folder.path());
        let done = world.runtime.block_on(async {
            // Following has no end while a server is there; nothing else takes as long.
            tokio::time::timeout(Duration::from_secs(3600), run).await
        });
        match done {
            Ok(Err(text)) => assert!(!text.trim().is_empty()),
            Ok(Ok(())) => {}
            Err(_) => assert!(line.contains("tail") || line.contains("-f"), "{line} does not end"),
        }
    });
});
