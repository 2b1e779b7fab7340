//! Durations as Prometheus writes them in its configuration: `15s`, `1m30s`, `500ms`, `1w`.

use std::time::Duration;

const UNITS: &[(&str, u64)] = &[
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration: units from the largest to the smallest, each once, whole numbers; `0` alone needs no unit.
#[must_use]
pub fn prometheus_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut units, mut total_ms) = (text, UNITS, 0u64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| c.is_ascii_digit());
        let unit = &after[..letters.unwrap_or(after.len())];
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = &after[unit.len()..];
    }
    Some(Duration::from_millis(total_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_go_from_large_to_small() {
        for (text, ms) in [
            ("0", Some(0)),
            ("15s", Some(15_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1d2h3ms", Some(93_600_003)),
            ("1y1w", Some(372 * 86_400_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1s1m", None),
            ("1s1s", None),
            ("1.5s", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999y", None),
            ("1é", None),
        ] {
            let found = prometheus_duration(text).map(|d| d.as_millis());
            assert_eq!(found, ms, "{text}");
        }
    }
}
