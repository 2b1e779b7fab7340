//! Any bytes as a MaxMind database, and addresses: it is refused, or what it knows becomes valid fields.
#![no_main]

use std::io::Write;

use kansoku_agent::filters::geoip2::PLUGIN;
use kansoku_agent::plugin::{Environment, FilterContext};
use kansoku_fuzz::{batch_of, check, fields};
use kansoku_model::Settings;

const RECORDS: &str = r#"{"ip":"1.2.3.4"}
{"ip":"255.255.255.255"}
{"ip":"::1"}
{"ip":"2001:db8:85a3::8a2e:370:7334"}
{"ip":"none"}
"#;

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |database: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(database).expect("a file");
    let path = file.path().to_string_lossy();
    let pairs = [
        ("database", &*path),
        ("lookup_key", "ip"),
        ("record", "country ip %{country.iso_code}"),
        ("record", "asn ip %{asn}"),
    ];
    match (PLUGIN.build)(&Settings::of("geoip2", &pairs), &Environment::default()) {
        Ok(filter) => {
            let batch = batch_of(RECORDS.as_bytes()).expect("records");
            let mut first = batch.clone();
            filter.apply(&mut first, &mut FilterContext::default());
            check(std::slice::from_ref(&first));
            let mut second = batch;
            filter.apply(&mut second, &mut FilterContext::default());
            assert_eq!(fields(&first), fields(&second));
        }
        Err(error) => assert!(!error.message.is_empty()),
    }
});
