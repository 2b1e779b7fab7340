//! /proc/meminfo: names and sizes, whatever names the running kernel has.

use super::Malformed;
use super::scan::{lines, number, text, words};

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// As the kernel writes it: `Active(anon)`.
    pub name: &'a str,
    /// Bytes when the line has a unit, else a plain count.
    pub value: u64,
    pub is_bytes: bool,
}

/// The lines of the file.
pub fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Malformed>> {
    lines(bytes)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            let malformed = |expected| Malformed {
                format: "meminfo",
                line: index + 1,
                expected,
            };
            let mut words = words(line);
            let name = words
                .next()
                .and_then(|w| w.strip_suffix(b":"))
                .and_then(text)
                .ok_or_else(|| malformed("a name and a colon"))?;
            let value = words
                .next()
                .and_then(number)
                .ok_or_else(|| malformed("a number"))?;
            let (value, is_bytes) = match words.next() {
                None => (value, false),
                Some(b"kB") => (value.saturating_mul(1024), true),
                Some(_) => return Err(malformed("the unit kB")),
            };
            Ok(Field {
                name,
                value,
                is_bytes,
            })
        })
}

/// The value of one field, in bytes when it has a unit.
#[must_use]
pub fn value(bytes: &[u8], name: &str) -> Option<u64> {
    fields(bytes)
        .filter_map(Result::ok)
        .find(|f| f.name == name)
        .map(|f| f.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_bytes_and_counts_stay() {
        let sample =
            b"MemTotal:        3742148 kB\nActive(anon):       2 kB\nHugePages_Free:    7\n";
        let all: Result<Vec<_>, _> = fields(sample).collect();
        let all = all.expect("sample parses");
        let got: Vec<_> = all.iter().map(|f| (f.name, f.value, f.is_bytes)).collect();
        assert_eq!(
            got,
            [
                ("MemTotal", 3_742_148 * 1024, true),
                ("Active(anon)", 2048, true),
                ("HugePages_Free", 7, false)
            ]
        );
        assert_eq!(value(sample, "MemTotal"), Some(3_742_148 * 1024));
        assert_eq!(value(sample, "MemFree"), None);
    }

    #[test]
    fn a_bad_line_is_an_error_and_the_others_are_read() {
        for bad in [
            "MemTotal 1 kB",
            "MemTotal: x kB",
            "MemTotal: 1 MB",
            "MemTotal:",
        ] {
            let both = format!("{bad}\nMemFree: 1 kB\n");
            let all: Vec<_> = fields(both.as_bytes()).collect();
            assert!(all[0].is_err(), "{bad}");
            assert!(all[1].is_ok(), "{bad}");
        }
    }
}
