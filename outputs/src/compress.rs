//! Compression of request bodies: fast levels, because a node's CPU is dearer than its network.

use std::io::Write;

use hyper::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use kansoku_model::Settings;

/// What the body goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
    /// Snappy's block format, as Fluent Bit sends it.
    Snappy,
}

impl Compression {
    /// Reads `compress`; the option's list of choices refuses what an output does not have.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        match settings.text("compress", "").to_ascii_lowercase().as_str() {
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            "snappy" => Self::Snappy,
            _ => Self::None,
        }
    }

    /// The body as it is sent. The plain one is given back to `recycle` when it is not needed.
    #[must_use]
    pub fn apply(self, body: Vec<u8>, into: Vec<u8>, recycle: impl Fn(Vec<u8>)) -> Vec<u8> {
        let packed = match self {
            Self::None => return body,
            Self::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(into, flate2::Compression::fast());
                gzip.write_all(&body).expect("writing to memory succeeds");
                gzip.finish().expect("writing to memory succeeds")
            }
            Self::Zstd => zstd::bulk::compress(&body, 1).expect("zstd compresses any bytes"),
            Self::Snappy => snap::raw::Encoder::new()
                .compress_vec(&body)
                .expect("a request is shorter than 4 GiB"),
        };
        recycle(body);
        packed
    }

    /// The header that names it.
    #[must_use]
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        let name = match self {
            Self::None => return None,
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        };
        Some((CONTENT_ENCODING, HeaderValue::from_static(name)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn bodies_come_out_as_they_went_in() {
        let plain = b"line of text\n".repeat(1000);
        for (name, compression) in [
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
            ("snappy", Compression::Snappy),
            ("", Compression::None),
        ] {
            let packed = compression.apply(plain.clone(), Vec::new(), drop);
            let mut back = Vec::new();
            match compression {
                Compression::None => back.clone_from(&packed),
                Compression::Gzip => {
                    let mut reader = flate2::read::GzDecoder::new(&packed[..]);
                    reader.read_to_end(&mut back).expect("gzip");
                }
                Compression::Zstd => back = zstd::bulk::decompress(&packed, 1 << 20).expect("zstd"),
                Compression::Snappy => {
                    back = snap::raw::Decoder::new()
                        .decompress_vec(&packed)
                        .expect("snappy");
                }
            }
            assert_eq!(back, plain);
            let header = compression.header();
            let sent = header
                .as_ref()
                .map_or("", |(_, v)| v.to_str().expect("ascii"));
            assert_eq!(sent, name);
            let settings = Settings::of("http", &[("compress", name)]);
            assert_eq!(Compression::of(&settings), compression);
        }
    }
}
