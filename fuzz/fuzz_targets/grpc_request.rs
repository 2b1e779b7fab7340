//! Any bytes as the body of a gRPC request: one message of the length it says and within the bound, or
//! an error.
#![no_main]

use kansoku_agent::fuzzing::grpc_message;

const MAX_PLAIN: usize = 64 << 10;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, body)) = bytes.split_first() else {
        return;
    };
    let encoding = ["gzip", "zstd", "deflate", "snappy", "", "identity"];
    let encoding = encoding[usize::from(*which) % encoding.len()];
    match grpc_message(encoding, body, MAX_PLAIN) {
        Ok(message) if body[0] == 0 => assert_eq!(*message, body[5..]),
        Ok(message) => assert!(message.len() <= MAX_PLAIN.max(body.len())),
        Err(reason) => assert!(!reason.is_empty()),
    }
});
