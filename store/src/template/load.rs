//! Reading columns and rebuilding lines.
//!
//! A loaded column gives any of its values, so that single lines can be rebuilt.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use kansoku_model::digits::{put_decimal, put_integer};
use kansoku_model::{AnyOf, LineAutomaton};

use super::layout::{self, Column, Layout, Templates};
use super::packed::Plan;
use super::search::{self, Rows};
use super::{DAMAGED, Parts, clock, matching};
use crate::bytes::{Malformed, Reader, extend};
use crate::column::ints;

/// What a value of a slot takes while lines are rebuilt, for each byte of the text.
const BYTES_PER_TEXT_BYTE: usize = 8;
/// What a line takes, besides the values of its slots.
const BYTES_PER_ROW: usize = 32;

/// The most memory that decoding `n_rows` lines of `text_bytes` together takes, with the lines.
pub fn decoding_bytes(n_rows: usize, text_bytes: usize) -> usize {
    (text_bytes * BYTES_PER_TEXT_BYTE).saturating_add(n_rows * BYTES_PER_ROW)
}

/// Appends the `times.len()` encoded lines to `text`; `ends` gets where each ends. The lines take
/// exactly `text_bytes`.
pub fn decode(
    parts: Parts<'_>,
    times: &[i64],
    text_bytes: usize,
    text: &mut Vec<u8>,
    ends: &mut Vec<u32>,
) -> Result<(), Malformed> {
    let column = layout::read(parts, times.len(), text_bytes)?;
    let values = Values::load(&column)?;
    let limit = text.len() + text_bytes;
    text.reserve(text_bytes);
    ends.clear();
    ends.reserve(times.len());
    for (row, time) in times.iter().enumerate() {
        values.put(row, *time, text)?;
        if text.len() > limit {
            return Err(Malformed("lines are longer than promised"));
        }
        ends.push(text.len() as u32);
    }
    if text.len() == limit {
        Ok(())
    } else {
        Err(Malformed("lines are shorter than promised"))
    }
}

/// One in so many lines is few.
const FEW: usize = 16;

/// Which lines are wanted.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// Numbers of lines; no others are.
    pub rows: Range<usize>,
    /// What they contain.
    pub needles: &'a [&'a AnyOf],
    /// What they pass.
    pub automata: &'a [Arc<LineAutomaton>],
}

impl Search<'_> {
    /// The values of the column that may contain all that is searched for; and whether those surely
    /// pass all automata.
    pub fn found(&self, column: &Column<'_>, times: &[i64]) -> Result<(Rows, bool), Malformed> {
        let mut found = Rows::All;
        for any in self.needles {
            found = found.and(search::containing_any(column, any)?);
            if found == Rows::None {
                break;
            }
        }
        // Where few are left, rebuilding them costs less than telling all.
        let is_few = matches!(&found, Rows::Some(rows)
            if rows.iter().filter(|is_in| **is_in).count() < rows.len() / FEW);
        let mut are_told = !is_few;
        for automaton in self.automata.iter().filter(|_| !is_few) {
            if found == Rows::None {
                break;
            }
            let (rows, is_sure) = matching::may_pass(column, times, automaton)?;
            found = found.and(rows);
            are_told &= is_sure;
        }
        Ok((found, are_told))
    }
}

/// As `decode`, of some of the lines, whose numbers it gives: all that are searched for, and perhaps
/// some that lack a needle.
pub fn decode_some(
    parts: Parts<'_>,
    times: &[i64],
    text_bytes: usize,
    search: &Search<'_>,
    text: &mut Vec<u8>,
    ends: &mut Vec<u32>,
) -> Result<Vec<u32>, Malformed> {
    let found = decode_or_tell(parts, times, text_bytes, search, false, text, ends)?;
    Ok(found.rows)
}

/// Lines that are searched for.
#[derive(Debug)]
pub struct Found {
    pub rows: Vec<u32>,
    /// The rows surely pass all automata, and were not rebuilt.
    pub are_told: bool,
}

/// As `decode_some`; when `may_tell`, lines are not rebuilt if the automata tell all of them.
pub fn decode_or_tell(
    parts: Parts<'_>,
    times: &[i64],
    text_bytes: usize,
    search: &Search<'_>,
    may_tell: bool,
    text: &mut Vec<u8>,
    ends: &mut Vec<u32>,
) -> Result<Found, Malformed> {
    let column = layout::read(parts, times.len(), text_bytes)?;
    let (found, is_sure) = search.found(&column, times)?;
    let are_told = may_tell && is_sure;
    ends.clear();
    let wanted = search.rows.clone();
    let rows: Vec<u32> = match found {
        Rows::All => wanted.map(|row| row as u32).collect(),
        Rows::None => Vec::new(),
        Rows::Some(rows) => {
            let rows = wanted.filter(|row| rows[*row]);
            rows.map(|row| row as u32).collect()
        }
    };
    if rows.is_empty() || are_told {
        return Ok(Found { rows, are_told });
    }
    let limit = text.len() + text_bytes;
    let values = Values::load_rows(&column, &rows)?;
    for &row in &rows {
        values.put(row as usize, times[row as usize], text)?;
        if text.len() > limit {
            return Err(Malformed("lines are longer than promised"));
        }
        ends.push(text.len() as u32);
    }
    Ok(Found { rows, are_told })
}

/// A column that gives its values.
#[derive(Debug)]
pub enum Values<'a> {
    Constant(&'a [u8]),
    Integers {
        width: usize,
        values: Vec<i64>,
    },
    Decimals {
        width: usize,
        scales: Vec<i64>,
        mantissas: Vec<i64>,
    },
    Times {
        format: clock::Format,
        distances: Vec<i64>,
        last: Cell<clock::LastDate>,
    },
    Packed {
        plan: &'a Plan,
        data: &'a [u8],
    },
    Dictionary {
        entries: Texts<'a>,
        codes: Vec<i64>,
    },
    Raw(Texts<'a>),
    Templates {
        /// Per value its template and its number among the values of it.
        places: Vec<(u32, u32)>,
        templates: Vec<Loaded<'a>>,
        whole: Option<Box<Values<'a>>>,
    },
}

/// A template whose columns are loaded.
#[derive(Debug)]
pub struct Loaded<'a> {
    pub pieces: &'a [&'a [u8]],
    pub columns: Vec<Values<'a>>,
}

/// Texts one after the other.
#[derive(Debug)]
pub struct Texts<'a> {
    bytes: &'a [u8],
    ends: Vec<u32>,
}

impl<'a> Texts<'a> {
    fn load(lens: &[u8], n: usize, bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::load_first(lens, n, n, bytes)
    }

    /// At least the first `first` of `n` texts.
    fn load_first(lens: &[u8], n: usize, first: usize, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let lens = take_first_ints(lens, n, first)?;
        let is_all = lens.len() == n;
        let (mut end, mut ends) = (0i64, Vec::with_capacity(lens.len()));
        for len in lens {
            end = end
                .checked_add(len)
                .filter(|e| len >= 0 && *e <= bytes.len() as i64)
                .ok_or(Malformed("texts are longer than their bytes"))?;
            ends.push(end as u32);
        }
        if !is_all || end == bytes.len() as i64 {
            Ok(Self { bytes, ends })
        } else {
            Err(Malformed("texts are shorter than their bytes"))
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, at: usize) -> &'a [u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[at] as usize]
    }
}

/// Whether some value of the column may have no bytes.
pub fn has_empty(column: &Column<'_>) -> Result<bool, Malformed> {
    match &column.layout {
        Layout::Raw { lens, .. } => Ok(take_ints(lens, column.n_rows)?.contains(&0)),
        Layout::Dictionary { .. } | Layout::Templates(_) | Layout::Constant(_) => Ok(true),
        _ => Ok(false),
    }
}

fn take_first_ints(bytes: &[u8], n: usize, first: usize) -> Result<Vec<i64>, Malformed> {
    let mut values = Vec::new();
    ints::decode_first(bytes, n, first, &mut values)?;
    Ok(values)
}

fn take_ints(bytes: &[u8], n: usize) -> Result<Vec<i64>, Malformed> {
    let mut values = Vec::new();
    let mut r = Reader::new(bytes);
    ints::decode(&mut r, n, &mut values)?;
    r.end()?;
    Ok(values)
}

impl<'a> Values<'a> {
    pub fn load(column: &'a Column<'a>) -> Result<Self, Malformed> {
        Self::load_first(column, column.n_rows)
    }

    /// Loads at least the first `first` values; no others may be asked for.
    fn load_first(column: &'a Column<'a>, first: usize) -> Result<Self, Malformed> {
        let n = column.n_rows;
        let take_ints = |bytes| take_first_ints(bytes, n, first);
        Ok(match &column.layout {
            Layout::Constant(value) => Self::Constant(value),
            Layout::Integers { width, values } => Self::Integers {
                width: *width,
                values: take_ints(values)?,
            },
            Layout::Decimals {
                width,
                scales,
                mantissas,
            } => Self::Decimals {
                width: *width,
                scales: take_ints(scales)?,
                mantissas: take_ints(mantissas)?,
            },
            Layout::Times { format, distances } => Self::Times {
                format: *format,
                distances: take_ints(distances)?,
                last: Cell::default(),
            },
            Layout::Packed { plan, data } => Self::Packed { plan, data },
            Layout::Dictionary {
                n_entries,
                lens,
                texts,
                codes,
            } => {
                let codes = take_ints(codes)?;
                if codes.iter().any(|c| !(0..*n_entries as i64).contains(c)) {
                    return Err(Malformed("code outside the dictionary"));
                }
                Self::Dictionary {
                    entries: Texts::load(lens, *n_entries, texts)?,
                    codes,
                }
            }
            Layout::Raw { lens, texts } => Self::Raw(Texts::load_first(lens, n, first, texts)?),
            Layout::Templates(templates) => {
                Self::load_templates(templates, places(templates, n)?, None)?
            }
        })
    }

    /// Loads what these rows need; no others may be asked for.
    fn load_rows(column: &'a Column<'a>, rows: &[u32]) -> Result<Self, Malformed> {
        let Layout::Templates(templates) = &column.layout else {
            return Self::load(column);
        };
        let places = places(templates, column.n_rows)?;
        let mut n_needed = vec![0; templates.templates.len() + 1];
        for row in rows {
            let (template, row) = places[*row as usize];
            let n = &mut n_needed[template as usize];
            *n = (*n).max(row as usize + 1);
        }
        Self::load_templates(templates, places, Some(&n_needed))
    }

    fn load_templates(
        of: &'a Templates<'a>,
        places: Vec<(u32, u32)>,
        n_needed: Option<&[usize]>,
    ) -> Result<Self, Malformed> {
        let mut templates = Vec::with_capacity(of.templates.len());
        for (at, template) in of.templates.iter().enumerate() {
            let mut columns = Vec::new();
            let n_needed = n_needed.map_or(template.n_rows, |needed| needed[at]);
            if n_needed > 0 {
                columns.reserve(template.columns.len());
                for column in &template.columns {
                    columns.push(Self::load_first(column, n_needed)?);
                }
            }
            templates.push(Loaded {
                pieces: &template.pieces,
                columns,
            });
        }
        let whole = of.whole.as_deref().map(Self::load).transpose()?;
        Ok(Self::Templates {
            places,
            templates,
            whole: whole.map(Box::new),
        })
    }

    /// Appends the value of `row`, of an entry of this time.
    pub fn put(&self, row: usize, entry_ns: i64, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Constant(value) => extend(out, value),
            Self::Integers { width, values } => put_integer(out, values[row], *width),
            Self::Decimals {
                width,
                scales,
                mantissas,
            } => {
                if !put_decimal(out, mantissas[row], scales[row], *width) {
                    return Err(Malformed("decimal without a point"));
                }
            }
            Self::Times {
                format,
                distances,
                last,
            } => {
                let mut date = last.get();
                if !clock::write(*format, distances[row], entry_ns, &mut date, out) {
                    return Err(Malformed("time out of range"));
                }
                last.set(date);
            }
            Self::Packed { plan, data } => plan.put(data, row, out)?,
            Self::Dictionary { entries, codes } => {
                extend(out, entries.get(codes[row] as usize));
            }
            Self::Raw(texts) => extend(out, texts.get(row)),
            Self::Templates {
                places,
                templates,
                whole,
            } => {
                let (template, row) = places[row];
                match (templates.get(template as usize), whole) {
                    (Some(template), _) => template.put(row as usize, entry_ns, out)?,
                    (None, Some(whole)) => whole.put(row as usize, entry_ns, out)?,
                    (None, None) => return Err(DAMAGED),
                }
            }
        }
        Ok(())
    }
}

impl Loaded<'_> {
    pub fn put(&self, row: usize, entry_ns: i64, out: &mut Vec<u8>) -> Result<(), Malformed> {
        extend(out, self.pieces[0]);
        for (column, piece) in self.columns.iter().zip(&self.pieces[1..]) {
            column.put(row, entry_ns, out)?;
            extend(out, piece);
        }
        Ok(())
    }
}

/// Per value its template (or the number of templates for none) and its number among the template's
/// values.
pub fn places(of: &Templates<'_>, n: usize) -> Result<Vec<(u32, u32)>, Malformed> {
    let mut next = vec![0u32; of.templates.len() + 1];
    let mut places = Vec::with_capacity(n);
    for id in take_ints(of.ids, n)? {
        let count = usize::try_from(id).ok().and_then(|id| next.get_mut(id));
        let count = count.ok_or(Malformed("unknown template"))?;
        places.push((id as u32, *count));
        *count += 1;
    }
    let n_whole = of.whole.as_ref().map_or(0, |w| w.n_rows);
    let promised = of.templates.iter().map(|t| t.n_rows).chain([n_whole]);
    if promised.zip(&next).all(|(p, n)| p == *n as usize) {
        Ok(places)
    } else {
        Err(Malformed(
            "another number of lines of a template than promised",
        ))
    }
}
