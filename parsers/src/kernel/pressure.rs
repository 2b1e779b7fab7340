//! Pressure stall files: /proc/pressure/* and a cgroup's `*.pressure`.

use super::Malformed;
use super::scan::{after, lines, number, words};

/// Total stalled time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Some task waited.
    pub some_us: u64,
    /// All tasks waited; `None` where the kernel does not tell.
    pub full_us: Option<u64>,
}

/// Reads both lines.
///
/// # Errors
/// When a line has no total, or when there is no `some` line.
pub fn parse(bytes: &[u8]) -> Result<Pressure, Malformed> {
    let malformed = |line, expected| Malformed {
        format: "pressure",
        line,
        expected,
    };
    let mut some = None;
    let mut full = None;
    for (index, line) in lines(bytes).enumerate() {
        let mut words = words(line);
        let slot = match words.next() {
            Some(b"some") => &mut some,
            Some(b"full") => &mut full,
            _ => continue,
        };
        let total = words.find_map(|w| after(w, "total=")).and_then(number);
        *slot = Some(total.ok_or_else(|| malformed(index + 1, "total=microseconds"))?);
    }
    Ok(Pressure {
        some_us: some.ok_or_else(|| malformed(1, "a line 'some'"))?,
        full_us: full,
    })
}

/// The total of the line `key` (`some` or `full`); interrupts have no `some`.
#[must_use]
pub fn total_us(bytes: &[u8], key: &str) -> Option<u64> {
    let line = lines(bytes).find_map(|line| after(line, key))?;
    words(line)
        .find_map(|w| after(w, "total="))
        .and_then(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_both_lines() {
        let sample = b"some avg10=0.00 avg60=0.31 avg300=0.55 total=11425\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let expected = Pressure {
            some_us: 11425,
            full_us: Some(7),
        };
        assert_eq!(parse(sample), Ok(expected));
        assert_eq!(parse(b"some total=1").map(|p| p.full_us), Ok(None));
        assert!(parse(b"some avg10=0.00\n").is_err());
        assert!(parse(b"").is_err());
    }

    #[test]
    fn one_line_may_stand_alone() {
        let irq = b"full avg10=0.00 avg60=0.00 avg300=0.00 total=8494\n";
        assert_eq!(total_us(irq, "full"), Some(8494));
        assert_eq!(total_us(irq, "some"), None);
    }
}
