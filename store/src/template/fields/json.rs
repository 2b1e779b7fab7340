//! Reads the pieces of a template as a JSON object, once for all its lines.
//!
//! A slot within quotes must not end them, a slot that is a value must be a number or a word. The
//! rule: where the reading is in doubt nothing is said, so that whoever parses the lines comes to the
//! same fields, or to the same fault.

use kansoku_model::FieldForm;

use super::cursor::{Cursor, Next};
use super::{Item, Names, Spec};
use crate::bytes::Malformed;
use crate::template::layout::{Column, Layout, Template};
use crate::template::load::{Texts, Values};

/// Objects within objects; deeper ones are left to the reader of the line.
const DEPTH_MAX: usize = 16;

/// The wanted fields of the template's lines; `None` in doubt.
pub fn read<'a>(
    template: &'a Template<'a>,
    names: &Names<'_>,
) -> Result<Option<Vec<Option<Spec<'a>>>>, Malformed> {
    let mut reader = ObjectReader {
        cursor: Cursor::new(template),
        names,
        found: names.none_found(),
    };
    Ok(reader.read()?.then_some(reader.found))
}

struct ObjectReader<'a, 'n> {
    cursor: Cursor<'a>,
    names: &'n Names<'n>,
    /// Of a name that comes twice it is the reader of the line who says which counts.
    found: Vec<Option<Spec<'a>>>,
}

impl<'a> ObjectReader<'a, '_> {
    /// Whether it surely is an object whose wanted fields are known.
    fn read(&mut self) -> Result<bool, Malformed> {
        if !self.cursor.accept(b'{') {
            return Ok(false);
        }
        let (mut depth, mut is_first) = (1, true);
        while depth > 0 {
            if self.cursor.accept(b'}') {
                (depth, is_first) = (depth - 1, false);
                continue;
            }
            if !is_first && !self.cursor.accept(b',') {
                return Ok(false);
            }
            let Some(key) = self.key() else {
                return Ok(false);
            };
            is_first = false;
            self.cursor.skip_blanks();
            if matches!(self.cursor.next(), Next::Byte(b'{')) {
                // Its fields have names that begin with this key.
                if depth == DEPTH_MAX || depth == 1 && self.names.may_begin(key) {
                    return Ok(false);
                }
                (depth, is_first) = (depth + 1, true);
                self.cursor.at += 1;
                continue;
            }
            let wanted = (depth == 1).then(|| self.names.find(key)).flatten();
            let is_again = wanted.is_some_and(|at| self.found[at].is_some());
            if is_again || depth == 1 && wanted.is_none() && self.names.may_be(key) {
                return Ok(false);
            }
            let Some(spec) = self.value()? else {
                return Ok(false);
            };
            if let Some(at) = wanted {
                self.found[at] = Some(spec);
            }
        }
        Ok(true)
    }

    /// Takes a key and its colon; none with escapes.
    fn key(&mut self) -> Option<&'a [u8]> {
        if !self.cursor.accept(b'"') {
            return None;
        }
        let rest = self.cursor.rest();
        let len = memchr::memchr2(b'"', b'\\', rest).filter(|len| rest[*len] == b'"')?;
        self.cursor.at += len + 1;
        self.cursor.accept(b':').then_some(&rest[..len])
    }

    fn value(&mut self) -> Result<Option<Spec<'a>>, Malformed> {
        match self.cursor.next() {
            Next::Byte(b'"') => self.quoted(),
            Next::Byte(_) => Ok(self.word()),
            Next::Slot(at, column) => {
                self.cursor.pass_slot();
                let is_word = are_words(column)? && self.ends_word();
                Ok(is_word.then(|| Spec {
                    form: FieldForm::JsonWord,
                    items: vec![Item::Slot(at)],
                }))
            }
            Next::End => Ok(None),
        }
    }

    /// Whether what comes next ends a word.
    fn ends_word(&self) -> bool {
        matches!(
            self.cursor.next(),
            Next::Byte(b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
        )
    }

    /// A text, whose opening quote comes next.
    fn quoted(&mut self) -> Result<Option<Spec<'a>>, Malformed> {
        self.cursor.at += 1;
        let mut items = Vec::new();
        loop {
            let rest = self.cursor.rest();
            let mut len = 0;
            let is_closed = loop {
                match rest.get(len) {
                    None => break false,
                    Some(b'"') => break true,
                    // What it escapes must be in the same piece.
                    Some(b'\\') if len + 1 == rest.len() => return Ok(None),
                    Some(b'\\') => len += 2,
                    Some(_) => len += 1,
                }
            };
            items.push(Item::Text(&rest[..len]));
            self.cursor.at += len + usize::from(is_closed);
            if is_closed {
                return Ok(Some(Spec {
                    form: FieldForm::JsonText,
                    items,
                }));
            }
            match self.cursor.next() {
                Next::Slot(at, column) if stay_within_quotes(column)? => {
                    items.push(Item::Slot(at));
                    self.cursor.pass_slot();
                }
                _ => return Ok(None),
            }
        }
    }

    /// A number or a word that a piece holds.
    fn word(&mut self) -> Option<Spec<'a>> {
        let rest = self.cursor.rest();
        let start = self.cursor.at;
        while matches!(self.cursor.next(), Next::Byte(_)) && !self.ends_word() {
            self.cursor.at += 1;
        }
        let word = &rest[..self.cursor.at - start];
        (is_word(word) && self.ends_word()).then(|| Spec {
            form: FieldForm::JsonWord,
            items: vec![Item::Text(word)],
        })
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
