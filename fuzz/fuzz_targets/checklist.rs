//! Any bytes as the file of a checklist, and texts to look up: found exactly where a plain comparison
//! with its lines finds them.
#![no_main]

use kansoku_agent::filters::checklist::PLUGIN;
use kansoku_agent::plugin::{Environment, FilterContext};
use kansoku_fuzz::{batch_of, check};
use kansoku_model::{Settings, Value};

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    // The list, an empty line, texts.
    let at = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or(bytes.len());
    let (list, texts) = bytes.split_at(at);
    let lines = texts.split(|b| *b == b'\n').filter_map(|t| std::str::from_utf8(t).ok());
    let texts: Vec<&str> = lines.take(20).collect();
    let json = texts.iter().map(|t| format!("{}\n", serde_json::json!({ "ip": t })));
    let Some(mut batch) = batch_of(json.collect::<String>().as_bytes()) else {
        return;
    };
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), list).expect("a file");
    let (ignore_case, partial) = (which & 1 == 1, which & 2 == 2);
    let pairs = [
        ("file", &*file.path().to_string_lossy()),
        ("mode", if partial { "partial" } else { "exact" }),
        ("ignore_case", if ignore_case { "on" } else { "off" }),
        ("lookup_key", "ip"),
        ("record", "seen true"),
    ];
    let Ok(filter) = (PLUGIN.build)(&Settings::of("checklist", &pairs), &Environment::default()) else {
        return;
    };
    filter.apply(&mut batch, &mut FilterContext::default());
    check(std::slice::from_ref(&batch));
    if std::str::from_utf8(list).is_err() {
        return;
    }
    let fold = |t: &[u8]| if ignore_case { t.to_ascii_lowercase() } else { t.to_vec() };
    let listed: Vec<Vec<u8>> = (list.split(|b| *b == b'\n'))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty() && line[0] != b'#')
        .map(fold)
        .collect();
    for (row, text) in texts.iter().enumerate() {
        let text = fold(text.as_bytes());
        let is_listed = listed.iter().any(|line| {
            if partial {
                text.windows(line.len()).any(|w| w == line.as_slice())
            } else {
                text == *line
            }
        });
        let seen = batch.column("seen").map(|c| c.values[row]);
        assert_eq!(seen == Some(Value::Bool(true)), is_listed, "{text:?}");
    }
});
