//! Records on their way to an object, on disk: what is here is safe, also from kill -9.
//!
//! ```text
//! file:   frame*                       NNNNNNNNNNNNNNNN.open, then .full
//! frame:  length u32 | crc32 u32 | body          (little-endian)
//! body:   'H' JSON of tag, key and begin         the first frame
//!         'D' n u16 | n * (source u128, offset u64, ordinal u32) | data
//! marks:  the same marks of all sources, for files that are gone
//! ```
//!
//! The one rule: a record is written once. The mark of its source is written with it, so what an
//! agent sends again after a crash is known and left out; the object's name is in the file, so a
//! repeated upload replaces itself.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use kansoku_model::Position;

/// The most sources whose marks are kept after their data has gone.
const MAX_MARKS: usize = 50_000;
/// No frame is larger: a request is a few MiB at the most.
const FRAME_MAX_BYTES: usize = 1 << 30;
const MARK_BYTES: usize = 28;

/// The last record of a source that is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub source: u128,
    pub position: Position,
}

/// What one file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub tag: String,
    /// The name of the object.
    pub key: String,
    /// Unix seconds of the first record's arrival.
    pub begin: i64,
}

struct Open {
    head: Head,
    path: PathBuf,
    file: File,
    file_bytes: u64,
    data_bytes: u64,
}

/// The spool of one output.
pub struct Spool {
    folder: PathBuf,
    /// Files that still grow, by tag.
    open: HashMap<String, Open>,
    /// Whole files by number, oldest first, with their size.
    full: BTreeMap<u64, u64>,
    marks: HashMap<u128, (Position, u64)>,
    /// Number of the next file.
    next: u64,
    /// Counts writes, to know the marks that were not used for long.
    clock: u64,
    /// Keeps other processes away.
    _lock: File,
}

impl Spool {
    /// Opens a folder, cutting what a crash left half written.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process uses it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock()
            .map_err(|e| Error::other(format!("another process uses it: {e}")))?;
        let mut spool = Self {
            folder: folder.to_owned(),
            open: HashMap::new(),
            full: BTreeMap::new(),
            marks: HashMap::new(),
            next: 0,
            clock: 0,
            _lock: lock,
        };
        spool.read_marks()?;
        let mut names: Vec<PathBuf> = fs::read_dir(folder)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for path in names {
            spool.take_up(&path)?;
        }
        Ok(spool)
    }

    fn take_up(&mut self, path: &Path) -> io::Result<()> {
        let number = path.file_stem().and_then(|s| s.to_str());
        let Some(number) = number.and_then(|s| u64::from_str_radix(s, 16).ok()) else {
            return Ok(());
        };
        let is_open = path.extension().is_some_and(|e| e == "open");
        if !is_open && path.extension().is_none_or(|e| e != "full") {
            return Ok(());
        }
        self.next = self.next.max(number + 1);
        let content = read_file(path)?;
        for mark in &content.marks {
            self.raise(*mark);
        }
        let Some(head) = content.head else {
            // Nothing in it was ever acknowledged.
            return fs::remove_file(path);
        };
        let file = OpenOptions::new().append(true).open(path)?;
        if content.good_bytes < file.metadata()?.len() {
            file.set_len(content.good_bytes)?;
            file.sync_all()?;
        }
        if !is_open {
            self.full.insert(number, content.good_bytes);
            return Ok(());
        }
        let tag = head.tag.clone();
        let open = Open {
            head,
            path: path.to_owned(),
            file,
            file_bytes: content.good_bytes,
            data_bytes: content.data.iter().map(|d| d.len() as u64).sum(),
        };
        if let Some(older) = self.open.insert(tag, open) {
            self.close(&older)?;
        }
        Ok(())
    }

    fn raise(&mut self, mark: Mark) {
        self.clock += 1;
        let known = self.marks.entry(mark.source).or_insert((mark.position, 0));
        *known = (known.0.max(mark.position), self.clock);
    }

    /// Up to where the records of a source are here already.
    #[must_use]
    pub fn mark(&self, source: u128) -> Option<Position> {
        self.marks.get(&source).map(|(position, _)| *position)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let open: u64 = self.open.values().map(|o| o.file_bytes).sum();
        open + self.full.values().sum::<u64>()
    }

    /// Writes data with its marks and makes it durable. `head` names the object when a file has to
    /// be begun; it gets the number of the file.
    ///
    /// # Errors
    /// When the disk refuses; nothing is kept of it then.
    pub fn append(
        &mut self,
        tag: &str,
        marks: &[Mark],
        data: &[u8],
        head: impl FnOnce(u64) -> Head,
    ) -> io::Result<()> {
        if !self.open.contains_key(tag) {
            let begun = self.begin(head(self.next))?;
            self.next += 1;
            self.open.insert(tag.to_owned(), begun);
        }
        let open = self.open.get_mut(tag).expect("it was just made");
        let mut body = vec![b'D'];
        body.extend_from_slice(&(marks.len() as u16).to_le_bytes());
        marks.iter().for_each(|mark| write_mark(&mut body, *mark));
        body.extend_from_slice(data);
        let frame = frame(&body);
        let written = open
            .file
            .write_all(&frame)
            .and_then(|()| open.file.sync_data());
        if let Err(e) = written {
            open.file.set_len(open.file_bytes)?;
            return Err(e);
        }
        open.file_bytes += frame.len() as u64;
        open.data_bytes += data.len() as u64;
        for mark in marks {
            self.raise(*mark);
        }
        Ok(())
    }

    fn begin(&self, head: Head) -> io::Result<Open> {
        let path = self.folder.join(format!("{:016x}.open", self.next));
        let json = serde_json::json!({"tag": head.tag, "key": head.key, "begin": head.begin});
        let frame = frame(format!("H{json}").as_bytes());
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(0)?;
        file.write_all(&frame)?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Open {
            head,
            path,
            file,
            file_bytes: frame.len() as u64,
            data_bytes: 0,
        })
    }

    /// Closes the files that have grown large or old enough.
    ///
    /// # Errors
    /// When one cannot be renamed.
    pub fn close_due(&mut self, now: i64, max_bytes: u64, max_age: i64) -> io::Result<()> {
        let due: Vec<String> = self
            .open
            .iter()
            .filter(|(_, o)| o.data_bytes >= max_bytes || now - o.head.begin >= max_age)
            .map(|(tag, _)| tag.clone())
            .collect();
        for tag in due {
            if let Some(open) = self.open.remove(&tag) {
                self.close(&open)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, open: &Open) -> io::Result<()> {
        let number = open.path.file_stem().and_then(|s| s.to_str());
        let number = number.and_then(|s| u64::from_str_radix(s, 16).ok());
        fs::rename(&open.path, open.path.with_extension("full"))?;
        self.full
            .insert(number.unwrap_or_default(), open.file_bytes);
        Ok(())
    }

    /// The oldest whole file: its number, what it is for, and its data.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn oldest(&self) -> io::Result<Option<(u64, Head, Vec<u8>)>> {
        let Some((&number, _)) = self.full.first_key_value() else {
            return Ok(None);
        };
        let content = read_file(&self.path(number))?;
        let head = content
            .head
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "a file without its head"))?;
        Ok(Some((number, head, content.data.concat())))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}.full"))
    }

    /// Removes a file that is uploaded; its marks stay.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn uploaded(&mut self, number: u64) -> io::Result<()> {
        self.write_marks()?;
        fs::remove_file(self.path(number))?;
        self.full.remove(&number);
        Ok(())
    }

    fn read_marks(&mut self) -> io::Result<()> {
        let bytes = match fs::read(self.folder.join("marks")) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            bytes => bytes?,
        };
        let Some((body, _)) = unframe(&bytes) else {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the file 'marks' is damaged",
            ));
        };
        let (next, marks) = body.split_at_checked(8).unwrap_or_default();
        self.next = le(next) as u64;
        for mark in marks.chunks_exact(MARK_BYTES) {
            self.raise(read_mark(mark));
        }
        Ok(())
    }

    fn write_marks(&mut self) -> io::Result<()> {
        let mut all: Vec<(u128, Position, u64)> = self
            .marks
            .iter()
            .map(|(source, (position, used))| (*source, *position, *used))
            .collect();
        all.sort_unstable_by_key(|(_, _, used)| *used);
        if all.len() > MAX_MARKS {
            for (source, ..) in all.drain(..all.len() - MAX_MARKS) {
                self.marks.remove(&source);
            }
        }
        let mut body = self.next.to_le_bytes().to_vec();
        for (source, position, _) in all {
            write_mark(&mut body, Mark { source, position });
        }
        let path = self.folder.join("marks.new");
        let mut file = File::create(&path)?;
        file.write_all(&frame(&body))?;
        file.sync_all()?;
        fs::rename(path, self.folder.join("marks"))?;
        File::open(&self.folder)?.sync_all()
    }
}

#[derive(Default)]
struct Content {
    head: Option<Head>,
    marks: Vec<Mark>,
    data: Vec<Vec<u8>>,
    /// Where the last whole frame ends.
    good_bytes: u64,
}

fn read_file(path: &Path) -> io::Result<Content> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(read_content(&bytes))
}

/// Reads frames up to the first that is torn.
fn read_content(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    let mut rest = bytes;
    while let Some((body, n)) = unframe(rest) {
        match body.split_first() {
            Some((b'H', json)) if content.head.is_none() => {
                let Some(head) = read_head(json) else { break };
                content.head = Some(head);
            }
            Some((b'D', body)) if content.head.is_some() => {
                let Some((n_marks, body)) = body.split_at_checked(2) else {
                    break;
                };
                let n_marks = le(n_marks) as usize;
                let Some((marks, data)) = body.split_at_checked(n_marks * MARK_BYTES) else {
                    break;
                };
                content
                    .marks
                    .extend(marks.chunks_exact(MARK_BYTES).map(read_mark));
                content.data.push(data.to_vec());
            }
            _ => break,
        }
        rest = &rest[n..];
        content.good_bytes += n as u64;
    }
    content
}

fn read_head(json: &[u8]) -> Option<Head> {
    let tree: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some(Head {
        tag: tree["tag"].as_str()?.to_owned(),
        key: tree["key"].as_str()?.to_owned(),
        begin: tree["begin"].as_i64()?,
    })
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 8);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc(body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body of the first frame and the frame's length; `None` when it is torn.
fn unframe(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let len = le(&head[..4]) as usize;
    if len > FRAME_MAX_BYTES {
        return None;
    }
    let body = rest.get(..len)?;
    (crc(body) == le(&head[4..]) as u32).then_some((body, 8 + len))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn le(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u128::from(b))
}

fn write_mark(out: &mut Vec<u8>, mark: Mark) {
    out.extend_from_slice(&mark.source.to_le_bytes());
    out.extend_from_slice(&mark.position.offset.to_le_bytes());
    out.extend_from_slice(&mark.position.ordinal.to_le_bytes());
}

fn read_mark(bytes: &[u8]) -> Mark {
    Mark {
        source: le(&bytes[..16]),
        position: Position {
            offset: le(&bytes[16..24]) as u64,
            ordinal: le(&bytes[24..28]) as u32,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64) -> Head {
        Head {
            tag: "t".into(),
            key: format!("k{number}"),
            begin: 100,
        }
    }

    fn mark(offset: u64) -> Mark {
        Mark {
            source: 9,
            position: Position::at(offset),
        }
    }

    #[test]
    fn data_and_marks_survive_and_torn_tails_are_cut() {
        let folder = tempfile::tempdir().expect("temp dir");
        {
            let mut spool = Spool::open(folder.path()).expect("opens");
            spool
                .append("t", &[mark(5)], b"one\n", head)
                .expect("writes");
            spool
                .append("t", &[mark(9)], b"two\n", head)
                .expect("writes");
            assert!(Spool::open(folder.path()).is_err(), "it is locked");
        }
        let path = folder.path().join("0000000000000000.open");
        let whole = fs::read(&path).expect("reads");
        for cut in [whole.len() - 1, whole.len() - 5] {
            fs::write(&path, &whole[..cut]).expect("writes");
            let mut spool = Spool::open(folder.path()).expect("opens");
            assert_eq!(spool.mark(9), Some(Position::at(5)), "cut at {cut}");
            spool
                .append("t", &[mark(9)], b"two\n", head)
                .expect("writes");
        }
        let mut spool = Spool::open(folder.path()).expect("opens");
        spool.close_due(101, 100, 50).expect("nothing is due");
        assert!(spool.oldest().expect("reads").is_none());
        spool.close_due(150, 100, 50).expect("renames");
        let (number, at, data) = spool.oldest().expect("reads").expect("is due");
        assert_eq!((number, at, &data[..]), (0, head(0), &b"one\ntwo\n"[..]));
        spool.uploaded(number).expect("removes");
        assert_eq!(spool.n_bytes(), 0);
        drop(spool);
        let mut spool = Spool::open(folder.path()).expect("opens");
        assert_eq!(
            spool.mark(9),
            Some(Position::at(9)),
            "the mark outlives the file"
        );
        spool.append("t", &[], b"x", head).expect("writes");
        assert!(folder.path().join("0000000000000001.open").exists());
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut bytes = frame(b"H{}");
        assert_eq!(read_content(&bytes).good_bytes, 0);
        bytes = frame(br#"H{"tag":"t","key":"k","begin":1}"#);
        let good = bytes.len() as u64;
        bytes.extend(frame(b"D\xff\xffx"));
        assert_eq!(read_content(&bytes).good_bytes, good);
        assert_eq!(read_content(&[0xff; 64]).good_bytes, 0);
    }
}
