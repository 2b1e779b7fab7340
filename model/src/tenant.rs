//! Names of tenants, as senders of Loki and Mimir give them in `X-Scope-OrgID`.
//!
//! The rule is dskit's: what it takes is safe as the name of a folder, so no name is ever changed.

/// The header that names the tenant.
pub const HEADER: &str = "x-scope-orgid";

/// As in dskit.
const MAX_BYTES: usize = 150;

/// Says what is wrong with a tenant's name, in dskit's words.
///
/// # Errors
/// The name is empty, too long, `.` or `..`, or has a character that no name has.
pub fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("no org id".into());
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    if let Some(c) = name.chars().find(|c| !is_good(*c)) {
        let cure = match c {
            '|' => "; there are no queries across tenants here, send one per tenant",
            _ => "; expected letters, digits and !-_.*'()",
        };
        return Err(format!(
            "tenant ID '{name}' contains unsupported character '{c}'{cure}"
        ));
    }
    if name.len() > MAX_BYTES {
        return Err(format!("tenant ID is too long: max {MAX_BYTES} characters"));
    }
    if matches!(name, "." | "..") {
        return Err("tenant ID is '.' or '..'".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_dskit() {
        for good in ["a", "team-a_1.x", "!-_.*'()", "...", &"x".repeat(150)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("", "no org id"),
            (".", "tenant ID is '.' or '..'"),
            ("..", "tenant ID is '.' or '..'"),
            (
                &*"x".repeat(151),
                "tenant ID is too long: max 150 characters",
            ),
            ("a/b", "unsupported character '/'"),
            ("a|b", "send one per tenant"),
            ("a b", "unsupported character ' '"),
            ("ä", "unsupported character 'ä'"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
