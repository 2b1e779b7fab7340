//! The snappy block format, with a bound on what a body may become.
//!
//! The one rule: the length that the body declares is checked before anything is allocated for it.

use super::WireError;

/// Decompresses a block of at most `max_bytes`.
///
/// # Errors
/// When it declares more than that or is damaged.
pub fn decompress(body: &[u8], max_bytes: usize) -> Result<Vec<u8>, SnappyError> {
    let len = declared_len(body)?;
    if len > max_bytes {
        return Err(SnappyError::TooLarge { len, max_bytes });
    }
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|e| SnappyError::Damaged(WireError::new(0, format!("snappy: {e}"))))
}

/// The decompressed length that the body declares.
///
/// # Errors
/// When the body does not start with a length.
pub fn declared_len(body: &[u8]) -> Result<usize, SnappyError> {
    if body.is_empty() {
        let what = "snappy: the body is empty";
        return Err(SnappyError::Damaged(WireError::new(0, what)));
    }
    snap::raw::decompress_len(body)
        .map_err(|e| SnappyError::Damaged(WireError::new(0, format!("snappy: {e}"))))
}

/// Why a block was not decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    #[error("the body would decompress to {len} bytes, more than the limit of {max_bytes}")]
    TooLarge { len: usize, max_bytes: usize },
    #[error(transparent)]
    Damaged(WireError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_bounded_before_they_are_decompressed() {
        let text = b"observe ".repeat(100);
        let packed = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        assert_eq!(decompress(&packed, 800), Ok(text));
        let too_large = SnappyError::TooLarge {
            len: 800,
            max_bytes: 799,
        };
        assert_eq!(decompress(&packed, 799), Err(too_large));
        // Declares 4 GiB - 1 and holds nothing.
        let bomb = b"\xff\xff\xff\xff\x0f";
        assert!(matches!(
            decompress(bomb, 1 << 25),
            Err(SnappyError::TooLarge { .. })
        ));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let packed = snap::raw::Encoder::new()
            .compress_vec(b"abcabcabcabcabcabcabc-abc")
            .unwrap();
        for cut in 0..packed.len() {
            assert!(decompress(&packed[..cut], 1 << 20).is_err(), "cut at {cut}");
        }
    }
}
