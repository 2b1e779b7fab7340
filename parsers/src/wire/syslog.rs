//! Where syslog messages end on a stream: at a line end, or after as many bytes as they say (RFC 6587).
//!
//! Not here: what is in a message; that is a line parser's work.

use std::ops::Range;

use super::WireError;

/// A message on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message itself.
    pub message: Range<usize>,
    /// Where the next frame starts.
    pub end: usize,
}

/// A count has no more digits than this.
const MAX_DIGITS: usize = 9;

/// The next message; `None` when it is not complete. Counted messages are always understood: no
/// other begins with digits and a blank in front of `<`. With `counts_only` there is no other form.
///
/// # Errors
/// When a count is asked for and there is none.
pub fn next_frame(bytes: &[u8], counts_only: bool) -> Result<Option<Frame>, WireError> {
    // A line end behind a counted message is passed over, as Fluent Bit does.
    let skipped = n_line_ends(bytes);
    let rest = &bytes[skipped..];
    if rest.is_empty() {
        let nothing = Frame {
            message: skipped..skipped,
            end: skipped,
        };
        return Ok((skipped > 0).then_some(nothing));
    }
    if let Some(counted) = counted(rest) {
        let Some(Counted { start, len }) = counted else {
            return Ok(None);
        };
        if len > rest.len() - start {
            return Ok(None);
        }
        let end = skipped + start + len;
        return Ok(Some(Frame {
            message: skipped + start..end,
            end,
        }));
    }
    if counts_only {
        return Err(WireError::new(
            skipped,
            "syslog: a count of bytes and a blank must stand here",
        ));
    }
    let line_end = rest.iter().position(|b| matches!(b, b'\n' | 0));
    Ok(line_end.map(|len| Frame {
        message: skipped..skipped + len,
        end: skipped + len + 1,
    }))
}

/// How many bytes in front of a message only end the one before.
#[must_use]
pub fn n_line_ends(bytes: &[u8]) -> usize {
    let ends = bytes.iter().take_while(|b| matches!(b, b'\n' | b'\r' | 0));
    ends.count()
}

struct Counted {
    start: usize,
    len: usize,
}

/// `Some(None)`: it may become a counted message, but too few bytes are there to tell.
fn counted(bytes: &[u8]) -> Option<Option<Counted>> {
    if !matches!(bytes[0], b'1'..=b'9') {
        return None;
    }
    let n_digits = bytes
        .iter()
        .take(MAX_DIGITS + 1)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if n_digits > MAX_DIGITS {
        return None;
    }
    match bytes.get(n_digits..n_digits + 2) {
        Some(b" <") => {
            let digits = std::str::from_utf8(&bytes[..n_digits]).ok()?;
            Some(Some(Counted {
                start: n_digits + 1,
                len: digits.parse().ok()?,
            }))
        }
        Some(_) => None,
        None if bytes.len() == n_digits || bytes[n_digits] == b' ' => Some(None),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, counts_only: bool) -> String {
        let (mut at, mut out) = (0, Vec::new());
        loop {
            match next_frame(&text.as_bytes()[at..], counts_only) {
                Ok(Some(frame)) => {
                    out.push(text[at..][frame.message].to_owned());
                    at += frame.end;
                }
                Ok(None) => out.push(format!("left {:?}", &text[at..])),
                Err(error) => out.push(error.to_string()),
            }
            if !matches!(next_frame(&text.as_bytes()[at..], counts_only), Ok(Some(_))) {
                if at < text.len() {
                    out.push(format!("rest {:?}", &text[at..]));
                }
                return out.join("|");
            }
        }
    }

    #[test]
    fn both_framings_are_read() {
        let cases = [
            ("<1>a\n<2>b\r\n<3>c", "<1>a|<2>b\r|rest \"<3>c\""),
            ("4 <1>a5 <2>bc\n4 <3>d", "<1>a|<2>bc|<3>d"),
            ("8 <1>a\nb\nc4 <2>d<3>e\n", "<1>a\nb\nc|<2>d|<3>e"),
            ("12", "left \"12\"|rest \"12\""),
            ("12 monkeys\n", "12 monkeys"),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text, false), expected, "{text:?}");
        }
        assert!(cut("<1>a\n", true).starts_with("syslog: a count of bytes"));
        assert_eq!(cut("4 <1>a", true), "<1>a");
    }
}
