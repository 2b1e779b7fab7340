//! Any text as an accessor, a template and quoted words, over any records: inputs and outputs find the
//! same by the same accessor, and a template of one accessor gives what the accessor gives.
#![no_main]

use kansoku_agent::fuzzing::{Accessor, Template, split_words};
use kansoku_fuzz::batch_of;
use kansoku_outputs::accessor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let at = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..at]);
    for most in [1, 2, 8] {
        assert!(split_words(&text, most).len() <= most);
    }
    let Some(batch) = batch_of(&bytes[at..]) else {
        return;
    };
    let ours = Accessor::new(&text);
    let theirs = accessor::Accessor::new(&text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}");
    let template = Template::new(&text);
    let of_output = accessor::Template::new(&text);
    for row in 0..batch.len() {
        if let (Ok(ours), Ok(theirs)) = (&ours, &theirs)
            && ours.root_key().is_some()
        {
            let (a, b) = (ours.over(&batch), theirs.over(&batch));
            assert_eq!(a.text(row), b.text(row), "{text}");
        }
        if let Ok(template) = &template {
            let _ = template.over(&batch).text(row, |_| Some(b"group"));
        }
        if let Ok(template) = &of_output {
            let mut out = Vec::new();
            template.over(&batch).write(&mut out, row);
        }
    }
});
