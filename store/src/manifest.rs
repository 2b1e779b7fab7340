//! The manifest: which files are the store. What it does not name does not exist.
//!
//! A small text file, replaced as a whole by a rename; the only thing that is ever replaced. So a
//! flush or a merge happened entirely or not at all.
//!
//! ```text
//! kansoku-store 1
//! wal <number of the first WAL segment that is not in parts>
//! next <number of the next part or state file>
//! state <number of the state file, 0 for none>
//! deletes <number of the file of deletes>               only if there is one; the title's version is 2 then
//! part <number> <logs|samples> <day> <first flush> <last flush>
//! ...
//! crc <CRC32C of all bytes before this line, 8 hex digits>
//! ```
//! The day counts from 1970-01-01 UTC; `mixed` stands for a part of several days. The flush
//! numbers order the parts: of two samples of one time that of the later flush counts.

use std::fmt::Write;

/// The manifest's name in the store's folder.
pub const NAME: &str = "MANIFEST";
/// A manifest of a million parts; a larger one is damaged.
pub const FILE_MAX_BYTES: u64 = 64 << 20;
const TITLE: &str = "kansoku-store 1";
/// With a file of deletes: a reader that knows none must not show what they took.
const TITLE_2: &str = "kansoku-store 2";

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    Logs,
    Samples,
}

impl Signal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Samples => "samples",
        }
    }
}

/// The UTC day that a part belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Day {
    /// Days since 1970-01-01.
    One(i64),
    /// Data of many days in one flush, kept together so that hostile times cannot make a file each.
    Mixed,
}

/// A part as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub number: u64,
    pub signal: Signal,
    pub day: Day,
    /// First and last flush whose data it holds.
    pub flushes: (u64, u64),
}

impl Entry {
    /// The part's file.
    pub fn file_name(&self) -> String {
        format!("parts/{:012}.{}", self.number, self.signal.as_str())
    }
}

/// The store's table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub wal_from: u64,
    pub next: u64,
    pub state: u64,
    /// 0 for none.
    pub deletes: u64,
    pub parts: Vec<Entry>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            wal_from: 1,
            next: 1,
            state: 0,
            deletes: 0,
            parts: Vec::new(),
        }
    }
}

/// The name of a state file.
pub fn state_name(number: u64) -> String {
    format!("state-{number:012}")
}

/// The name of a file of deletes.
pub fn deletes_name(number: u64) -> String {
    format!("deletes-{number:012}")
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            wal_from,
            next,
            state,
            deletes,
            parts,
        } = self;
        let title = if *deletes == 0 { TITLE } else { TITLE_2 };
        let mut out = format!("{title}\nwal {wal_from}\nnext {next}\nstate {state}\n");
        if *deletes != 0 {
            writeln!(out, "deletes {deletes}").expect("text grows");
        }
        for p in parts {
            let day = match p.day {
                Day::One(day) => day.to_string(),
                Day::Mixed => "mixed".to_owned(),
            };
            let (number, signal, (first, last)) = (p.number, p.signal.as_str(), p.flushes);
            writeln!(out, "part {number} {signal} {day} {first} {last}").expect("text grows");
        }
        let crc = crc32c::crc32c(out.as_bytes());
        writeln!(out, "crc {crc:08x}").expect("text grows");
        out.into_bytes()
    }

    /// Reads a manifest; `None` when it is not exactly what `encode` gives.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let body_len = text.len().checked_sub("crc 00000000\n".len())?;
        let (body, crc) = text.split_at_checked(body_len)?;
        if crc != format!("crc {:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return None;
        }
        let mut lines = body.lines();
        let has_deletes = match lines.next()? {
            TITLE => false,
            TITLE_2 => true,
            _ => return None,
        };
        let mut number = |key: &str| -> Option<u64> {
            lines
                .next()?
                .strip_prefix(key)?
                .strip_prefix(' ')?
                .parse()
                .ok()
        };
        let (wal_from, next, state) = (number("wal")?, number("next")?, number("state")?);
        let deletes = if has_deletes { number("deletes")? } else { 0 };
        let parts = lines.map(entry).collect::<Option<Vec<_>>>()?;
        Some(Self {
            wal_from,
            next,
            state,
            deletes,
            parts,
        })
    }
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.strip_prefix("part ")?.split(' ');
    let number = words.next()?.parse().ok()?;
    let signal = match words.next()? {
        "logs" => Signal::Logs,
        "samples" => Signal::Samples,
        _ => return None,
    };
    let day = match words.next()? {
        "mixed" => Day::Mixed,
        day => Day::One(day.parse().ok()?),
    };
    let flushes = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Entry {
        number,
        signal,
        day,
        flushes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_any_damage_is_noticed() {
        let manifest = Manifest {
            wal_from: 17,
            next: 99,
            state: 12,
            deletes: 13,
            parts: vec![
                Entry {
                    number: 3,
                    signal: Signal::Logs,
                    day: Day::One(20_455),
                    flushes: (2, 3),
                },
                Entry {
                    number: 98,
                    signal: Signal::Samples,
                    day: Day::Mixed,
                    flushes: (98, 98),
                },
                Entry {
                    number: 4,
                    signal: Signal::Samples,
                    day: Day::One(-1),
                    flushes: (4, 4),
                },
            ],
        };
        let good = manifest.encode();
        assert_eq!(Manifest::decode(&good), Some(manifest));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&bad), None, "bit {bit}");
        }
        for cut in 0..good.len() {
            assert_eq!(Manifest::decode(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(
            Manifest::decode(&Manifest::default().encode()),
            Some(Manifest::default())
        );
    }
}
