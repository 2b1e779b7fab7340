//! Any bytes as a classic configuration that includes itself and others: reading ends in a document
//! or an error, and variables can be replaced in whatever was read.
#![no_main]

use kansoku_parsers::config::{Loaded, classic};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first half is the main file, the second what every include gives.
    let (main, other) = bytes.split_at(bytes.len() / 2);
    let mut n = 0;
    let document = classic::parse("main", &mut |path, _| {
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
    if let Ok(mut document) = document {
        document.expand(&|name| (name.len() % 2 == 0).then(|| "${A}".to_owned()));
        for section in &document.sections {
            for setting in &section.settings {
                assert!(setting.key == setting.key.to_ascii_lowercase() && setting.place.line > 0);
            }
        }
    }
});
