//! Any bytes as a compressed body, and any bytes compressed: what is unpacked stays within its bound,
//! and what was packed comes back.
#![no_main]

use std::io::Write;

use kansoku_parsers::wire::compressed::unpack;
use kansoku_parsers::wire::snappy;

const MAX_PLAIN: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for name in ["gzip", "deflate", "zstd", "snappy", "identity", "br"] {
        if let Ok(plain) = unpack(name, bytes, MAX_PLAIN) {
            assert!(plain.len() <= MAX_PLAIN);
        }
    }
    if let Ok(plain) = snappy::decompress(bytes, MAX_PLAIN) {
        assert!(plain.len() <= MAX_PLAIN);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd = zstd::bulk::compress(bytes, 1).expect("memory");
    for (name, packed) in [("gzip", gzip), ("zstd", zstd)] {
        assert_eq!(
            unpack(name, &packed, bytes.len()).ok().as_deref(),
            Some(bytes),
            "{name}"
        );
        if !bytes.is_empty() {
            assert!(
                unpack(name, &packed, bytes.len() - 1).is_err(),
                "{name} is bounded"
            );
        }
    }
});
