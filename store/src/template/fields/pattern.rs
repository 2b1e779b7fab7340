//! Finds the literals of a pattern in the pieces of a template, once for all its lines.
//!
//! A literal counts where it first stands. The rule: nothing is said when a value of a slot before it
//! could hold it, or a part of it that the pieces around complete.

use kansoku_model::{FieldForm, PatternPiece};
use memchr::memmem;

use super::{Item, Names, Spec, holds, may_be_empty, may_start_with};
use crate::bytes::Malformed;
use crate::template::layout::Template;

/// A piece and a place in it.
type Place = (usize, usize);

enum Found {
    At(Place),
    Nowhere,
    InDoubt,
}

/// The captures of the template's lines that are wanted; `None` in doubt.
pub fn read<'a>(
    template: &'a Template<'a>,
    pattern: &[PatternPiece],
    names: &Names<'_>,
) -> Result<Option<Vec<Option<Spec<'a>>>>, Malformed> {
    let mut found = names.none_found();
    if template.pieces.iter().all(|piece| piece.is_empty()) {
        // An empty line has no captures.
        return Ok(None);
    }
    let (mut at, mut pattern) = ((0, 0), pattern);
    if let [PatternPiece::Literal(literal), rest @ ..] = pattern {
        let first = template.pieces[0];
        if !first.starts_with(literal) {
            let is_sure = !literal.starts_with(first) || template.columns.is_empty();
            return Ok(is_sure.then_some(found));
        }
        (at, pattern) = ((0, literal.len()), rest);
    }
    while let [PatternPiece::Capture(name), rest @ ..] = pattern {
        let wanted = names.find(name.as_bytes()).filter(|_| name != "_");
        let (end, next) = match rest {
            [PatternPiece::Literal(literal), ..] => match find(template, at, literal)? {
                Found::At(start) => (start, Some((start.0, start.1 + literal.len()))),
                Found::Nowhere => (end_of(template), None),
                Found::InDoubt => return Ok(None),
            },
            _ => (end_of(template), None),
        };
        if let Some(wanted) = wanted {
            found[wanted] = Some(Spec {
                form: FieldForm::Plain,
                items: between(template, at, end),
            });
        }
        let Some(next) = next else {
            break;
        };
        (at, pattern) = (next, &rest[1..]);
    }
    Ok(Some(found))
}

fn end_of(template: &Template<'_>) -> Place {
    let last = template.pieces.len() - 1;
    (last, template.pieces[last].len())
}

fn between<'a>(template: &Template<'a>, from: Place, to: Place) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for piece in from.0..=to.0 {
        let bytes = template.pieces[piece];
        let start = if piece == from.0 { from.1 } else { 0 };
        let end = if piece == to.0 { to.1 } else { bytes.len() };
        items.push(Item::Text(&bytes[start..end]));
        items.extend((piece < to.0).then_some(Item::Slot(piece)));
    }
    items
}

/// Where the literal first stands from a place on.
fn find(template: &Template<'_>, from: Place, literal: &[u8]) -> Result<Found, Malformed> {
    let (mut piece, mut start) = from;
    loop {
        let text = &template.pieces[piece][start..];
        if let Some(at) = memmem::find(text, literal) {
            return Ok(Found::At((piece, start + at)));
        }
        let Some(column) = template.columns.get(piece) else {
            return Ok(Found::Nowhere);
        };
        // It may start in a value, or in front of one and go on in it.
        let first = literal[0];
        if holds(column, |b| b == first) || may_be_empty(column)? {
            return Ok(Found::InDoubt);
        }
        for n in 1..literal.len() {
            if text.ends_with(&literal[..n]) && may_start_with(column, literal[n])? {
                return Ok(Found::InDoubt);
            }
        }
        (piece, start) = (piece + 1, 0);
    }
}
