//! Searching encoded lines for texts they contain, without rebuilding them.
//!
//! An occurrence lies within a piece of a template, within a value of a slot, or across their
//! borders. Pieces and dictionaries are searched once for all their lines; a column is read only if
//! its characters can make the text. The answer may hold lines too many (times in lines are not
//! looked at, and what crosses two slots is followed only to the second), so the caller compares the
//! rebuilt lines; it never lacks one.

use kansoku_model::{AnyOf, Needle};

use super::layout::{Column, Layout, Template, Templates};
use super::load::{Values, places};
use crate::bytes::Malformed;

/// Some of the values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    None,
    All,
    Some(Vec<bool>),
}

impl Rows {
    pub fn of(rows: Vec<bool>) -> Self {
        match rows.iter().filter(|is_in| **is_in).count() {
            0 => Self::None,
            n if n == rows.len() => Self::All,
            _ => Self::Some(rows),
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, rows) | (rows, Self::None) => rows,
            (Self::Some(mut a), Self::Some(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
                Self::of(a)
            }
        }
    }

    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, rows) | (rows, Self::All) => rows,
            (Self::Some(mut a), Self::Some(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a &= b);
                Self::of(a)
            }
        }
    }
}

/// The values that may contain one of the texts.
pub fn containing_any(column: &Column<'_>, any: &AnyOf) -> Result<Rows, Malformed> {
    let mut rows = Rows::None;
    for needle in &any.needles {
        if needle.text().is_empty() {
            return Ok(Rows::All);
        }
        rows = rows.or(containing(column, needle)?);
        if rows == Rows::All {
            break;
        }
    }
    Ok(rows)
}

/// The values that may contain `needle`, which is not empty.
fn containing(column: &Column<'_>, needle: &Needle) -> Result<Rows, Malformed> {
    match &column.layout {
        Layout::Templates(templates) => in_templates(templates, column.n_rows, needle),
        // One search over all values tells whether any has to be looked at.
        Layout::Raw { texts, .. } | Layout::Dictionary { texts, .. } if !needle.is_in(texts) => {
            Ok(Rows::None)
        }
        Layout::Raw { .. } | Layout::Dictionary { .. } => {
            matching(column, &|value| needle.is_in(value))
        }
        _ if (0..needle.text().len()).any(|at| !may_hold_at(column, needle, at)) => Ok(Rows::None),
        Layout::Packed { plan, data } if !needle.ignores_case() => Ok(Rows::of(plan.containing(
            data,
            column.n_rows,
            needle.text(),
        ))),
        _ => matching(column, &|value| needle.is_in(value)),
    }
}

/// Whether some value of the column may have the byte that stands at a place of the needle.
fn may_hold_at(column: &Column<'_>, needle: &Needle, at: usize) -> bool {
    let [one, other] = needle.bytes_at(at);
    may_hold(column, one) || other != one && may_hold(column, other)
}

/// Whether some value of the column may have the byte.
fn may_hold(column: &Column<'_>, byte: u8) -> bool {
    match &column.layout {
        Layout::Constant(value) => value.contains(&byte),
        Layout::Integers { .. } => byte.is_ascii_digit() || byte == b'-',
        Layout::Decimals { .. } => byte.is_ascii_digit() || matches!(byte, b'-' | b'.'),
        Layout::Times { format, .. } => format.may_hold(byte),
        Layout::Packed { plan, .. } => plan.holds(byte),
        Layout::Dictionary { texts, .. } | Layout::Raw { texts, .. } => {
            memchr::memchr(byte, texts).is_some()
        }
        Layout::Templates(_) => true,
    }
}

/// The values that pass `test`. Times pass unseen.
fn matching(column: &Column<'_>, test: &dyn Fn(&[u8]) -> bool) -> Result<Rows, Malformed> {
    match &column.layout {
        Layout::Constant(value) if test(value) => return Ok(Rows::All),
        Layout::Constant(_) => return Ok(Rows::None),
        Layout::Times { .. } => return Ok(Rows::All),
        _ => {}
    }
    let values = Values::load(column)?;
    if let Values::Dictionary { entries, codes } = &values {
        let passes: Vec<bool> = (0..entries.len()).map(|at| test(entries.get(at))).collect();
        let rows = codes.iter().map(|code| passes[*code as usize]).collect();
        return Ok(Rows::of(rows));
    }
    let (mut rows, mut value) = (Vec::with_capacity(column.n_rows), Vec::new());
    for row in 0..column.n_rows {
        value.clear();
        values.put(row, 0, &mut value)?;
        rows.push(test(&value));
    }
    Ok(Rows::of(rows))
}

fn in_templates(of: &Templates<'_>, n_rows: usize, needle: &Needle) -> Result<Rows, Malformed> {
    let mut found = Vec::with_capacity(of.templates.len() + 1);
    for template in &of.templates {
        found.push(in_template(template, needle)?);
    }
    found.push(match &of.whole {
        Some(whole) => containing(whole, needle)?,
        None => Rows::None,
    });
    if found.iter().all(|rows| *rows == Rows::None) {
        return Ok(Rows::None);
    }
    let rows = places(of, n_rows)?.into_iter();
    let rows = rows.map(|(template, row)| match &found[template as usize] {
        Rows::None => false,
        Rows::All => true,
        Rows::Some(rows) => rows[row as usize],
    });
    Ok(Rows::of(rows.collect()))
}

fn in_template(template: &Template<'_>, needle: &Needle) -> Result<Rows, Malformed> {
    if template.pieces.iter().any(|piece| needle.is_in(piece)) {
        return Ok(Rows::All);
    }
    let mut rows = Rows::None;
    for (at, column) in template.columns.iter().enumerate() {
        let (before, behind) = (template.pieces[at], template.pieces[at + 1]);
        let behind = Behind {
            piece: behind,
            is_last: at + 1 == template.columns.len(),
        };
        rows = rows.or(containing(column, needle)?);
        rows = rows.or(out_of(column, behind, needle)?);
        rows = rows.or(into(before, column, behind, needle)?);
        if rows == Rows::All {
            break;
        }
    }
    Ok(rows)
}

/// What follows a slot.
#[derive(Clone, Copy)]
struct Behind<'a> {
    piece: &'a [u8],
    /// No other slot follows.
    is_last: bool,
}

impl Behind<'_> {
    /// Whether the needle may go on like this from `at` on.
    fn may_start_with(self, needle: &Needle, at: usize) -> bool {
        let end = needle.text().len();
        let in_piece = end - at;
        if in_piece <= self.piece.len() {
            return needle.part_is(at..end, &self.piece[..in_piece]);
        }
        !self.is_last && needle.part_is(at..at + self.piece.len(), self.piece)
    }
}

/// Values whose end is the front of the needle, which goes on in the piece behind.
fn out_of(column: &Column<'_>, behind: Behind<'_>, needle: &Needle) -> Result<Rows, Malformed> {
    let len = needle.text().len();
    let cuts: Vec<usize> = (1..len)
        .take_while(|cut| may_hold_at(column, needle, cut - 1))
        .filter(|cut| behind.may_start_with(needle, *cut))
        .collect();
    if cuts.is_empty() {
        return Ok(Rows::None);
    }
    matching(column, &|value| {
        cuts.iter().any(|&cut| {
            let start = value.len().checked_sub(cut);
            start.is_some_and(|start| needle.part_is(0..cut, &value[start..]))
        })
    })
}

/// Values behind a piece whose end is the front of the needle, which goes on in the value.
fn into(
    before: &[u8],
    column: &Column<'_>,
    behind: Behind<'_>,
    needle: &Needle,
) -> Result<Rows, Malformed> {
    let len = needle.text().len();
    let longest = before.len().min(len - 1);
    let cuts: Vec<usize> = (1..=longest)
        .filter(|&n| needle.part_is(0..n, &before[before.len() - n..]))
        .filter(|&n| may_hold_at(column, needle, n))
        .collect();
    if cuts.is_empty() {
        return Ok(Rows::None);
    }
    matching(column, &|value| {
        cuts.iter().any(|&cut| {
            let rest = len - cut;
            if rest <= value.len() {
                return needle.part_is(cut..len, &value[..rest]);
            }
            needle.part_is(cut..cut + value.len(), value)
                && behind.may_start_with(needle, cut + value.len())
        })
    })
}
