//! Searching encoded lines for texts they contain, without rebuilding them.
//!
//! An occurrence lies within a piece of a template, within a value of a slot, or across their
//! borders. Pieces and dictionaries are searched once for all their lines; a column is read only if
//! its characters can make the text. The answer may hold lines too many (times in lines are not
//! looked at, and what crosses two slots is followed only to the second), so the caller compares the
//! rebuilt lines; it never lacks one.

use memchr::memmem::Finder;

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
    fn of(rows: Vec<bool>) -> Self {
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

/// The values that may contain `needle`, which is not empty.
pub fn containing(column: &Column<'_>, needle: &[u8]) -> Result<Rows, Malformed> {
    match &column.layout {
        Layout::Templates(templates) => in_templates(templates, column.n_rows, needle),
        Layout::Raw { texts, .. } => {
            // One search over all values tells whether any has to be looked at.
            let finder = Finder::new(needle);
            if finder.find(texts).is_none() {
                return Ok(Rows::None);
            }
            matching(column, &|value| finder.find(value).is_some())
        }
        Layout::Dictionary { texts, .. } if Finder::new(needle).find(texts).is_none() => {
            Ok(Rows::None)
        }
        _ if !needle.iter().all(|b| may_hold(column, *b)) => Ok(Rows::None),
        _ => {
            let finder = Finder::new(needle);
            matching(column, &|value| finder.find(value).is_some())
        }
    }
}

/// Whether some value of the column may have the byte.
fn may_hold(column: &Column<'_>, byte: u8) -> bool {
    match &column.layout {
        Layout::Constant(value) => value.contains(&byte),
        Layout::Integers { .. } => byte.is_ascii_digit() || byte == b'-',
        Layout::Decimals { .. } => byte.is_ascii_digit() || matches!(byte, b'-' | b'.'),
        Layout::Times { format, .. } => format.may_hold(byte),
        Layout::Packed { plan, .. } => plan.holds(byte),
        Layout::Dictionary { texts, .. } | Layout::Raw { texts, .. } => texts.contains(&byte),
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

fn in_templates(of: &Templates<'_>, n_rows: usize, needle: &[u8]) -> Result<Rows, Malformed> {
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

fn in_template(template: &Template<'_>, needle: &[u8]) -> Result<Rows, Malformed> {
    let finder = Finder::new(needle);
    if template.pieces.iter().any(|p| finder.find(p).is_some()) {
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
    /// Whether the text may go on like this.
    fn may_start_with(self, rest: &[u8]) -> bool {
        self.piece.starts_with(rest) || !self.is_last && rest.starts_with(self.piece)
    }
}

/// Values whose end is the front of the needle, which goes on in the piece behind.
fn out_of(column: &Column<'_>, behind: Behind<'_>, needle: &[u8]) -> Result<Rows, Malformed> {
    let longest = needle.iter().take_while(|b| may_hold(column, **b)).count();
    let cuts: Vec<usize> = (1..=longest.min(needle.len() - 1))
        .filter(|cut| behind.may_start_with(&needle[*cut..]))
        .collect();
    if cuts.is_empty() {
        return Ok(Rows::None);
    }
    matching(column, &|value| {
        cuts.iter().any(|cut| value.ends_with(&needle[..*cut]))
    })
}

/// Values behind a piece whose end is the front of the needle, which goes on in the value.
fn into(
    before: &[u8],
    column: &Column<'_>,
    behind: Behind<'_>,
    needle: &[u8],
) -> Result<Rows, Malformed> {
    let longest = before.len().min(needle.len() - 1);
    let rests: Vec<&[u8]> = (1..=longest)
        .filter(|n| before.ends_with(&needle[..*n]))
        .map(|n| &needle[n..])
        .filter(|rest| may_hold(column, rest[0]))
        .collect();
    if rests.is_empty() {
        return Ok(Rows::None);
    }
    matching(column, &|value| {
        rests.iter().any(|rest| {
            value.starts_with(rest)
                || rest.starts_with(value) && behind.may_start_with(&rest[value.len()..])
        })
    })
}
