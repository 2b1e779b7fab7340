//! Patterns in Ruby syntax (Onigmo, as Fluent Bit runs them).
//!
//! What the regex crate can run goes there, in linear time; a pattern that stands at the start of
//! the line goes through a small program of our own first, several times as fast. Look-around,
//! backreferences, possessive and atomic groups go to a backtracking engine with a bound: a text
//! that exceeds it does not match and is counted. Patterns work on bytes, so that a line that is
//! not UTF-8 is parsed like any other; `\d`, `\w` and `\s` are ASCII, as they are in Ruby.

mod first;
mod program;
#[cfg(test)]
mod tests;
mod translate;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

pub use first::FirstBytes;
use program::{Outcome, Program};
use translate::Translated;

/// A compiled pattern may take this much memory; more is a mistake such as `.{1000}{1000}`.
const MAX_COMPILED_BYTES: usize = 8 << 20;
/// How often the backtracking engine may go back in one text; some milliseconds.
const MAX_BACKTRACKS: usize = 100_000;

/// The steps of a pattern's program in the backtracking engine. Real ones have a few hundred; a pattern
/// that calls itself twice (`a\g<0>b|c\g<0>d|e`) is unfolded to half a million.
const MAX_STEPS: usize = 20_000;

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// A pattern as it stands in a Fluent Bit configuration.
#[derive(Debug)]
pub struct Pattern {
    text: Box<str>,
    engine: Engine,
    names: Vec<(usize, Arc<str>)>,
    first: FirstBytes,
    has_caret: bool,
    given_up: AtomicU64,
}

#[derive(Debug)]
enum Engine {
    Linear(Box<Linear>),
    Backtracking(Box<Backtracking>),
}

/// A pattern for the backtracking engine.
#[derive(Debug)]
struct Backtracking {
    regex: fancy_regex::Regex,
    is_wide: bool,
}

impl Backtracking {
    /// The text as the engine may see it: looking for characters, it gets lost (and panics) in bytes
    /// that are none. A control character stands for each of those, so places stay the same.
    fn readable<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.is_wide || std::str::from_utf8(text).is_ok() {
            return Cow::Borrowed(text);
        }
        let mut readable = Vec::with_capacity(text.len());
        for chunk in text.utf8_chunks() {
            readable.extend_from_slice(chunk.valid().as_bytes());
            readable.resize(readable.len() + chunk.invalid().len(), 0x1a);
        }
        Cow::Owned(readable)
    }
}

/// One pattern for the regex crate. Most texts are one line: there `^` is the start of the text
/// and nothing else, which lets the search give up at the first byte.
#[derive(Debug)]
struct Linear {
    translated: Translated,
    program: Option<Program>,
    in_line: Regex,
    /// For texts of several lines; made when the first one comes.
    in_lines: OnceLock<Option<Regex>>,
    /// For texts beyond ASCII, where a point must take a character, not a byte.
    wide: OnceLock<Option<Regex>>,
}

/// Where the groups of a match lie; kept between texts for its memory.
#[derive(Debug, Default)]
pub struct Groups {
    /// Scratch space of the pattern with this address.
    locations: Option<(usize, CaptureLocations)>,
    scratch: program::Scratch,
    spans: Vec<Option<(usize, usize)>>,
    found_by: FoundBy,
}

/// Which engine knows where the groups lie.
#[derive(Debug, Default, Clone, Copy)]
enum FoundBy {
    #[default]
    Program,
    Regex,
    Backtracking,
}

impl Groups {
    /// Start and end of a group, when it took part in the match.
    #[inline]
    #[must_use]
    pub fn get(&self, group: usize) -> Option<(usize, usize)> {
        match self.found_by {
            FoundBy::Program => self.scratch.group(group),
            FoundBy::Regex => self.locations.as_ref()?.1.get(group),
            FoundBy::Backtracking => self.spans.get(group).copied().flatten(),
        }
    }

    fn locations_of(&mut self, regex: &Regex) -> &mut CaptureLocations {
        // The count of groups is compared too, in case another pattern lies where one was freed.
        let address = std::ptr::from_ref(regex) as usize;
        let n_groups = regex.captures_len();
        let fits = |(of, locations): &(usize, CaptureLocations)| {
            *of == address && locations.len() == n_groups
        };
        if !self.locations.as_ref().is_some_and(fits) {
            self.locations = None;
        }
        &mut self
            .locations
            .get_or_insert_with(|| (address, regex.capture_locations()))
            .1
    }
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let translated = Translated::new(pattern, false)?;
        let has_caret = translated.has_caret;
        let renamed = translated.renamed.clone();
        let (engine, first, names) = if translated.backtracks {
            let regex = build_backtracking(&translated)?;
            let names = names_of(regex.capture_names(), &renamed);
            let is_wide = translated.is_wide;
            (
                Engine::Backtracking(Box::new(Backtracking { regex, is_wide })),
                FirstBytes::ANY,
                names,
            )
        } else {
            let linear = Linear::new(translated)?;
            let names = names_of(linear.in_line.capture_names(), &renamed);
            let first = linear.first_bytes();
            (Engine::Linear(Box::new(linear)), first, names)
        };
        Ok(Self {
            text: pattern.into(),
            engine,
            names,
            first,
            has_caret,
            given_up: AtomicU64::new(0),
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The named groups: number and name, in the order of the pattern.
    #[must_use]
    pub fn names(&self) -> &[(usize, Arc<str>)] {
        &self.names
    }

    /// The bytes that a line without newline which it matches can start with.
    #[must_use]
    pub fn first_bytes(&self) -> FirstBytes {
        self.first
    }

    /// In how many texts the backtracking engine gave up; each counts as not matching.
    #[must_use]
    pub fn n_given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Whether it is found in the text.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            Engine::Linear(linear) => match linear.for_text(text) {
                (regex, true) if self.has_caret && text.ends_with(b"\n") => regex
                    .find(text)
                    .is_some_and(|found| self.counts_at(found.start(), text)),
                (regex, _) => regex.is_match(text),
            },
            Engine::Backtracking(one) => match one.regex.find(&*one.readable(text)) {
                Ok(Some(found)) => self.counts_at(found.start(), text),
                Ok(None) => false,
                Err(_) => self.give_up(),
            },
        }
    }

    /// Whether it is found in the text, and where its groups lie.
    #[must_use]
    pub fn find_groups(&self, text: &[u8], groups: &mut Groups) -> bool {
        match &self.engine {
            Engine::Linear(linear) => {
                let (regex, in_lines) = linear.for_text(text);
                if !in_lines && let Some(program) = &linear.program {
                    groups.found_by = FoundBy::Program;
                    match program.run(text, &mut groups.scratch) {
                        Outcome::Found => return true,
                        Outcome::NotFound => return false,
                        Outcome::TooManySteps => {}
                    }
                }
                groups.found_by = FoundBy::Regex;
                let found = regex.captures_read(groups.locations_of(regex), text);
                found.is_some_and(|found| !in_lines || self.counts_at(found.start(), text))
            }
            Engine::Backtracking(one) => {
                let readable = one.readable(text);
                groups.found_by = FoundBy::Backtracking;
                groups.spans.clear();
                let found = match one.regex.captures(&*readable) {
                    Ok(Some(found)) => found,
                    Ok(None) => return false,
                    Err(_) => return self.give_up(),
                };
                let spans = (0..found.len()).map(|i| found.get(i).map(|m| (m.start(), m.end())));
                groups.spans.extend(spans);
                let start = groups.get(0).map_or(0, |(start, _)| start);
                self.counts_at(start, text)
            }
        }
    }

    /// In Ruby there is no line behind the last newline for `^` to stand at.
    fn counts_at(&self, start: usize, text: &[u8]) -> bool {
        !(self.has_caret && start == text.len() && text.ends_with(b"\n"))
    }

    fn give_up(&self) -> bool {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        false
    }
}

fn names_of<'a>(
    names: impl Iterator<Item = Option<&'a str>>,
    renamed: &std::collections::HashMap<String, String>,
) -> Vec<(usize, Arc<str>)> {
    let meant = |name: &'a str| {
        renamed
            .get(name)
            .map_or(name, |meant| meant.as_str())
            .into()
    };
    names
        .enumerate()
        .filter_map(|(i, name)| Some((i, meant(name?))))
        .collect()
}

impl Linear {
    fn new(translated: Translated) -> Result<Self, PatternError> {
        let in_line = build(&translated, false)?;
        let program = Program::of(&translated);
        Ok(Self {
            program,
            in_line,
            in_lines: OnceLock::new(),
            wide: OnceLock::new(),
            translated,
        })
    }

    /// The form for a text, and whether that form knows of lines.
    fn for_text(&self, text: &[u8]) -> (&Regex, bool) {
        if self.translated.counts
            && !self.translated.is_wide
            && !text.is_ascii()
            && std::str::from_utf8(text).is_ok()
        {
            let wide = self.wide.get_or_init(|| {
                let translated = Translated::new(&self.translated.original, true).ok()?;
                build_as(&translated, true, true).ok()
            });
            if let Some(wide) = wide {
                return (wide, true);
            }
        }
        if memchr::memchr(b'\n', text).is_some() {
            let in_lines = self
                .in_lines
                .get_or_init(|| build(&self.translated, true).ok());
            if let Some(in_lines) = in_lines {
                return (in_lines, true);
            }
        }
        (&self.in_line, false)
    }

    fn first_bytes(&self) -> FirstBytes {
        let parsed = parser_for(&self.translated).parse(&self.translated.pattern);
        parsed.map_or(FirstBytes::ANY, |hir| FirstBytes::of(&hir))
    }
}

/// Reads the pattern as [`build`] does for texts of one line.
fn parser_for(translated: &Translated) -> regex_syntax::Parser {
    regex_syntax::ParserBuilder::new()
        .utf8(false)
        .unicode(translated.is_wide)
        .dot_matches_new_line(translated.flags.contains('m'))
        .case_insensitive(translated.flags.contains('i'))
        .ignore_whitespace(translated.flags.contains('x'))
        .build()
}

/// The regex crate's form of a pattern for texts of one line, to compare the program with.
///
/// # Errors
/// When the regex crate cannot read it, or means something else by it.
#[doc(hidden)]
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let translated = Translated::new(pattern, false)?;
    if translated.backtracks {
        return Err(PatternError(format!(
            "pattern '{pattern}' needs backtracking"
        )));
    }
    build(&translated, false)
}

fn build(translated: &Translated, in_lines: bool) -> Result<Regex, PatternError> {
    build_as(translated, in_lines, translated.is_wide)
}

fn build_as(translated: &Translated, in_lines: bool, wide: bool) -> Result<Regex, PatternError> {
    RegexBuilder::new(&translated.pattern)
        .unicode(wide)
        .multi_line(in_lines)
        .dot_matches_new_line(translated.flags.contains('m'))
        .case_insensitive(translated.flags.contains('i'))
        .ignore_whitespace(translated.flags.contains('x'))
        .size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|e| {
            let text = e.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            PatternError(format!("pattern '{}': {reason}", translated.original))
        })
}

fn build_backtracking(translated: &Translated) -> Result<fancy_regex::Regex, PatternError> {
    let mode = if translated.is_wide {
        fancy_regex::BytesMode::UnicodeBytes
    } else {
        fancy_regex::BytesMode::Ascii
    };
    fancy_regex::RegexBuilder::new(&translated.pattern)
        .bytes_mode(mode)
        .multi_line(true)
        .dot_matches_new_line(translated.flags.contains('m'))
        .case_insensitive(translated.flags.contains('i'))
        .ignore_whitespace(translated.flags.contains('x'))
        .oniguruma_mode(true)
        .backtrack_limit(MAX_BACKTRACKS)
        .delegate_size_limit(MAX_COMPILED_BYTES)
        .max_prog_size(MAX_STEPS)
        .build()
        .map_err(|e| {
            let why = match &e {
                fancy_regex::Error::CompileError(why)
                    if matches!(**why, fancy_regex::CompileError::PatternTooComplex) =>
                {
                    "it is too complex; a group may call itself once, not several times".to_owned()
                }
                _ => e.to_string(),
            };
            PatternError(format!("pattern '{}': {why}", translated.original))
        })
}
