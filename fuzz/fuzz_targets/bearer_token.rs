//! Any bytes as a key set and as a token in its parts: read or refused, and nobody gets in without a
//! signature.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kansoku_agent::fuzzing::bearer;

/// Between the keys and the parts of the token.
const SEPARATOR: u8 = 0x1e;
const MAX_KEYS: usize = 256;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|b| *b == SEPARATOR);
    let keys = parts.next().unwrap_or_default();
    // As it stands, and with its parts encoded.
    let rest = bytes.get(keys.len() + 1..).unwrap_or_default();
    let (n, _) = bearer(keys, &String::from_utf8_lossy(rest));
    assert!(n <= MAX_KEYS);
    let parts: Vec<String> = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
    let (again, _) = bearer(keys, &parts.join("."));
    assert_eq!(again, n);
});
