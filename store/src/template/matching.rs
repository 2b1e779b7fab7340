//! Telling encoded lines by an automaton, without rebuilding them.
//!
//! The lines of a template are stepped through column by column, all rows at once: a piece between
//! slots leads all rows that are in one state to one other, whatever the line; so does a column whose
//! characters cannot change the state, which is then not even read, and an entry of a dictionary. Only
//! what is left is stepped through value by value. The rule: a row is left out only when the automaton
//! told it to the end.

use std::borrow::Cow;

use kansoku_model::LineAutomaton;
use kansoku_model::line_automaton::{Automaton, State};

use super::layout::{Column, Layout, Template, Templates};
use super::load::{Values, has_empty, places};
use super::numbers;
use super::search::Rows;
use crate::bytes::Malformed;

/// More states that a column may lead to are not followed; its values are looked at.
const STATES_MAX: usize = 16;

/// The lines, of entries with these times, that may pass.
pub fn may_pass(column: &Column<'_>, times: &[i64], of: &LineAutomaton) -> Result<Rows, Malformed> {
    of.with(|automaton| {
        let mut walk = Walk {
            times,
            value: Vec::new(),
            seen: Vec::new(),
            automaton,
        };
        let start = walk.automaton.start();
        let ends = walk.column(column, None, States::All(start))?;
        let lost = match of.keeps_matches() {
            true => State::NEVER,
            false => State::MATCH,
        };
        let ends = ends.map(&mut walk.seen, |state| walk.automaton.at_end(state));
        Ok(match ends {
            States::All(state) if state == lost => Rows::None,
            States::All(_) => Rows::All,
            States::Each(states) => Rows::of(states.iter().map(|s| *s != lost).collect()),
        })
    })
}

/// Where the rows of a column are.
#[derive(Debug, Clone, PartialEq)]
enum States {
    All(State),
    Each(Vec<State>),
}

impl States {
    fn at(&self, row: usize) -> State {
        match self {
            Self::All(state) => *state,
            Self::Each(states) => states[row],
        }
    }

    /// Where each state leads. `seen` is memory.
    fn map(self, seen: &mut Vec<Option<State>>, mut next: impl FnMut(State) -> State) -> Self {
        let mut states = match self {
            Self::All(state) => return Self::All(next(state)),
            Self::Each(states) => states,
        };
        seen.clear();
        for state in &mut states {
            if state.index() >= seen.len() {
                seen.resize(state.index() + 1, None);
            }
            let known = &mut seen[state.index()];
            *state = *known.get_or_insert_with(|| next(*state));
        }
        Self::Each(states).short()
    }

    /// One state for all, if it is.
    fn short(self) -> Self {
        match &self {
            Self::Each(states) => match states.first() {
                Some(first) if states.iter().all(|s| s == first) => Self::All(*first),
                _ => self,
            },
            Self::All(_) => self,
        }
    }

    /// Each state once.
    fn distinct(&self) -> Vec<State> {
        let states = match self {
            Self::All(state) => return vec![*state],
            Self::Each(states) => states,
        };
        let (mut found, mut is_found): (Vec<State>, Vec<bool>) = (Vec::new(), Vec::new());
        for state in states {
            if state.index() >= is_found.len() {
                is_found.resize(state.index() + 1, false);
            }
            if !is_found[state.index()] {
                is_found[state.index()] = true;
                found.push(*state);
            }
        }
        found
    }
}

/// What steps through columns.
struct Walk<'a> {
    /// Of the lines.
    times: &'a [i64],
    automaton: &'a mut Automaton,
    /// Memory for a value, and for what states lead to.
    value: Vec<u8>,
    seen: Vec<Option<State>>,
}

impl Walk<'_> {
    /// Where the values of a column lead from where its rows are. `lines` are the numbers of the rows'
    /// lines; without them they are 0, 1 and so on.
    fn column(
        &mut self,
        column: &Column<'_>,
        lines: Option<&[u32]>,
        states: States,
    ) -> Result<States, Malformed> {
        match &column.layout {
            Layout::Constant(value) => Ok(self.text(value, states)),
            Layout::Templates(templates) => self.templates(templates, column.n_rows, states),
            _ => self.values(column, lines, states),
        }
    }

    fn text(&mut self, text: &[u8], states: States) -> States {
        if text.is_empty() {
            return states;
        }
        let automaton = &mut *self.automaton;
        states.map(&mut self.seen, |state| automaton.step_text(state, text))
    }

    fn templates(
        &mut self,
        of: &Templates<'_>,
        n_rows: usize,
        states: States,
    ) -> Result<States, Malformed> {
        let places = places(of, n_rows)?;
        let n_whole = of.whole.as_ref().map_or(0, |whole| whole.n_rows);
        let sizes = of.templates.iter().map(|t| t.n_rows).chain([n_whole]);
        let mut rows: Vec<Vec<u32>> = sizes.map(Vec::with_capacity).collect();
        for (row, (template, _)) in places.iter().enumerate() {
            rows[*template as usize].push(row as u32);
        }
        let pick = |rows: &[u32]| match &states {
            States::All(state) => States::All(*state),
            States::Each(states) => {
                States::Each(rows.iter().map(|row| states[*row as usize]).collect()).short()
            }
        };
        let mut ends = Vec::with_capacity(rows.len());
        for (template, rows) in of.templates.iter().zip(&rows) {
            ends.push(self.template(template, rows, pick(rows))?);
        }
        if let Some(whole) = &of.whole {
            let rows = &rows[of.templates.len()];
            ends.push(self.column(whole, Some(rows), pick(rows))?);
        }
        let used = || ends.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty());
        let first = used().next().map(|(states, _)| states.clone());
        if let Some(States::All(first)) = first
            && used().all(|(states, _)| *states == States::All(first))
        {
            return Ok(States::All(first));
        }
        let mut all = vec![State::UNKNOWN; n_rows];
        for (states, rows) in used() {
            for (at, row) in rows.iter().enumerate() {
                all[*row as usize] = match states {
                    States::All(state) => *state,
                    States::Each(states) => states[at],
                };
            }
        }
        Ok(States::Each(all))
    }

    fn template(
        &mut self,
        template: &Template<'_>,
        rows: &[u32],
        states: States,
    ) -> Result<States, Malformed> {
        let mut states = self.text(template.pieces[0], states);
        for (column, piece) in template.columns.iter().zip(&template.pieces[1..]) {
            if matches!(states, States::All(state) if state.is_final()) {
                break;
            }
            states = self.column(column, Some(rows), states)?;
            states = self.text(piece, states);
        }
        Ok(states)
    }

    fn values(
        &mut self,
        column: &Column<'_>,
        lines: Option<&[u32]>,
        states: States,
    ) -> Result<States, Malformed> {
        let (from, shape) = (states.distinct(), Shape::of(column));
        // By the state's index: where every value leads from it, if to one state only.
        let mut sure: Vec<Option<State>> = Vec::new();
        let (mut all_sure, mut stays) = (true, true);
        for state in from {
            let next = match state.is_final() {
                true => Some(state),
                false => shape.as_ref().and_then(|shape| self.reached(shape, state)),
            };
            sure.resize(sure.len().max(state.index() + 1), None);
            sure[state.index()] = next;
            all_sure &= next.is_some();
            stays &= next == Some(state);
        }
        // A value of no bytes leads nowhere.
        if all_sure && (stays || !has_empty(column)?) {
            return Ok(states.map(&mut self.seen, |s| sure[s.index()].unwrap_or(s)));
        }
        let values = Values::load(column)?;
        let mut ends = Vec::with_capacity(column.n_rows);
        if let Values::Dictionary { entries, codes } = &values {
            let mut known: Vec<Vec<Option<State>>> = vec![Vec::new(); self.automaton.n_states()];
            for (row, code) in codes.iter().enumerate() {
                let (state, code) = (states.at(row), *code as usize);
                let of = &mut known[state.index()];
                if of.is_empty() {
                    of.resize(entries.len(), None);
                }
                let next = || self.automaton.step_text(state, entries.get(code));
                ends.push(*of[code].get_or_insert_with(next));
            }
            return Ok(States::Each(ends).short());
        }
        for row in 0..column.n_rows {
            let state = states.at(row);
            if state.is_final() {
                ends.push(state);
                continue;
            }
            if let Values::Raw(texts) = &values {
                ends.push(self.automaton.step_text(state, texts.get(row)));
                continue;
            }
            self.value.clear();
            let line = lines.map_or(row, |lines| lines[row] as usize);
            values.put(row, self.times[line], &mut self.value)?;
            ends.push(self.automaton.step_text(state, &self.value));
        }
        Ok(States::Each(ends).short())
    }

    /// The state that all values of this shape lead to, if it is one.
    fn reached(&mut self, shape: &Shape<'_>, from: State) -> Option<State> {
        match shape {
            Shape::Places(places) => {
                let mut states = vec![from];
                for bytes in places {
                    states = self.next(&states, bytes)?;
                }
                <[State; 1]>::try_from(states).ok().map(|[state]| state)
            }
            Shape::Any(bytes) => {
                let mut reached = self.next(&[from], bytes)?;
                loop {
                    let more = self.next(&reached, bytes)?;
                    let before = reached.len();
                    for state in more {
                        if !reached.contains(&state) {
                            reached.push(state);
                        }
                    }
                    if reached.len() == before {
                        break;
                    }
                    if reached.len() > STATES_MAX {
                        return None;
                    }
                }
                <[State; 1]>::try_from(reached).ok().map(|[state]| state)
            }
        }
    }

    /// The states that any of the bytes leads to.
    fn next(&mut self, states: &[State], bytes: &[u8]) -> Option<Vec<State>> {
        let mut found: Vec<State> = Vec::new();
        for &state in states {
            for &byte in bytes {
                let next = self.automaton.step(state, byte);
                if !found.contains(&next) {
                    found.push(next);
                }
            }
            if found.len() > STATES_MAX {
                return None;
            }
        }
        Some(found)
    }
}

/// Which bytes the values of a column may have; all are ASCII.
enum Shape<'a> {
    /// Any number of these, at least one unless the column has empty values.
    Any(Vec<u8>),
    /// One of these at each place.
    Places(Vec<Cow<'a, [u8]>>),
}

impl<'a> Shape<'a> {
    fn of(column: &'a Column<'_>) -> Option<Self> {
        match &column.layout {
            Layout::Integers { .. } => Some(Self::Any(numbers::INTEGER_BYTES.to_vec())),
            Layout::Decimals { .. } => Some(Self::Any(numbers::DECIMAL_BYTES.to_vec())),
            Layout::Times { format, .. } => Some(Self::Places(format.places())),
            Layout::Packed { plan, .. } => {
                let places = plan.places();
                let is_ascii = places.iter().all(|bytes| bytes.is_ascii());
                is_ascii.then_some(Self::Places(places))
            }
            Layout::Raw { texts, .. } => {
                let mut has = [false; 256];
                texts.iter().for_each(|byte| has[usize::from(*byte)] = true);
                let bytes: Vec<u8> = (0..=255).filter(|b| has[usize::from(*b)]).collect();
                bytes.is_ascii().then_some(Self::Any(bytes))
            }
            Layout::Constant(_) | Layout::Dictionary { .. } | Layout::Templates(_) => None,
        }
    }
}
