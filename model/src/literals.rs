//! The texts that an anchored pattern matches, when they are few, or else how they all begin.
//!
//! Dashboards ask for `pod=~"a|b|c"` and `job=~"web.*"`: an index answers both without trying the
//! pattern on every value. The rule: when in doubt nothing is known, and the pattern decides.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// More texts than this are not spelled out.
const SET_MAX: usize = 1000;
/// A class of more characters is not spelled out.
const CLASS_MAX: usize = 10;

/// What is known of the texts that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literals {
    /// These and no others, in order.
    Set(Vec<String>),
    /// All begin with this text, which is not empty.
    Prefix(String),
}

impl Literals {
    /// Reads a pattern that must match a whole text; `.` matches newlines as well.
    #[must_use]
    pub fn of(pattern: &str) -> Option<Self> {
        let mut parser = ParserBuilder::new().dot_matches_new_line(true).build();
        let hir = parser.parse(pattern).ok()?;
        if let Some(mut set) = exact(&hir) {
            set.sort_unstable();
            set.dedup();
            return Some(Self::Set(set));
        }
        let prefix = prefix(&hir);
        (!prefix.is_empty()).then_some(Self::Prefix(prefix))
    }
}

/// All texts that match, if they are few.
fn exact(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => {
            let n: usize = class.iter().map(ClassUnicodeRange::len).sum();
            let chars = class.iter().flat_map(|r| r.start()..=r.end());
            (n <= CLASS_MAX).then(|| chars.map(String::from).collect())
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Repetition(r) if r.min == 0 && r.max == Some(1) => {
            let mut set = exact(&r.sub)?;
            set.push(String::new());
            Some(set)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let next = exact(part)?;
                if all.len() * next.len() > SET_MAX {
                    return None;
                }
                all = all
                    .iter()
                    .flat_map(|head| next.iter().map(move |tail| format!("{head}{tail}")))
                    .collect();
            }
            Some(all)
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.append(&mut exact(part)?);
                if all.len() > SET_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// How every text that matches begins; empty when that is not known.
fn prefix(hir: &Hir) -> String {
    match hir.kind() {
        HirKind::Capture(capture) => prefix(&capture.sub),
        HirKind::Literal(literal) => str::from_utf8(&literal.0).unwrap_or_default().to_owned(),
        HirKind::Concat(parts) => {
            let mut text = String::new();
            for part in parts {
                match exact(part).as_deref() {
                    Some([only]) => text.push_str(only),
                    _ => {
                        text.push_str(&prefix(part));
                        break;
                    }
                }
            }
            text
        }
        HirKind::Alternation(parts) => {
            let mut prefixes = parts.iter().map(prefix);
            let first = prefixes.next().unwrap_or_default();
            prefixes.fold(first, |a, b| common(&a, &b).to_owned())
        }
        HirKind::Repetition(r) if r.min > 0 => prefix(&r.sub),
        _ => String::new(),
    }
}

fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.char_indices().zip(b.chars());
    let end = same
        .take_while(|((_, x), y)| x == y)
        .last()
        .map_or(0, |((at, x), _)| at + x.len_utf8());
    &a[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_texts_are_spelled_out_and_others_begin_alike() {
        let set = |texts: &[&str]| {
            let texts = texts.iter().map(|t| (*t).to_owned()).collect();
            Some(Literals::Set(texts))
        };
        let prefix = |text: &str| Some(Literals::Prefix(text.to_owned()));
        let cases = [
            ("web", set(&["web"])),
            ("b|a|b", set(&["a", "b"])),
            (
                "(web|api)-[0-2]",
                set(&["api-0", "api-1", "api-2", "web-0", "web-1", "web-2"]),
            ),
            ("a?b", set(&["ab", "b"])),
            ("", set(&[""])),
            ("10\\.0\\.0\\.1", set(&["10.0.0.1"])),
            ("(?i)ab", set(&["AB", "Ab", "aB", "ab"])),
            ("web.*", prefix("web")),
            ("web-(a|b).+", prefix("web-")),
            ("(web-a.*|web-b)", prefix("web-")),
            ("日本.*", prefix("日本")),
            ("(ab)+c", prefix("ab")),
            (".*", None),
            ("a*b", None),
            ("[a-z]", None),
            ("^web$", None),
            ("(", None),
        ];
        for (pattern, expected) in cases {
            assert_eq!(Literals::of(pattern), expected, "{pattern}");
        }
        let many: Vec<String> = (0..=SET_MAX).map(|i| format!("n{i}")).collect();
        assert_eq!(Literals::of(&many.join("|")), prefix("n"));
        assert_eq!(Literals::of("[0-9][0-9][0-9][0-9]"), None);
    }
}
