//! The files of /proc/net/stat: a line of column names, then a line of hexadecimal counters per CPU.

use super::Malformed;
use super::scan::{lines, text, words};

/// Calls `each` with the number of the line (0 is the first CPU), the column's name and its value.
///
/// # Errors
/// When a value is no hexadecimal number or has no column.
pub fn parse<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(usize, &'a str, u64),
) -> Result<(), Malformed> {
    let mut lines = lines(bytes).enumerate();
    let header = lines.next().map_or(&b""[..], |(_, line)| line);
    for (index, line) in lines {
        let malformed = |expected| Malformed {
            format: "net/stat",
            line: index + 1,
            expected,
        };
        let mut names = words(header);
        for value in words(line) {
            let name = names
                .next()
                .and_then(text)
                .ok_or_else(|| malformed("no more values than columns"))?;
            let value = text(value).and_then(|v| u64::from_str_radix(v, 16).ok());
            each(
                index - 1,
                name,
                value.ok_or_else(|| malformed("a hexadecimal number"))?,
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_every_cpu() {
        let mut all = Vec::new();
        parse(
            b"entries  searched\n00000021  0000588a\n1 0\n",
            |cpu, name, value| {
                all.push((cpu, name, value));
            },
        )
        .expect("sample parses");
        assert_eq!(
            all,
            [
                (0, "entries", 33),
                (0, "searched", 22666),
                (1, "entries", 1),
                (1, "searched", 0)
            ]
        );
        for bad in ["a\n1 2\n", "a\nx\n"] {
            assert!(parse(bad.as_bytes(), |_, _, _| ()).is_err(), "{bad}");
        }
        assert!(parse(b"", |_, _, _| ()).is_ok());
    }
}
