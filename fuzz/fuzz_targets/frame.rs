//! Any bytes as a native frame: parsing and decoding end in a batch or an error, and a batch of logs
//! that is encoded again is the same batch.
#![no_main]

use kansoku_model::frame::{self, Compression};
use kansoku_model::{Frame, LogBatch, RecordBatch, Streams, json};

fn records(batch: &LogBatch) -> Vec<u8> {
    let mut out = Vec::new();
    for row in 0..batch.len() {
        out.extend_from_slice(
            format!("{} {:?}", batch.times()[row], batch.positions()[row]).as_bytes(),
        );
        json::write_fields(&mut out, batch, row, true);
        out.extend_from_slice(batch.metadata(row).unwrap_or_default());
    }
    out
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The checksum is right for the payload given, so that the fuzzer gets behind it.
    let mut frame = bytes.to_vec();
    if frame.len() >= 60 {
        frame[..4].copy_from_slice(b"KSF1");
        let stored = (frame.len() - 60) as u32;
        frame[48..52].copy_from_slice(&stored.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..56]), &frame[60..]);
        frame[56..60].copy_from_slice(&crc.to_le_bytes());
    }
    if let Ok(RecordBatch::Logs(batch)) = Frame::parse(&frame).and_then(|f| f.decode()) {
        let streams = Streams::of(&batch);
        for row in 0..batch.len() {
            let _ = streams.line(row, &mut Vec::new());
            streams.metadata(row, |_, _| {});
        }
        // What takes few bytes may be large once it is written out.
        if batch.len() * batch.columns().len() > 4096 {
            return;
        }
        let before = records(&batch);
        let mut again = Vec::new();
        if frame::encode_as(Compression::None, &RecordBatch::Logs(batch), &mut again).is_ok() {
            let Ok(RecordBatch::Logs(after)) = Frame::parse(&again).and_then(|f| f.decode()) else {
                panic!("an encoded batch can be decoded");
            };
            assert!(records(&after) == before, "the same batch");
        }
    }
});
