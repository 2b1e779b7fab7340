//! Compressed bodies: gzip, zlib, zstd and snappy, with a bound on what they become.
//!
//! The one rule: never more than `max_bytes` are made, whatever the body claims.

use std::io::Read;

use super::snappy::{self, SnappyError};

/// Why a body was not decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    #[error("the body would decompress to more than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    #[error("{0}")]
    Damaged(String),
    #[error("unknown compression '{0}'; use gzip, deflate, zstd or snappy")]
    Unknown(String),
}

/// Decompresses what a `Content-Encoding` (or Forward's `compressed`) names.
///
/// # Errors
/// When it is too large, damaged or unknown.
pub fn unpack(encoding: &str, body: &[u8], max_bytes: usize) -> Result<Vec<u8>, UnpackError> {
    match encoding.to_ascii_lowercase().as_str() {
        // All members, one behind the other.
        "gzip" | "x-gzip" => read(encoding, flate2::read::MultiGzDecoder::new(body), max_bytes),
        "deflate" => read(encoding, flate2::read::ZlibDecoder::new(body), max_bytes),
        "zstd" => match zstd::stream::read::Decoder::with_buffer(body) {
            Ok(reader) => read(encoding, reader, max_bytes),
            Err(error) => Err(UnpackError::Damaged(format!("zstd: {error}"))),
        },
        // The framed format has a mark of its own at its start.
        "snappy" if body.starts_with(b"\xff\x06\x00\x00sNaPpY") => {
            read(encoding, snap::read::FrameDecoder::new(body), max_bytes)
        }
        "snappy" => snappy::decompress(body, max_bytes).map_err(|error| match error {
            SnappyError::TooLarge { max_bytes, .. } => UnpackError::TooLarge { max_bytes },
            SnappyError::Damaged(error) => UnpackError::Damaged(error.to_string()),
        }),
        other => Err(UnpackError::Unknown(other.to_owned())),
    }
}

fn read(name: &str, reader: impl Read, max_bytes: usize) -> Result<Vec<u8>, UnpackError> {
    let mut plain = Vec::new();
    reader
        .take(max_bytes as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| UnpackError::Damaged(format!("{name}: {error}")))?;
    if plain.len() > max_bytes {
        return Err(UnpackError::TooLarge { max_bytes });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_compression_is_undone_within_its_bound() {
        let text = b"observe ".repeat(100);
        let gzip = |text: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(text).unwrap();
            out.finish().unwrap()
        };
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut framed = snap::write::FrameEncoder::new(Vec::new());
        framed.write_all(&text).unwrap();
        let bodies = [
            ("gzip", gzip(&text)),
            ("GZIP", [gzip(&text[..400]), gzip(&text[400..])].concat()),
            ("deflate", zlib.finish().unwrap()),
            ("zstd", zstd::encode_all(&text[..], 1).unwrap()),
            (
                "snappy",
                snap::raw::Encoder::new().compress_vec(&text).unwrap(),
            ),
            ("snappy", framed.into_inner().unwrap()),
        ];
        for (name, body) in &bodies {
            assert_eq!(unpack(name, body, 800).as_deref(), Ok(&text[..]), "{name}");
            let too_large = UnpackError::TooLarge { max_bytes: 799 };
            assert_eq!(unpack(name, body, 799), Err(too_large), "{name}");
            for cut in 0..body.len() {
                let _ = unpack(name, &body[..cut], 800);
            }
            assert!(unpack(name, b"\x07nonsense", 800).is_err(), "{name}");
        }
        let unknown = UnpackError::Unknown("br".into());
        assert_eq!(unpack("br", b"", 1), Err(unknown));
    }
}
