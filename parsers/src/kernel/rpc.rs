//! /proc/net/rpc/nfs and /proc/net/rpc/nfsd: a key and numbers per line.

use super::Malformed;
use super::scan::{decimal, lines, text, words};

/// Calls `each` with the key and the numbers of every line. For `proc2`, `proc3`, `proc4` and
/// `proc4ops` the first number, which counts the others, is checked and left out.
///
/// # Errors
/// When a word is no number or there are not as many as the line says.
pub fn parse<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a str, &[f64])) -> Result<(), Malformed> {
    let mut numbers = Vec::new();
    for (index, line) in lines(bytes).enumerate() {
        let malformed = |expected| Malformed {
            format: "net/rpc",
            line: index + 1,
            expected,
        };
        let mut words = words(line);
        let Some(key) = words.next().and_then(text) else {
            continue;
        };
        numbers.clear();
        for word in words {
            numbers.push(decimal(word).ok_or_else(|| malformed("a number"))?);
        }
        let values = match numbers.split_first() {
            Some((n, values)) if key.starts_with("proc") => {
                if values.len() as f64 != *n {
                    return Err(malformed("as many numbers as the first one says"));
                }
                values
            }
            _ => &numbers,
        };
        each(key, values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_numbers() {
        let mut all = Vec::new();
        parse(
            b"net 70 70 69 45\nproc2 2 16 57\n\nth 8 0 0.000\n",
            |key, values| {
                all.push((key, values.to_vec()));
            },
        )
        .expect("sample parses");
        assert_eq!(
            all,
            [
                ("net", vec![70.0, 70.0, 69.0, 45.0]),
                ("proc2", vec![16.0, 57.0]),
                ("th", vec![8.0, 0.0, 0.0]),
            ]
        );
        for bad in ["proc2 3 1 2\n", "net x\n"] {
            assert!(parse(bad.as_bytes(), |_, _| ()).is_err(), "{bad}");
        }
    }
}
