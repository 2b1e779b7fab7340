//! From Ruby's pattern syntax (Onigmo, as Fluent Bit runs it) to that of the regex crate.
//!
//! `^` and `$` stand at every line, `\h` is a hex digit, `(?m)` lets the point match a newline, `\<`
//! is plain. Look-around, backreferences, possessive and atomic groups stay as they are, and are
//! reported: only the backtracking engine runs them.

use std::collections::HashMap;

use super::PatternError;

/// A pattern in the syntax of the regex crate, and what has to be known of it.
#[derive(Debug, Clone)]
pub(super) struct Translated {
    /// The pattern as it was written.
    pub original: String,
    pub pattern: String,
    /// `imx` after the closing slash.
    pub flags: String,
    /// Only the backtracking engine can run it.
    pub backtracks: bool,
    /// It looks at single characters or at word borders, so that bytes will not do for text that
    /// is not ASCII.
    pub counts: bool,
    /// It holds characters beyond ASCII, or asks for their properties.
    pub is_wide: bool,
    /// It has a `^`.
    pub has_caret: bool,
    /// Some group has a name: then only those with one capture, as in Ruby.
    pub has_names: bool,
    /// Some group has none.
    pub has_plain_groups: bool,
    /// Groups that share a name: the name in the pattern, and the one that was meant.
    pub renamed: HashMap<String, String>,
}

impl Translated {
    /// Translates for bytes, or for characters when `wide`.
    pub(super) fn new(original: &str, wide: bool) -> Result<Self, PatternError> {
        let out = Self::translate(original, wide, false)?;
        if out.has_names && out.has_plain_groups {
            return Self::translate(original, wide, true);
        }
        Ok(out)
    }

    fn translate(original: &str, wide: bool, names_only: bool) -> Result<Self, PatternError> {
        let (body, flags) = strip_slashes(original);
        let is_wide = !body.is_ascii() || body.contains("\\p") || body.contains("\\P");
        let mut translator = Translator {
            body,
            wide: wide || is_wide,
            out: Self {
                original: original.to_owned(),
                pattern: String::with_capacity(body.len() + 16),
                flags: flags.to_owned(),
                backtracks: false,
                counts: false,
                is_wide,
                has_caret: false,
                has_names: false,
                has_plain_groups: false,
                renamed: HashMap::new(),
            },
            names_only,
            names: HashMap::new(),
            class_depth: 0,
        };
        translator.run()?;
        translator.out.has_names = !translator.names.is_empty();
        Ok(translator.out)
    }
}

/// `/body/flags`, or the whole as the body.
fn strip_slashes(pattern: &str) -> (&str, &str) {
    let inner = pattern
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'));
    match inner {
        Some((body, flags)) if flags.chars().all(|c| "imxo".contains(c)) => (body, flags),
        _ => (pattern, ""),
    }
}

struct Translator<'a> {
    body: &'a str,
    /// Classes and escapes have to be spelled out, as the regex crate means Unicode.
    wide: bool,
    out: Translated,
    /// Groups without a name do not capture.
    names_only: bool,
    /// How often a group name was seen.
    names: HashMap<&'a str, usize>,
    /// Depth of nested `[`.
    class_depth: usize,
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), PatternError> {
        let mut rest = self.body;
        while let Some(c) = rest.chars().next() {
            let taken = match c {
                '\\' => self.escape(rest)?,
                '[' => self.open_class(rest),
                _ if self.class_depth > 0 => self.in_class(c, rest),
                '(' if rest.starts_with("(?") => self.group(rest)?,
                '(' => {
                    self.out.has_plain_groups = true;
                    self.push(if self.names_only { "(?:" } else { "(" });
                    1
                }
                '{' if !is_repetition(rest) => {
                    self.push("\\{");
                    1
                }
                '*' | '+' | '?' => self.repetition(rest),
                '.' => {
                    self.push(".");
                    self.one_character(&rest[1..]);
                    1
                }
                '^' => {
                    self.out.has_caret = true;
                    self.push("^");
                    1
                }
                other => {
                    self.out.pattern.push(other);
                    other.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.out.pattern.push_str(text);
    }

    fn error(&self, what: &str) -> PatternError {
        PatternError(format!("pattern '{}': {what}", self.out.original))
    }

    /// Notes whether something that may be a character of several bytes is taken by the one.
    fn one_character(&mut self, after: &str) {
        let unbounded = after.starts_with(['*', '+']) && !after[1..].starts_with('?');
        self.out.counts |= !unbounded;
    }

    fn repetition(&mut self, rest: &str) -> usize {
        self.push(&rest[..1]);
        if !rest[1..].starts_with('+') {
            return 1;
        }
        // Possessive: it never gives back what it took.
        self.push("+");
        self.out.backtracks = true;
        2
    }

    fn escape(&mut self, rest: &str) -> Result<usize, PatternError> {
        let Some(escaped) = rest[1..].chars().next() else {
            let message = format!(
                "pattern '{}' ends with a single backslash",
                self.out.original
            );
            return Err(PatternError(message));
        };
        let taken = 1 + escaped.len_utf8();
        let in_class = self.class_depth > 0;
        match escaped {
            'h' if in_class => self.push("0-9a-fA-F"),
            'h' => self.push("[0-9a-fA-F]"),
            'd' | 'w' | 's' if self.wide => {
                let set = ascii_set(escaped);
                self.push(&if in_class {
                    set.to_owned()
                } else {
                    format!("[{set}]")
                });
            }
            'H' | 'D' | 'W' | 'S' => {
                if !in_class {
                    self.one_character(&rest[taken..]);
                }
                if self.wide || escaped == 'H' {
                    self.push(&format!("[^{}]", ascii_set(escaped.to_ascii_lowercase())));
                } else {
                    self.push(&rest[..taken]);
                }
            }
            'e' => self.push("\\x1b"),
            'Z' => self.push("(?:\\n?\\z)"),
            'b' if in_class => self.push("\\x08"),
            'b' | 'B' => {
                self.out.counts = true;
                self.push(&rest[..taken]);
            }
            '1'..='9' | 'k' | 'g' | 'G' | 'K' | 'R' | 'X' | 'N' | 'O' if !in_class => {
                if n_digits_of_group(&rest[1..]) > MAX_GROUP_DIGITS {
                    return Err(self.error("a reference to a group that no pattern has"));
                }
                self.out.backtracks = true;
                self.push(&rest[..taken]);
            }
            // `\<` would be the start of a word here; in Ruby it is a plain `<`.
            '<' | '>' | '_' | '"' | '\'' | ' ' | '`' | '@' | '%' | ',' | ':' | ';' | '=' | '!' => {
                self.push(&format!("\\x{:02x}", u32::from(escaped)));
            }
            'y' | 'i' | 'j' | 'l' | 'm' | 'o' | 'q' | 'c' | 'E' | 'F' | 'I' | 'J' | 'L' | 'M'
            | 'Q' | 'T' | 'U' | 'V' | 'Y' | 'C' => self.out.pattern.push(escaped),
            _ => self.push(&rest[..taken]),
        }
        Ok(taken)
    }

    /// A `[`, a class in a class, or a name such as `[:alpha:]`.
    fn open_class(&mut self, rest: &str) -> usize {
        if self.class_depth > 0
            && let Some(end) = rest.strip_prefix("[:").and_then(|name| name.find(":]"))
        {
            self.named_class(&rest[2..2 + end]);
            return end + 4;
        }
        self.class_depth += 1;
        let mut taken = 1;
        self.push("[");
        if rest[1..].starts_with('^') {
            self.push("^");
            taken += 1;
            if self.class_depth == 1 {
                self.one_character(after_class(&rest[2..]));
            }
        }
        // A bracket right at the start is itself.
        if rest[taken..].starts_with(']') {
            self.push("\\]");
            taken += 1;
        }
        taken
    }

    fn named_class(&mut self, name: &str) {
        let (not, plain) = match name.strip_prefix('^') {
            Some(plain) => ("^", plain),
            None => ("", name),
        };
        // In Ruby these names mean Unicode, unlike `\w`.
        self.out.counts = true;
        let wide = match plain {
            "alpha" => "\\p{Alphabetic}",
            "alnum" => "\\p{Alphabetic}\\p{Nd}",
            "digit" => "\\p{Nd}",
            "lower" => "\\p{Lowercase}",
            "upper" => "\\p{Uppercase}",
            "space" => "\\p{White_Space}",
            "word" => "\\w",
            _ => "",
        };
        if self.wide && !wide.is_empty() {
            self.push(&format!("[{not}{wide}]"));
        } else {
            self.push(&format!("[:{name}:]"));
        }
    }

    fn in_class(&mut self, c: char, rest: &str) -> usize {
        match c {
            ']' => {
                self.class_depth -= 1;
                self.push("]");
            }
            // Doubled, they are operators of the regex crate only.
            '~' | '-' if rest[1..].starts_with(c) => {
                self.push("\\");
                self.out.pattern.push(c);
            }
            // These are plain in Ruby even where blanks are skipped.
            ' ' => self.push("\\x20"),
            '#' => self.push("\\x23"),
            other => self.out.pattern.push(other),
        }
        c.len_utf8()
    }

    fn group(&mut self, rest: &'a str) -> Result<usize, PatternError> {
        let after = &rest[2..];
        if after.starts_with('#') {
            // A comment.
            return Ok(rest.find(')').map_or(rest.len(), |at| at + 1));
        }
        if after.starts_with("~") {
            return Err(self.error("an absence group is not supported; rewrite it without"));
        }
        for look in ["=", "!", "<=", "<!", ">", "("] {
            if after.starts_with(look) {
                self.out.backtracks = true;
                self.push("(?");
                self.push(look);
                return Ok(2 + look.len());
            }
        }
        let head = after.find([')', ':', '<', '\'']).unwrap_or(0);
        let flags = &after[..head];
        self.push("(?");
        // Ruby's `m` lets the point match a newline; `a`, `d` and `u` say what `\w` means.
        let flags: String = flags
            .chars()
            .filter(|c| !matches!(c, 'a' | 'd' | 'u'))
            .map(|c| if c == 'm' { 's' } else { c })
            .collect();
        self.push(&flags);
        let close = match after[head..].chars().next() {
            Some('<') => '>',
            Some('\'') => '\'',
            _ => return Ok(2 + head),
        };
        let name = &after[head + 1..];
        let Some(end) = name.find(close) else {
            return Err(self.error("a group name has no end"));
        };
        let name = &name[..end];
        let seen = self.names.entry(name).or_insert(0);
        *seen += 1;
        let unique = match *seen {
            1 => name.to_owned(),
            n => format!("{name}__{n}"),
        };
        if unique != name {
            self.out.renamed.insert(unique.clone(), name.to_owned());
        }
        self.push(&format!("<{unique}>"));
        Ok(2 + head + 1 + end + 1)
    }
}

/// What follows a class whose inside starts here.
fn after_class(inside: &str) -> &str {
    let mut escaped = false;
    for (at, b) in inside.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' if at > 0 => return &inside[at + 1..],
            _ => {}
        }
    }
    ""
}

fn ascii_set(letter: char) -> &'static str {
    match letter {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\x0b\\x0c\\r\\x20",
        _ => "0-9a-fA-F",
    }
}

fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest[1..].split_once('}') else {
        return false;
    };
    !inside.is_empty() && inside != "," && inside.chars().all(|c| c.is_ascii_digit() || c == ',')
}

/// A larger number of a group is a mistake, and would take memory by its size.
const MAX_GROUP_DIGITS: usize = 4;

/// How many digits the number of a group has in `1`, `k<1>`, `g'-1'` and the like.
fn n_digits_of_group(reference: &str) -> usize {
    let number = reference.strip_prefix(['k', 'g']).unwrap_or(reference);
    let number = number.trim_start_matches(['<', '{', '\'', '-', '+']);
    number.bytes().take_while(u8::is_ascii_digit).count()
}
