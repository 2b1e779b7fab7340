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

/// The lines, of entries with these times, that may pass; and whether those surely do.
pub fn may_pass(
    column: &Column<'_>,
    times: &[i64],
    of: &LineAutomaton,
) -> Result<(Rows, bool), Malformed> {
    of.with(|automaton| {
        let mut walk = Walk {
            times,
            value: Vec::new(),
            seen: Vec::new(),
            automaton,
        };
        let start = walk.automaton.start();
        let ends = walk.column(column, None, None, States::All(start))?;
        let lost = match of.keeps_matches() {
            true => State::NEVER,
            false => State::MATCH,
        };
        let ends = ends.map(&mut walk.seen, |state| walk.automaton.at_end(state));
        Ok(match ends {
            States::All(state) if state == lost => (Rows::None, true),
            States::All(state) => (Rows::All, state != State::UNKNOWN),
            States::Each(states) => {
                let is_sure = !states.contains(&State::UNKNOWN);
                let rows = states.iter().map(|state| *state != lost);
                (Rows::of(rows.collect()), is_sure)
            }
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
    /// Where the values of a column lead. `picked` are the rows that are in `states`, all without it;
    /// `lines` are the numbers of all rows' lines, 0, 1 and so on without it.
    fn column(
        &mut self,
        column: &Column<'_>,
        picked: Option<&[u32]>,
        lines: Option<&[u32]>,
        states: States,
    ) -> Result<States, Malformed> {
        match &column.layout {
            Layout::Constant(value) => Ok(self.text(value, states)),
            Layout::Templates(templates) => {
                self.templates(templates, column.n_rows, picked, states)
            }
            _ => self.values(column, picked, lines, states),
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
        picked: Option<&[u32]>,
        states: States,
    ) -> Result<States, Malformed> {
        let places = places(of, n_rows)?;
        let n_picked = picked.map_or(n_rows, <[u32]>::len);
        // Per template: where its rows stand in `states`, and which rows of it they are.
        let mut groups: Vec<(Vec<u32>, Vec<u32>)> =
            vec![Default::default(); of.templates.len() + 1];
        for at in 0..n_picked {
            let (template, row) = places[picked.map_or(at, |picked| picked[at] as usize)];
            let (from, rows) = &mut groups[template as usize];
            from.push(at as u32);
            if picked.is_some() {
                rows.push(row);
            }
        }
        let mut ends = Vec::with_capacity(groups.len());
        for (at, (from, rows)) in groups.iter().enumerate() {
            let states = match &states {
                States::All(state) => States::All(*state),
                States::Each(states) => {
                    States::Each(from.iter().map(|row| states[*row as usize]).collect()).short()
                }
            };
            let (rows, lines) = match picked {
                Some(_) => (Some(&rows[..]), None),
                None => (None, Some(&from[..])),
            };
            ends.push(match (of.templates.get(at), &of.whole) {
                _ if from.is_empty() => states,
                (Some(template), _) => self.template(template, rows, lines, states)?,
                (None, Some(whole)) => self.column(whole, rows, lines, states)?,
                (None, None) => states,
            });
        }
        let used = || {
            ends.iter()
                .zip(&groups)
                .filter(|(_, (from, _))| !from.is_empty())
        };
        let first = used().next().map(|(states, _)| states);
        if let Some(States::All(first)) = first
            && used().all(|(states, _)| *states == States::All(*first))
        {
            return Ok(States::All(*first));
        }
        let mut all = vec![State::UNKNOWN; n_picked];
        for (states, (from, _)) in used() {
            for (at, row) in from.iter().enumerate() {
                all[*row as usize] = states.at(at);
            }
        }
        Ok(States::Each(all))
    }

    fn template(
        &mut self,
        template: &Template<'_>,
        picked: Option<&[u32]>,
        lines: Option<&[u32]>,
        states: States,
    ) -> Result<States, Malformed> {
        let mut left = Left::of(self.text(template.pieces[0], states), picked);
        for (column, piece) in template.columns.iter().zip(&template.pieces[1..]) {
            match &left.states {
                States::All(state) if state.is_final() => break,
                States::Each(states) if states.is_empty() => break,
                _ => {}
            }
            let states = std::mem::replace(&mut left.states, States::All(State::UNKNOWN));
            let rows = left.rows.as_deref();
            let states = self.column(column, rows, lines, states)?;
            left.states = self.text(piece, states);
            left.set_final_ones_aside(picked, template.n_rows);
        }
        Ok(left.all())
    }

    fn values(
        &mut self,
        column: &Column<'_>,
        picked: Option<&[u32]>,
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
        let n = picked.map_or(column.n_rows, <[u32]>::len);
        let row_of = |at: usize| picked.map_or(at, |picked| picked[at] as usize);
        let mut ends = Vec::with_capacity(n);
        if let Values::Dictionary { entries, codes } = &values {
            let mut known: Vec<Vec<Option<State>>> = vec![Vec::new(); self.automaton.n_states()];
            for at in 0..n {
                let (state, code) = (states.at(at), codes[row_of(at)] as usize);
                let of = &mut known[state.index()];
                if of.is_empty() {
                    of.resize(entries.len(), None);
                }
                let next = || self.automaton.step_text(state, entries.get(code));
                ends.push(*of[code].get_or_insert_with(next));
            }
            return Ok(States::Each(ends).short());
        }
        let mut recent = Recent::default();
        for at in 0..n {
            let (state, row) = (states.at(at), row_of(at));
            ends.push(match &values {
                _ if state.is_final() => state,
                Values::Raw(texts) => self.automaton.step_text(state, texts.get(row)),
                Values::Integers { values: all, .. } => {
                    let known = recent.find(all[row], state);
                    if known.2 == State::UNKNOWN {
                        self.value.clear();
                        values.put(row, 0, &mut self.value)?;
                        known.2 = self.automaton.step_text(state, &self.value);
                    }
                    known.2
                }
                _ => {
                    self.value.clear();
                    let line = lines.map_or(row, |lines| lines[row] as usize);
                    values.put(row, self.times[line], &mut self.value)?;
                    self.automaton.step_text(state, &self.value)
                }
            });
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

/// The rows of a template that are still on their way.
struct Left {
    states: States,
    /// Their numbers, all without it.
    rows: Option<Vec<u32>>,
    /// Where they stand among the rows that were asked for, once some are set aside.
    from: Vec<u32>,
    /// Where those lead that are set aside; the others are not told yet.
    ends: Vec<State>,
}

impl Left {
    fn of(states: States, picked: Option<&[u32]>) -> Self {
        Self {
            states,
            rows: picked.map(<[u32]>::to_vec),
            from: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Once most are final, the others go on alone.
    fn set_final_ones_aside(&mut self, picked: Option<&[u32]>, n_rows: usize) {
        let States::Each(states) = &mut self.states else {
            return;
        };
        let n_final = states.iter().filter(|state| state.is_final()).count();
        if n_final * 2 < states.len() {
            return;
        }
        if self.ends.is_empty() {
            self.ends = states.clone();
            self.from = (0..states.len() as u32).collect();
        }
        let rows = self.rows.get_or_insert_with(|| match picked {
            Some(picked) => picked.to_vec(),
            None => (0..n_rows as u32).collect(),
        });
        let mut n = 0;
        for at in 0..states.len() {
            if states[at].is_final() {
                self.ends[self.from[at] as usize] = states[at];
            } else {
                (states[n], rows[n], self.from[n]) = (states[at], rows[at], self.from[at]);
                n += 1;
            }
        }
        states.truncate(n);
        rows.truncate(n);
        self.from.truncate(n);
        self.states = std::mem::replace(&mut self.states, States::All(State::NEVER)).short();
    }

    /// Where all lead that were asked for.
    fn all(mut self) -> States {
        if self.ends.is_empty() {
            return self.states;
        }
        for (at, row) in self.from.iter().enumerate() {
            self.ends[*row as usize] = self.states.at(at);
        }
        States::Each(self.ends).short()
    }
}

/// Where integers led lately: few different ones are most of many columns.
struct Recent(Vec<(i64, State, State)>);

impl Default for Recent {
    fn default() -> Self {
        Self(vec![(0, State::UNKNOWN, State::UNKNOWN); 64])
    }
}

impl Recent {
    /// Where the value leads from `state`; unknown when that is to be found.
    fn find(&mut self, value: i64, state: State) -> &mut (i64, State, State) {
        let at = (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        let found = &mut self.0[at as usize];
        if (found.0, found.1) != (value, state) {
            *found = (value, state, State::UNKNOWN);
        }
        found
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
