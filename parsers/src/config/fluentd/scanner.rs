//! The characters of one Fluentd file: blanks, comments, strings, JSON and embedded Ruby.
//!
//! Each function leaves the position behind what it read. The rules are those of Fluentd's v1 parser,
//! which are not always the obvious ones: a `#` begins a comment only behind a blank.

use super::Value;

/// Where a bare string ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The end of the line, or a comment behind a blank.
    LineEnd,
    /// A blank or the end of the line.
    Blank,
    /// The `>` that closes a tag.
    TagEnd,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// The line of the position, from 1.
    pub(super) fn line(&self, counted: &mut (usize, u32)) -> u32 {
        let (from, line) = *counted;
        let n = self.text.as_bytes()[from..self.at]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        *counted = (self.at, line + u32::try_from(n).unwrap_or(u32::MAX));
        counted.1
    }

    /// Skips `token` if it comes next.
    pub(super) fn skip(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Skips blanks and line ends, and comments too when told to; says whether a line ended.
    pub(super) fn blanks(&mut self, comments: bool) -> bool {
        let mut has_line_end = false;
        while let Some(c) = self.rest().chars().next() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' => {
                    has_line_end |= c == '\n';
                    self.at += 1;
                }
                '#' if comments => self.comment(),
                _ => break,
            }
        }
        has_line_end
    }

    fn comment(&mut self) {
        let end = self.rest().find(['\r', '\n']);
        self.at += end.unwrap_or(self.rest().len());
    }

    /// Skips the end of a line with the comment before it, and empty lines behind; false when
    /// something else comes first.
    pub(super) fn line_end(&mut self) -> bool {
        if !ends_line(self.rest()) {
            return false;
        }
        while !self.is_at_end() && ends_line(self.rest()) {
            self.blanks_in_line();
            if self.rest().starts_with('#') {
                self.comment();
            }
            self.next();
        }
        true
    }

    fn blanks_in_line(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    /// The name of an element: letters, digits and underscores.
    pub(super) fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A value: JSON, a quoted or a bare string.
    pub(super) fn literal(&mut self) -> Result<Value, String> {
        self.blanks(false);
        match self.rest().chars().next() {
            Some('[' | '{') => self.json(),
            _ => self.string(Until::LineEnd),
        }
    }

    /// A quoted or a bare string.
    pub(super) fn string(&mut self, until: Until) -> Result<Value, String> {
        if self.skip("\"") {
            self.double_quoted()
        } else if self.skip("'") {
            self.single_quoted()
        } else {
            Ok(self.bare(until))
        }
    }

    fn bare(&mut self, until: Until) -> Value {
        let start = self.at;
        while let Some(c) = self.rest().chars().next() {
            let ends = match until {
                _ if c == '#' => false,
                _ if c == '\n' => true,
                Until::LineEnd => ends_line(self.rest()),
                Until::Blank => matches!(c, ' ' | '\t' | '\r'),
                Until::TagEnd => {
                    let rest = self.rest().trim_start_matches([' ', '\t', '\r', '\n']);
                    rest.starts_with('>')
                }
            };
            if ends {
                break;
            }
            self.at += c.len_utf8();
        }
        Value::text(&self.text[start..self.at])
    }

    fn double_quoted(&mut self) -> Result<Value, String> {
        let mut value = Value::default();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => return Err("the double quoted string has no end".to_owned()),
                Some('"') => break,
                // A backslash at the end of a line joins it to the next one; without one the line
                // ends are left out as well.
                Some('\r' | '\n') => {}
                Some('\\') => match self.next() {
                    Some('\r') => drop(self.skip("\n")),
                    Some('\n') => {}
                    Some(c) => text.push(unescaped(c)?),
                    None => return Err("the double quoted string has no end".to_owned()),
                },
                Some('#') if self.rest().starts_with('{') => {
                    self.at = at + 2;
                    value.push_text(&std::mem::take(&mut text));
                    value.parts.push(super::Part::Ruby(self.ruby()?));
                }
                Some(c) => text.push(c),
            }
        }
        value.push_text(&text);
        Ok(value)
    }

    fn single_quoted(&mut self) -> Result<Value, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                Some('\'') => return Ok(Value::text(&text)),
                Some('\\') if self.rest().starts_with(['\'', '\\']) => text.extend(self.next()),
                Some('\n') | None => {
                    return Err("the single quoted string has no end on its line".to_owned());
                }
                Some(c) => text.push(c),
            }
        }
    }

    /// Embedded code up to its closing brace, which is skipped. Braces in Ruby's strings do not count.
    fn ruby(&mut self) -> Result<String, String> {
        let start = self.at;
        let mut depth = 0usize;
        let mut quote: Option<char> = None;
        while let Some(c) = self.next() {
            match (quote, c) {
                (Some(_), '\\') => drop(self.next()),
                (Some(q), c) if c == q => quote = None,
                (Some('"'), '#') if self.skip("{") => {
                    // Code in a string in code: one level further down.
                    self.ruby_nested()?;
                }
                (Some(_), _) => {}
                (None, '\'' | '"' | '`') => quote = Some(c),
                (None, '{') => depth += 1,
                (None, '}') if depth == 0 => {
                    return Ok(self.text[start..self.at - 1].trim().to_owned());
                }
                (None, '}') => depth -= 1,
                (None, _) => {}
            }
        }
        Err("the embedded code '#{' has no closing '}'".to_owned())
    }

    fn ruby_nested(&mut self) -> Result<(), String> {
        let mut depth = 0usize;
        while let Some(c) = self.next() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return Ok(()),
                '}' => depth -= 1,
                _ => {}
            }
        }
        Err("the embedded code '#{' has no closing '}'".to_owned())
    }

    /// A JSON array or object over any number of lines; comments may stand between its values.
    fn json(&mut self) -> Result<Value, String> {
        let mut value = Value::default();
        let mut text = String::new();
        let mut depth = 0usize;
        let mut is_string = false;
        while let Some(c) = self.next() {
            match c {
                '\\' if is_string => {
                    text.push(c);
                    text.extend(self.next());
                    continue;
                }
                '"' => is_string = !is_string,
                '#' if is_string && self.skip("{") => {
                    value.push_text(&std::mem::take(&mut text));
                    value.parts.push(super::Part::Ruby(self.ruby()?));
                    continue;
                }
                '#' if !is_string => {
                    self.comment();
                    continue;
                }
                '[' | '{' if !is_string => depth += 1,
                ']' | '}' if !is_string => depth = depth.saturating_sub(1),
                _ => {}
            }
            text.push(c);
            if depth == 0 {
                value.push_text(&text);
                return checked_json(value);
            }
        }
        Err("the JSON value has no end; is a bracket missing?".to_owned())
    }
}

/// Whether nothing but blanks and a comment stands before the end of the line.
fn ends_line(rest: &str) -> bool {
    let after = rest.trim_start_matches([' ', '\t']);
    after.is_empty() || after.starts_with(['#', '\r', '\n'])
}

fn unescaped(c: char) -> Result<char, String> {
    Ok(match c {
        'r' => '\r',
        'n' => '\n',
        't' => '\t',
        'f' => '\x0c',
        'b' => '\x08',
        '0' => '\0',
        c if c.is_ascii_alphanumeric() => {
            return Err(format!(
                "'\\{c}' is no escape in a double quoted string; write '\\\\{c}'"
            ));
        }
        c => c,
    })
}

/// JSON that holds no code has to be valid.
fn checked_json(value: Value) -> Result<Value, String> {
    if let Some(text) = value.plain()
        && let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(text)
    {
        return Err(format!(
            "the value begins as JSON and is none: {e}; put a text that begins with a bracket in quotes"
        ));
    }
    Ok(value)
}
