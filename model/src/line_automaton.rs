//! Conditions on lines as automata, for whoever keeps lines in pieces.
//!
//! A store that has the pieces of a line steps through them one by one, remembers where equal pieces
//! lead, and so tells most lines without putting them together. The rule: where the automaton does not
//! know, the line is looked at as a whole by whoever asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

/// Patterns that need more states are not stepped to the end.
const STATES_MAX: usize = 1024;
/// Memory for making states, beside the half megabyte that they themselves take.
const CACHE_MAX_BYTES: usize = 2 << 20;
const NOT_KNOWN_YET: u16 = u16::MAX;

/// A state of an automaton, or what is known by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State(u16);

impl State {
    /// There is a match, whatever follows.
    pub const MATCH: Self = Self(0);
    /// There is none, whatever follows.
    pub const NEVER: Self = Self(1);
    /// The automaton does not tell.
    pub const UNKNOWN: Self = Self(2);
    const N_FINAL: usize = 3;

    /// Whether nothing that follows changes it.
    #[must_use]
    #[inline]
    pub fn is_final(self) -> bool {
        usize::from(self.0) < Self::N_FINAL
    }

    /// A small number that names the state among those of its automaton.
    #[must_use]
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Lines that match one of some patterns; or those that match none.
#[derive(Debug)]
pub struct LineAutomaton {
    keeps_matches: bool,
    /// Locked while lines are stepped through.
    automaton: Mutex<Automaton>,
}

impl LineAutomaton {
    /// An automaton of patterns in the syntax of the regex crate, over bytes; `.` and its like match
    /// characters. `None` when a pattern is none or has no automaton of a small size.
    #[must_use]
    pub fn new(patterns: &[&str], keeps_matches: bool) -> Option<Self> {
        let config = Config::new()
            .match_kind(MatchKind::All)
            .unicode_word_boundary(true)
            .cache_capacity(CACHE_MAX_BYTES)
            // States that were given out stay: a full cache is an error instead.
            .minimum_cache_clear_count(Some(0));
        let dfa = DFA::builder()
            .configure(config)
            .syntax(syntax::Config::new().utf8(false).octal(true))
            .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
            .build_many(patterns)
            .ok()?;
        Some(Self {
            keeps_matches,
            automaton: Mutex::new(Automaton::new(dfa)?),
        })
    }

    /// Whether lines that match pass, or those that do not.
    #[must_use]
    pub fn keeps_matches(&self) -> bool {
        self.keeps_matches
    }

    /// Whether a line passes, as far as that is told.
    #[must_use]
    pub fn may_pass(&self, line: &[u8]) -> bool {
        let end = self.with(|automaton| {
            let end = automaton.step_text(automaton.start(), line);
            automaton.at_end(end)
        });
        end == State::UNKNOWN || (end == State::MATCH) == self.keeps_matches
    }

    /// Steps through lines.
    pub fn with<T>(&self, step: impl FnOnce(&mut Automaton) -> T) -> T {
        // States that are there are whole, even after a panic.
        let mut automaton = self
            .automaton
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        step(&mut automaton)
    }
}

/// An automaton whose states are made when they are first reached.
pub struct Automaton {
    dfa: DFA,
    cache: Cache,
    start: State,
    /// Of the states that are not final.
    ids: Vec<LazyStateID>,
    numbers: HashMap<LazyStateID, State>,
    /// 256 per state, those of final ones included.
    next: Vec<u16>,
}

impl fmt::Debug for Automaton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Automaton of {} states", self.ids.len())
    }
}

impl Automaton {
    fn new(dfa: DFA) -> Option<Self> {
        let mut cache = dfa.create_cache();
        let wanted = start::Config::new().anchored(Anchored::No);
        let start = dfa.start_state(&mut cache, &wanted).ok()?;
        let mut automaton = Self {
            dfa,
            cache,
            start: State::UNKNOWN,
            ids: Vec::new(),
            numbers: HashMap::new(),
            next: Vec::new(),
        };
        for last in 0..State::N_FINAL {
            automaton.next.extend([last as u16; 256]);
        }
        automaton.start = automaton.number(start);
        Some(automaton)
    }

    /// Before the first byte of a line.
    #[must_use]
    pub fn start(&self) -> State {
        self.start
    }

    /// How many states there are by now; each has a smaller index.
    #[must_use]
    pub fn n_states(&self) -> usize {
        self.next.len() / 256
    }

    /// Where one more byte leads.
    #[inline]
    pub fn step(&mut self, state: State, byte: u8) -> State {
        match self.next[state.index() * 256 + usize::from(byte)] {
            NOT_KNOWN_YET => self.make(state, byte),
            next => State(next),
        }
    }

    /// Where more text leads. What is no UTF-8 is not told: a line is read with another character for
    /// each bad byte.
    pub fn step_text(&mut self, mut state: State, text: &[u8]) -> State {
        if !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return if state == State::MATCH {
                state
            } else {
                State::UNKNOWN
            };
        }
        for &byte in text {
            if state.is_final() {
                break;
            }
            state = self.step(state, byte);
        }
        state
    }

    /// What is known at the end of a line: one of the final states.
    pub fn at_end(&mut self, state: State) -> State {
        if state.is_final() {
            return state;
        }
        let id = self.ids[state.index() - State::N_FINAL];
        match self.dfa.next_eoi_state(&mut self.cache, id) {
            Ok(id) if id.is_match() => State::MATCH,
            Ok(id) if id.is_quit() => State::UNKNOWN,
            Ok(_) => State::NEVER,
            Err(_) => State::UNKNOWN,
        }
    }

    #[cold]
    fn make(&mut self, state: State, byte: u8) -> State {
        let id = self.ids[state.index() - State::N_FINAL];
        let next = match self.dfa.next_state(&mut self.cache, id, byte) {
            Ok(id) => self.number(id),
            Err(_) => State::UNKNOWN,
        };
        self.next[state.index() * 256 + usize::from(byte)] = next.0;
        next
    }

    fn number(&mut self, id: LazyStateID) -> State {
        if id.is_match() {
            return State::MATCH;
        }
        if id.is_dead() {
            return State::NEVER;
        }
        if id.is_quit() || id.is_unknown() {
            return State::UNKNOWN;
        }
        if let Some(known) = self.numbers.get(&id) {
            return *known;
        }
        if self.ids.len() == STATES_MAX {
            return State::UNKNOWN;
        }
        let state = State((self.ids.len() + State::N_FINAL) as u16);
        self.ids.push(id);
        self.numbers.insert(id, state);
        self.next.extend([NOT_KNOWN_YET; 256]);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(test: &LineAutomaton, pieces: &[&[u8]]) -> State {
        test.with(|automaton| {
            let start = automaton.start();
            let end = pieces
                .iter()
                .fold(start, |at, p| automaton.step_text(at, p));
            automaton.at_end(end)
        })
    }

    #[test]
    fn lines_in_pieces_are_told_as_whole_ones() {
        let patterns = [
            "timeout",
            "^GET /",
            "ms$",
            "^$",
            "",
            "[A-Z]{6,} [0-9]+",
            "(?i)err(or)?",
            "a.c",
            r"(?-u:\b)foo(?-u:\b)",
            "x*",
            "観.",
            "[^a]",
            r"^\w+$",
            "(a|b)*abb",
            "^(GET|POST) [^ ]+ 5[0-9][0-9]$",
        ];
        let lines = [
            "",
            "GET /",
            "a GET /",
            "took 5 ms",
            "took 5 ms.",
            "FATALX 77",
            "FATAL 77",
            "Error",
            "abc",
            "a\u{89b3}c",
            "foo",
            "afoo",
            "a foo",
            "観測",
            "aaa",
            "abababb",
            "GET /x 503",
            "POST /a/b 5033",
            "timeou",
            "timeout",
        ];
        for pattern in patterns {
            let regex = regex::bytes::Regex::new(pattern).unwrap();
            let test = LineAutomaton::new(&[pattern], true).unwrap();
            for line in lines {
                let expected = match regex.is_match(line.as_bytes()) {
                    true => State::MATCH,
                    false => State::NEVER,
                };
                for cut in 0..=line.len() {
                    let (a, b) = line.as_bytes().split_at(cut);
                    let found = verdict(&test, &[a, b]);
                    // A character that is cut in two is not told.
                    let is_told = line.is_char_boundary(cut);
                    assert!(
                        found == expected || !is_told && found == State::UNKNOWN,
                        "{pattern} in {line} at {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn alternatives_bad_bytes_and_what_is_too_large() {
        let test = LineAutomaton::new(&["reset", "timed out$"], false).unwrap();
        assert!(test.may_pass(b"it timed out.") && !test.may_pass(b"it timed out"));
        assert_eq!(verdict(&test, &[b"it timed", b" out"]), State::MATCH);
        assert_eq!(verdict(&test, &[b"it timed", b" out."]), State::NEVER);
        assert_eq!(verdict(&test, &[b"re\xff", b"set"]), State::UNKNOWN);
        assert_eq!(verdict(&test, &[b"reset ", b"\xff"]), State::MATCH);
        assert!(LineAutomaton::new(&["("], true).is_none());
        // More states than there may be: some lines are not told, none is told wrongly.
        let test = LineAutomaton::new(&["[ab]*a[ab]{14}c"], true).unwrap();
        let mut random = 1u64;
        let mut line: Vec<u8> = (0..20_000)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                b"ab"[(random >> 63) as usize]
            })
            .collect();
        line.push(b'c');
        assert_ne!(verdict(&test, &[&line]), State::NEVER);
    }
}
