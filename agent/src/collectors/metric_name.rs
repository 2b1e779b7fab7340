//! Metric names made of what devices and drivers call things.

/// The name with every run of characters that a metric name may not have, and the underscores around
/// it, as one underscore.
pub(crate) fn sanitized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut is_bad = false;
    // Underscores that are kept only when no bad character follows.
    let mut underscores = 0;
    for c in name.chars() {
        if c == '_' {
            underscores += 1;
        } else if c.is_ascii_alphanumeric() {
            let n = if is_bad { 1 } else { underscores };
            out.extend(std::iter::repeat_n('_', n));
            out.push(c);
            (is_bad, underscores) = (false, 0);
        } else {
            is_bad = true;
        }
    }
    out.extend(std::iter::repeat_n(
        '_',
        if is_bad { 1 } else { underscores },
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bad_characters_become_one_underscore() {
        for (name, expected) in [
            ("rx_bytes", "rx_bytes"),
            ("dram-0", "dram_0"),
            ("tx _ (all)", "tx_all_"),
            ("a__b", "a__b"),
            ("a_-_b", "a_b"),
            ("__x", "__x"),
            ("x_", "x_"),
            ("é", "_"),
        ] {
            assert_eq!(sanitized(name), expected, "{name}");
        }
    }
}
