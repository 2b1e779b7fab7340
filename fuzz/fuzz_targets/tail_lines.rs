//! Any bytes as a log file that `tail` reads, in every format: at once, or as the file grows, with a
//! restart at each step, or packed: the same records at the same positions. Where multiline rules join
//! lines, whose state behind a finished record no restart survives, at least the same text.
#![no_main]

use std::collections::BTreeMap;
use std::io::Write;

use kansoku_agent::fuzzing::TailReader;
use kansoku_fuzz::{check, fields};
use kansoku_model::LogBatch;

const SETTINGS: [&[(&str, &str)]; 12] = [
    &[],
    &[("multiline.parser", "cri")],
    &[("multiline.parser", "docker, cri")],
    &[("multiline.parser", "cri, java")],
    &[("multiline.parser", "go, python, ruby")],
    &[("docker_mode", "on"), ("parser", "docker")],
    &[
        ("multiline", "on"),
        ("parser_firstline", "apache_error"),
        ("parser_1", "logfmt"),
    ],
    &[
        ("parser", "json"),
        ("offset_key", "at"),
        ("path_key", "file"),
    ],
    &[("unicode.encoding", "auto"), ("skip_empty_lines", "on")],
    &[("unicode.encoding", "utf-16be")],
    &[
        ("generic.encoding", "shiftjis"),
        ("buffer_max_size", "64"),
        ("skip_long_lines", "on"),
    ],
    &[
        ("buffer_max_size", "64"),
        ("multiline.parser", "cri"),
        ("multiline_buffer_limit", "1024"),
    ],
];

/// Keys sorted: a batch has one order of keys for all its records.
fn normal(fields: &str) -> String {
    let tree: serde_json::Value = serde_json::from_str(fields).unwrap_or_default();
    tree.to_string()
}

fn show(batches: &[LogBatch]) -> Vec<String> {
    check(batches);
    let mut all = Vec::new();
    for batch in batches {
        for (row, fields) in fields(batch).into_iter().enumerate() {
            let (at, time) = (batch.positions()[row], batch.times()[row]);
            all.push(format!(
                "{}.{} {time} {}",
                at.offset,
                at.ordinal,
                normal(&fields)
            ));
        }
    }
    all
}

/// Settings whose rules remember more than what is pending.
const WITH_RULES: [usize; 2] = [3, 4];

/// All text of each stream, without the ends of lines.
fn texts(batches: &[LogBatch]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for fields in batches.iter().flat_map(fields) {
        let record: serde_json::Value = serde_json::from_str(&fields).unwrap_or_default();
        let text = |key: &str| record[key].as_str().unwrap_or_default().replace('\n', "");
        all.entry(text("stream"))
            .or_default()
            .push_str(&text("log"));
    }
    all
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |bytes: &[u8]| {
    let [kind, step, turn, bytes @ ..] = bytes else {
        return;
    };
    let mut pairs = vec![("path", "/x")];
    pairs.extend_from_slice(SETTINGS[usize::from(*kind) % SETTINGS.len()]);
    let turn_bytes = u64::from(*turn) + 1;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("a.log");
    std::fs::write(&path, bytes).expect("a file");
    let mut reader = TailReader::new(&pairs, &path).expect("valid settings");
    let whole = reader.read(1 << 20, true).expect("read");
    let at_once = show(&whole);

    // As it grows, each piece read by another life of the agent.
    std::fs::write(&path, b"").expect("a file");
    let mut reader = TailReader::new(&pairs, &path).expect("valid settings");
    let mut grown = Vec::new();
    let mut written = 0;
    let size = bytes.len().div_ceil(usize::from(*step % 4) + 1).max(1);
    for piece in bytes.chunks(size) {
        let mut file = std::fs::File::options().append(true).open(&path).expect("opened");
        file.write_all(piece).expect("written");
        written += piece.len();
        let batches = reader.read(turn_bytes, written == bytes.len());
        grown.extend(batches.expect("read"));
    }
    if WITH_RULES.contains(&(usize::from(*kind) % SETTINGS.len())) {
        assert_eq!(texts(&whole), texts(&grown));
    } else {
        assert_eq!(at_once, show(&grown));
    }

    // Packed, whole or damaged.
    let packed = dir.path().join("a.log.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory");
    std::fs::write(&packed, gzip.finish().expect("memory")).expect("a file");
    let mut reader = TailReader::new(&pairs, &packed).expect("valid settings");
    let unpacked = show(&reader.read(turn_bytes, true).expect("read"));
    if !pairs.iter().any(|(key, _)| *key == "path_key") {
        assert_eq!(at_once, unpacked);
    }
    std::fs::write(&packed, bytes).expect("a file");
    let mut reader = TailReader::new(&pairs, &packed).expect("valid settings");
    let _ = reader.read(turn_bytes, true).map(|batches| show(&batches));
});
