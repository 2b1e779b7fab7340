//! Any format and any text as a time: compiling and parsing never panic, and RFC 3339 read fast is
//! what the general reader makes of it.
#![no_main]

use kansoku_parsers::time::{TimeFormat, Zone, rfc3339_ns};

const NOW_NS: i64 = 1_795_251_600_000_000_000;

libfuzzer_sys::fuzz_target!(|input: (String, Vec<u8>, i64, bool)| {
    let (format, text, now_ns, strict) = input;
    if let Ok(format) = TimeFormat::new(&format) {
        let _ = format.parse(&text, &Zone::Utc, now_ns, strict);
        let _ = format.parse(&text, &Zone::Fixed(-12_600), now_ns, strict);
    }
    let general = TimeFormat::new("%Y-%m-%dT%H:%M:%S.%L%z").expect("a valid format");
    if text.get(10) == Some(&b'T') && text.get(19) == Some(&b'.') && !text.contains(&b' ') {
        if let Some(fast) = rfc3339_ns(&text) {
            assert_eq!(general.parse(&text, &Zone::Utc, NOW_NS, true), Some(fast));
        }
    }
});
