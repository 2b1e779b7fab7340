//! Any bytes as a YAML configuration that includes others: reading ends in a document or an error
//! with its line, and variables can be replaced in whatever was read.
#![no_main]

use kansoku_parsers::config::{Loaded, yaml};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first half is the main file, the second what every include gives.
    let (main, other) = bytes.split_at(bytes.len() / 2);
    let mut n = 0;
    let document = yaml::parse("main", &mut |path, _| {
        n += 1;
        Ok(vec![Loaded {
            name: path.to_owned(),
            identity: format!("{n}"),
            bytes: if path == "main" {
                main.to_vec()
            } else {
                other.to_vec()
            },
        }])
    });
    match document {
        Err(error) => assert!(!error.message.is_empty()),
        Ok(mut document) => {
            document.expand(&|name| (name.len() % 2 == 0).then(|| "${A}".to_owned()));
            for setting in document.sections.iter().flat_map(|s| &s.settings) {
                assert!(!setting.value.is_empty() && setting.place.line > 0);
                assert!(!setting.key.contains(|c: char| c.is_ascii_uppercase()));
            }
        }
    }
});
