//! Any pattern and any text: it is refused, or both ways of asking agree, within bounded time; and
//! the program finds what the regex crate finds.
#![no_main]

use kansoku_parsers::line::pattern::{Groups, Pattern, compile};

libfuzzer_sys::fuzz_target!(|input: (String, Vec<u8>)| {
    let (pattern, text) = input;
    let Ok(ours) = Pattern::new(&pattern) else {
        return;
    };
    let mut groups = Groups::default();
    let found = ours.find_groups(&text, &mut groups);
    let n_given_up = ours.n_given_up();
    let matches = ours.is_match(&text);
    if n_given_up == 0 && ours.n_given_up() == 0 {
        assert_eq!(found, matches);
    }
    for (group, _) in ours.names() {
        if let Some((start, end)) = groups.get(*group).filter(|_| found) {
            assert!(start <= end && end <= text.len());
        }
    }
    // Bytes and characters are the same thing here, and so is every line end.
    let is_plain = text.is_ascii() && !text.contains(&b'\n');
    if let (true, Ok(regex)) = (is_plain, compile(&pattern)) {
        assert_eq!(regex.is_match(&text), found);
        if let (true, Some(expected)) = (found, regex.captures(&text)) {
            for (group, _) in ours.names() {
                let expected = expected.get(*group).map(|m| (m.start(), m.end()));
                assert_eq!(groups.get(*group), expected);
            }
        }
    }
});
