//! systemd's journal files: headers, objects and entries, from bytes that somebody else reads.
//!
//! Follows <https://systemd.io/JOURNAL_FILE_FORMAT/>: regular and compact files, keyed hashes, data
//! compressed with zstd or LZ4. XZ, which systemd has not written by default since 2020, is refused by
//! name. Hashes are not checked: a writer that is alive may be ahead of what was read, and an entry
//! is only followed once the header counts it.

use std::borrow::Cow;
use std::io::Read;

/// Bytes of the header that are looked at; files of any version have them.
pub const HEADER_BYTES: usize = 208;
/// Bytes of an object's header.
pub const OBJECT_HEADER_BYTES: usize = 16;
/// The largest object that is read: systemd itself refuses larger fields at 768 MiB, but a log
/// record of that size is of no use.
pub const MAX_OBJECT_BYTES: u64 = 16 << 20;
/// The most bytes that a compressed field may become.
pub const MAX_FIELD_BYTES: usize = 16 << 20;
/// The most fields of one entry.
pub const MAX_ITEMS: usize = 8192;

const SIGNATURE: &[u8; 8] = b"LPKSHHRH";
const INCOMPATIBLE_KEYED_HASH: u32 = 4;
const INCOMPATIBLE_COMPACT: u32 = 16;
/// XZ, LZ4, keyed hash, zstd, compact.
const INCOMPATIBLE_KNOWN: u32 = 1 | 2 | INCOMPATIBLE_KEYED_HASH | 8 | INCOMPATIBLE_COMPACT;

const FLAG_XZ: u8 = 1;
const FLAG_LZ4: u8 = 2;
const FLAG_ZSTD: u8 = 4;

/// Object types that are followed.
pub const DATA: u8 = 1;
pub const ENTRY: u8 = 3;
pub const ENTRY_ARRAY: u8 = 6;

/// What is wrong with a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("no journal file: its signature is missing")]
    Signature,
    #[error("written by a newer systemd: unknown format flags {0:#x}")]
    Flags(u32),
    #[error("compressed with XZ, which is not supported; run journalctl --rotate --vacuum-files=1")]
    Xz,
    #[error("damaged: {0}")]
    Object(&'static str),
}

/// The parts of a file's header that a reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub is_compact: bool,
    /// The file is being written to, or was when the machine stopped.
    pub is_online: bool,
    /// Names the file for ever, also when it is renamed.
    pub file_id: u128,
    /// Names the run of sequence numbers.
    pub seqnum_id: u128,
    /// Where the first object lies.
    pub header_bytes: u64,
    pub tail_object_offset: u64,
    pub n_entries: u64,
    pub head_seqnum: u64,
    pub tail_seqnum: u64,
    /// The first entry array; 0 when there is no entry.
    pub entry_array_offset: u64,
    /// Unix microseconds of the first and of the last entry.
    pub head_realtime_us: u64,
    pub tail_realtime_us: u64,
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn id_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_be_bytes(
        bytes.get(at..at + 16)?.try_into().ok()?,
    ))
}

/// Reads the first [`HEADER_BYTES`] of a file.
///
/// # Errors
/// When it is none of systemd's, or uses what this reader does not know.
pub fn header(bytes: &[u8]) -> Result<Header, Damage> {
    if bytes.get(..8) != Some(SIGNATURE.as_slice()) {
        return Err(Damage::Signature);
    }
    let read = || {
        let flags = u32_at(bytes, 12)?;
        let header = Header {
            is_compact: flags & INCOMPATIBLE_COMPACT != 0,
            is_online: *bytes.get(16)? == 1,
            file_id: id_at(bytes, 24)?,
            seqnum_id: id_at(bytes, 72)?,
            header_bytes: u64_at(bytes, 88)?,
            tail_object_offset: u64_at(bytes, 136)?,
            n_entries: u64_at(bytes, 152)?,
            tail_seqnum: u64_at(bytes, 160)?,
            head_seqnum: u64_at(bytes, 168)?,
            entry_array_offset: u64_at(bytes, 176)?,
            head_realtime_us: u64_at(bytes, 184)?,
            tail_realtime_us: u64_at(bytes, 192)?,
        };
        Some((flags, header))
    };
    let (flags, header) = read().ok_or(Damage::Object("the header is cut short"))?;
    if flags & !INCOMPATIBLE_KNOWN != 0 {
        return Err(Damage::Flags(flags & !INCOMPATIBLE_KNOWN));
    }
    Ok(header)
}

/// Type, flags and whole size of an object, from its first [`OBJECT_HEADER_BYTES`].
///
/// # Errors
/// When it is not of type `wanted`, or no object can have its size.
pub fn object_header(bytes: &[u8], wanted: u8) -> Result<(u8, u64), Damage> {
    let read = || Some((*bytes.first()?, *bytes.get(1)?, u64_at(bytes, 8)?));
    let (kind, flags, size) = read().ok_or(Damage::Object("an object is cut short"))?;
    if kind != wanted {
        return Err(Damage::Object(
            "an offset leads to an object of another type",
        ));
    }
    if !(OBJECT_HEADER_BYTES as u64..=MAX_OBJECT_BYTES).contains(&size) {
        return Err(Damage::Object("an object has an impossible size"));
    }
    Ok((flags, size))
}

/// One entry: when, and where its fields lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub seqnum: u64,
    /// Unix microseconds.
    pub realtime_us: u64,
    pub monotonic_us: u64,
    pub boot_id: u128,
    pub xor_hash: u64,
    /// Offsets of data objects.
    pub items: Vec<u64>,
}

/// Reads a whole entry object.
///
/// # Errors
/// When it is cut short.
pub fn entry(object: &[u8], is_compact: bool) -> Result<Entry, Damage> {
    let read = || {
        let items = object.get(64..)?;
        let items: Vec<u64> = if is_compact {
            let each = items.chunks_exact(4).take(MAX_ITEMS);
            each.filter_map(|c| u32_at(c, 0).map(u64::from)).collect()
        } else {
            let each = items.chunks_exact(16).take(MAX_ITEMS);
            each.filter_map(|c| u64_at(c, 0)).collect()
        };
        Some(Entry {
            seqnum: u64_at(object, 16)?,
            realtime_us: u64_at(object, 24)?,
            monotonic_us: u64_at(object, 32)?,
            boot_id: id_at(object, 40)?,
            xor_hash: u64_at(object, 56)?,
            items: items.into_iter().filter(|at| *at != 0).collect(),
        })
    };
    read().ok_or(Damage::Object("an entry is cut short"))
}

/// Where the next array is (0 = nowhere), and the offsets of entries in this one; 0 where none has
/// been written yet.
///
/// # Errors
/// When it is cut short.
pub fn entry_array(object: &[u8], is_compact: bool) -> Result<(u64, Vec<u64>), Damage> {
    let read = || {
        let (next, items) = (u64_at(object, 16)?, object.get(24..)?);
        let offsets = if is_compact {
            (items.chunks_exact(4))
                .filter_map(|c| u32_at(c, 0).map(u64::from))
                .collect()
        } else {
            items.chunks_exact(8).filter_map(|c| u64_at(c, 0)).collect()
        };
        Some((next, offsets))
    };
    read().ok_or(Damage::Object("an entry array is cut short"))
}

/// The bytes `NAME=value` of a whole data object.
///
/// # Errors
/// When it is cut short, cannot be decompressed or would become too large.
pub fn data(object: &[u8], flags: u8, is_compact: bool) -> Result<Cow<'_, [u8]>, Damage> {
    let start = if is_compact { 72 } else { 64 };
    let payload = object
        .get(start..)
        .ok_or(Damage::Object("a field is cut short"))?;
    if flags & FLAG_ZSTD != 0 {
        let bad = Damage::Object("a field cannot be decompressed (zstd)");
        let decoder = zstd::stream::read::Decoder::with_buffer(payload).map_err(|_| bad)?;
        let mut plain = Vec::new();
        let limit = MAX_FIELD_BYTES as u64 + 1;
        decoder
            .take(limit)
            .read_to_end(&mut plain)
            .map_err(|_| bad)?;
        if plain.len() > MAX_FIELD_BYTES {
            return Err(Damage::Object("a field is larger than 16 MiB"));
        }
        return Ok(Cow::Owned(plain));
    }
    if flags & FLAG_LZ4 != 0 {
        let bad = Damage::Object("a field cannot be decompressed (LZ4)");
        let size = u64_at(payload, 0)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or(bad)?;
        if size > MAX_FIELD_BYTES {
            return Err(Damage::Object("a field is larger than 16 MiB"));
        }
        let plain = lz4_flex::block::decompress(&payload[8..], size).map_err(|_| bad)?;
        return Ok(Cow::Owned(plain));
    }
    if flags & FLAG_XZ != 0 {
        return Err(Damage::Xz);
    }
    Ok(Cow::Borrowed(payload))
}

/// Name and value of a field.
#[must_use]
pub fn split(field: &[u8]) -> Option<(&str, &[u8])> {
    let at = memchr::memchr(b'=', field)?;
    Some((std::str::from_utf8(&field[..at]).ok()?, &field[at + 1..]))
}

/// A position as `sd_journal_get_cursor` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub seqnum_id: u128,
    pub seqnum: u64,
    pub boot_id: u128,
    pub monotonic_us: u64,
    pub realtime_us: u64,
    pub xor_hash: u64,
}

impl Cursor {
    /// Reads `s=...;i=...;b=...;m=...;t=...;x=...`; all numbers are hexadecimal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let part = |name: &str| {
            let mut parts = text.split(';').filter_map(|p| p.split_once('='));
            parts.find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        let number = |name: &str| u64::from_str_radix(part(name)?, 16).ok();
        Some(Self {
            seqnum_id: u128::from_str_radix(part("s")?, 16).ok()?,
            seqnum: number("i")?,
            boot_id: u128::from_str_radix(part("b")?, 16).ok()?,
            monotonic_us: number("m")?,
            realtime_us: number("t")?,
            xor_hash: number("x")?,
        })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "s={:032x};i={:x};b={:032x};m={:x};t={:x};x={:x}",
            self.seqnum_id,
            self.seqnum,
            self.boot_id,
            self.monotonic_us,
            self.realtime_us,
            self.xor_hash
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_are_written() {
        let text = "s=1639bc99fbd44ac3a03ae1a8e1a4c8a4;i=1af;b=8f3a1f4e0d0c4b609d5e3b7f0f6f5a11;m=5f5e100;t=6436a1d1f3e80;x=ab12cd34ef567890";
        let cursor = Cursor::parse(text).expect("a cursor");
        assert_eq!((cursor.seqnum, cursor.monotonic_us), (0x1af, 100_000_000));
        assert_eq!(cursor.to_string(), text);
        for bad in ["", "s=1;i=2", "s=z;i=1;b=1;m=1;t=1;x=1"] {
            assert_eq!(Cursor::parse(bad), None);
        }
    }

    #[test]
    fn what_is_no_journal_is_named() {
        assert_eq!(header(b"LPKSHHR"), Err(Damage::Signature));
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(SIGNATURE);
        assert!(header(&bytes).is_ok());
        assert_eq!(
            header(&bytes[..100]),
            Err(Damage::Object("the header is cut short"))
        );
        bytes[13] = 1;
        assert_eq!(header(&bytes), Err(Damage::Flags(256)));
        assert!(object_header(&[0; 16], DATA).is_err());
        assert!(entry(&[0; 63], false).is_err());
        assert!(entry_array(&[0; 23], true).is_err());
        assert_eq!(data(&[0; 80], FLAG_XZ, true), Err(Damage::Xz));
        assert!(data(&[0; 80], FLAG_ZSTD, true).is_err());
        assert!(data(&[255; 80], FLAG_LZ4, true).is_err());
    }
}
