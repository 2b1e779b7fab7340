//! How the body of an HTTP answer is compressed, by what the request says it takes.

use std::io::{self, Write};

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

/// A coding that scrapers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    /// What to use: gzip where it is taken, else zstd, else nothing. Weights other than 0 are not
    /// compared: whoever takes both is content with either.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        let codings = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let mut wanted = Self::Identity;
        for coding in codings {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let is_refused = parts.any(|weight| {
                let digits = weight.strip_prefix("q=0");
                digits.is_some_and(|rest| rest.bytes().all(|b| matches!(b, b'.' | b'0')))
            });
            if is_refused {
                continue;
            }
            if name.eq_ignore_ascii_case("gzip") {
                return Self::Gzip;
            }
            if name.eq_ignore_ascii_case("zstd") {
                wanted = Self::Zstd;
            }
        }
        wanted
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// A body as it is sent. What cannot be compressed is sent as it is.
    pub(crate) fn pack(self, body: Vec<u8>) -> (Vec<u8>, Self) {
        let Ok(mut packer) = Packer::new(self) else {
            return (body, Self::Identity);
        };
        if matches!(packer, Packer::Identity) {
            return (body, self);
        }
        let mut packed = Vec::with_capacity(body.len() / 4);
        let done = packer.pack(&body, &mut packed);
        match done.and_then(|()| packer.finish(&mut packed)) {
            Ok(()) => (packed, self),
            Err(_) => (body, Self::Identity),
        }
    }
}

/// Compresses a body that comes in pieces, at the lowest level: a scrape repeats itself so much that
/// more gains little.
pub(crate) enum Packer {
    Identity,
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    /// # Errors
    /// When there is no memory for the coding.
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip(flate2::write::GzEncoder::new(
                Vec::new(),
                flate2::Compression::fast(),
            )),
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
        })
    }

    /// Appends to `out` what can be sent after the piece.
    ///
    /// # Errors
    /// When the coder fails, which it does for want of memory alone.
    pub(crate) fn pack(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Identity => out.extend_from_slice(piece),
            Self::Gzip(encoder) => {
                encoder.write_all(piece)?;
                out.append(encoder.get_mut());
            }
            Self::Zstd(encoder) => {
                encoder.write_all(piece)?;
                out.append(encoder.get_mut());
            }
        }
        Ok(())
    }

    /// Appends the end.
    ///
    /// # Errors
    /// As in [`Self::pack`].
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Identity => {}
            Self::Gzip(encoder) => out.append(&mut encoder.finish()?),
            Self::Zstd(encoder) => out.append(&mut encoder.finish()?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn the_request_decides() {
        for (accept, coding) in [
            ("", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("br, GZIP;q=0.5", Coding::Gzip),
            ("zstd,gzip", Coding::Gzip),
            ("zstd", Coding::Zstd),
            ("gzip;q=0, zstd", Coding::Zstd),
            ("gzip;q=0.000", Coding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(Coding::wanted(&headers), coding, "{accept}");
        }
        assert_eq!(Coding::wanted(&HeaderMap::new()), Coding::Identity);
    }

    #[test]
    fn packed_bodies_unpack() {
        let body = b"node_load1 1\n".repeat(100);
        let (packed, coding) = Coding::Zstd.pack(body.clone());
        assert_eq!(coding.name(), Some("zstd"));
        assert_eq!(
            zstd::bulk::decompress(&packed, 1 << 16).expect("zstd"),
            body
        );
    }
}
