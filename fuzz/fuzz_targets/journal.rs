//! Any bytes as the parts of a journal file: bounded values, or damage that is named.
#![no_main]

use kansoku_parsers::journal::{self, DATA, ENTRY, ENTRY_ARRAY, MAX_FIELD_BYTES, MAX_ITEMS};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = journal::header(bytes);
    for kind in [DATA, ENTRY, ENTRY_ARRAY] {
        if let Ok((_, size)) = journal::object_header(bytes, kind) {
            assert!(size <= journal::MAX_OBJECT_BYTES);
        }
    }
    for is_compact in [false, true] {
        if let Ok(entry) = journal::entry(bytes, is_compact) {
            assert!(entry.items.len() <= MAX_ITEMS);
        }
        let _ = journal::entry_array(bytes, is_compact);
        for flags in 0..8 {
            if let Ok(field) = journal::data(bytes, flags, is_compact) {
                assert!(field.len() <= MAX_FIELD_BYTES.max(bytes.len()));
                let _ = journal::split(&field);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(cursor) = journal::Cursor::parse(text)
    {
        assert_eq!(journal::Cursor::parse(&cursor.to_string()), Some(cursor));
    }
});
