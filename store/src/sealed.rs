//! The frame of the store's small files that are written whole: magic, version, length, checksum, body.
//!
//! ```text
//! magic 4 | version u32 | length of the body u32 | CRC32C of the twelve bytes before and the body u32 | body
//! ```

use crate::bytes::{Malformed, Reader, put_u32};

/// Up to the checksum.
const CHECKED_BYTES: usize = 12;

/// One kind of such files, and what is said of a file that is none.
pub struct Kind {
    pub magic: &'static [u8; 4],
    /// What is written; older ones are read.
    pub version: u32,
    pub other_file: &'static str,
    pub other_version: &'static str,
    pub damaged: &'static str,
}

impl Kind {
    /// The file with this body.
    pub fn seal(&self, body: &[u8]) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        put_u32(&mut out, self.version);
        put_u32(&mut out, body.len() as u32);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out), body);
        put_u32(&mut out, crc);
        out.extend_from_slice(body);
        out
    }

    /// The version and the body of a file.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<(u32, Reader<'a>), Malformed> {
        let mut r = Reader::new(bytes);
        if r.take(4)? != self.magic {
            return Err(Malformed(self.other_file));
        }
        let version = r.u32()?;
        if !(1..=self.version).contains(&version) {
            return Err(Malformed(self.other_version));
        }
        let (len, crc) = (r.u32()? as usize, r.u32()?);
        let body = r.take(len)?;
        r.end()?;
        let checked = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        if crc32c::crc32c_append(checked, body) != crc {
            return Err(Malformed(self.damaged));
        }
        Ok((version, Reader::new(body)))
    }
}
