//! Texts in queries. Escapes can make one hold bytes that are no UTF-8.
//!
//! No label has such a name or value, as the store takes none, so that there is nothing to be found by one; what is made of it
//! is answered with U+FFFD for such bytes, which JSON could not hold.

use std::borrow::Cow;
use std::fmt;

use crate::number::quote;

/// The value of a string literal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(Vec<u8>);

impl Text {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes as the query asks for them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// With U+FFFD in place of what is no UTF-8.
    #[must_use]
    pub fn to_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The text, if it can be a label's name.
    pub(super) fn as_label_name(&self) -> Option<&str> {
        self.as_str().filter(|name| !name.is_empty())
    }
}

/// Quoted as in a query.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote_bytes(&self.0))
    }
}

/// As [`quote`]; bytes that are no UTF-8 are escaped.
pub(super) fn quote_bytes(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        let quoted = quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}
