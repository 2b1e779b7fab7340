//! Backslash escapes of C and of MySQL, resolved. What is no escape stays without its backslash, as
//! Fluent Bit leaves it; the result is never longer than the text, but for U+FFFD.

/// Resolves `\\n` and the like, `\\uD83D\\uDE00` as one character and, when `numbers`, `\\x41`,
/// `\\101` and `\\U0001f600`.
pub(super) fn c(text: &[u8], numbers: bool, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(letter) = rest.first() else {
            out.push(b'\\');
            break;
        };
        let plain = match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'a' => 7,
            b'b' => 8,
            b'v' => 11,
            b'f' => 12,
            b'u' => {
                rest = utf16(rest, out);
                continue;
            }
            b'x' if numbers => {
                rest = number(rest, 1, 2, 16, out);
                continue;
            }
            b'U' if numbers => {
                rest = number(rest, 1, 8, 16, out);
                continue;
            }
            b'0'..=b'7' if numbers => {
                rest = number(rest, 0, 3, 8, out);
                continue;
            }
            other => *other,
        };
        out.push(plain);
        rest = &rest[1..];
    }
    out.extend_from_slice(rest);
}

/// Takes the quotes off and resolves the escapes of MySQL; other escapes stay whole.
pub(super) fn mysql(text: &[u8], out: &mut Vec<u8>) {
    let ([b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"']) = text else {
        out.extend_from_slice(text);
        return;
    };
    let mut bytes = inner.iter().copied();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match bytes.next() {
            None => out.push(b'\\'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'0') => out.push(0),
            Some(b'Z') => out.push(0x1a),
            Some(quote @ (b'\\' | b'\'' | b'"')) => out.push(quote),
            Some(other) => out.extend_from_slice(&[b'\\', other]),
        }
    }
}

/// Up to `max` digits behind `skip` bytes as a character; without a digit the letter itself.
fn number<'a>(text: &'a [u8], skip: usize, max: usize, base: u32, out: &mut Vec<u8>) -> &'a [u8] {
    let (value, n) = digits(&text[skip..], max, base);
    if n == 0 {
        out.push(text[0]);
        return &text[1..];
    }
    push(char::from_u32(value), out);
    &text[skip + n..]
}

/// `uXXXX`, and the low half that follows a high one.
fn utf16<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (high, n) = digits(&text[1..], 4, 16);
    let rest = &text[1 + n..];
    if n == 0 {
        out.push(b'u');
        return rest;
    }
    if (0xd800..0xdc00).contains(&high)
        && n == 4
        && let Some(after) = rest.strip_prefix(b"\\u")
    {
        let (low, n) = digits(after, 4, 16);
        if n == 4 && (0xdc00..0xe000).contains(&low) {
            push(
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
                out,
            );
            return &after[4..];
        }
    }
    push(char::from_u32(high).filter(|_| n == 4), out);
    rest
}

fn digits(text: &[u8], max: usize, base: u32) -> (u32, usize) {
    let mut value = 0u32;
    let mut n = 0;
    while n < max
        && let Some(digit) = text.get(n).and_then(|b| char::from(*b).to_digit(base))
    {
        value = value.wrapping_mul(base).wrapping_add(digit);
        n += 1;
    }
    (value, n)
}

fn push(c: Option<char>, out: &mut Vec<u8>) {
    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved() {
        let run = |text: &str, numbers: Option<bool>| {
            let mut out = Vec::new();
            match numbers {
                Some(numbers) => c(text.as_bytes(), numbers, &mut out),
                None => mysql(text.as_bytes(), &mut out),
            }
            String::from_utf8_lossy(&out).into_owned()
        };
        for (text, numbers, expected) in [
            (r#"a\nb\t\\ \"q\" \/"#, Some(false), "a\nb\t\\ \"q\" /"),
            (
                r"\u00e9\ud83d\ude00 \ud83dx \u12 \u",
                Some(false),
                "é😀 \u{fffd}x \u{fffd} u",
            ),
            (r"\x41\101\U0001f600\x", Some(true), "AA😀x"),
            (r"\x41\", Some(false), "x41\\"),
            (r"'it\'s\Z\q\0'", None, "it's\u{1a}\\q\0"),
            ("\"a\"", None, "a"),
            ("'a", None, "'a"),
            ("'", None, "'"),
        ] {
            assert_eq!(run(text, numbers), expected, "{text}");
        }
    }
}
