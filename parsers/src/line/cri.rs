//! The CRI log format: `TIME STREAM FLAGS TEXT`, as containerd and CRI-O write it.
//!
//! Splitting only: a line is cut into ranges of itself and nothing is copied. Joining partial lines
//! (flag `P`) into records is the tail input's work. A line that is not CRI gives `None`.
//!
//! Fluent Bit's stock parser `cri` is a regular expression for the same lines, and much used; a
//! [`CriPattern`] is a parser of that form, which cuts nearly all lines as fast.

use std::ops::Range;
use std::sync::Arc;

use crate::time;

/// A CRI line cut into its parts; ranges count from the start of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriLine {
    pub time: Range<usize>,
    /// Unix nanoseconds.
    pub time_ns: i64,
    /// `stdout` or `stderr`.
    pub stream: Range<usize>,
    /// The one byte `F` or `P`.
    pub flag: Range<usize>,
    /// Whether the text goes on in the stream's next line.
    pub partial: bool,
    /// The text without the line end.
    pub log: Range<usize>,
}

/// Cuts a line that was read without its newline.
#[must_use]
pub fn split(line: &[u8]) -> Option<CriLine> {
    // The shortest time is `2026-11-21T09:00:00Z`, the longest has nine digits and an offset.
    let time_end = memchr::memchr(b' ', line.get(..MAX_TIME_BYTES.min(line.len()))?)?;
    let time_ns = time::rfc3339_ns(&line[..time_end])?;
    let rest = &line[time_end + 1..];
    // Both stream names have six letters.
    if rest.len() < 8
        || rest[6] != b' '
        || !(rest.starts_with(b"stdout") || rest.starts_with(b"stderr"))
    {
        return None;
    }
    let flag_at = time_end + 8;
    let partial = match line.get(flag_at)? {
        b'P' => true,
        b'F' => false,
        _ => return None,
    };
    // More flags may follow after a colon. A line without text may lack the last blank, too.
    let log_start = match line.get(flag_at + 1) {
        None => line.len(),
        Some(b' ') => flag_at + 2,
        Some(b':') => match memchr::memchr(b' ', &line[flag_at..]) {
            Some(blank) => flag_at + blank + 1,
            None => line.len(),
        },
        Some(_) => return None,
    };
    Some(CriLine {
        time: 0..time_end,
        time_ns,
        stream: time_end + 1..time_end + 7,
        flag: flag_at..flag_at + 1,
        partial,
        log: log_start..line.len(),
    })
}

/// A pattern `^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<logtag>[^ ]*) (?<message>.*)$`, whatever its
/// groups are called, whose first group is a record's time.
#[derive(Debug)]
pub struct CriPattern {
    /// What the fields are called, in the order of the line.
    pub names: [Arc<str>; 4],
    /// Whether the time is a field, too.
    pub keeps_time: bool,
    /// Whether a text that is empty is no field.
    pub skips_empty: bool,
}

impl CriPattern {
    /// What the groups of such a pattern are called; none when it is another.
    pub(super) fn names_of(pattern: &str) -> Option<[Arc<str>; 4]> {
        let rest = pattern.strip_prefix("^(?<")?;
        let (time, rest) = rest.split_once(">[^ ]+) (?<")?;
        let (stream, rest) = rest.split_once(">stdout|stderr) (?<")?;
        let (flag, rest) = rest.split_once(">[^ ]*) (?<")?;
        let names = [time, stream, flag, rest.strip_suffix(">.*)$")?];
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let is_first = |(i, name): (usize, &&str)| !names[..i].contains(name);
        let is_form = names.iter().all(|n| is_name(n)) && names.iter().enumerate().all(is_first);
        is_form.then(|| names.map(Arc::from))
    }

    /// The fields of a line without a newline, as the pattern gives them, and its time in Unix
    /// nanoseconds. `None` for lines that the pattern itself has to look at.
    #[must_use]
    pub fn cut(&self, line: &[u8]) -> Option<([Option<Range<usize>>; 4], i64)> {
        let cut = split(line)?;
        // The pattern wants the blank, and takes further flags for a part of the first.
        if cut.flag.end == line.len() || cut.log.start != cut.flag.end + 1 {
            return None;
        }
        let time = Some(cut.time).filter(|_| self.keeps_time);
        let log = Some(cut.log).filter(|text| !(text.is_empty() && self.skips_empty));
        Some(([time, Some(cut.stream), Some(cut.flag), log], cut.time_ns))
    }
}

/// `2026-11-21T09:00:00.123456789+00:00 ` with some room.
const MAX_TIME_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> Option<(String, i64, &str, bool, &str)> {
        let l = split(line.as_bytes())?;
        assert_eq!(&line[l.flag.clone()], if l.partial { "P" } else { "F" });
        Some((
            line[l.time].to_owned(),
            l.time_ns,
            &line[l.stream],
            l.partial,
            &line[l.log],
        ))
    }

    #[test]
    fn lines_are_cut() {
        let cases = [
            (
                "2026-11-21T09:00:00.123456789Z stdout F hello",
                123_456_789,
                "stdout",
                false,
                "hello",
            ),
            (
                "2026-11-21T09:00:00.5+00:00 stderr P  two  blanks ",
                500_000_000,
                "stderr",
                true,
                " two  blanks ",
            ),
            (
                "2026-11-21T11:00:00+02:00 stdout F ",
                0,
                "stdout",
                false,
                "",
            ),
            ("2026-11-21T09:00:00Z stdout F", 0, "stdout", false, ""),
            (
                "2026-11-21T09:00:00Z stdout P:x:y text",
                0,
                "stdout",
                true,
                "text",
            ),
        ];
        for (line, ns, stream, partial, log) in cases {
            let (time, time_ns, got_stream, got_partial, got_log) = parts(line).expect(line);
            assert_eq!(time, line.split(' ').next().unwrap());
            assert_eq!(time_ns, 1_795_251_600_000_000_000 + ns, "{line}");
            assert_eq!(
                (got_stream, got_partial, got_log),
                (stream, partial, log),
                "{line}"
            );
        }
    }

    #[test]
    fn the_stock_pattern_is_known_by_its_form() {
        let stock = "^(?<time>[^ ]+) (?<stream>stdout|stderr) (?<logtag>[^ ]*) (?<message>.*)$";
        let names = CriPattern::names_of(stock).expect("stock");
        assert_eq!(
            names.map(|n| n.to_string()),
            ["time", "stream", "logtag", "message"]
        );
        for other in [
            stock.replace("[^ ]+", ".+"),
            stock.replace("message", "time"),
            stock.replace("logtag", "log tag"),
            stock.replace(".*)$", ".*)"),
            stock.replace("stderr)", "stderr|x)"),
        ] {
            assert!(CriPattern::names_of(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            " ",
            "hello world",
            "2026-11-21T09:00:00Z stdin F x",
            "2026-11-21T09:00:00Z stdout X x",
            "2026-11-21T09:00:00Z stdout Fx",
            "2026-11-21T09:00:00Z stdout",
            "2026-13-21T09:00:00Z stdout F x",
            "2026-11-21 stdout F x",
        ] {
            assert_eq!(split(line.as_bytes()), None, "{line}");
        }
    }
}
