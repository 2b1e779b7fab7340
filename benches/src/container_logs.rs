//! Reading logs as a container runtime writes them, for benchmarks: time, stream, `P` or `F`, text.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use kansoku_model::Slice;

/// The lines of one stream of one file, cut ones joined.
#[derive(Debug, Default)]
pub struct Stream {
    pub file: String,
    pub name: String,
    pub text: Vec<u8>,
    pub lines: Vec<Slice>,
    /// Unix nanoseconds.
    pub times: Vec<i64>,
}

impl Stream {
    #[must_use]
    pub fn line(&self, row: usize) -> &[u8] {
        let line = self.lines[row];
        &self.text[line.start as usize..][..line.len as usize]
    }
}

/// Reads all files of a folder.
///
/// # Errors
/// When a file cannot be read or has a line of another form.
pub fn read(folder: &Path) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    files.sort_by_key(fs::DirEntry::path);
    for file in files {
        // Whether the last line of a stream goes on.
        let mut open: BTreeMap<&[u8], (Stream, bool)> = BTreeMap::new();
        let bytes = fs::read(file.path())?;
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let mut fields = line.splitn(4, |b| *b == b' ');
            let (Some(time), Some(name), Some(flag), Some(text)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err(io::Error::other("a line is not of a container runtime"));
            };
            let (stream, goes_on) = open.entry(name).or_default();
            if !*goes_on {
                stream
                    .times
                    .push(unix_ns(time).ok_or(io::Error::other("no time"))?);
                let start = stream.text.len() as u32;
                stream.lines.push(Slice { start, len: 0 });
            }
            stream.text.extend_from_slice(text);
            let last = stream.lines.last_mut().expect("pushed above");
            last.len += text.len() as u32;
            *goes_on = flag == b"P";
        }
        for (name, (stream, _)) in open {
            streams.push(Stream {
                file: file.file_name().to_string_lossy().into_owned(),
                name: String::from_utf8_lossy(name).into_owned(),
                ..stream
            });
        }
    }
    Ok(streams)
}

/// `2026-11-20T00:01:32.730624238Z` as nanoseconds since 1970.
fn unix_ns(text: &[u8]) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        std::str::from_utf8(text.get(range)?).ok()?.parse().ok()
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (y, shifted) = (if month <= 2 { year - 1 } else { year }, (month + 9) % 12);
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * shifted + 2) / 5 + day - 1 - 719_468;
    let s = days * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some(s * 1_000_000_000 + number(20..29)?)
}

/// CPU seconds of this thread.
#[must_use]
pub fn thread_cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    ns.unwrap_or(0.0) / 1e9
}
