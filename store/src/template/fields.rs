//! Fields of lines out of the columns they lie in, without rebuilding the lines.
//!
//! The pieces of a template are read as what the query takes the lines for, with slots that may hold
//! any value of their column: that says for all its lines which pieces and slots a field is made of.
//! The rule: where this is in doubt the lines are given whole, so that whoever reads them comes to the
//! same fields, or to the same fault.

mod cursor;
mod json;
mod logfmt;
mod pattern;
mod values;

use kansoku_model::{Extraction, FieldBlock, FieldForm, FieldGroup, FieldsWanted, Slice};

use self::values::Taken;
use super::layout::{self, Column, Layout, Template, Templates};
use super::load::{Loaded, Search, Values, places};
use super::search::Rows;
use super::{DAMAGED, Parts};
use crate::bytes::{Malformed, Reader};
use crate::column::ints;

/// A piece of a field.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Text(&'a [u8]),
    /// The value of a slot.
    Slot(usize),
}

/// What a field of a template's lines is made of.
#[derive(Debug)]
struct Spec<'a> {
    form: FieldForm,
    items: Vec<Item<'a>>,
}

/// How lines of one template are given.
enum Plan<'a> {
    Whole(Loaded<'a>),
    Fields {
        specs: Vec<Option<Spec<'a>>>,
        /// Numbers of the lines in the block that is given, and among those of the template.
        rows: Vec<u32>,
        at: Vec<u32>,
    },
}

/// Adds fields of those encoded lines that are searched for, and perhaps of some that lack a needle.
/// False when the lines are no templates: nothing is added then.
pub fn decode_fields(
    parts: Parts<'_>,
    times: &[i64],
    text_bytes: usize,
    search: &Search<'_>,
    wanted: &FieldsWanted,
    out: &mut FieldBlock,
) -> Result<bool, Malformed> {
    let column = layout::read(parts, times.len(), text_bytes)?;
    let Layout::Templates(of) = &column.layout else {
        return Ok(false);
    };
    let (found, _) = search.found(&column, times)?;
    let is_found = |row: &usize| match &found {
        Rows::None => false,
        Rows::All => true,
        Rows::Some(rows) => rows[*row],
    };
    let picked: Vec<u32> = search
        .rows
        .clone()
        .filter(is_found)
        .map(|row| row as u32)
        .collect();
    let places = places(of, times.len())?;
    let mut plans = plans(of, wanted, picked.iter().map(|row| places[*row as usize].0))?;
    let whole = of.whole.as_deref().map(Values::load).transpose()?;
    for (n, row) in (out.times.len() as u32..).zip(picked) {
        let ((template, at), time) = (places[row as usize], times[row as usize]);
        out.times.push(time);
        let start = out.lines.text.len();
        match (plans.get_mut(template as usize), &whole) {
            (Some(Some(Plan::Fields { rows, at: all, .. })), _) => {
                rows.push(n);
                all.push(at);
                continue;
            }
            (Some(Some(Plan::Whole(loaded))), _) => {
                loaded.put(at as usize, time, &mut out.lines.text)?;
            }
            (None, Some(whole)) => whole.put(at as usize, time, &mut out.lines.text)?,
            (Some(None), _) | (None, None) => return Err(DAMAGED),
        }
        if out.lines.text.len() > text_bytes {
            return Err(Malformed("lines are longer than promised"));
        }
        out.lines.times.push(time);
        out.lines.lines.push(Slice {
            start: start as u32,
            len: (out.lines.text.len() - start) as u32,
        });
        out.line_rows.push(n);
    }
    for (template, plan) in of.templates.iter().zip(plans) {
        let Some(Plan::Fields { specs, rows, at }) = plan else {
            continue;
        };
        let entry_times: Vec<i64> = rows.iter().map(|row| out.times[*row as usize]).collect();
        let taken = Taken {
            rows: Some((&at, &entry_times)),
            limit: text_bytes,
        };
        out.groups.push(FieldGroup {
            n_rows: rows.len(),
            fields: taken.fields(&specs, template)?,
            rows,
        });
    }
    Ok(true)
}

/// Adds fields of all `n_rows` encoded lines, in no order. False when a line or a field cannot be had
/// so; then what was added counts for nothing.
pub fn decode_fields_unordered(
    parts: Parts<'_>,
    n_rows: usize,
    text_bytes: usize,
    wanted: &FieldsWanted,
    out: &mut FieldBlock,
) -> Result<bool, Malformed> {
    let column = layout::read(parts, n_rows, text_bytes)?;
    let Layout::Templates(of) = &column.layout else {
        return Ok(false);
    };
    if of.whole.is_some() {
        return Ok(false);
    }
    let names = Names(&wanted.names);
    let taken = Taken {
        rows: None,
        limit: text_bytes,
    };
    for template in &of.templates {
        let Some(specs) = specs(template, &wanted.of, &names)? else {
            return Ok(false);
        };
        let mut slots = specs.iter().flatten().flat_map(|spec| &spec.items);
        if slots.any(|item| matches!(item, Item::Slot(at) if has_times(&template.columns[*at]))) {
            return Ok(false);
        }
        out.groups.push(FieldGroup {
            n_rows: template.n_rows,
            fields: taken.fields(&specs, template)?,
            rows: Vec::new(),
        });
    }
    Ok(true)
}

/// Whether a value of the column needs the time of its entry.
fn has_times(column: &Column<'_>) -> bool {
    match &column.layout {
        Layout::Times { .. } => true,
        Layout::Templates(of) => {
            let mut columns = of.templates.iter().flat_map(|t| &t.columns);
            columns.any(has_times) || of.whole.as_deref().is_some_and(has_times)
        }
        _ => false,
    }
}

/// What the wanted fields of the template's lines are made of; `None` in doubt.
fn specs<'a>(
    template: &'a Template<'a>,
    of: &Extraction,
    names: &Names<'_>,
) -> Result<Option<Vec<Option<Spec<'a>>>>, Malformed> {
    match of {
        Extraction::Json => json::read(template, names),
        Extraction::Logfmt => logfmt::read(template, names),
        Extraction::Pattern(pattern) => pattern::read(template, pattern, names),
    }
}

/// A plan for each template that some line is of.
fn plans<'a>(
    of: &'a Templates<'a>,
    wanted: &FieldsWanted,
    templates: impl Iterator<Item = u32>,
) -> Result<Vec<Option<Plan<'a>>>, Malformed> {
    let mut is_needed = vec![false; of.templates.len() + 1];
    templates.for_each(|template| is_needed[template as usize] = true);
    let names = Names(&wanted.names);
    let mut plans = Vec::with_capacity(of.templates.len());
    for (template, is_needed) in of.templates.iter().zip(is_needed) {
        if !is_needed {
            plans.push(None);
            continue;
        }
        plans.push(Some(match specs(template, &wanted.of, &names)? {
            Some(specs) => Plan::Fields {
                specs,
                rows: Vec::new(),
                at: Vec::new(),
            },
            None => Plan::Whole(Loaded {
                pieces: &template.pieces,
                columns: template
                    .columns
                    .iter()
                    .map(Values::load)
                    .collect::<Result<_, _>>()?,
            }),
        }));
    }
    Ok(plans)
}

/// The names of the wanted fields.
struct Names<'a>(&'a [String]);

impl Names<'_> {
    fn none_found<'s>(&self) -> Vec<Option<Spec<'s>>> {
        self.0.iter().map(|_| None).collect()
    }

    /// The number of the wanted name that is written like this.
    fn find(&self, key: &[u8]) -> Option<usize> {
        self.0.iter().position(|name| name.as_bytes() == key)
    }

    /// Whether a wanted label may be made of this key.
    fn may_be(&self, key: &[u8]) -> bool {
        label_of(key).is_none_or(|label| self.0.contains(&label))
    }

    /// Whether a wanted label may be made of what is in the object of this key.
    fn may_begin(&self, key: &[u8]) -> bool {
        let begins = |label: String| self.0.iter().any(|name| name.starts_with(&label));
        label_of(key).is_none_or(begins)
    }
}

/// The label that is made of a key: what is no letter, digit or underscore becomes an underscore.
fn label_of(key: &[u8]) -> Option<String> {
    let key = std::str::from_utf8(key).ok()?.trim();
    let digit_first = key.starts_with(|c: char| c.is_ascii_digit());
    let letters = key.chars().map(|c| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    });
    let underscore = digit_first.then_some('_');
    Some(underscore.into_iter().chain(letters).collect())
}

/// Whether some value of the column may have a byte that passes.
fn holds(column: &Column<'_>, test: impl Fn(u8) -> bool + Copy) -> bool {
    let in_text = |text: &[u8]| {
        // Whole chunks, so that the compiler compares many bytes at once.
        let mut chunks = text.chunks(4096);
        chunks.any(|chunk| chunk.iter().fold(false, |any, b| any | test(*b)))
    };
    match &column.layout {
        Layout::Constant(value) => in_text(value),
        Layout::Integers { .. } => in_text(b"-0123456789"),
        Layout::Decimals { .. } => in_text(b"-.0123456789"),
        Layout::Times { format, .. } => (0..=255).any(|b| test(b) && format.may_hold(b)),
        Layout::Packed { plan, .. } => (0..=255).any(|b| test(b) && plan.holds(b)),
        Layout::Dictionary { texts, .. } | Layout::Raw { texts, .. } => in_text(texts),
        Layout::Templates(of) => holds_within(of, &test),
    }
}

fn holds_within(of: &Templates<'_>, test: &dyn Fn(u8) -> bool) -> bool {
    let mut pieces = of.templates.iter().flat_map(|t| &t.pieces);
    let mut columns = of.templates.iter().flat_map(|t| &t.columns);
    pieces.any(|piece| piece.iter().any(|b| test(*b)))
        || columns.any(|column| holds(column, test))
        || of.whole.as_deref().is_some_and(|whole| holds(whole, test))
}

/// Whether some value of the column may be empty.
fn may_be_empty(column: &Column<'_>) -> Result<bool, Malformed> {
    let any_is_zero = |lens: &[u8], n: usize| -> Result<bool, Malformed> {
        let mut values = Vec::new();
        ints::decode(&mut Reader::new(lens), n, &mut values)?;
        Ok(values.contains(&0))
    };
    match &column.layout {
        Layout::Constant(value) => Ok(value.is_empty()),
        Layout::Integers { .. }
        | Layout::Decimals { .. }
        | Layout::Times { .. }
        | Layout::Packed { .. } => Ok(false),
        Layout::Dictionary {
            lens, n_entries, ..
        } => any_is_zero(lens, *n_entries),
        Layout::Raw { lens, .. } => any_is_zero(lens, column.n_rows),
        Layout::Templates(of) => {
            // Its own pieces and values are seldom all empty; then the lines are given whole.
            let is_bare = |t: &Template<'_>| t.pieces.iter().all(|piece| piece.is_empty());
            let whole = of.whole.as_deref().map_or(Ok(false), may_be_empty)?;
            Ok(whole || of.templates.iter().any(is_bare))
        }
    }
}

/// Whether some value of the column may start with the byte.
fn may_start_with(column: &Column<'_>, byte: u8) -> Result<bool, Malformed> {
    if !holds(column, |b| b == byte) {
        return Ok(false);
    }
    Ok(match &column.layout {
        Layout::Constant(value) => value.first() == Some(&byte),
        Layout::Dictionary { .. } | Layout::Raw { .. } => match Values::load(column)? {
            Values::Dictionary { entries, .. } | Values::Raw(entries) => {
                (0..entries.len()).any(|at| entries.get(at).first() == Some(&byte))
            }
            _ => true,
        },
        Layout::Templates(of) => {
            for template in &of.templates {
                let may_start = match (template.pieces[0].first(), template.columns.first()) {
                    (Some(first), _) => *first == byte,
                    (None, Some(column)) => may_be_empty(column)? || may_start_with(column, byte)?,
                    (None, None) => false,
                };
                if may_start {
                    return Ok(true);
                }
            }
            let whole = of.whole.as_deref();
            whole.map_or(Ok(false), |whole| may_start_with(whole, byte))?
        }
        Layout::Integers { .. }
        | Layout::Decimals { .. }
        | Layout::Times { .. }
        | Layout::Packed { .. } => true,
    })
}

#[cfg(test)]
mod tests;
