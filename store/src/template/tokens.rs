//! Where a text has its variable places: one pass, no allocation, no meaning beyond characters.
//!
//! Lines are cut coarsely: quoted texts, values behind `=` or a JSON key, times, and words with a
//! digit are slots; all else is the template. What lies in a slot may be cut again finely, at every
//! sign that is no letter or digit. Slots are never empty and ascend. Any cut gives the same bytes
//! back, so nothing here can lose anything; it only decides how small the columns become.

use kansoku_model::Slice;

use super::clock;

/// Places of a text that has more are not worth columns.
pub const SLOTS_MAX: usize = 64;
/// A quoted text in front of a colon is a key of the template up to this length.
const KEY_MAX_BYTES: usize = 64;

/// A variable place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub at: Slice,
    /// 0: text; else the byte of a time format.
    pub kind: u8,
}

const DIGIT: u8 = 1;
/// A letter or another byte that belongs to a word.
const WORD: u8 = 2;
const LOWER_HEX: u8 = 4;
const ALNUM: u8 = 8;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        let mut class = WORD;
        if matches!(
            byte,
            0..=b' '
                | b'"'
                | b'\''
                | b'('
                | b')'
                | b'['
                | b']'
                | b'{'
                | b'}'
                | b'<'
                | b'>'
                | b','
                | b';'
                | b'='
                | b'|'
        ) {
            class = 0;
        }
        if byte.is_ascii_alphanumeric() {
            class |= ALNUM;
        }
        if byte.is_ascii_digit() {
            class |= DIGIT | LOWER_HEX;
        }
        if matches!(byte, b'a'..=b'f') {
            class |= LOWER_HEX;
        }
        classes[b] = class;
        b += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

/// The slots of one text, appended to `out`. False when there are too many.
pub struct Cutter<'a> {
    text: &'a [u8],
    /// Where `text` starts in the text that the slots count from.
    base: u32,
    out: &'a mut Vec<Slot>,
    limit: usize,
}

impl<'a> Cutter<'a> {
    pub fn new(text: &'a [u8], base: u32, out: &'a mut Vec<Slot>) -> Self {
        let limit = out.len() + SLOTS_MAX;
        Self {
            text,
            base,
            out,
            limit,
        }
    }

    fn push(&mut self, start: usize, end: usize, kind: u8) {
        if end > start {
            let at = Slice {
                start: self.base + start as u32,
                len: (end - start) as u32,
            };
            self.out.push(Slot { at, kind });
        }
    }

    /// Cuts a line whose entry has this time.
    pub fn coarse(mut self, entry_ns: i64) -> bool {
        let text = self.text;
        let (mut i, mut is_value) = (0, false);
        while i < text.len() && self.out.len() <= self.limit {
            let byte = text[i];
            if class(byte) & WORD != 0 {
                i = self.word(i, entry_ns, is_value);
                is_value = false;
            } else if byte == b'"' {
                (i, is_value) = self.quoted(i, entry_ns);
            } else {
                is_value &= byte == b' ';
                i += 1;
            }
        }
        self.out.len() <= self.limit
    }

    /// A word from `start` on; returns where it ends.
    fn word(&mut self, start: usize, entry_ns: i64, is_value: bool) -> usize {
        let text = self.text;
        let mut seen = 0;
        let mut end = start;
        while let Some(&byte) = text.get(end) {
            let class = class(byte);
            // A comma inside of a number is no delimiter.
            let is_inside = class & WORD != 0
                || byte == b','
                    && end > start
                    && text[end - 1].is_ascii_digit()
                    && text.get(end + 1).is_some_and(u8::is_ascii_digit);
            if !is_inside {
                break;
            }
            seen |= class;
            end += 1;
        }
        let has_digit = seen & DIGIT != 0;
        if has_digit && let Some((at, format, len)) = time_at(text, start, entry_ns) {
            self.push(at, at + len, format);
            // What follows directly, a zone for example, is the next word.
            return at + len;
        }
        let is_value =
            is_value || start >= 2 && text[start - 1] == b'=' && class(text[start - 2]) != 0;
        if has_digit || is_value {
            let trimmed = text[start..end]
                .iter()
                .rposition(|b| !matches!(b, b':' | b'.'))
                .map_or(end, |last| start + last + 1);
            self.push(start, trimmed, 0);
        }
        end
    }

    /// A quote at `start`; returns where to go on and whether a JSON value comes.
    fn quoted(&mut self, start: usize, entry_ns: i64) -> (usize, bool) {
        let text = self.text;
        let mut close = start + 1;
        loop {
            match memchr::memchr2(b'"', b'\\', &text[close.min(text.len())..]) {
                None => return (start + 1, false),
                Some(n) if text[close + n] == b'\\' => close += n + 2,
                Some(n) => {
                    close += n;
                    break;
                }
            }
        }
        if text.get(close + 1) == Some(&b':') && close - start <= KEY_MAX_BYTES {
            return (close + 2, true);
        }
        let inside = start + 1..close;
        match clock_at(&text[inside.clone()], entry_ns) {
            Some((format, len)) => {
                self.push(inside.start, inside.start + len, format);
                if text[inside.start + len..close] != *b"Z" {
                    self.push(inside.start + len, close, 0);
                }
            }
            None => self.push(inside.start, inside.end, 0),
        }
        (close + 1, false)
    }

    /// Cuts at every sign that is no letter or digit.
    pub fn fine(mut self) -> bool {
        let text = self.text;
        let mut i = 0;
        while i < text.len() && self.out.len() <= self.limit {
            if class(text[i]) & ALNUM == 0 {
                i += 1;
                continue;
            }
            let start = i;
            let (mut any, mut all, mut changes) = (0, 0xff, 0);
            while let Some(&byte) = text.get(i) {
                let class = class(byte);
                if class & ALNUM == 0 {
                    break;
                }
                changes +=
                    usize::from(i > start && (class ^ self::class(text[i - 1])) & DIGIT != 0);
                any |= class;
                all &= class;
                i += 1;
            }
            if any & DIGIT == 0 {
                continue;
            }
            if all & DIGIT != 0 {
                let decimal_end = self.decimal_end(start, i);
                self.push(start, decimal_end, 0);
                i = decimal_end;
            } else if all & LOWER_HEX != 0 && i - start >= 4 {
                self.push(start, i, 0);
            } else if changes == 1 || changes == 2 && !text[start].is_ascii_digit() {
                let is_digit = |at: &usize| text[*at].is_ascii_digit();
                let first = (start..i).find(is_digit).unwrap_or(start);
                let last = (start..i).rfind(is_digit).unwrap_or(start);
                // A fraction may follow the last digit: `x1.5`.
                self.push(first, last + 1, 0);
            } else {
                self.push(start, i, 0);
            }
        }
        self.out.len() <= self.limit
    }

    /// Where the decimal number ends whose digits before the point are `start..end`.
    fn decimal_end(&self, start: usize, end: usize) -> usize {
        let text = self.text;
        let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        if text.get(end) != Some(&b'.') || !is_digit(end + 1) {
            return end;
        }
        if start >= 1 && text[start - 1] == b'.' {
            return end;
        }
        let mut after = end + 1;
        while is_digit(after) {
            after += 1;
        }
        if text.get(after) == Some(&b'.') && is_digit(after + 1) {
            return end;
        }
        after
    }
}

/// A time that starts a word, or follows the severity letter of klog.
fn time_at(text: &[u8], start: usize, entry_ns: i64) -> Option<(usize, u8, usize)> {
    let skip = usize::from(matches!(text[start], b'I' | b'W' | b'E' | b'F'));
    let (format, len) = clock_at(&text[start + skip..], entry_ns)?;
    Some((start + skip, format, len))
}

fn clock_at(text: &[u8], entry_ns: i64) -> Option<(u8, usize)> {
    // The shortest time is 00:00:00; most words end the question at their first bytes.
    if text.len() < 8 || !text[0].is_ascii_digit() || !text[1].is_ascii_digit() {
        return None;
    }
    if !matches!(text[2], b'0'..=b'9' | b':' | b'/') {
        return None;
    }
    let (format, len, _) = clock::parse(text, entry_ns)?;
    // Otherwise it is the front of something else.
    let next = text.get(len).copied().unwrap_or(b' ');
    let is_end = !next.is_ascii_alphanumeric() || next == b'Z';
    is_end.then_some((format.byte(), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: i64 = 1_795_132_892_730_624_238;

    /// The text with its slots in brackets; times as ⟦…⟧.
    fn show(text: &str, cut: impl Fn(Cutter<'_>) -> bool) -> String {
        let mut slots = Vec::new();
        assert!(cut(Cutter::new(text.as_bytes(), 0, &mut slots)));
        let (mut shown, mut last) = (String::new(), 0);
        for slot in slots {
            let (start, end) = (
                slot.at.start as usize,
                (slot.at.start + slot.at.len) as usize,
            );
            assert!(
                start >= last && end > start,
                "slots ascend and are not empty"
            );
            let (open, close) = if slot.kind == 0 {
                ('⟨', '⟩')
            } else {
                ('⟦', '⟧')
            };
            shown += &format!("{}{open}{}{close}", &text[last..start], &text[start..end]);
            last = end;
        }
        shown + &text[last..]
    }

    #[test]
    fn lines_are_cut_at_what_varies() {
        for (line, expected) in [
            (
                r#"{"ts":"2026-11-20T00:01:32.730604Z","level":"info","n":12,"ok":true,"u":{"id":"u-1"},"e":""}"#,
                r#"{"ts":"⟦2026-11-20T00:01:32.730604⟧Z","level":"⟨info⟩","n":⟨12⟩,"ok":⟨true⟩,"u":{"id":"⟨u-1⟩"},"e":""}"#,
            ),
            (
                r#"10.0.0.1 - - [20/Nov/2026:00:01:32 +0000] "GET / HTTP/2.0" 200 0.5"#,
                r#"⟨10.0.0.1⟩ - - [⟦20/Nov/2026:00:01:32⟧ ⟨+0000⟩] "⟨GET / HTTP/2.0⟩" ⟨200⟩ ⟨0.5⟩"#,
            ),
            (
                "I1120 00:04:44.447014    1423 kubelet.go:2431] \"a \\\"b\\\" c\" pod=\"x/y\"",
                "I⟦1120 00:04:44.447014⟧    ⟨1423⟩ ⟨kubelet.go:2431⟩] \"⟨a \\\"b\\\" c⟩\" pod=\"⟨x/y⟩\"",
            ),
            (
                "2026-11-20 00:02:16,733 INFO [worker-6] loop: lr=1.0e-04 a=b step 7: 9,559円",
                "⟦2026-11-20 00:02:16,733⟧ INFO [⟨worker-6⟩] loop: lr=⟨1.0e-04⟩ a=⟨b⟩ step ⟨7⟩: ⟨9,559円⟩",
            ),
            (
                "an open \" quote and no digit",
                "an open \" quote and no digit",
            ),
            ("ends in a backslash \"\\", "ends in a backslash \"\\"),
            ("", ""),
        ] {
            assert_eq!(show(line, |c| c.coarse(ENTRY)), expected);
        }
    }

    fn fine(cutter: Cutter<'_>) -> bool {
        cutter.fine()
    }

    #[test]
    fn values_are_cut_finely() {
        for (value, expected) in [
            ("/api/v1/catalog/73649", "/api/v⟨1⟩/catalog/⟨73649⟩"),
            ("10.244.2.140:9090", "⟨10⟩.⟨244⟩.⟨2⟩.⟨140⟩:⟨9090⟩"),
            ("3.334191441s", "⟨3.334191441⟩s"),
            ("C0051415円", "C⟨0051415⟩円"),
            ("main.9f3c1d2e.js", "main.⟨9f3c1d2e⟩.js"),
            ("01JYACW5QT", "⟨01JYACW5QT⟩"),
            ("GET /x_w640.webp", "GET /x_w⟨640⟩.webp"),
        ] {
            assert_eq!(show(value, fine), expected);
        }
    }

    #[test]
    fn too_many_places_are_refused() {
        let (line, mut slots) = ("1 ".repeat(SLOTS_MAX + 1), Vec::new());
        assert!(!Cutter::new(line.as_bytes(), 0, &mut slots).coarse(0));
        slots.clear();
        assert!(Cutter::new(&line.as_bytes()[2..], 0, &mut slots).coarse(0));
        assert_eq!(slots.len(), SLOTS_MAX);
    }
}
