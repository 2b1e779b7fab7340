//! Any bytes as the files in which records wait for an object store, with right checksums: what is whole
//! is uploaded once, the rest is cut off, and the folder is empty behind it.
#![no_main]

use kansoku_outputs::fuzzing::drain_spool;

/// Frames of the pieces in `input`, each behind its length; an odd length leaves the piece as it is.
fn frames(mut input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(([low, high], rest)) = input.split_first_chunk::<2>() {
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (piece, rest) = rest.split_at((len / 2).min(rest.len()));
        input = rest;
        if len % 2 == 0 {
            let mut crc = flate2::Crc::new();
            crc.update(piece);
            out.extend_from_slice(&(piece.len() as u32).to_le_bytes());
            out.extend_from_slice(&crc.sum().to_le_bytes());
        }
        out.extend_from_slice(piece);
    }
    out
}

libfuzzer_sys::fuzz_target!(|files: (Vec<u8>, Vec<u8>, Vec<u8>)| {
    let dir = tempfile::tempdir().expect("a folder");
    let (open, full, marks) = files;
    for (name, bytes) in [
        ("0000000000000001.open", &open),
        ("0000000000000002.full", &full),
        ("marks", &marks),
    ] {
        if !bytes.is_empty() {
            std::fs::write(dir.path().join(name), frames(bytes)).expect("a file");
        }
    }
    let n_bytes = open.len() + full.len();
    let Ok(uploaded) = drain_spool(dir.path()) else {
        assert!(!marks.is_empty(), "only damaged marks stop it");
        return;
    };
    assert!(uploaded.iter().map(|(_, data)| data.len()).sum::<usize>() <= n_bytes);
    assert!(
        drain_spool(dir.path()).expect("sound").is_empty(),
        "uploaded once"
    );
});
