//! Any bytes as a proxy's answer to CONNECT: a tunnel gives on just what follows the answer.
#![no_main]

use kansoku_outputs::fuzzing::behind_proxy;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
}

libfuzzer_sys::fuzz_target!(|answer: &[u8]| {
    match RUNTIME.with(|runtime| runtime.block_on(behind_proxy(answer))) {
        Ok(rest) => {
            let end = answer
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("an end");
            assert_eq!(rest, answer[end + 4..]);
            let line = answer.split(|b| *b == b'\n').next().unwrap_or_default();
            assert!(line.contains(&b'2'));
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
