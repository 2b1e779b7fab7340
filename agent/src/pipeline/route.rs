//! Which tags a filter or an output wants.

use std::sync::Arc;

use kansoku_parsers::line::pattern::{Pattern, PatternError};

/// Fluent Bit's `match` or `match_regex`.
#[derive(Debug, Clone)]
pub enum TagMatch {
    /// `*` stands for any run of characters, anywhere.
    Wildcard(Box<str>),
    /// Found anywhere in the tag.
    Pattern(Arc<Pattern>),
}

impl TagMatch {
    /// `match`.
    #[must_use]
    pub fn wildcard(pattern: &str) -> Self {
        Self::Wildcard(pattern.into())
    }

    /// `match_regex`.
    ///
    /// # Errors
    /// When the expression cannot be read.
    pub fn regex(expression: &str) -> Result<Self, PatternError> {
        Ok(Self::Pattern(Arc::new(Pattern::new(expression)?)))
    }

    /// Whether `tag` is wanted.
    #[must_use]
    pub fn fits(&self, tag: &str) -> bool {
        match self {
            Self::Wildcard(pattern) => wildcard_fits(pattern.as_bytes(), tag.as_bytes()),
            Self::Pattern(pattern) => pattern.is_match(tag.as_bytes()),
        }
    }
}

/// Greedy with one point of return: after a mismatch only the last star has to take one more.
fn wildcard_fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(c), _) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((star_p, star_t))) => {
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, tag, expected) in [
            ("*", "", true),
            ("*", "kube.x", true),
            ("kube.*", "kube.var.log.a.log", true),
            ("kube.*", "kub", false),
            ("*.log", "a.log.b.log", true),
            ("*.log", "a.log.b", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("a**", "a", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                TagMatch::wildcard(pattern).fits(tag),
                expected,
                "{pattern} {tag}"
            );
        }
        let not_system = TagMatch::regex(r"^kube\.(?!kube-system)").unwrap();
        assert!(not_system.fits("kube.x") && !not_system.fits("kube.kube-system.x"));
        assert!(TagMatch::regex("(").is_err());
    }
}
