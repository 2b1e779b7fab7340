//! The frame that all signals share: resources, their scopes, and attributes that are not read before
//! somebody wants them.

use super::super::WireError;
use super::super::protobuf::{Field, Message};
use super::any::key_value;

/// Names with their values, as they came.
pub(super) type Pairs<'a> = Vec<(&'a str, Option<Field<'a>>)>;

/// A scope and the message that holds its items.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub schema_url: &'a str,
    pub n_dropped: u64,
    pub attributes: Pairs<'a>,
    /// Metrics or log records are its fields 2.
    pub part: Message<'a>,
}

/// Calls `with` for each resource of an export request: its attributes, its scopes.
pub(super) fn each_resource<'a>(
    body: &'a [u8],
    mut with: impl FnMut(&Pairs<'a>, Vec<Scope<'a>>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut request = Message::new(body);
    while let Some((number, field)) = request.next()? {
        if number != 1 {
            continue;
        }
        let (mut attributes, mut scopes) = (Pairs::new(), Vec::new());
        let mut message = field.message()?;
        while let Some((number, field)) = message.next()? {
            match number {
                1 => read_pairs(field.message()?, 1, &mut attributes)?,
                2 => scopes.push(read_scope(field.message()?)?),
                _ => {}
            }
        }
        with(&attributes, scopes)?;
    }
    Ok(())
}

/// Appends the attributes that are the fields `wanted` of a message.
pub(super) fn read_pairs<'a>(
    mut message: Message<'a>,
    wanted: u64,
    out: &mut Pairs<'a>,
) -> Result<(), WireError> {
    while let Some((number, field)) = message.next()? {
        if number == wanted {
            out.push(key_value(field)?);
        }
    }
    Ok(())
}

/// The value of an attribute.
pub(super) fn find<'a>(pairs: &Pairs<'a>, name: &str) -> Option<Option<Field<'a>>> {
    let found = pairs.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value)
}

fn read_scope(part: Message<'_>) -> Result<Scope<'_>, WireError> {
    let mut scope = Scope {
        name: "",
        version: "",
        schema_url: "",
        n_dropped: 0,
        attributes: Pairs::new(),
        part: part.clone(),
    };
    let mut message = part;
    while let Some((number, field)) = message.next()? {
        match number {
            1 => {
                let mut own = field.message()?;
                while let Some((number, field)) = own.next()? {
                    match number {
                        1 => scope.name = field.text()?,
                        2 => scope.version = field.text()?,
                        3 => scope.attributes.push(key_value(field)?),
                        4 => scope.n_dropped = field.int()?.cast_unsigned(),
                        _ => {}
                    }
                }
            }
            3 => scope.schema_url = field.text()?,
            _ => {}
        }
    }
    Ok(scope)
}
