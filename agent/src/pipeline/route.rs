//! Which tags a filter or an output wants.

use std::fmt;
use std::sync::Arc;

use kansoku_parsers::line::pattern::{Groups, Pattern, PatternError};

/// Fluent Bit's `match` and `match_regex`.
#[derive(Clone)]
pub struct TagMatch {
    /// `*` stands for any run of characters, anywhere.
    wildcard: Option<Box<str>>,
    /// As in Fluent Bit it has to match at the start of the tag, and more than nothing.
    pattern: Option<Arc<Pattern>>,
}

impl TagMatch {
    /// `match`.
    #[must_use]
    pub fn wildcard(pattern: &str) -> Self {
        Self {
            wildcard: Some(pattern.into()),
            pattern: None,
        }
    }

    /// `match_regex`.
    ///
    /// # Errors
    /// When the expression cannot be read.
    pub fn regex(expression: &str) -> Result<Self, PatternError> {
        Ok(Self {
            wildcard: None,
            pattern: Some(Arc::new(Pattern::new(expression)?)),
        })
    }

    /// The same beside a `match`: one of the two is enough.
    #[must_use]
    pub fn or_wildcard(self, pattern: &str) -> Self {
        Self {
            wildcard: Some(pattern.into()),
            ..self
        }
    }

    /// Whether `tag` is wanted.
    #[must_use]
    pub fn fits(&self, tag: &str) -> bool {
        let tag = tag.as_bytes();
        let wildcard = self.wildcard.as_ref();
        wildcard.is_some_and(|pattern| wildcard_fits(pattern.as_bytes(), tag))
            || self.pattern.as_ref().is_some_and(|p| pattern_fits(p, tag))
    }
}

impl fmt::Debug for TagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = self.pattern.as_ref().map(|p| format!("/{}/", p.text()));
        let wildcard = self.wildcard.as_ref().map(|w| format!("{w:?}"));
        let parts: Vec<String> = wildcard.into_iter().chain(pattern).collect();
        f.write_str(&parts.join(" or "))
    }
}

fn pattern_fits(pattern: &Pattern, tag: &[u8]) -> bool {
    let mut groups = Groups::default();
    // The search finds the first place where it matches: the start, if it does there.
    pattern.find_groups(tag, &mut groups)
        && groups.get(0).is_some_and(|(from, to)| from == 0 && to > 0)
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
        assert!(TagMatch::regex("(").is_err());
    }

    /// Each seen with Fluent Bit 5.1.1.
    #[test]
    fn patterns_match_at_the_start() {
        for (pattern, tag, expected) in [
            ("kube", "kube.ab", true),
            ("ab", "kube.ab", false),
            (".*ab", "kube.ab", true),
            ("(?=kube)", "kube.ab", false),
            (r"^kube\.(?!kube-system)", "kube.x", true),
            (r"^kube\.(?!kube-system)", "kube.kube-system.x", false),
            ("/KUBE/i", "kube.ab", true),
        ] {
            let found = TagMatch::regex(pattern).expect(pattern).fits(tag);
            assert_eq!(found, expected, "{pattern} {tag}");
        }
        let both = TagMatch::regex("nope").unwrap().or_wildcard("kube.*");
        assert!(both.fits("kube.ab") && both.fits("nope.x") && !both.fits("x.nope"));
    }
}
