//! Splitting an option's value into words, with quotes, as Fluent Bit does.

/// Up to `most` words; the last one holds the rest of the text. A word may stand in double or single
/// quotes, in which a backslash takes the next character as it is.
#[must_use]
pub fn split(text: &str, most: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted(rest, quote).unwrap_or_else(|| plain(rest)),
            _ => plain(rest),
        };
        if words.len() + 1 == most && !after.trim().is_empty() {
            words.push(rest.to_owned());
            break;
        }
        words.push(word);
        rest = after.trim_start();
    }
    words
}

fn plain(text: &str) -> (String, &str) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

/// `None` when the quotes do not close, or close in the middle of a word.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => word.push(chars.next()?.1),
            c if c == quote => {
                let after = &text[at + quote.len_utf8()..];
                let closes = after.is_empty() || after.starts_with(char::is_whitespace);
                return closes.then_some((word, after));
            }
            c => word.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_and_quotes() {
        let cases: &[(&str, usize, &[&str])] = &[
            ("a b", 2, &["a", "b"]),
            ("  a   b c ", 2, &["a", "b c"]),
            ("a \"b c\"", 2, &["a", "b c"]),
            ("\"a b\" 'c \\' d'", 3, &["a b", "c ' d"]),
            ("a b\"c", 2, &["a", "b\"c"]),
            ("a \"b", 2, &["a", "\"b"]),
            ("", 2, &[]),
        ];
        for (text, most, expected) in cases {
            assert_eq!(super::split(text, *most), *expected, "{text}");
        }
    }
}
