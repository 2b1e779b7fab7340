//! The bytes of a file as they were logged: as they stand in it, or unpacked from gzip.
//!
//! Offsets always count what was logged, so that a generation goes on at the same place when it is
//! compressed. The rule: a packed file is read forwards; what lies further back than one read is
//! unpacked again from the beginning, and a file at rest holds no memory.

use std::cell::RefCell;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::bufread::MultiGzDecoder;

use super::identity::MARKER_BYTES;
use super::window::READ_BYTES;

/// How far back a packed file can be read without beginning anew: the buffer of a turn.
const HISTORY_BYTES: usize = READ_BYTES + 2 * MARKER_BYTES;
/// A packed file that ends too early may still be written as long as its last write is no older.
const PACKING_SLACK: Duration = Duration::from_secs(10);
/// The shortest packed file: its head and trailer.
const LEAST_PACKED_BYTES: u64 = 18;
/// One read of packed bytes.
const PACKED_BYTES: usize = 64 << 10;

/// An open file.
pub(super) struct Content {
    file: File,
    gzip: Option<RefCell<Gzip>>,
}

/// The state of unpacking; empty at rest.
#[derive(Default)]
struct Gzip {
    decoder: Option<MultiGzDecoder<Packed>>,
    /// How much has been unpacked.
    position: u64,
    /// The bytes before `position`.
    history: Vec<u8>,
    /// Why nothing comes after `position`, when that is not the end.
    broken: Option<String>,
    /// Because the packed bytes end there.
    ends_early: bool,
}

impl Content {
    /// Opens a file; one that is called `.gz` and begins like one is unpacked.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?, path)
    }

    /// As it is, without a look at it.
    #[cfg(test)]
    pub(super) fn unread(file: File) -> Self {
        Self { file, gzip: None }
    }

    pub(super) fn of(file: File, path: &Path) -> io::Result<Self> {
        let mut magic = [0; 2];
        let named = path.extension().is_some_and(|e| e == "gz");
        let packed = named && file.read_at(&mut magic, 0)? == 2 && magic == [0x1f, 0x8b];
        let gzip = packed.then(RefCell::default);
        Ok(Self { file, gzip })
    }

    /// The same file, to be read at another place.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            gzip: self.gzip.as_ref().map(|_| RefCell::default()),
        })
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.gzip.is_some()
    }

    /// Of the file as it is.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether it can hold `size` bytes; for a packed file only reading tells.
    pub(super) fn may_hold(&self, size: u64) -> io::Result<bool> {
        Ok(self.is_gzip() || self.file.metadata()?.len() >= size)
    }

    /// Whether nothing was logged to it; one that cannot be unpacked is not known to be empty.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        if !self.is_gzip() {
            return Ok(self.file.metadata()?.len() == 0);
        }
        Ok(self.ends_at(0)? && self.broken().is_none())
    }

    /// Whether nothing stands at `offset` or behind it.
    pub(super) fn ends_at(&self, offset: u64) -> io::Result<bool> {
        Ok(self.read_full(&mut [0], offset)? == 0)
    }

    /// Reads until `bytes` is full or the file ends.
    pub(super) fn read_full(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        if let Some(gzip) = &self.gzip {
            return gzip.borrow_mut().read(&self.file, bytes, at);
        }
        let mut n = 0;
        while n < bytes.len() {
            match self.file.read_at(&mut bytes[n..], at + n as u64) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(n)
    }

    /// One read: less than asked for is the end of the file, or near it.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        if self.gzip.is_some() {
            return self.read_full(bytes, at);
        }
        loop {
            match self.file.read_at(bytes, at) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Why a packed file could not be unpacked to its end.
    pub(super) fn broken(&self) -> Option<String> {
        self.gzip.as_ref()?.borrow().broken.clone()
    }

    /// Whether a packed file that could not be unpacked to its end may just not be complete yet. Then
    /// it can be read once more.
    pub(super) fn is_being_written(&self) -> bool {
        let Some(gzip) = &self.gzip else {
            return false;
        };
        let is_early = gzip.borrow().ends_early && was_just_written(&self.file);
        if is_early {
            gzip.take();
        }
        is_early
    }

    /// Whether a file that is to be a packed one, and was written just now, has all its bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn is_complete(&self) -> io::Result<bool> {
        if !was_just_written(&self.file) {
            return Ok(true);
        }
        let Some(gzip) = &self.gzip else {
            return Ok(self.file.metadata()?.len() >= LEAST_PACKED_BYTES);
        };
        let mut bytes = vec![0; READ_BYTES];
        let mut gzip = gzip.borrow_mut();
        *gzip = Gzip::default();
        while gzip.unpack(&self.file, &mut bytes)? > 0 {}
        let is_complete = !gzip.ends_early;
        *gzip = Gzip::default();
        Ok(is_complete)
    }

    /// Gives memory back; reading on begins anew.
    pub(super) fn rest(&self) {
        if let Some(gzip) = &self.gzip {
            let mut gzip = gzip.borrow_mut();
            let (broken, ends_early) = (gzip.broken.take(), gzip.ends_early);
            *gzip = Gzip {
                broken,
                ends_early,
                ..Gzip::default()
            };
        }
    }
}

fn was_just_written(file: &File) -> bool {
    let written = file.metadata().and_then(|m| m.modified());
    written.is_ok_and(|at| at + PACKING_SLACK >= SystemTime::now())
}

impl Gzip {
    fn read(&mut self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        if at + (self.history.len() as u64) < self.position {
            *self = Self::default();
        }
        let mut n = 0;
        if at < self.position {
            let from = self.history.len() - (self.position - at) as usize;
            let kept = &self.history[from..];
            n = kept.len().min(bytes.len());
            bytes[..n].copy_from_slice(&kept[..n]);
        }
        let mut skipped = Vec::new();
        while self.position < at {
            skipped.resize(((at - self.position) as usize).min(READ_BYTES), 0);
            if self.unpack(file, &mut skipped)? == 0 {
                return Ok(0);
            }
        }
        while n < bytes.len() {
            let more = self.unpack(file, &mut bytes[n..])?;
            if more == 0 {
                break;
            }
            n += more;
        }
        Ok(n)
    }

    /// The next bytes; none at the end, or where the file is broken.
    fn unpack(&mut self, file: &File, bytes: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Ok(0);
        }
        if self.decoder.is_none() {
            let packed = Packed {
                file: file.try_clone()?,
                at: 0,
                buffer: Vec::new(),
                start: 0,
            };
            self.decoder = Some(MultiGzDecoder::new(packed));
        }
        let Some(decoder) = &mut self.decoder else {
            return Ok(0);
        };
        let n = match decoder.read(bytes) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return self.unpack(file, bytes),
            Err(e) if e.raw_os_error().is_some() => return Err(e),
            Err(e) => {
                self.ends_early = e.kind() == io::ErrorKind::UnexpectedEof;
                self.broken = Some(e.to_string());
                0
            }
        };
        self.position += n as u64;
        let news = &bytes[..n];
        if n >= HISTORY_BYTES {
            self.history.clear();
            self.history.extend_from_slice(&news[n - HISTORY_BYTES..]);
        } else {
            let excess = (self.history.len() + n).saturating_sub(HISTORY_BYTES);
            self.history.drain(..excess);
            self.history.extend_from_slice(news);
        }
        Ok(n)
    }
}

/// The packed bytes, read at a place of its own: the descriptor's is shared.
struct Packed {
    file: File,
    at: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl Read for Packed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(bytes.len());
        bytes[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.buffer.len() {
            self.buffer.resize(PACKED_BYTES, 0);
            let n = self.file.read_at(&mut self.buffer, self.at)?;
            self.buffer.truncate(n);
            self.start = 0;
            self.at += n as u64;
        }
        Ok(&self.buffer[self.start..])
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn any_place_of_a_packed_file_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let text: Vec<u8> = (0..400_000_u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        let (first, second) = text.split_at(700_000);
        // Two members, as `gzip` appended to a file makes them.
        std::fs::write(&path, [packed(first), packed(second)].concat()).unwrap();
        let content = Content::open(&path).unwrap();
        assert!(content.is_gzip());
        for at in [
            0, 64, 1_500_000, 1_499_000, 3, 699_990, 1_599_999, 1_600_000, 9_000_000,
        ] {
            let mut bytes = vec![0; 1000];
            let n = content.read_full(&mut bytes, at).unwrap();
            let end = (at as usize + 1000).min(text.len());
            assert_eq!(bytes[..n], text[end.min(at as usize)..end], "at {at}");
            content.rest();
        }
        assert_eq!(content.broken(), None);
    }

    #[test]
    fn what_stands_before_the_damage_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        let whole = packed(&b"line\n".repeat(100_000));
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let content = Content::open(&path).unwrap();
        let mut bytes = vec![0; 1 << 20];
        let n = content.read_full(&mut bytes, 0).unwrap();
        assert!(n > 1000 && bytes[..n - n % 5] == b"line\n".repeat(n / 5));
        assert!(content.broken().is_some());
        // What only claims to be packed is taken as it is.
        std::fs::write(&path, "plain").unwrap();
        assert!(!Content::open(&path).unwrap().is_gzip());
    }
}
