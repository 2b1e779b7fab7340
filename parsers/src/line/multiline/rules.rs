//! The rules of a regex multiline parser: states, and the patterns that lead from one to the next.
//!
//! A line first meets the rules that may follow the last one that matched, then those of
//! `start_state`. Nearly every line of a healthy log is no continuation: a table over its first byte
//! says so before any pattern runs.

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Settings};

use crate::line::pattern::{FirstBytes, Pattern};

/// The most rules of one parser; each is a compiled pattern.
const MAX_RULES: usize = 256;
/// Where records begin.
const START: &str = "start_state";

/// The rule that matched last, by its place in the list.
pub(super) type State = Option<u16>;

/// All rules of a parser.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    starts: Vec<u16>,
    /// First bytes that a start rule or a rule after the state can match; the last entry is for
    /// no state at all.
    may_match: Vec<FirstBytes>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    first: FirstBytes,
    from: Vec<String>,
    to: Option<String>,
    is_start: bool,
    /// Rules that may follow, without those that start a record.
    next: Vec<u16>,
    /// A record may start after this rule, so the one at hand is complete.
    completes: bool,
}

/// What a line is to the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub state: State,
    /// The line goes on the record at hand.
    pub continues: bool,
    /// The record is complete with this line.
    pub completes: bool,
}

impl Rules {
    /// Reads the `rule` keys of a section.
    pub(super) fn new(s: &Settings) -> Result<Self, ConfigError> {
        let mut rules = Vec::new();
        for setting in s.all("rule") {
            if rules.len() == MAX_RULES {
                let message = format!("more than {MAX_RULES} rules in one multiline parser");
                return Err(ConfigError::new(&setting.place, message));
            }
            rules.push(Rule::new(setting)?);
        }
        let Some(first) = rules.first() else {
            return Err(ConfigError::new(
                &s.place,
                "a multiline parser of type regex needs at least one 'rule'",
            ));
        };
        if !first.is_start {
            let place = &s.get("rule").map_or(s.place.clone(), |r| r.place.clone());
            let message = "the first 'rule' must be one of \"start_state\"";
            return Err(ConfigError::new(place, message));
        }
        link(&mut rules, s)?;
        Ok(Self::of(rules))
    }

    fn of(rules: Vec<Rule>) -> Self {
        let starts: Vec<u16> = (0..rules.len())
            .filter(|i| rules[*i].is_start)
            .map(|i| i as u16)
            .collect();
        let of_starts = (starts.iter()).fold(FirstBytes::NONE, |all, i| {
            all.or(&rules[usize::from(*i)].first)
        });
        let may_match = (rules.iter())
            .map(|rule| {
                (rule.next.iter()).fold(of_starts, |all, i| all.or(&rules[usize::from(*i)].first))
            })
            .chain([of_starts])
            .collect();
        Self {
            rules,
            starts,
            may_match,
        }
    }

    /// What the line is after `state`; `None` when no rule matches it.
    pub(super) fn find(&self, state: State, line: &[u8]) -> Option<Match> {
        // In text of several lines, `^` stands at each.
        let one_line = memchr::memchr(b'\n', line).is_none();
        let row = state.map_or(self.rules.len(), usize::from);
        if one_line && !self.may_match[row].allows(line) {
            return None;
        }
        let matches = |i: &u16| self.rules[usize::from(*i)].matches(line, one_line);
        let next = state.map_or(&[][..], |i| &self.rules[usize::from(i)].next);
        let continued = next.iter().copied().find(matches);
        let found = continued.or_else(|| self.starts.iter().copied().find(matches))?;
        Some(Match {
            state: Some(found),
            continues: continued.is_some(),
            completes: self.rules[usize::from(found)].completes,
        })
    }
}

impl Rule {
    fn new(setting: &Setting) -> Result<Self, ConfigError> {
        let error = |message: String| ConfigError::new(&setting.place, message);
        let words = words(&setting.value);
        let (Some(from), Some(pattern)) = (words.first(), words.get(1)) else {
            return Err(error(format!(
                "rule '{}' must be \"state\" \"/pattern/\" \"next state\"",
                setting.value
            )));
        };
        let from: Vec<String> = (from.split(','))
            .map(|state| state.trim().to_owned())
            .filter(|state| !state.is_empty())
            .collect();
        if from.is_empty() {
            return Err(error(format!("rule '{}' has no state", setting.value)));
        }
        let pattern = Pattern::new(pattern).map_err(|e| error(e.to_string()))?;
        Ok(Self {
            first: pattern.first_bytes(),
            pattern,
            is_start: from.iter().any(|state| state == START),
            from,
            to: words.get(2).filter(|to| !to.is_empty()).cloned(),
            next: Vec::new(),
            completes: false,
        })
    }

    fn matches(&self, line: &[u8], one_line: bool) -> bool {
        (!one_line || self.first.allows(line)) && self.pattern.is_match(line)
    }
}

/// Fills in which rules follow which.
fn link(rules: &mut [Rule], s: &Settings) -> Result<(), ConfigError> {
    for i in 0..rules.len() {
        let Some(to) = rules[i].to.clone() else {
            continue;
        };
        let follow: Vec<usize> = (0..rules.len())
            .filter(|j| rules[*j].from.contains(&to))
            .collect();
        if follow.is_empty() {
            let place = s.all("rule").nth(i).map_or(&s.place, |r| &r.place);
            let message = format!("no rule belongs to the state '{to}'");
            return Err(ConfigError::new(place, message));
        }
        rules[i].completes = follow.iter().any(|j| rules[*j].is_start);
        rules[i].next = (follow.into_iter())
            .filter(|j| !rules[*j].is_start)
            .map(|j| j as u16)
            .collect();
    }
    Ok(())
}

/// Words, or texts in double quotes in which `\"` is a quote; an unquoted word takes all that
/// follows it, as in Fluent Bit.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while let Some(quoted) = rest.strip_prefix('"') {
        let mut end = quoted.len();
        let mut before = b' ';
        for (at, b) in quoted.bytes().enumerate() {
            if b == b'"' && before != b'\\' {
                end = at;
                break;
            }
            before = b;
        }
        words.push(quoted[..end].replace("\\\"", "\""));
        rest = quoted.get(end + 1..).unwrap_or_default().trim_start();
    }
    if !rest.is_empty() {
        words.push(rest.to_owned());
    }
    words
}
