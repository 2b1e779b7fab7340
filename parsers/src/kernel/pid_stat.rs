//! /proc/PID/stat: what a process has used. Its second field is the program's name in brackets,
//! which may itself contain blanks and brackets.

use super::Malformed;
use super::scan::{number, text, words};

/// The fields that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidStat<'a> {
    /// The program's name, cut to 15 bytes by the kernel.
    pub command: &'a str,
    /// A letter: running, sleeping, ...
    pub state: u8,
    pub parent: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub threads: u64,
    /// Ticks after boot.
    pub start_ticks: u64,
    pub virtual_bytes: u64,
    pub resident_pages: u64,
}

/// Reads the line.
///
/// # Errors
/// When it is too short or a field is no number.
pub fn parse(bytes: &[u8]) -> Result<PidStat<'_>, Malformed> {
    let malformed = Malformed {
        format: "PID/stat",
        line: 1,
        expected: "pid (command) state and 22 numbers",
    };
    let open = memchr::memchr(b'(', bytes).ok_or(malformed)?;
    let close = memchr::memrchr(b')', bytes).ok_or(malformed)?;
    let command = bytes.get(open + 1..close).and_then(text).ok_or(malformed)?;
    // Field 3 of proc(5) is the first after the bracket.
    let mut words = words(&bytes[close + 1..]);
    let state = words.next().and_then(|w| w.first()).ok_or(malformed)?;
    let mut next = 4;
    let mut field = |wanted: usize| {
        let word = words.nth(wanted - next);
        next = wanted + 1;
        word.and_then(number).ok_or(malformed)
    };
    Ok(PidStat {
        command,
        state: *state,
        parent: field(4)?,
        minor_faults: field(10)?,
        major_faults: field(12)?,
        user_ticks: field(14)?,
        system_ticks: field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_may_hold_anything() {
        let sample = b"7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 55 66 0 0 20 0 3 0 1234 5678 90 18446744073709551615 1\n";
        let got = parse(sample).expect("sample parses");
        assert_eq!(got.command, "a) b (c");
        assert_eq!((got.state, got.parent), (b'S', 1));
        assert_eq!((got.minor_faults, got.major_faults), (1, 3));
        assert_eq!((got.user_ticks, got.system_ticks, got.threads), (55, 66, 3));
        assert_eq!(
            (got.start_ticks, got.virtual_bytes, got.resident_pages),
            (1234, 5678, 90)
        );
        assert!(parse(b"7 (a) S 1").is_err());
        assert!(parse(b")(").is_err());
        assert!(parse(b"").is_err());
    }
}
