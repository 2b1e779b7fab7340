//! /proc/loadavg: the three load averages. The rest of the line is of no use to anybody.

use super::Malformed;
use super::scan::{decimal, words};

/// Averages over 1, 5 and 15 minutes.
///
/// # Errors
/// When the file does not start with three numbers.
pub fn parse(bytes: &[u8]) -> Result<[f64; 3], Malformed> {
    let mut words = words(bytes);
    let mut loads = [0.0; 3];
    for load in &mut loads {
        *load = words.next().and_then(decimal).ok_or(Malformed {
            format: "loadavg",
            line: 1,
            expected: "three load averages",
        })?;
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_or_an_error() {
        assert_eq!(
            parse(b"0.21 0.37 10.39 1/719 19737\n"),
            Ok([0.21, 0.37, 10.39])
        );
        assert!(parse(b"0.21 0.37").is_err());
        assert!(parse(b"0.21 x 1").is_err());
    }
}
