//! Texts that may be absent: one column of structured metadata.
//!
//! ```text
//! byte 0  layout
//!   0  constant:   one item; every row is it
//!   1  dictionary: n items (varint), items, then 1 byte per row
//!   2  plain:      one item per row
//! item: varint 0 = absent, else length + 1 and the bytes
//! ```

use kansoku_model::Slice;

use super::ROWS_MAX;
use crate::bytes::{Malformed, Reader, put_varint};

const CONSTANT: u8 = 0;
const DICTIONARY: u8 = 1;
const PLAIN: u8 = 2;

/// A code is one byte.
const DICTIONARY_MAX: usize = 256;

/// Appends the smallest layout of `values`, which are slices of `text`.
pub fn encode(values: &[Option<Slice>], text: &[u8], out: &mut Vec<u8>) {
    let bytes = |v: Option<Slice>| v.map(|s| &text[s.start as usize..][..s.len as usize]);
    let mut items: Vec<Option<&[u8]>> = Vec::new();
    let mut codes = Vec::with_capacity(values.len());
    for &v in values {
        let value = bytes(v);
        // Linear: most columns have a handful of values, others leave at the bound.
        let code = items.iter().position(|i| *i == value).unwrap_or_else(|| {
            items.push(value);
            items.len() - 1
        });
        if code == DICTIONARY_MAX.min(8 + values.len() / 4) {
            out.push(PLAIN);
            values.iter().for_each(|&v| put_item(out, bytes(v)));
            return;
        }
        codes.push(code as u8);
    }
    if items.len() <= 1 {
        out.push(CONSTANT);
        put_item(out, items.first().copied().flatten());
    } else {
        out.push(DICTIONARY);
        put_varint(out, items.len() as u64);
        items.iter().for_each(|i| put_item(out, *i));
        out.extend_from_slice(&codes);
    }
}

/// Reads `n` values; their bytes are appended to `text`.
pub fn decode(
    r: &mut Reader<'_>,
    n: usize,
    text: &mut Vec<u8>,
) -> Result<Vec<Option<Slice>>, Malformed> {
    if n > ROWS_MAX {
        return Err(Malformed("more rows than a column may have"));
    }
    match r.byte()? {
        CONSTANT => Ok(vec![take_item(r, text)?; n]),
        DICTIONARY => {
            let n_items = r.count(1)?;
            let items = (0..n_items)
                .map(|_| take_item(r, text))
                .collect::<Result<Vec<_>, _>>()?;
            let codes = r.take(n)?.iter();
            codes
                .map(|&c| items.get(usize::from(c)).copied())
                .collect::<Option<_>>()
                .ok_or(Malformed("code outside the dictionary"))
        }
        PLAIN => {
            if n > r.rest().len() {
                return Err(Malformed("ends early"));
            }
            (0..n).map(|_| take_item(r, text)).collect()
        }
        _ => Err(Malformed("unknown layout of texts")),
    }
}

fn put_item(out: &mut Vec<u8>, item: Option<&[u8]>) {
    put_varint(out, item.map_or(0, |b| b.len() as u64 + 1));
    out.extend_from_slice(item.unwrap_or_default());
}

fn take_item(r: &mut Reader<'_>, text: &mut Vec<u8>) -> Result<Option<Slice>, Malformed> {
    let Some(len) = r.varint32()?.checked_sub(1) else {
        return Ok(None);
    };
    let start = u32::try_from(text.len()).map_err(|_| Malformed("text of more than 4 GiB"))?;
    text.extend_from_slice(r.take(len as usize)?);
    Ok(Some(Slice { start, len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn round_trip(values: &[Option<&str>]) -> u8 {
        let (mut text, mut slices) = (Vec::new(), Vec::new());
        for v in values {
            slices.push(v.map(|v| {
                text.extend_from_slice(v.as_bytes());
                Slice {
                    start: (text.len() - v.len()) as u32,
                    len: v.len() as u32,
                }
            }));
        }
        let mut out = Vec::new();
        encode(&slices, &text, &mut out);
        let layout = out[0];
        let (mut r, mut back) = (Reader::new(&out), b"before".to_vec());
        let got = decode(&mut r, values.len(), &mut back).unwrap();
        assert_eq!(r.end(), Ok(()));
        let bytes = |s: Slice| &back[s.start as usize..][..s.len as usize];
        for (got, want) in got.iter().zip(values) {
            assert_eq!(got.map(bytes), want.map(str::as_bytes));
        }
        for cut in (0..out.len()).step_by(1 + out.len() / 50) {
            let _ = decode(&mut Reader::new(&out[..cut]), values.len(), &mut Vec::new());
        }
        layout
    }

    #[test]
    fn each_shape_gets_its_layout() {
        assert_eq!(round_trip(&[]), CONSTANT);
        assert_eq!(round_trip(&[None; 5]), CONSTANT);
        assert_eq!(round_trip(&[Some(""); 5]), CONSTANT);
        assert_eq!(round_trip(&[Some(""), None, Some("x")]), DICTIONARY);
        let many: Vec<String> = (0..500).map(|i| i.to_string()).collect();
        let many: Vec<Option<&str>> = many.iter().map(|s| Some(s.as_str())).collect();
        assert_eq!(round_trip(&many), PLAIN);
        assert_eq!(round_trip(&many[..256]), PLAIN);
    }

    #[test]
    fn random_columns() {
        let mut random = Random(5);
        for _ in 0..200 {
            let kinds = 1 + random.below(400);
            let texts: Vec<String> = (0..kinds)
                .map(|i| "v".repeat(i as usize % 9) + &i.to_string())
                .collect();
            let rows: Vec<Option<&str>> = (0..random.below(600))
                .map(|_| match random.below(kinds + 1) {
                    0 => None,
                    k => Some(texts[k as usize - 1].as_str()),
                })
                .collect();
            round_trip(&rows);
        }
    }
}
