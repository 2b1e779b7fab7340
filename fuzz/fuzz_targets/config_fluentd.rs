//! Any two texts as a Fluentd configuration and what it includes: reading ends in elements or an error with
//! its place, and what was read is converted; the result is read by the classic reader without an error.
#![no_main]

use kansoku_agent::import::fluentd;
use kansoku_parsers::config::fluentd::Value;
use kansoku_parsers::config::{Loaded, classic};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |b| *b == 0x1e);
    let main = parts.next().unwrap_or_default();
    let other = parts.next().unwrap_or_default();
    let mut read = |path: &str, _: &str| {
        Ok(vec![Loaded {
            name: path.to_owned(),
            identity: path.to_owned(),
            bytes: if path == "main" { main } else { other }.to_vec(),
        }])
    };
    let evaluate = |value: &Value| fluentd::evaluate(value, &|_| Some("v".to_owned()));
    let configuration = kansoku_parsers::config::fluentd::parse("main", &mut read, &evaluate);
    let Ok(configuration) = configuration else { return };
    let conversion = fluentd::convert(&configuration);
    assert!(conversion.findings.iter().all(|f| !f.text.is_empty()));
    for (name, text) in &conversion.files {
        let loaded = Loaded {
            name: name.clone(),
            identity: name.clone(),
            bytes: text.clone().into_bytes(),
        };
        let document = classic::parse(name, &mut |_, _| Ok(vec![loaded.clone()]));
        let document = document.unwrap_or_else(|e| panic!("{e} in {text}"));
        assert!(document.warnings.is_empty(), "{:?} in {text}", document.warnings);
    }
});
