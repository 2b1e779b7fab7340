//! Texts that queries make for labels, bounded.
//!
//! Not here: which labels. The one rule: no text is longer than [`LABEL_MAX_BYTES`], since nested
//! functions may each double what the one inside made.

use regex::Captures;

/// The longest value that a query may give to a label: far longer than any that is of use.
pub const LABEL_MAX_BYTES: usize = 64 << 10;

/// An error when a text of so many bytes is too long for a label.
///
/// # Errors
/// Then.
pub fn check_label_len(len: usize) -> Result<(), String> {
    if len > LABEL_MAX_BYTES {
        return Err(format!(
            "a label value made by the query has {len} bytes; expected at most {LABEL_MAX_BYTES}"
        ));
    }
    Ok(())
}

/// The replacement with `$1` and `${name}` filled in.
///
/// # Errors
/// When it may become too long for a label.
pub fn expanded(found: &Captures<'_>, replacement: &str) -> Result<String, String> {
    // No group is longer than the match. Asked before, since a replacement may name it often.
    let n_groups = replacement.matches('$').count();
    let groups_bytes = n_groups.saturating_mul(found.get_match().len());
    check_label_len(groups_bytes.saturating_add(replacement.len()))?;
    let mut text = String::new();
    found.expand(replacement, &mut text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_filled_in_up_to_a_bound() {
        let regex = regex::Regex::new("^(?P<all>.*)$").unwrap();
        let long = "x".repeat(LABEL_MAX_BYTES / 2 - 4);
        for (value, replacement, expected_len) in [
            ("ab", "$1-${all}", Some(5)),
            (&long, "$1$1", Some(long.len() * 2)),
            (&long, "$1$1$1", None),
            ("", &"y".repeat(LABEL_MAX_BYTES + 1), None),
        ] {
            let found = regex.captures(value).unwrap();
            let len = expanded(&found, replacement).map(|text| text.len()).ok();
            assert_eq!(len, expected_len);
        }
    }
}
