//! /proc/PID/net/dev: a line of counters per network interface.

use super::Malformed;
use super::scan::{lines, number, text, words};

/// Columns of the file: eight received, then eight sent.
pub const N_VALUES: usize = 16;
/// Column indices that are used by name.
pub const RECEIVE_BYTES: usize = 0;
pub const RECEIVE_PACKETS: usize = 1;
pub const RECEIVE_ERRORS: usize = 2;
pub const RECEIVE_DROPPED: usize = 3;
pub const TRANSMIT_BYTES: usize = 8;
pub const TRANSMIT_PACKETS: usize = 9;
pub const TRANSMIT_ERRORS: usize = 10;
pub const TRANSMIT_DROPPED: usize = 11;

/// One interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface<'a> {
    pub name: &'a str,
    pub values: [u64; N_VALUES],
}

/// The interfaces in the file's order; the two header lines are skipped.
pub fn interfaces(bytes: &[u8]) -> impl Iterator<Item = Result<Interface<'_>, Malformed>> {
    lines(bytes)
        .enumerate()
        .skip(2)
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            parse_line(line).ok_or(Malformed {
                format: "net/dev",
                line: index + 1,
                expected: "an interface, a colon and 16 counts",
            })
        })
}

fn parse_line(line: &[u8]) -> Option<Interface<'_>> {
    // An interface's name may contain a colon, a count never does.
    let colon = memchr::memrchr(b':', line)?;
    let mut words = words(&line[colon + 1..]);
    let mut values = [0; N_VALUES];
    for value in &mut values {
        *value = number(words.next()?)?;
    }
    let name = text(line[..colon].trim_ascii())?;
    Some(Interface { name, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_colons_and_without_blanks() {
        let sample = b"Inter-|   Receive\n face |bytes\n    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0\n\
            eth0:1:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let all: Result<Vec<_>, _> = interfaces(sample).collect();
        let all = all.expect("sample parses");
        assert_eq!((all[0].name, all[0].values[RECEIVE_BYTES]), ("lo", 3193));
        assert_eq!(
            (all[1].name, all[1].values[TRANSMIT_DROPPED]),
            ("eth0:1", 12)
        );
    }

    #[test]
    fn short_lines_are_errors() {
        assert!(
            interfaces(b"\n\neth0: 1 2\n")
                .next()
                .expect("a line")
                .is_err()
        );
        assert!(
            interfaces(b"\n\neth0 1 2\n")
                .next()
                .expect("a line")
                .is_err()
        );
    }
}
