//! Any bytes as a native frame: parsing and decoding end in a batch or an error.
#![no_main]

use kansoku_model::{Frame, RecordBatch, Streams};

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
    }
});
