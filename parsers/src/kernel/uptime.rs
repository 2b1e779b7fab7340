//! /proc/uptime: seconds since boot.

use super::Malformed;
use super::scan::{decimal, words};

/// Seconds since boot.
///
/// # Errors
/// When the file does not start with a number.
pub fn parse(bytes: &[u8]) -> Result<f64, Malformed> {
    words(bytes).next().and_then(decimal).ok_or(Malformed {
        format: "uptime",
        line: 1,
        expected: "seconds since boot",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_counts() {
        assert_eq!(parse(b"1948.94 2764.71\n"), Ok(1948.94));
        assert!(parse(b"\n").is_err());
    }
}
