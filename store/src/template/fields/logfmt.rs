//! Reads the pieces of a template as logfmt pairs, once for all its lines.
//!
//! Keys must stand in pieces; a value that is not quoted must not hold what would end it, a quoted one
//! neither quotes nor escapes. Where a line may have a fault nothing is said.

use kansoku_model::FieldForm;

use super::cursor::{Cursor, Next};
use super::{Item, Names, Spec, holds};
use crate::bytes::Malformed;
use crate::template::layout::Template;

/// Whether the byte goes on with a key or with a value that is not quoted.
fn is_bare(b: u8) -> bool {
    b > b' ' && b != b'=' && b != b'"'
}

/// The wanted fields of the template's lines; `None` in doubt.
pub fn read<'a>(
    template: &'a Template<'a>,
    names: &Names<'_>,
) -> Result<Option<Vec<Option<Spec<'a>>>>, Malformed> {
    let mut cursor = Cursor::new(template);
    let mut found = names.none_found();
    loop {
        let blanks = cursor.rest().iter().take_while(|b| **b <= b' ');
        cursor.at += blanks.count();
        match cursor.next() {
            Next::Byte(_) => {}
            // A slot would be a key.
            Next::Slot(..) => return Ok(None),
            Next::End => return Ok(Some(found)),
        }
        let rest = cursor.rest();
        let len = rest.iter().take_while(|b| is_bare(**b)).count();
        let key = &rest[..len];
        cursor.at += len;
        if key.is_empty() || std::str::from_utf8(key).is_err() {
            return Ok(None);
        }
        let items = match cursor.next() {
            Next::Byte(b'=') => {
                cursor.at += 1;
                match value(&mut cursor)? {
                    Some(items) => items,
                    None => return Ok(None),
                }
            }
            Next::Byte(b'"') | Next::Slot(..) => return Ok(None),
            Next::Byte(_) | Next::End => Vec::new(),
        };
        match names.find(key) {
            Some(at) if found[at].is_none() => {
                let form = FieldForm::Plain;
                found[at] = Some(Spec { form, items });
            }
            // Which of two counts depends on their values.
            Some(_) => return Ok(None),
            None if names.may_be(key) => return Ok(None),
            None => {}
        }
    }
}

/// Takes what follows the `=`.
fn value<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Vec<Item<'a>>>, Malformed> {
    let is_quoted = matches!(cursor.next(), Next::Byte(b'"'));
    cursor.at += usize::from(is_quoted);
    let is_inside = |b: u8| match is_quoted {
        true => b != b'"' && b != b'\\',
        false => is_bare(b),
    };
    let mut items = Vec::new();
    loop {
        let rest = cursor.rest();
        let len = rest.iter().take_while(|b| is_inside(**b)).count();
        items.push(Item::Text(&rest[..len]));
        cursor.at += len;
        match cursor.next() {
            Next::Slot(at, column) => {
                if holds(column, |b| !is_inside(b)) {
                    return Ok(None);
                }
                items.push(Item::Slot(at));
                cursor.pass_slot();
            }
            Next::Byte(b'"') if is_quoted => {
                cursor.at += 1;
                return Ok(Some(items));
            }
            Next::Byte(b) if !is_quoted && b <= b' ' => return Ok(Some(items)),
            Next::End if !is_quoted => return Ok(Some(items)),
            Next::Byte(_) | Next::End => return Ok(None),
        }
    }
}
