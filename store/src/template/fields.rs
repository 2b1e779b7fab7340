//! Lines that are JSON objects with nothing but some of their fields, without rebuilding the rest.
//!
//! The pieces of a template are read as JSON whose slots may hold any value of their column, once for
//! all its lines: a slot within quotes must not end them, a slot that is a value must be a number or
//! a word. The rule: where the reading is in doubt the line is given whole, so that whoever parses it
//! comes to the same fields, or to the same fault.

use kansoku_model::FieldRange;

use super::layout::{Column, Layout, Template, Templates};
use super::load::{Loaded, Texts, Values, places};
use crate::bytes::{Malformed, extend};

/// Objects within objects; deeper ones are left to the reader of the line.
const DEPTH_MAX: usize = 16;

/// A piece of a field's text.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Text(&'a [u8]),
    /// The value of a slot.
    Slot(usize),
}

/// How lines of one template are given.
enum Plan<'a> {
    /// Not at all.
    None,
    Whole(Loaded<'a>),
    Fields {
        /// The text of the object.
        items: Vec<Item<'a>>,
        /// Those that it needs.
        columns: Vec<Option<Values<'a>>>,
        /// Which lines are wanted; `None` for all.
        passing: Option<Vec<bool>>,
    },
}

/// What is wanted of lines that are JSON objects.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    /// No other fields.
    pub names: &'a [String],
    /// Where the numbers of some of them lie, or the line is not wanted.
    pub ranges: &'a [&'a FieldRange],
}

impl Fields<'_> {
    /// Appends these lines of the templates to `out` and gives the numbers of those that are left.
    pub fn put_lines(
        &self,
        of: &Templates<'_>,
        rows: &[u32],
        times: &[i64],
        out: &mut Lines<'_>,
    ) -> Result<Vec<u32>, Malformed> {
        let places = places(of, times.len())?;
        let mut is_needed = vec![false; of.templates.len() + 1];
        for row in rows {
            is_needed[places[*row as usize].0 as usize] = true;
        }
        let mut plans = Vec::with_capacity(of.templates.len());
        for (template, is_needed) in of.templates.iter().zip(&is_needed) {
            plans.push(match is_needed {
                true => self.plan(template)?,
                false => Plan::None,
            });
        }
        let (whole, mut kept) = (whole(of)?, Vec::with_capacity(rows.len()));
        for &row in rows {
            let (template, at) = places[row as usize];
            let (at, entry_ns) = (at as usize, times[row as usize]);
            let is_put = match (plans.get(template as usize), &whole) {
                (Some(plan), _) => plan.put(at, entry_ns, out.text)?,
                (None, Some(whole)) => whole.put(at, entry_ns, out.text).map(|()| true)?,
                (None, None) => return Err(super::DAMAGED),
            };
            if is_put {
                out.end_line()?;
                kept.push(row);
            }
        }
        Ok(kept)
    }

    fn plan<'a>(&self, template: &'a Template<'a>) -> Result<Plan<'a>, Malformed> {
        let mut reader = ObjectReader::new(template, self.names);
        if !reader.read()? {
            return template_whole(template);
        }
        // A label that is not there is no number.
        let is_missing = |range: &&&FieldRange| !reader.has(&range.field);
        if self.ranges.iter().any(|range| is_missing(&range)) {
            return Ok(Plan::None);
        }
        let items = reader.items;
        let mut columns = Vec::with_capacity(template.columns.len());
        for (at, column) in template.columns.iter().enumerate() {
            let is_used = |i: &Item<'_>| matches!(i, Item::Slot(slot) if *slot == at);
            columns.push(match items.iter().any(is_used) {
                true => Some(Values::load(column)?),
                false => None,
            });
        }
        let mut passing: Option<Vec<bool>> = None;
        for range in self.ranges {
            let Some(Some(Values::Integers { values, .. })) =
                number_slot(&items, &range.field).map(|at| &columns[at])
            else {
                continue;
            };
            let passing = passing.get_or_insert_with(|| vec![true; values.len()]);
            for (passes, value) in passing.iter_mut().zip(values) {
                *passes &= range.holds(*value as f64);
            }
        }
        Ok(Plan::Fields {
            items,
            columns,
            passing,
        })
    }
}

/// The slot that is all of a field's value, without quotes.
fn number_slot(items: &[Item<'_>], name: &str) -> Option<usize> {
    items.windows(4).find_map(|window| match window {
        [
            Item::Text(key),
            Item::Text(b"\":"),
            Item::Slot(at),
            Item::Text(end),
        ] if *key == name.as_bytes() && matches!(end[0], b',' | b'}') => Some(*at),
        _ => None,
    })
}

fn whole<'a>(of: &'a Templates<'a>) -> Result<Option<Values<'a>>, Malformed> {
    of.whole.as_deref().map(Values::load).transpose()
}

/// Where rebuilt lines go.
pub struct Lines<'a> {
    pub text: &'a mut Vec<u8>,
    pub ends: &'a mut Vec<u32>,
    /// How long the text may become.
    pub limit: usize,
}

impl Lines<'_> {
    pub fn end_line(&mut self) -> Result<(), Malformed> {
        if self.text.len() > self.limit {
            return Err(Malformed("lines are longer than promised"));
        }
        self.ends.push(self.text.len() as u32);
        Ok(())
    }
}

impl Plan<'_> {
    /// False when the line is not wanted.
    fn put(&self, row: usize, entry_ns: i64, out: &mut Vec<u8>) -> Result<bool, Malformed> {
        match self {
            Self::None => return Ok(false),
            Self::Whole(template) => template.put(row, entry_ns, out)?,
            Self::Fields {
                items,
                columns,
                passing,
            } => {
                if passing.as_ref().is_some_and(|passing| !passing[row]) {
                    return Ok(false);
                }
                for item in items {
                    match item {
                        Item::Text(text) => extend(out, text),
                        Item::Slot(at) => {
                            let column = columns[*at].as_ref().ok_or(super::DAMAGED)?;
                            column.put(row, entry_ns, out)?;
                        }
                    }
                }
            }
        }
        Ok(true)
    }
}

fn template_whole<'a>(template: &'a Template<'a>) -> Result<Plan<'a>, Malformed> {
    Ok(Plan::Whole(Loaded {
        pieces: &template.pieces,
        columns: template
            .columns
            .iter()
            .map(Values::load)
            .collect::<Result<_, _>>()?,
    }))
}

/// What comes next in a template.
#[derive(Debug, Clone, Copy)]
enum Next<'a> {
    Byte(u8),
    Slot(usize, &'a Column<'a>),
    End,
}

/// Reads a template as a JSON object.
struct ObjectReader<'a, 'n> {
    template: &'a Template<'a>,
    names: &'n [String],
    /// The piece and the place in it that come next.
    piece: usize,
    at: usize,
    /// Names whose field was found. Of a name that comes twice it is the reader who says which counts.
    found: Vec<bool>,
    items: Vec<Item<'a>>,
}

impl<'a, 'n> ObjectReader<'a, 'n> {
    fn new(template: &'a Template<'a>, names: &'n [String]) -> Self {
        Self {
            template,
            names,
            piece: 0,
            at: 0,
            found: vec![false; names.len()],
            items: Vec::new(),
        }
    }

    /// Whether a field was found.
    fn has(&self, name: &str) -> bool {
        let mut found = self.names.iter().zip(&self.found);
        found.any(|(n, found)| n == name && *found)
    }

    fn next(&self) -> Next<'a> {
        match self.template.pieces[self.piece].get(self.at) {
            Some(byte) => Next::Byte(*byte),
            None => match self.template.columns.get(self.piece) {
                Some(column) => Next::Slot(self.piece, column),
                None => Next::End,
            },
        }
    }

    fn skip_spaces(&mut self) {
        while matches!(self.next(), Next::Byte(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let is_next = matches!(self.next(), Next::Byte(b) if b == byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Whether it surely is an object whose wanted fields are known.
    fn read(&mut self) -> Result<bool, Malformed> {
        if !self.accept(b'{') {
            return Ok(false);
        }
        self.items.push(Item::Text(b"{"));
        let (mut depth, mut is_first) = (1, true);
        while depth > 0 {
            if self.accept(b'}') {
                (depth, is_first) = (depth - 1, false);
                continue;
            }
            if !is_first && !self.accept(b',') {
                return Ok(false);
            }
            let Some(key) = self.key() else {
                return Ok(false);
            };
            is_first = false;
            self.skip_spaces();
            if matches!(self.next(), Next::Byte(b'{')) {
                // Its fields have names that begin with this key.
                if depth == DEPTH_MAX || depth == 1 && self.may_name(key, true) {
                    return Ok(false);
                }
                (depth, is_first) = (depth + 1, true);
                self.at += 1;
                continue;
            }
            let wanted = (depth == 1).then(|| self.wanted(key)).flatten();
            let is_again = wanted.is_some_and(|at| std::mem::replace(&mut self.found[at], true));
            if is_again || depth == 1 && wanted.is_none() && self.may_name(key, false) {
                return Ok(false);
            }
            if !self.value(wanted.map(|_| key))? {
                return Ok(false);
            }
        }
        self.items.push(Item::Text(b"}"));
        Ok(true)
    }

    /// Takes a key and its colon; none with escapes.
    fn key(&mut self) -> Option<&'a [u8]> {
        if !self.accept(b'"') {
            return None;
        }
        let rest = &self.template.pieces[self.piece][self.at..];
        let len = memchr::memchr2(b'"', b'\\', rest).filter(|len| rest[*len] == b'"')?;
        self.at += len + 1;
        self.accept(b':').then_some(&rest[..len])
    }

    /// The number of the wanted name that is written like this.
    fn wanted(&self, key: &[u8]) -> Option<usize> {
        self.names.iter().position(|n| n.as_bytes() == key)
    }

    /// Whether a wanted name may come from this key, or from what is in its object.
    fn may_name(&self, key: &[u8], is_object: bool) -> bool {
        let Ok(key) = std::str::from_utf8(key) else {
            return true;
        };
        let key = key.trim();
        let digit_first = key.starts_with(|c: char| c.is_ascii_digit());
        let letters = key.chars().map(|c| match c.is_ascii_alphanumeric() {
            true => c,
            false => '_',
        });
        let label: String = digit_first
            .then_some('_')
            .into_iter()
            .chain(letters)
            .collect();
        let may_be = |name: &String| match is_object {
            true => name.starts_with(&label),
            false => *name == label,
        };
        self.names.iter().any(may_be)
    }

    /// A value, with its key when it is wanted.
    fn value(&mut self, wanted: Option<&'a [u8]>) -> Result<bool, Malformed> {
        if let Some(key) = wanted {
            let comma: &[u8] = if self.items.len() > 1 { b",\"" } else { b"\"" };
            self.items.extend([comma, key, b"\":"].map(Item::Text));
        }
        let is_taken = match self.next() {
            Next::Byte(b'"') => self.quoted(wanted.is_some())?,
            Next::Byte(_) => self.word(wanted.is_some()),
            Next::Slot(at, column) => {
                self.items
                    .extend(wanted.is_some().then_some(Item::Slot(at)));
                (self.piece, self.at) = (self.piece + 1, 0);
                are_words(column)? && self.ends_word()
            }
            Next::End => false,
        };
        Ok(is_taken)
    }

    /// Whether what comes next ends a word.
    fn ends_word(&self) -> bool {
        matches!(
            self.next(),
            Next::Byte(b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
        )
    }

    /// A text, whose opening quote comes next.
    fn quoted(&mut self, is_wanted: bool) -> Result<bool, Malformed> {
        let mut start = self.at;
        self.at += 1;
        loop {
            let piece = self.template.pieces[self.piece];
            match self.next() {
                Next::Byte(b'"') => {
                    self.at += 1;
                    self.items
                        .extend(is_wanted.then(|| Item::Text(&piece[start..self.at])));
                    return Ok(true);
                }
                // What it escapes must be in the same piece.
                Next::Byte(b'\\') if self.at + 1 == piece.len() => return Ok(false),
                Next::Byte(b'\\') => self.at += 2,
                Next::Byte(_) => self.at += 1,
                Next::Slot(at, column) => {
                    if !stay_within_quotes(column)? {
                        return Ok(false);
                    }
                    if is_wanted {
                        self.items
                            .extend([Item::Text(&piece[start..]), Item::Slot(at)]);
                    }
                    (self.piece, self.at, start) = (self.piece + 1, 0, 0);
                }
                Next::End => return Ok(false),
            }
        }
    }

    /// A number or a word that a piece holds.
    fn word(&mut self, is_wanted: bool) -> bool {
        let start = self.at;
        while matches!(self.next(), Next::Byte(_)) && !self.ends_word() {
            self.at += 1;
        }
        let word = &self.template.pieces[self.piece][start..self.at];
        self.items.extend(is_wanted.then_some(Item::Text(word)));
        is_word(word) && self.ends_word()
    }
}

/// Whether a JSON reader takes the text for one number or word.
fn is_word(text: &[u8]) -> bool {
    match text {
        b"true" | b"false" | b"null" => true,
        [b'-' | b'0'..=b'9', rest @ ..] => rest
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.')),
        _ => false,
    }
}

/// Whether every value is a number or a word.
fn are_words(column: &Column<'_>) -> Result<bool, Malformed> {
    Ok(match &column.layout {
        Layout::Integers { .. } | Layout::Decimals { .. } => true,
        Layout::Constant(value) => is_word(value),
        Layout::Dictionary { .. } | Layout::Raw { .. } => each_text(column, is_word)?,
        Layout::Templates(of) => {
            let of_templates = of.templates.iter().all(|template| {
                // Numbers with pieces between them that belong to numbers.
                let is_number = |c: &Column<'_>| {
                    matches!(c.layout, Layout::Integers { .. } | Layout::Decimals { .. })
                };
                let mut bytes = template.pieces.iter().flat_map(|piece| piece.iter());
                let first = template.pieces[0].first();
                first.is_none_or(|b| b.is_ascii_digit() || *b == b'-')
                    && !template.columns.is_empty()
                    && template.columns.iter().all(is_number)
                    && bytes.all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            });
            of_templates && of.whole.as_deref().map_or(Ok(true), are_words)?
        }
        Layout::Times { .. } | Layout::Packed { .. } => false,
    })
}

/// Whether no value ends the quotes it is within, nor escapes what follows it.
fn stay_within_quotes(column: &Column<'_>) -> Result<bool, Malformed> {
    Ok(match &column.layout {
        Layout::Integers { .. } | Layout::Decimals { .. } | Layout::Times { .. } => true,
        Layout::Constant(value) => stays_within_quotes(value),
        Layout::Packed { plan, .. } => !plan.holds(b'"') && !plan.holds(b'\\'),
        Layout::Dictionary { texts, .. } | Layout::Raw { texts, .. } => {
            memchr::memchr2(b'"', b'\\', texts).is_none() || each_text(column, stays_within_quotes)?
        }
        Layout::Templates(of) => {
            let pieces = of.templates.iter().flat_map(|t| &t.pieces);
            if !pieces.clone().all(|piece| stays_within_quotes(piece)) {
                return Ok(false);
            }
            let columns = of.templates.iter().flat_map(|t| &t.columns);
            for column in columns.chain(of.whole.as_deref()) {
                if !stay_within_quotes(column)? {
                    return Ok(false);
                }
            }
            true
        }
    })
}

fn stays_within_quotes(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        if rest[at] == b'"' || at + 1 == rest.len() {
            return false;
        }
        rest = &rest[at + 2..];
    }
    true
}

/// Whether every text of a dictionary or of plain bytes passes.
fn each_text(column: &Column<'_>, test: fn(&[u8]) -> bool) -> Result<bool, Malformed> {
    let check = |texts: &Texts<'_>| (0..texts.len()).all(|at| test(texts.get(at)));
    Ok(match Values::load(column)? {
        Values::Dictionary { entries, .. } => check(&entries),
        Values::Raw(texts) => check(&texts),
        _ => false,
    })
}
