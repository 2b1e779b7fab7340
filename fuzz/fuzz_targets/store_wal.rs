//! Any bytes as a WAL segment: opening the store reads what is whole, reports the rest, and what it
//! accepts is there after another restart.
#![no_main]

use kansoku_store::{Options, Store};

/// Where the header of a frame ends and which of its bytes hold the stored length and the checksum.
const FRAME_HEADER_BYTES: usize = 60;

/// Appends an entry: length, checksum, body.
fn put_entry(segment: &mut Vec<u8>, body: &[u8]) {
    let len = (body.len() as u32).to_le_bytes();
    segment.extend_from_slice(&len);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), body);
    segment.extend_from_slice(&crc.to_le_bytes());
    segment.extend_from_slice(body);
}

/// Series or samples by reference: the content as an LZ4 block of literals.
fn by_reference(magic: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut body = magic.to_vec();
    body.extend_from_slice(&(content.len() as u32).to_le_bytes());
    if content.len() < 15 {
        body.push((content.len() as u8) << 4);
    } else {
        let rest = content.len() - 15;
        body.push(0xf0);
        body.extend(std::iter::repeat_n(255, rest / 255));
        body.push((rest % 255) as u8);
    }
    body.extend_from_slice(content);
    body
}

/// A segment of the pieces in `input`. Each begins with its length (2 bytes) and its kind: most get
/// the lengths and checksums of an entry, so that the fuzzer gets behind them.
fn segment_of(mut input: &[u8]) -> Vec<u8> {
    let mut segment = b"KSWL\x02\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    while let Some(([low, high, kind], rest)) = input.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        input = rest;
        match kind % 4 {
            1 if len >= FRAME_HEADER_BYTES => {}
            2 => {
                put_entry(&mut segment, &by_reference(b"KSD1", piece));
                continue;
            }
            3 => {
                put_entry(&mut segment, &by_reference(b"KSS1", piece));
                continue;
            }
            _ => {
                segment.extend_from_slice(piece);
                continue;
            }
        }
        let mut frame = piece.to_vec();
        frame[..4].copy_from_slice(b"KSF1");
        let stored = (len - FRAME_HEADER_BYTES) as u32;
        frame[48..52].copy_from_slice(&stored.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..56]), &frame[60..]);
        frame[56..60].copy_from_slice(&crc.to_le_bytes());
        put_entry(&mut segment, &frame);
    }
    segment
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("wal")).unwrap();
    std::fs::write(dir.path().join("wal/000000000001.wal"), segment_of(bytes)).unwrap();
    let (store, first) = Store::open(Options::new(dir.path())).unwrap();
    let (entries, series) = (store.stats().head_entries, store.stats().head_series);
    drop(store);
    let (store, second) = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(second.torn_bytes, 0, "a torn tail is cut once");
    assert_eq!(second.wal_entries, first.wal_entries);
    assert_eq!(second.wal_records, first.wal_records);
    assert_eq!(store.stats().head_entries, entries);
    assert_eq!(store.stats().head_series, series);
    store.flush().unwrap();
    drop(store);
    let (store, _) = Store::open(Options::new(dir.path())).unwrap();
    assert_eq!(
        store.stats().head_entries,
        0,
        "what was flushed is in parts"
    );
});
