//! Any answers of EC2's instance metadata service: the filter asks a bounded number of times, and what it
//! adds is text.
#![no_main]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use kansoku_agent::fuzzing::ec2_fields;

/// Between answers; no answer of the service holds it.
const SEPARATOR: u8 = 0x1e;
/// A token, eight items of which one is asked in two, the names of tags and fifty of them.
const MAX_QUESTIONS: usize = 64;

#[derive(Default)]
struct Answers {
    waiting: Vec<Vec<u8>>,
    n_asked: usize,
}

struct Service {
    address: String,
    answers: Arc<Mutex<Answers>>,
}

impl Service {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let answers = Arc::<Mutex<Answers>>::default();
        let shared = answers.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut question = Vec::new();
                while !question.ends_with(b"\r\n\r\n") {
                    let mut piece = [0; 1024];
                    match stream.read(&mut piece) {
                        Ok(n) if n > 0 => question.extend_from_slice(&piece[..n]),
                        _ => break,
                    }
                }
                let answer = {
                    let mut answers = shared.lock().expect("whole");
                    answers.n_asked += 1;
                    let at = answers.n_asked.min(answers.waiting.len()) - 1;
                    answers.waiting[at].clone()
                };
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, answers }
    }
}

thread_local! {
    static SERVICE: Service = Service::new();
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    SERVICE.with(|service| {
        {
            let mut answers = service.answers.lock().expect("whole");
            answers.n_asked = 0;
            // Most answers are good ones of any text; some are any bytes.
            let answer = |body: &[u8]| match body.strip_prefix(b"!") {
                Some(raw) => raw.to_vec(),
                None => [b"HTTP/1.0 200 OK\r\n\r\n", body].concat(),
            };
            answers.waiting = bytes.split(|b| *b == SEPARATOR).map(answer).collect();
        }
        let (fields, _) = ec2_fields(service.address.clone(), which & 1 == 1);
        assert!(fields.iter().all(|(key, _)| !key.is_empty()));
        let n_asked = service.answers.lock().expect("whole").n_asked;
        assert!(n_asked <= MAX_QUESTIONS, "{n_asked} questions");
    });
});
