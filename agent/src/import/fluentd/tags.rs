//! Fluentd's tag patterns, and what they have in common with the tags that a source gives.
//!
//! A pattern becomes a few globs; small automata over them decide whether a condition holds for all of a
//! source's tags, for none, or for some. Where it is some, the condition becomes a regular expression.

use std::collections::{BTreeSet, HashSet};

/// The most globs of one pattern: `{a,b}` multiply.
const MAX_GLOBS: usize = 256;
/// The most steps of a comparison; beyond it the answer is "some".
const MAX_STEPS: usize = 20_000;

/// A piece of a glob.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Piece {
    Char(char),
    /// Any run of characters but points.
    Part,
    /// Any run of characters.
    Any,
}

/// Tags of one shape.
pub(super) type Glob = Vec<Piece>;

/// What a `<match>` or `<filter>` asks of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// One of these.
    Globs(Vec<Glob>),
    /// `/…/`: nothing is known of it but its text.
    Regex(String),
}

/// How many of a source's tags meet a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    None,
    Some,
    All,
}

/// A conjunction: each pattern has to fit, or not to fit where it is `false`.
pub(super) type Condition = Vec<(Pattern, bool)>;

/// The text itself as a glob.
pub(super) fn literal(text: &str) -> Glob {
    text.chars().map(Piece::Char).collect()
}

/// A tag in which each `*` stands for any run, as in the tags of `tail`.
pub(super) fn starred(text: &str) -> Glob {
    let piece = |c| match c {
        '*' => Piece::Any,
        c => Piece::Char(c),
    };
    text.chars().map(piece).collect()
}

/// Reads the argument of `<match>`: patterns between blanks.
///
/// # Errors
/// When it cannot be used.
pub(super) fn patterns(argument: &str) -> Result<Vec<Pattern>, String> {
    let mut all = Vec::new();
    let mut globs = Vec::new();
    for word in argument.split_whitespace() {
        if let Some(rest) = word.strip_prefix('/') {
            let inside = rest
                .strip_suffix('/')
                .ok_or("the pattern '/…' has no closing '/'")?;
            all.push(Pattern::Regex(inside.to_owned()));
        } else {
            globs.extend(expand(word)?);
        }
        if globs.len() > MAX_GLOBS {
            return Err(format!(
                "the pattern stands for more than {MAX_GLOBS} others"
            ));
        }
    }
    if !globs.is_empty() || all.is_empty() {
        all.push(Pattern::Globs(globs));
    }
    Ok(all)
}

/// A glob on its way: `must_end` says that only a point or the end may follow.
#[derive(Clone, Default)]
struct Draft {
    glob: Glob,
    must_end: bool,
}

fn expand(pattern: &str) -> Result<Vec<Glob>, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let (drafts, at) = alternatives(&chars, 0, vec![Draft::default()], false)?;
    debug_assert_eq!(at, chars.len());
    Ok(drafts.into_iter().map(|d| d.glob).collect())
}

/// Reads up to the end, or to the `,` or `}` of the open brace.
fn alternatives(
    chars: &[char],
    mut at: usize,
    mut drafts: Vec<Draft>,
    in_brace: bool,
) -> Result<(Vec<Draft>, usize), String> {
    let push = |drafts: &mut Vec<Draft>, piece: Piece| {
        drafts.retain(|d| !d.must_end || piece == Piece::Char('.'));
        for draft in drafts.iter_mut() {
            draft.must_end = false;
            draft.glob.push(piece.clone());
        }
    };
    while let Some(&c) = chars.get(at) {
        let next = |n: usize| chars.get(at + n).copied();
        match c {
            ',' | '}' if in_brace => return Ok((drafts, at)),
            '\\' => {
                if let Some(c) = next(1) {
                    push(&mut drafts, Piece::Char(c));
                }
                // One at the end escapes nothing.
                at = (at + 2).min(chars.len());
            }
            '.' if next(1) == Some('*') && next(2) == Some('*') => {
                // Nothing, or a point and anything.
                let mut longer = drafts.clone();
                push(&mut longer, Piece::Char('.'));
                push(&mut longer, Piece::Any);
                for draft in &mut drafts {
                    draft.must_end = true;
                }
                drafts.extend(longer);
                at += 3;
            }
            '*' if next(1) == Some('*') => {
                let mut kept = Vec::new();
                if next(2) == Some('.') {
                    kept.extend(drafts.iter().filter(|d| d.glob.is_empty()).cloned());
                }
                push(&mut drafts, Piece::Any);
                if next(2) == Some('.') {
                    push(&mut drafts, Piece::Char('.'));
                    at += 1;
                }
                drafts.extend(kept);
                at += 2;
            }
            '*' => {
                push(&mut drafts, Piece::Part);
                at += 1;
            }
            '{' => {
                let mut all = Vec::new();
                at += 1;
                loop {
                    let (found, end) = alternatives(chars, at, drafts.clone(), true)?;
                    all.extend(found);
                    if all.len() > MAX_GLOBS {
                        return Err(format!(
                            "the pattern stands for more than {MAX_GLOBS} others"
                        ));
                    }
                    at = end + 1;
                    match chars.get(end) {
                        Some(',') => {}
                        Some(_) => break,
                        // An open brace closes itself at the end.
                        None => return Ok((all, chars.len())),
                    }
                }
                drafts = all;
            }
            c => {
                push(&mut drafts, Piece::Char(c));
                at += 1;
            }
        }
        if drafts.len() > MAX_GLOBS {
            return Err(format!(
                "the pattern stands for more than {MAX_GLOBS} others"
            ));
        }
    }
    Ok((drafts, at))
}

/// The places in globs that a text has reached.
type Reached = BTreeSet<(usize, usize)>;

fn begin(globs: &[Glob]) -> Reached {
    let mut reached = Reached::new();
    for (g, glob) in globs.iter().enumerate() {
        enter(glob, g, 0, &mut reached);
    }
    reached
}

/// A run may be empty, so what stands behind it is reached as well.
fn enter(glob: &Glob, g: usize, mut at: usize, reached: &mut Reached) {
    reached.insert((g, at));
    while matches!(glob.get(at), Some(Piece::Part | Piece::Any)) {
        at += 1;
        reached.insert((g, at));
    }
}

fn step(globs: &[Glob], from: &Reached, c: char) -> Reached {
    let mut reached = Reached::new();
    for (g, at) in from {
        let glob = &globs[*g];
        match glob.get(*at) {
            Some(Piece::Char(own)) if *own == c => enter(glob, *g, at + 1, &mut reached),
            Some(Piece::Part) if c != '.' => enter(glob, *g, *at, &mut reached),
            Some(Piece::Any) => enter(glob, *g, *at, &mut reached),
            _ => {}
        }
    }
    reached
}

fn is_end(globs: &[Glob], reached: &Reached) -> bool {
    reached.iter().any(|(g, at)| globs[*g].len() == *at)
}

/// How many of the tags that `source` stands for meet the condition.
pub(super) fn share(source: &[Glob], condition: &Condition) -> Share {
    if condition.is_empty() {
        return Share::All;
    }
    let mut known: Vec<(&[Glob], bool)> = Vec::new();
    for (pattern, wanted) in condition {
        match pattern {
            Pattern::Globs(globs) => known.push((globs, *wanted)),
            Pattern::Regex(_) => {}
        }
    }
    let has_unknown = known.len() < condition.len();
    let (some, all) = compare(source, &known);
    match (some, all && !has_unknown) {
        (false, _) => Share::None,
        (true, true) => Share::All,
        (true, false) => Share::Some,
    }
}

/// Whether two sets of tags have one in common.
pub(super) fn meet(a: &[Glob], b: &[Glob]) -> bool {
    compare(a, &[(b, true)]).0
}

/// Whether some, and whether all, of the tags of `source` meet the conditions.
fn compare(source: &[Glob], conditions: &[(&[Glob], bool)]) -> (bool, bool) {
    let mut letters: BTreeSet<char> = ['.', '\u{1}'].into();
    let others = conditions.iter().flat_map(|(globs, _)| globs.iter());
    for piece in source.iter().chain(others).flatten() {
        if let Piece::Char(c) = piece {
            letters.insert(*c);
        }
    }
    let first: Vec<Reached> = std::iter::once(begin(source))
        .chain(conditions.iter().map(|(globs, _)| begin(globs)))
        .collect();
    let mut seen: HashSet<Vec<Reached>> = HashSet::new();
    let mut waiting = vec![first];
    let (mut some, mut all) = (false, true);
    while let Some(state) = waiting.pop() {
        if seen.len() > MAX_STEPS {
            return (true, false);
        }
        if is_end(source, &state[0]) {
            let holds = conditions
                .iter()
                .zip(&state[1..])
                .all(|((globs, wanted), reached)| is_end(globs, reached) == *wanted);
            some |= holds;
            all &= holds;
            if some && !all {
                break;
            }
        }
        for c in &letters {
            let mut next = vec![step(source, &state[0], *c)];
            if next[0].is_empty() {
                continue;
            }
            let steps = conditions.iter().zip(&state[1..]);
            next.extend(steps.map(|((globs, _), reached)| step(globs, reached, *c)));
            if !seen.contains(&next) {
                seen.insert(next.clone());
                waiting.push(next);
            }
        }
    }
    (some, all)
}

/// The globs that alone say the same as the expressions do, for all tags that there are: those of a pattern
/// that the expressions ask for.
pub(super) fn alone(all: &[Glob], expressions: &[(Vec<Glob>, Condition)]) -> Option<Vec<Glob>> {
    let wanted = expressions.iter().flat_map(|(_, condition)| condition);
    let candidates = wanted.filter_map(|(pattern, wanted)| match pattern {
        Pattern::Globs(globs) if *wanted => Some(globs),
        _ => None,
    });
    for candidate in candidates {
        let fits = |wanted| (Pattern::Globs(candidate.clone()), wanted);
        // What an expression takes, the candidate takes.
        let takes_all = expressions.iter().all(|(globs, condition)| {
            let mut beyond = condition.clone();
            beyond.push(fits(false));
            share(globs, &beyond) == Share::None
        });
        // What the candidate takes, an expression takes: one whose other conditions always hold.
        let whole: Vec<Glob> = expressions
            .iter()
            .filter(|(globs, condition)| {
                condition.iter().all(|(pattern, wanted)| {
                    share(globs, &vec![fits(true), (pattern.clone(), !wanted)]) == Share::None
                })
            })
            .flat_map(|(globs, _)| globs.clone())
            .collect();
        let rest = vec![fits(true), (Pattern::Globs(whole), false)];
        if takes_all && share(all, &rest) == Share::None {
            return Some(candidate.clone());
        }
    }
    None
}

/// A glob as Fluent Bit's `match`, whose star stands for any run; none for what that cannot say.
pub(super) fn wildcard(glob: &Glob) -> Option<String> {
    glob.iter()
        .map(|piece| match piece {
            Piece::Char(c) => Some(*c),
            Piece::Any => Some('*'),
            Piece::Part => None,
        })
        .collect()
}

fn regex_of(globs: &[Glob]) -> String {
    let one = |glob: &Glob| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Char(c) if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/') => {
                c.to_string()
            }
            Piece::Char(c) if c.is_ascii_punctuation() => format!("\\{c}"),
            Piece::Char(c) => c.to_string(),
            Piece::Part => "[^.]*".to_owned(),
            Piece::Any => ".*".to_owned(),
        };
        glob.iter().map(piece).collect()
    };
    match globs {
        [glob] => one(glob),
        globs => {
            let all: Vec<String> = globs.iter().map(one).collect();
            format!("(?:{})", all.join("|"))
        }
    }
}

/// Patterns of both kinds as one expression.
pub(super) fn any_of(patterns: &[Pattern]) -> String {
    let one = |pattern: &Pattern| match pattern {
        Pattern::Globs(globs) => regex_of(globs),
        Pattern::Regex(text) => format!("(?:{text})"),
    };
    let all: Vec<String> = patterns.iter().map(one).collect();
    all.join("|")
}

/// An expression for `match_regex`: tags of one of the sources that meet their condition.
pub(super) fn regex(sources: &[(Vec<Glob>, Condition)]) -> String {
    let one = |(globs, condition): &(Vec<Glob>, Condition)| {
        let look = |(pattern, wanted): &(Pattern, bool)| {
            let inside = match pattern {
                Pattern::Globs(globs) => regex_of(globs),
                Pattern::Regex(text) => format!("(?:{text})"),
            };
            let sign = if *wanted { "=" } else { "!" };
            format!("(?{sign}{inside}$)")
        };
        let looks: String = condition.iter().map(look).collect();
        format!("{looks}{}", regex_of(globs))
    };
    let all: Vec<String> = sources.iter().map(one).collect();
    match all.as_slice() {
        [one] => format!("^{one}$"),
        all => format!("^(?:{})$", all.join("|")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, tag: &str) -> bool {
        let patterns = patterns(pattern).expect(pattern);
        patterns
            .iter()
            .any(|p| share(&[literal(tag)], &vec![(p.clone(), true)]) == Share::All)
    }

    /// As Fluentd's own tests of its patterns have it.
    #[test]
    fn patterns_fit_as_in_fluentd() {
        for (pattern, yes, no) in [
            ("a", "a", "b ab a.b"),
            ("a*", "a ab abc", "a.b ba"),
            ("*a", "a xa", "a.b ab"),
            ("a.*", "a.b a.c", "a ab a.b.c"),
            ("a.*.b", "a.x.b", "a.b a.x.y.b"),
            ("**", "a a.b a.b.c", ""),
            ("a.**", "a a.b a.b.c", "ab b b.a"),
            ("a**", "a ab a.b ab.c", "b"),
            ("**.a", "a b.a c.b.a", "ab a.b ba"),
            ("a.**.b", "a.b a.x.b a.x.y.b", "a a.bb ab"),
            ("**a", "a ba b.a b.ca", "ab"),
            ("a.{b,c}", "a.b a.c", "a a.d a.b.c"),
            ("a.{b,c}.**", "a.b a.c a.b.x", "a.d a.bx"),
            ("{a.b,c*}", "a.b c cx", "a c.x"),
            ("a b.*", "a b.c", "b c"),
            ("a\\.b", "a.b", "axb"),
            ("a\\", "a", "a. b"),
            ("{a,b\\", "a b", "c"),
        ] {
            for tag in yes.split_whitespace() {
                assert!(fits(pattern, tag), "{pattern} {tag}");
            }
            for tag in no.split_whitespace() {
                assert!(!fits(pattern, tag), "not {pattern} {tag}");
            }
        }
        assert!(patterns("/a").is_err());
        assert!(patterns(&"{a,b}".repeat(20)).is_err());
    }

    #[test]
    fn shares() {
        let of = |source: &str, conditions: &[(&str, bool)]| {
            let one = |(text, wanted): &(&str, bool)| {
                (patterns(text).expect("a pattern").remove(0), *wanted)
            };
            share(&[starred(source)], &conditions.iter().map(one).collect())
        };
        assert_eq!(of("kube.*.log", &[("kube.**", true)]), Share::All);
        assert_eq!(of("kube.*.log", &[("kube.x.**", true)]), Share::Some);
        assert_eq!(of("kube.*.log", &[("app.**", true)]), Share::None);
        assert_eq!(
            of("kube.*", &[("kube.x.**", false), ("kube.x.y.**", true)]),
            Share::None
        );
        assert_eq!(of("*", &[("**", true)]), Share::All);
        assert_eq!(of("a", &[("/x/", true)]), Share::Some);
    }

    #[test]
    fn a_pattern_alone_where_nothing_else_decides() {
        let globs = |text: &str| match patterns(text).expect("a pattern").remove(0) {
            Pattern::Globs(globs) => globs,
            Pattern::Regex(_) => unreachable!(),
        };
        let all = [starred("*"), starred("kube.*")];
        let app = vec![(Pattern::Globs(globs("app.**")), true)];
        assert_eq!(
            alone(&all, &[(vec![starred("*")], app.clone())]),
            Some(globs("app.**"))
        );
        let mut but_one = app.clone();
        but_one.push((Pattern::Globs(globs("app.x")), false));
        assert_eq!(alone(&all, &[(vec![starred("*")], but_one)]), None);
        // Another source gives such tags and is not asked for them.
        assert_eq!(
            alone(
                &[starred("*"), literal("app.y")],
                &[(vec![literal("app.y")], app)]
            ),
            None
        );
    }

    #[test]
    fn expressions() {
        let globs = |text: &str| match patterns(text).expect("a pattern").remove(0) {
            Pattern::Globs(globs) => globs,
            Pattern::Regex(_) => unreachable!(),
        };
        let condition = vec![(Pattern::Globs(globs("a.b.**")), false)];
        assert_eq!(
            regex(&[(vec![starred("a.*")], condition)]),
            r"^(?!(?:a\.b|a\.b\..*)$)a\..*$"
        );
        assert_eq!(wildcard(&starred("a.*.log")).as_deref(), Some("a.*.log"));
    }
}
