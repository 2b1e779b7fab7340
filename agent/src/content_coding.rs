//! How the body of an HTTP answer is compressed, by what the request says it takes.

use std::io::Write;

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

    /// The body as it is sent, at the lowest level: a scrape repeats itself so much that more gains
    /// little. What cannot be compressed is sent as it is.
    pub(crate) fn pack(self, body: Vec<u8>) -> (Vec<u8>, Self) {
        let packed = match self {
            Self::Identity => None,
            Self::Gzip => gzip(&body).ok(),
            Self::Zstd => zstd::bulk::compress(&body, 1).ok(),
        };
        match packed {
            Some(packed) => (packed, self),
            None => (body, Self::Identity),
        }
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let out = Vec::with_capacity(body.len() / 4);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
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
