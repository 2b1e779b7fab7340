//! The frame: one encoded batch, the same bytes on the wire, in the spill and in the WAL.
//!
//! ```text
//! offset size
//!  0     4    magic "KSF1"
//!  4     1    kind: 1 logs, 2 metrics
//!  5     1    flags: bit 0 = payload is zstd, bit 1 = payload is an LZ4 block
//!  6     2    reserved, 0
//!  8    16    source id                        (all integers little-endian)
//! 24     8+4  from: offset, ordinal  (exclusive)
//! 36     8+4  to: offset, ordinal    (inclusive)
//! 48     4    payload bytes as stored
//! 52     4    payload bytes when decompressed
//! 56     4    CRC32C of bytes 0..56 and the stored payload
//! 60     n    payload
//! ```
//! The payload is a list of varints and texts, drawn at `encode_logs` and `encode_metrics`; a
//! text is a varint length and its bytes. Decoding any bytes ends in a batch or an error, never in
//! a panic, and never allocates more than a small multiple of [`MAX_PAYLOAD_BYTES`].

mod compression;
mod extras;
mod histograms;
mod logs;
mod metrics;
mod payload;
#[cfg(test)]
mod tests;
mod time_texts;

use self::compression::{PAYLOAD, compress_lz4, compress_zstd, decompress_zstd, with_kept};
pub use self::histograms::{put_histogram, take_histogram};
use self::logs::{decode_logs, encode_logs};
use self::metrics::{decode_metrics, encode_metrics};
use crate::{Position, RecordBatch, Source, SourceId};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 60;
/// The largest payload, compressed or not. Larger batches must be split before they are encoded.
pub const MAX_PAYLOAD_BYTES: usize = 128 << 20;
/// Payloads below this are not worth a compressor's header.
const COMPRESS_FROM_BYTES: usize = 256;
const MAGIC: &[u8; 4] = b"KSF1";
const FLAG_ZSTD: u8 = 1;
const FLAG_LZ4: u8 = 2;

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Half the work of zstd, for about twice the bytes.
    Lz4,
    Zstd,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does: a torn tail, or more is to come.
    #[error("frame is cut off: {have} of {need} bytes")]
    Truncated { have: usize, need: usize },
    /// The bytes are something else or damaged.
    #[error("damaged frame: {0}")]
    Damaged(&'static str),
}

/// A checked frame whose payload has not been decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub source: Source,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the frame at the start of `bytes`: magic, lengths and checksum.
    ///
    /// # Errors
    /// `Truncated` when more bytes could complete it, else `Damaged`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let frame = Self::parse_unverified(bytes)?;
        if checksum(frame.bytes) != u32_at(frame.bytes, 56) {
            return Err(FrameError::Damaged("checksum does not match"));
        }
        Ok(frame)
    }

    /// Checks magic and lengths only. What is damaged may decode into other records than were written.
    ///
    /// # Errors
    /// `Truncated` when more bytes could complete it, else `Damaged`.
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Header {
            source,
            frame_bytes: need,
        } = Header::read(bytes)?;
        let Some(bytes) = bytes.get(..need) else {
            let have = bytes.len();
            return Err(FrameError::Truncated { have, need });
        };
        Ok(Self { source, bytes })
    }

    /// The whole frame, header and payload.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Decodes the batch.
    ///
    /// # Errors
    /// When the payload does not decompress or does not follow its format.
    pub fn decode(&self) -> Result<RecordBatch, FrameError> {
        let stored = &self.bytes[HEADER_BYTES..];
        let raw_len = u32_at(self.bytes, 52) as usize;
        let damaged = FrameError::Damaged("payload does not decompress");
        let payload = match self.bytes[5] {
            0 => stored.to_vec(),
            FLAG_ZSTD => decompress_zstd(stored, raw_len).ok_or(damaged)?,
            FLAG_LZ4 => lz4_flex::block::decompress(stored, raw_len).map_err(|_| damaged)?,
            _ => return Err(FrameError::Damaged("unknown compression")),
        };
        if payload.len() != raw_len {
            return Err(FrameError::Damaged(
                "payload has another length than promised",
            ));
        }
        match self.bytes[4] {
            1 => decode_logs(payload, self.source).map(RecordBatch::Logs),
            2 => decode_metrics(&payload, self.source).map(RecordBatch::Metrics),
            _ => Err(FrameError::Damaged("unknown kind of batch")),
        }
    }
}

/// What the first bytes of a frame say; only the whole frame can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub source: Source,
    /// Length of the whole frame.
    pub frame_bytes: usize,
}

impl Header {
    /// Reads the first [`HEADER_BYTES`] of a frame.
    ///
    /// # Errors
    /// `Truncated` when there are fewer, `Damaged` when they cannot begin a frame.
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let magic = &bytes[..bytes.len().min(4)];
        if magic != &MAGIC[..magic.len()] {
            return Err(FrameError::Damaged("no frame magic"));
        }
        if bytes.len() < HEADER_BYTES {
            let have = bytes.len();
            return Err(FrameError::Truncated {
                have,
                need: HEADER_BYTES,
            });
        }
        let stored = u32_at(bytes, 48) as usize;
        if stored > MAX_PAYLOAD_BYTES || u32_at(bytes, 52) as usize > MAX_PAYLOAD_BYTES {
            return Err(FrameError::Damaged(
                "payload is larger than any frame may be",
            ));
        }
        let position = |at| Position {
            offset: u64_at(bytes, at),
            ordinal: u32_at(bytes, at + 8),
        };
        let id = u128::from(u64_at(bytes, 8)) | u128::from(u64_at(bytes, 16)) << 64;
        Ok(Self {
            source: Source {
                id: SourceId(id),
                from: position(24),
                to: position(36),
            },
            frame_bytes: HEADER_BYTES + stored,
        })
    }
}

/// Appends the frame of `batch` to `out`, compressed with zstd, and returns its length.
///
/// # Errors
/// When the batch is larger than [`MAX_PAYLOAD_BYTES`].
pub fn encode(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<usize, FrameError> {
    encode_as(Compression::Zstd, batch, out)
}

/// As [`encode`], with a compression of choice.
///
/// # Errors
/// When the batch is larger than [`MAX_PAYLOAD_BYTES`].
pub fn encode_as(
    compression: Compression,
    batch: &RecordBatch,
    out: &mut Vec<u8>,
) -> Result<usize, FrameError> {
    match batch {
        RecordBatch::Logs(b) => with_kept(&PAYLOAD, |w| {
            encode_logs(b, w);
            finish(compression, 1, &b.source, w, out)
        }),
        RecordBatch::Metrics(b) => with_kept(&PAYLOAD, |w| {
            encode_metrics(b, w);
            finish(compression, 2, &b.source, w, out)
        }),
    }
}

fn finish(
    compression: Compression,
    kind: u8,
    source: &Source,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, FrameError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(FrameError::Damaged("batch is larger than any frame may be"));
    }
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let is_small = payload.len() < COMPRESS_FROM_BYTES;
    let flags = match compression {
        _ if is_small => 0,
        Compression::None => 0,
        Compression::Lz4 => FLAG_LZ4,
        Compression::Zstd => FLAG_ZSTD,
    };
    match flags {
        FLAG_LZ4 => compress_lz4(payload, out),
        FLAG_ZSTD => compress_zstd(payload, out),
        _ => out.extend_from_slice(payload),
    }
    let stored = out.len() - start - HEADER_BYTES;
    let frame = &mut out[start..];
    frame[..4].copy_from_slice(MAGIC);
    frame[4] = kind;
    frame[5] = flags;
    frame[8..24].copy_from_slice(&source.id.0.to_le_bytes());
    frame[24..32].copy_from_slice(&source.from.offset.to_le_bytes());
    frame[32..36].copy_from_slice(&source.from.ordinal.to_le_bytes());
    frame[36..44].copy_from_slice(&source.to.offset.to_le_bytes());
    frame[44..48].copy_from_slice(&source.to.ordinal.to_le_bytes());
    frame[48..52].copy_from_slice(&(stored as u32).to_le_bytes());
    frame[52..56].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = checksum(frame);
    frame[56..60].copy_from_slice(&crc.to_le_bytes());
    Ok(frame.len())
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..56]), &frame[HEADER_BYTES..])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}
