//! Finds one value inside JSON text without building a tree: the bytes of the value come back.
//!
//! The text is valid JSON (a batch holds no other); on anything else nothing is found.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::accessor::Step;

/// The value below `path`, as JSON.
#[must_use]
pub fn find<'a>(json: &'a [u8], path: &[Step]) -> Option<&'a [u8]> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = Below(path).deserialize(&mut reader).ok()?;
    found.map(|raw| raw.get().as_bytes())
}

/// JSON text without its quotes and escapes; other JSON as it is.
#[must_use]
pub fn unquoted(json: &[u8]) -> Cow<'_, [u8]> {
    match json {
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => Cow::Borrowed(inside),
        [b'"', ..] => serde_json::from_slice::<String>(json)
            .map_or(Cow::Borrowed(json), |text| Cow::Owned(text.into_bytes())),
        _ => Cow::Borrowed(json),
    }
}

struct Below<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(reader).map(Some),
            _ => reader.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wanted = match self.0 {
            [Step::Key(key), ..] => Some(key.as_str()),
            _ => None,
        };
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if wanted == Some(&*key) {
                // The last of repeated keys counts, as for other readers.
                found = map.next_value_seed(Below(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = match self.0 {
            [Step::Index(index), ..] => Some(*index),
            _ => None,
        };
        let (mut found, mut at) = (None, 0);
        loop {
            if wanted == Some(at) {
                match list.next_element_seed(Below(&self.0[1..]))? {
                    Some(value) => found = value,
                    None => return Ok(found),
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_as_they_are_written() {
        let key = |k: &str| Step::Key(k.to_owned());
        let json = br#"{"a":{"b c":[1, {"x\n":"q\"z"}],"n":null},"a2":-1.50}"#;
        for (path, expected) in [
            (vec![key("a2")], Some("-1.50")),
            (vec![key("a"), key("n")], Some("null")),
            (vec![key("a"), key("b c"), Step::Index(0)], Some("1")),
            (
                vec![key("a"), key("b c"), Step::Index(1), key("x\n")],
                Some(r#""q\"z""#),
            ),
            (vec![key("a"), Step::Index(0)], None),
            (vec![key("a2"), key("x")], None),
            (vec![key("a"), key("b c"), Step::Index(9)], None),
            (vec![key("zz"), key("b")], None),
        ] {
            let found = find(json, &path).map(String::from_utf8_lossy);
            assert_eq!(found.as_deref(), expected, "{path:?}");
        }
        assert_eq!(find(b"not json", &[key("a")]), None);
        assert_eq!(&*unquoted(br#""q\"z""#), b"q\"z");
        assert_eq!(&*unquoted(b"\"plain\""), b"plain");
        assert_eq!(&*unquoted(b"[1]"), b"[1]");
    }
}
