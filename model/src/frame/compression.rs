//! Compressors of payloads, and the memory that a thread keeps for them.

use std::cell::RefCell;
use std::thread::LocalKey;

const COMPRESSION_LEVEL: i32 = 1;
/// A thread keeps the memory of its last payload and of what it became, up to this size each.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    pub(super) static PAYLOAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static COMPRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on an empty buffer whose memory the thread keeps.
pub(super) fn with_kept<T>(
    kept: &'static LocalKey<RefCell<Vec<u8>>>,
    work: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    with_used(kept, |buffer| {
        buffer.clear();
        work(buffer)
    })
}

/// Runs `work` on the buffer as the thread's last work left it.
fn with_used<T>(
    kept: &'static LocalKey<RefCell<Vec<u8>>>,
    work: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let mut buffer = kept.take();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        kept.set(buffer);
    }
    result
}

/// Appends `payload` as an LZ4 block.
pub(super) fn compress_lz4(payload: &[u8], out: &mut Vec<u8>) {
    // What is in the buffer will be written over: zeros there would be work for nothing.
    with_used(&COMPRESSED, |compressed| {
        let bound = lz4_flex::block::get_maximum_output_size(payload.len());
        if compressed.len() < bound {
            compressed.resize(bound, 0);
        }
        let n = lz4_flex::block::compress_into(payload, compressed);
        let n = n.expect("the bound is enough for any bytes");
        out.extend_from_slice(&compressed[..n]);
    });
}

/// Appends `payload`, compressed with zstd. The compressor's context of some hundred KiB is made once
/// per thread.
pub(super) fn compress_zstd(payload: &[u8], out: &mut Vec<u8>) {
    thread_local! {
        static COMPRESSOR: RefCell<zstd::bulk::Compressor<'static>> = RefCell::new(
            zstd::bulk::Compressor::new(COMPRESSION_LEVEL).expect("the level exists"),
        );
    }
    with_kept(&COMPRESSED, |compressed| {
        compressed.reserve(zstd::zstd_safe::compress_bound(payload.len()));
        COMPRESSOR.with_borrow_mut(|compressor| {
            compressor
                .compress_to_buffer(payload, compressed)
                .expect("zstd compresses any bytes");
        });
        out.extend_from_slice(compressed);
    });
}

/// What zstd made `stored` of, with a context that is made once per thread as well.
pub(super) fn decompress_zstd(stored: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = Some(zstd::bulk::Decompressor::new().ok()?);
        }
        decompressor.as_mut()?.decompress(stored, raw_len).ok()
    })
}
