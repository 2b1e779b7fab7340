//! Names for readers that know only the letters of Prometheus 2, in the ways that a reader may ask for.
//!
//! Source: prometheus/common, `model/metric.go` (`EscapeName`).

use std::borrow::Cow;
use std::fmt::Write;

/// How names with other characters are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escaping {
    /// As they are, quoted.
    AllowUtf8,
    /// Each such character becomes `_`.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, others `__`.
    Dots,
    /// `U__` and each such character's number between `_`.
    Values,
}

impl Escaping {
    /// The way that a parameter names.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "allow-utf-8" => Some(Self::AllowUtf8),
            "underscores" => Some(Self::Underscores),
            "dots" => Some(Self::Dots),
            "values" => Some(Self::Values),
            _ => None,
        }
    }

    /// A name as the reader gets it.
    #[must_use]
    pub fn apply(self, name: &str) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || (self != Self::Dots && is_legacy(name)) {
            return Cow::Borrowed(name);
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            out.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            match self {
                Self::Dots | Self::Values if c == '_' => out.push_str("__"),
                Self::Dots if c == '.' => out.push_str("_dot_"),
                _ if is_legacy_char(c, at) => out.push(c),
                Self::Dots => out.push_str("__"),
                Self::Values => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "_{:x}_", u32::from(c));
                }
                Self::Underscores | Self::AllowUtf8 => out.push('_'),
            }
        }
        Cow::Owned(out)
    }
}

/// Whether a name needs neither quotes nor escapes.
#[must_use]
pub fn is_legacy(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(at, c)| is_legacy_char(c, at))
}

fn is_legacy_char(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | ':') || (c.is_ascii_digit() && at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_prometheus_does() {
        let cases = [
            ("http_total", "http_total", "http__total", "http_total"),
            ("my.na_me", "my_na_me", "my_dot_na__me", "U__my_2e_na__me"),
            ("1é", "__", "____", "U___31__e9_"),
        ];
        for (name, underscores, dots, values) in cases {
            assert_eq!(Escaping::Underscores.apply(name), underscores);
            assert_eq!(Escaping::Dots.apply(name), dots);
            assert_eq!(Escaping::Values.apply(name), values);
            assert_eq!(Escaping::AllowUtf8.apply(name), name);
        }
        assert_eq!(Escaping::of("x"), None);
    }
}
