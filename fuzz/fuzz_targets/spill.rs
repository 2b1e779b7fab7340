//! Any bytes as a spill's segments and notes, with right checksums: every sound frame comes back once,
//! in order, until it is delivered; then nothing is left, also after a restart.
#![no_main]

use kansoku_agent::spill::{Spill, SpillOptions};
use kansoku_model::{LogBatch, Position, RecordBatch, Source, SourceId, frame};

/// Magic, header and checksum of a frame; see model/src/frame.rs.
const HEADER_BYTES: usize = 60;

/// A frame of one record, or of `payload` with a right checksum.
fn frame_of(n: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if payload.len() < 8 {
        let mut logs = LogBatch::new("t".into(), Default::default(), Vec::new());
        let row = logs.push(0, Position::at(n + 1));
        logs.set_text("log", row, payload);
        logs.source = Source {
            id: SourceId(1 + u128::from(n % 3)),
            from: Position::at(n),
            to: Position::at(n + 1),
        };
        frame::encode(&RecordBatch::Logs(logs), &mut out).expect("encoded");
        return out;
    }
    out.resize(HEADER_BYTES, 0);
    out[..4].copy_from_slice(b"KSF1");
    out[8] = payload[0];
    out[48..52].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..56]), payload);
    out[56..60].copy_from_slice(&crc.to_le_bytes());
    out
}

fn open(folder: &std::path::Path) -> Spill {
    Spill::open(SpillOptions {
        folder: folder.to_owned(),
        component: "fuzz".into(),
        sync_full: false,
        limit_bytes: None,
        delete_damaged: false,
        verify: true,
    })
    .expect("any bytes can be opened")
}

libfuzzer_sys::fuzz_target!(init: kansoku_fuzz::quiet(), |segments: Vec<(Vec<(bool, Vec<u8>)>, Vec<u8>, Vec<u8>)>| {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut n, mut sound) = (0, 0);
    for (number, (frames, torn, notes)) in segments.iter().take(3).enumerate() {
        let mut bytes = Vec::new();
        let mut is_sound = true;
        for (is_raw, payload) in frames {
            if *is_raw {
                is_sound = false;
                bytes.extend_from_slice(payload);
            } else {
                sound += usize::from(is_sound && payload.len() < 8);
                bytes.extend_from_slice(&frame_of(n, payload));
                n += 1;
            }
        }
        bytes.extend_from_slice(torn);
        std::fs::write(dir.path().join(format!("{number:010}.seg")), &bytes).expect("a file");
        if !notes.is_empty() {
            std::fs::write(dir.path().join(format!("{number:010}.done")), notes).expect("a file");
        }
    }
    // Read, but not delivered: all comes again.
    let count = |spill: &Spill, deliver: bool| {
        let mut n = 0;
        while let Some((batch, place)) = spill.next() {
            spill.queued(batch.source().id);
            n += 1;
            if deliver {
                spill.delivered(place);
            }
        }
        n
    };
    let first = count(&open(dir.path()), false);
    let noted = segments.iter().any(|(_, _, notes)| !notes.is_empty());
    assert!(noted || first >= sound, "{first} of {sound} came back");
    let spill = open(dir.path());
    assert_eq!(count(&spill, true), first);
    assert!(!spill.has_unread());
    drop(spill);
    assert_eq!(count(&open(dir.path()), true), 0, "delivered once");
});
