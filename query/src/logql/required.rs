//! What every match of a pattern contains: what a store can look for before any line is matched.
//!
//! It reads the pattern's structure only. A pattern is walked for texts that each match has, in
//! either case where the pattern says so; of what stands one after the other the most telling is
//! taken, of alternatives one each. The rule: when in doubt there is no such text.

use kansoku_model::{AnyOf, Needle};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::pattern_syntax;

/// Shorter texts are in nearly every block.
const LENGTH_MIN: usize = 3;
/// More alternatives cost more to look for than they save.
const ALTERNATIVES_MAX: usize = 16;

/// The texts of which every match of a Go pattern contains one, if there are any worth looking for.
pub fn any_of(pattern: &str) -> Option<AnyOf> {
    let translated = pattern_syntax::translate(pattern);
    let mut parser = ParserBuilder::new().utf8(false).octal(true).build();
    let found = best(&parser.parse(&translated).ok()?)?;
    Some(AnyOf {
        needles: found.iter().map(Text::needle).collect(),
        field: None,
    })
}

/// A text, perhaps in either case.
#[derive(Debug, Clone, Default, PartialEq)]
struct Text {
    bytes: Vec<u8>,
    ignores_case: bool,
}

impl Text {
    fn needle(&self) -> Needle {
        if self.ignores_case {
            Needle::ignoring_case(&self.bytes)
        } else {
            Needle::new(&self.bytes)
        }
    }

    fn is_telling(&self) -> bool {
        // Where a line is no UTF-8, U+FFFD matches other bytes.
        let is_readable =
            std::str::from_utf8(&self.bytes).is_ok_and(|text| !text.contains('\u{fffd}'));
        self.bytes.len() >= LENGTH_MIN && is_readable
    }
}

/// The shortest text decides how much alternatives tell; fewer are better.
fn worth(texts: &[Text]) -> (usize, usize) {
    let shortest = texts.iter().map(|t| t.bytes.len()).min().unwrap_or(0);
    (shortest, ALTERNATIVES_MAX - texts.len())
}

fn best(hir: &Hir) -> Option<Vec<Text>> {
    match hir.kind() {
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => best(&repetition.sub),
        HirKind::Alternation(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                texts.append(&mut best(part)?);
            }
            (texts.len() <= ALTERNATIVES_MAX).then_some(texts)
        }
        HirKind::Concat(parts) => best_of_parts(parts),
        HirKind::Literal(_) | HirKind::Class(_) => best_of_parts(std::slice::from_ref(hir)),
        HirKind::Repetition(_) | HirKind::Look(_) | HirKind::Empty => None,
    }
}

/// Texts that stand one after the other become one; so `(?i)abc` is three parts and one text.
fn best_of_parts(parts: &[Hir]) -> Option<Vec<Text>> {
    let mut candidates: Vec<Vec<Text>> = Vec::new();
    let mut run = Text::default();
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => run.bytes.extend_from_slice(&literal.0),
            HirKind::Class(class) if letter(class).is_some() => {
                run.bytes.extend(letter(class));
                run.ignores_case = true;
            }
            // Takes no character, so what stands around it is one text.
            HirKind::Look(_) | HirKind::Empty => {}
            kind => {
                candidates.push(vec![std::mem::take(&mut run)]);
                let is_leaf = matches!(kind, HirKind::Class(_) | HirKind::Literal(_));
                candidates.extend((!is_leaf).then(|| best(part)).flatten());
            }
        }
    }
    candidates.push(vec![run]);
    let telling = candidates
        .into_iter()
        .filter(|texts| texts.iter().all(Text::is_telling));
    telling.max_by_key(|texts| worth(texts))
}

/// The letter whose two cases are the whole class.
fn letter(class: &Class) -> Option<u8> {
    let mut letters = Vec::new();
    match class {
        Class::Unicode(class) => {
            for range in class.ranges() {
                letters.push((u32::from(range.start()), u32::from(range.end())));
            }
        }
        Class::Bytes(class) => {
            for range in class.ranges() {
                letters.push((u32::from(range.start()), u32::from(range.end())));
            }
        }
    }
    let [(upper, upper_end), (lower, lower_end)] = letters[..] else {
        return None;
    };
    let (upper, lower) = (
        u8::try_from(upper)
            .ok()
            .filter(|b| upper_end == u32::from(*b))?,
        u8::try_from(lower)
            .ok()
            .filter(|b| lower_end == u32::from(*b))?,
    );
    (upper.is_ascii_uppercase() && upper.to_ascii_lowercase() == lower).then_some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_match_contains() {
        for (pattern, expected) in [
            ("connection reset", "connection reset"),
            (r"took \d+ms after (\w+) retries", "ms after "),
            ("(error)+: .*x", "error"),
            ("a?(timeout)?", ""),
            ("timeout|reset", "timeout|reset"),
            (
                "(timed out|connection refused) by",
                "timed out|connection refused",
            ),
            ("timeout|.*", ""),
            (r"abc\bdef", "abcdef"),
            // `s` and `k` have a third case outside of ASCII.
            ("(?i)timeout x", "/timeout x"),
            ("(?i)connection reset by peer", "/connection re"),
            ("(?i)ERROR: 5[0-9]+", "/error: 5"),
            ("ab", ""),
            ("[ab]cde|fgh[0-9]", "cde|fgh"),
            ("(", ""),
            ("bad \u{fffd} byte", ""),
            (r"\Qa.b\E.", "a.b"),
            ("観測した.", "観測した"),
            ("[0-9]{3}-[a-f]+", ""),
        ] {
            let shown = any_of(pattern).map_or(String::new(), |any| {
                let needles = any.needles.iter().map(|needle| {
                    let mark = if needle.ignores_case() { "/" } else { "" };
                    format!("{mark}{}", String::from_utf8_lossy(needle.text()))
                });
                needles.collect::<Vec<_>>().join("|")
            });
            assert_eq!(shown, expected, "{pattern}");
        }
    }
}
