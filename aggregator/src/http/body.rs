//! Reading a request's body within its bound and its time, and undoing its compression.
//!
//! The one rule: a length that the sender declares is checked before anything is allocated, and
//! what cannot be declared (gzip) is cut at the bound while it is read.

use std::borrow::Cow;
use std::io::Read;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use hyper::{HeaderMap, StatusCode, header};
use kansoku_parsers::wire::snappy;

use super::Reply;

/// A body that gives no byte for this long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A body that is not whole by then is given up, however steadily it drips.
const WHOLE_MAX: Duration = Duration::from_secs(300);
/// How much of a body that nobody wants is read away before the answer, and how long that may
/// take: a client that is still sending would lose the answer to a reset connection.
const DISCARD_MAX_BYTES: usize = 256 << 20;
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// Why there is no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError {
    pub status: StatusCode,
    pub message: String,
}

impl BodyError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    fn too_large(max_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than the limit of {max_bytes} bytes; send smaller requests"
            ),
        )
    }

    /// The error as plain text.
    #[must_use]
    pub fn reply(self) -> Reply {
        Reply::text(self.status, self.message)
    }
}

/// The length that the sender declared.
#[must_use]
pub fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    super::header(headers, header::CONTENT_LENGTH).parse().ok()
}

/// Reads a body of at most `max_bytes`.
///
/// # Errors
/// 413 when it is larger, 408 when it stops coming, 400 when it breaks off.
pub async fn read<B>(mut body: B, headers: &HeaderMap, max_bytes: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let declared = declared_bytes(headers);
    if declared.is_some_and(|len| len > max_bytes) {
        discard(body).await;
        return Err(BodyError::too_large(max_bytes));
    }
    let mut whole = Vec::with_capacity(declared.unwrap_or(0));
    let read = tokio::time::timeout(WHOLE_MAX, read_into(&mut body, &mut whole, max_bytes)).await;
    match read {
        Ok(Ok(())) => Ok(whole.into()),
        Ok(Err(error)) => {
            if error.status == StatusCode::PAYLOAD_TOO_LARGE {
                discard(body).await;
            }
            Err(error)
        }
        Err(_) => {
            let message = format!("the body was not whole after {WHOLE_MAX:?}");
            Err(BodyError::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

async fn read_into<B>(body: &mut B, whole: &mut Vec<u8>, max_bytes: usize) -> Result<(), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        let Ok(frame) = tokio::time::timeout(IDLE_MAX, body.frame()).await else {
            let message = format!("the body stopped after {} bytes", whole.len());
            return Err(BodyError::new(StatusCode::REQUEST_TIMEOUT, message));
        };
        let Some(frame) = frame else {
            return Ok(());
        };
        let frame = frame.map_err(|e| {
            let message = format!("the body broke off after {} bytes: {e}", whole.len());
            BodyError::new(StatusCode::BAD_REQUEST, message)
        })?;
        let Ok(data) = frame.into_data() else {
            continue; // trailers
        };
        if whole.len() + data.len() > max_bytes {
            return Err(BodyError::too_large(max_bytes));
        }
        whole.extend_from_slice(&data);
    }
}

/// Reads a body away, within bounds.
pub async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let away = async {
        let mut left = DISCARD_MAX_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_MAX, away).await;
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    /// The block format, as remote write and Loki use it.
    Snappy,
    Zstd,
}

impl Coding {
    /// Reads `Content-Encoding`.
    ///
    /// # Errors
    /// 415 when it is unknown.
    pub fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        match super::header(headers, header::CONTENT_ENCODING) {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "snappy" => Ok(Self::Snappy),
            "zstd" => Ok(Self::Zstd),
            other => Err(BodyError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "content encoding '{}' is not supported; use gzip, snappy, zstd or none",
                    other.chars().take(40).collect::<String>()
                ),
            )),
        }
    }

    /// The most bytes that `body` can become, for budgets.
    #[must_use]
    pub fn decoded_bound(self, body: &[u8], max_bytes: usize) -> usize {
        // Deflate cannot pack better than 1032 to 1.
        let bound = match self {
            Self::Identity => body.len(),
            Self::Gzip => body.len().saturating_mul(1032),
            Self::Snappy => snappy::declared_len(body).unwrap_or(0),
            Self::Zstd => zstd_content_bytes(body).unwrap_or(usize::MAX),
        };
        bound.min(max_bytes)
    }

    /// Undoes the compression.
    ///
    /// # Errors
    /// 413 when more than `max_bytes` come out, 400 when the body is damaged.
    pub fn decode(self, body: &[u8], max_bytes: usize) -> Result<Cow<'_, [u8]>, BodyError> {
        match self {
            Self::Identity if body.len() > max_bytes => Err(BodyError::too_large(max_bytes)),
            Self::Identity => Ok(Cow::Borrowed(body)),
            Self::Snappy => match snappy::decompress(body, max_bytes) {
                Ok(plain) => Ok(Cow::Owned(plain)),
                Err(e @ snappy::SnappyError::TooLarge { .. }) => {
                    Err(BodyError::new(StatusCode::PAYLOAD_TOO_LARGE, e.to_string()))
                }
                Err(e @ snappy::SnappyError::Damaged(_)) => {
                    Err(BodyError::new(StatusCode::BAD_REQUEST, e.to_string()))
                }
            },
            Self::Gzip => read_to_end("gzip", flate2::read::MultiGzDecoder::new(body), max_bytes),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(body)
                    .map_err(|e| damaged("zstd", &e))?;
                read_to_end("zstd", decoder, max_bytes)
            }
        }
    }
}

/// What the header of a Zstandard body says it becomes. `None` when it does not say, also when more
/// frames follow the first, since it speaks for its own only.
fn zstd_content_bytes(body: &[u8]) -> Option<usize> {
    let frame_bytes = zstd::zstd_safe::find_frame_compressed_size(body).ok()?;
    let content_bytes = zstd::zstd_safe::get_frame_content_size(body).ok()??;
    (frame_bytes == body.len()).then(|| usize::try_from(content_bytes).ok())?
}

fn damaged(name: &str, error: &std::io::Error) -> BodyError {
    BodyError::new(StatusCode::BAD_REQUEST, format!("{name}: {error}"))
}

fn read_to_end(
    name: &str,
    decoder: impl Read,
    max_bytes: usize,
) -> Result<Cow<'static, [u8]>, BodyError> {
    let mut plain = Vec::new();
    decoder
        .take(max_bytes as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|e| damaged(name, &e))?;
    if plain.len() > max_bytes {
        return Err(BodyError::too_large(max_bytes));
    }
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Identity => plain.to_vec(),
            Coding::Gzip => {
                let level = flate2::Compression::fast();
                let mut e = flate2::write::GzEncoder::new(Vec::new(), level);
                e.write_all(plain).unwrap();
                e.finish().unwrap()
            }
            Coding::Snappy => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
            Coding::Zstd => zstd::bulk::compress(plain, 1).unwrap(),
        }
    }

    #[test]
    fn every_coding_is_undone_and_bounded() {
        let plain = vec![b'a'; 10_000];
        for coding in [Coding::Identity, Coding::Gzip, Coding::Snappy, Coding::Zstd] {
            let body = packed(coding, &plain);
            assert_eq!(coding.decode(&body, 10_000).unwrap(), &plain[..]);
            assert!(coding.decoded_bound(&body, 1 << 20) >= plain.len());
            let error = coding.decode(&body, 9_999).unwrap_err();
            assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE, "{coding:?}");
            for cut in [0, 1, body.len() / 2, body.len() - 1] {
                if coding != Coding::Identity && cut > 0 {
                    let error = coding.decode(&body[..cut], 10_000).unwrap_err();
                    assert_eq!(error.status, StatusCode::BAD_REQUEST, "{coding:?} {cut}");
                }
            }
        }
    }

    #[test]
    fn a_zstd_body_of_several_frames_is_budgeted_whole() {
        let mut body = packed(Coding::Zstd, b"a");
        assert_eq!(Coding::Zstd.decoded_bound(&body, 1 << 20), 1);
        body.extend(packed(Coding::Zstd, &[b'a'; 10_000]));
        assert_eq!(Coding::Zstd.decode(&body, 1 << 20).unwrap().len(), 10_001);
        assert_eq!(Coding::Zstd.decoded_bound(&body, 1 << 20), 1 << 20);
        let skipped = [&b"\x50\x2a\x4d\x18\0\0\0\0"[..], &body].concat();
        assert_eq!(
            Coding::Zstd.decode(&skipped, 1 << 20).unwrap().len(),
            10_001
        );
        assert_eq!(Coding::Zstd.decoded_bound(&skipped, 1 << 20), 1 << 20);
    }
}
