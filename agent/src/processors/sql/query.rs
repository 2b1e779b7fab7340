//! The query language of the processor `sql`: text in, a tree out.

/// How deeply conditions may be nested.
const MAX_DEPTH: usize = 64;

/// A whole query.
pub struct Query {
    /// Keys and the names they get; `None` for `*`.
    pub keys: Option<Vec<(String, String)>>,
    pub condition: Option<Condition>,
}

/// What WHERE asks of a record.
pub enum Condition {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Constant(Literal),
    Contains(String),
    IsNull(String),
    /// A key alone.
    IsTrue(String),
    Compare(String, Compare, Literal),
}

/// How a key and a value are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value in a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Literal {
    /// Whether it holds as a condition by itself.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Bool(b) => *b,
            Self::Int(n) => *n > 0,
            Self::Float(n) => *n > 0.0,
            Self::Text(_) => true,
        }
    }

    /// The number; what is none compares with nothing.
    pub fn number(&self) -> f64 {
        match self {
            Self::Int(n) => *n as f64,
            Self::Float(n) => *n,
            _ => f64::NAN,
        }
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// What was expected, and where.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text };
        reader.word("SELECT")?;
        let keys = reader.keys()?;
        reader.word("FROM")?;
        reader.word("STREAM")?;
        if reader.takes(":") {
            reader.key()?;
        }
        let condition = if reader.takes_word("WHERE") {
            Some(reader.condition(0)?)
        } else {
            None
        };
        reader.sign(";")?;
        match reader.rest.trim() {
            "" => Ok(Self { keys, condition }),
            rest => Err(format!("nothing may follow the ';' at '{rest}'")),
        }
    }

    /// Whether a key is named in it.
    pub fn concerns(&self, key: &str) -> bool {
        let selects = |keys: &Vec<(String, String)>| {
            keys.iter().any(|(from, to)| from == key || to == key) || !keys.is_empty()
        };
        self.keys.as_ref().is_some_and(selects)
            || self.condition.as_ref().is_some_and(|c| c.concerns(key))
    }
}

impl Condition {
    fn concerns(&self, wanted: &str) -> bool {
        match self {
            Self::And(a, b) | Self::Or(a, b) => a.concerns(wanted) || b.concerns(wanted),
            Self::Not(inner) => inner.concerns(wanted),
            Self::Constant(_) => false,
            Self::Contains(key) | Self::IsNull(key) | Self::IsTrue(key) => key == wanted,
            Self::Compare(key, ..) => key == wanted,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

const WORDS: &[&str] = &[
    "SELECT", "AS", "FROM", "WHERE", "AND", "OR", "NOT", "IS", "NULL",
];

impl Reader<'_> {
    fn expected(&self, what: &str) -> String {
        match self.rest.trim() {
            "" => format!("expected {what} at the end"),
            rest => format!("expected {what} at '{rest}'"),
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sign(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) {
            Ok(())
        } else {
            Err(self.expected(&format!("'{sign}'")))
        }
    }

    /// The name that comes next, without taking it.
    fn name(&self) -> &str {
        let rest = self.rest.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        &rest[..end]
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let name = self.name();
        if !name.eq_ignore_ascii_case(word) {
            return false;
        }
        let n = name.len();
        self.rest = &self.rest.trim_start()[n..];
        true
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        if self.takes_word(word) {
            Ok(())
        } else {
            Err(self.expected(word))
        }
    }

    fn key(&mut self) -> Result<String, String> {
        let name = self.name().to_owned();
        let is_word = WORDS.iter().any(|w| w.eq_ignore_ascii_case(&name));
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
        if is_word || !name.starts_with(starts) {
            return Err(self.expected("a key"));
        }
        self.rest = &self.rest.trim_start()[name.len()..];
        Ok(name)
    }

    fn keys(&mut self) -> Result<Option<Vec<(String, String)>>, String> {
        let (mut keys, mut is_all) = (Vec::new(), false);
        loop {
            if self.takes("*") {
                is_all = true;
            } else {
                let key = self.key()?;
                let name = if self.takes_word("AS") {
                    self.key()?
                } else {
                    key.clone()
                };
                keys.push((key, name));
            }
            if !self.takes(",") {
                return Ok((!is_all).then_some(keys));
            }
        }
    }

    /// Right to left, as the grammar of Fluent Bit groups.
    fn condition(&mut self, depth: usize) -> Result<Condition, String> {
        if depth > MAX_DEPTH {
            return Err("brackets are nested too deeply".to_owned());
        }
        if self.takes_word("NOT") {
            let inner = self.condition(depth + 1)?;
            return Ok(Condition::Not(Box::new(inner)));
        }
        let left = if self.takes("(") {
            let inner = self.condition(depth + 1)?;
            self.sign(")")?;
            inner
        } else {
            self.comparison()?
        };
        if self.takes_word("AND") {
            let right = self.condition(depth + 1)?;
            return Ok(Condition::And(Box::new(left), Box::new(right)));
        }
        if self.takes_word("OR") {
            let right = self.condition(depth + 1)?;
            return Ok(Condition::Or(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        if let Some(literal) = self.literal()? {
            return Ok(Condition::Constant(literal));
        }
        if self.takes("@") {
            self.word("record.contains")?;
            self.sign("(")?;
            let key = self.key()?;
            self.sign(")")?;
            return Ok(Condition::Contains(key));
        }
        let key = self.key()?;
        if self.takes_word("IS") {
            let not = self.takes_word("NOT");
            self.word("NULL")?;
            let is_null = Condition::IsNull(key);
            return Ok(if not {
                Condition::Not(Box::new(is_null))
            } else {
                is_null
            });
        }
        let negated = self.takes("!=") || self.takes("<>");
        let compare = if negated || self.takes("=") {
            Compare::Equal
        } else if self.takes("<=") {
            Compare::LessOrEqual
        } else if self.takes(">=") {
            Compare::GreaterOrEqual
        } else if self.takes("<") {
            Compare::Less
        } else if self.takes(">") {
            Compare::Greater
        } else {
            return Ok(Condition::IsTrue(key));
        };
        let literal = self.literal()?;
        let literal = literal.ok_or_else(|| self.expected("a value"))?;
        let compared = Condition::Compare(key, compare, literal);
        Ok(if negated {
            Condition::Not(Box::new(compared))
        } else {
            compared
        })
    }

    /// A value, if one comes next.
    fn literal(&mut self) -> Result<Option<Literal>, String> {
        for (word, value) in [("true", true), ("false", false)] {
            if self.takes_word(word) {
                return Ok(Some(Literal::Bool(value)));
            }
        }
        let rest = self.rest.trim_start();
        if let Some(inside) = rest.strip_prefix('\'') {
            return self.quoted(rest, inside).map(Some);
        }
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        let sign = rest.len() - digits.len();
        let end = digits.find(|c| !is_part(c)).unwrap_or(digits.len()) + sign;
        let text = &rest[..end];
        let literal = match (text.parse(), text.parse()) {
            (Ok(n), _) => Literal::Int(n),
            (_, Ok(n)) => Literal::Float(n),
            _ => return Err(self.expected("a number")),
        };
        self.rest = &rest[end..];
        Ok(Some(literal))
    }

    /// A text in quotes; two of them stand for one in it.
    fn quoted(&mut self, all: &str, inside: &str) -> Result<Literal, String> {
        let mut text = String::new();
        let mut chars = inside.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '\'' {
                text.push(c);
            } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
                text.push('\'');
            } else {
                let n = all.len() - inside.len() + at + 1;
                let skipped = self.rest.len() - self.rest.trim_start().len();
                self.rest = &self.rest[skipped + n..];
                return Ok(Literal::Text(text));
            }
        }
        Err(format!("a text without its closing quote at '{all}'"))
    }
}
