//! Plugins, their options, and the settings a user gave them, with errors that name the place.
//!
//! A plugin file exports one `const PLUGIN`; the option tables in README and `--help` are made from
//! these constants, so an option cannot be undocumented and cannot be parsed without being listed.

use std::fmt;
use std::sync::Arc;

/// How an option's value is read. The rules are Fluent Bit's unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// `true on yes` or `false off no`, any case.
    Bool,
    /// A whole number.
    Int,
    /// A decimal number.
    Float,
    /// Bytes: a number with an optional K, KB, M, MB, G, GB (1000-based) or KiB, MiB, GiB (1024-based).
    Size,
    /// Seconds as a decimal number, or a number with s, m, h, d.
    Time,
    Text,
    /// Comma separated.
    List,
    /// Two words or more: a key and the rest.
    Pair,
    /// One of these words, any case.
    Choice(&'static [&'static str]),
}

/// One option of a plugin.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Lower case, as Fluent Bit spells it.
    pub name: &'static str,
    pub kind: OptionKind,
    /// Shown in tables; empty when there is none.
    pub default: &'static str,
    /// Whether the option may be given several times.
    pub repeats: bool,
    pub about: &'static str,
}

impl OptionSpec {
    /// An option that may be given once.
    #[must_use]
    pub const fn new(
        name: &'static str,
        kind: OptionKind,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            repeats: false,
            about,
        }
    }

    /// The same option, allowed several times.
    #[must_use]
    pub const fn repeated(mut self) -> Self {
        self.repeats = true;
        self
    }
}

/// Joins two lists of options into the one that a plugin constant needs:
/// `const OPTIONS: [OptionSpec; OWN.len() + SHARED.len()] = joined(OWN, SHARED);`.
#[must_use]
pub const fn joined<const N: usize>(a: &[OptionSpec], b: &[OptionSpec]) -> [OptionSpec; N] {
    assert!(a.len() + b.len() == N, "N is the sum of both lengths");
    let mut all = [OptionSpec::new("", OptionKind::Text, "", ""); N];
    let mut i = 0;
    while i < N {
        all[i] = if i < a.len() { a[i] } else { b[i - a.len()] };
        i += 1;
    }
    all
}

/// A plugin: its name, what it does, its options, and how to make one from settings and from what
/// its surroundings `E` offer (parsers by name, the host's name, ...).
pub struct Plugin<T: ?Sized + 'static, E: 'static = ()> {
    pub name: &'static str,
    pub about: &'static str,
    pub options: &'static [OptionSpec],
    /// A short configuration section that works.
    pub example: &'static str,
    pub build: fn(&Settings, &E) -> Result<Box<T>, ConfigError>,
}

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// A file, or `command line`.
    pub file: Arc<str>,
    /// 1-based; 0 when there are no lines.
    pub line: u32,
    /// 1-based; 0 where a line says enough, as in the classic format.
    pub column: u32,
}

impl Place {
    /// A line of a file; line 0 is the file as a whole.
    #[must_use]
    pub fn new(file: &str, line: u32) -> Self {
        Self {
            file: file.into(),
            line,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// A mistake in the configuration: where, what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    pub place: Place,
    pub message: String,
}

impl ConfigError {
    /// An error at a place.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            message: message.into(),
        }
    }
}

/// One key and value that the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Lower case.
    pub key: String,
    pub value: String,
    pub place: Place,
}

/// All settings of one plugin instance, checked against its options when they are read.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The plugin's name.
    pub plugin: String,
    /// The section's header.
    pub place: Place,
    pub settings: Vec<Setting>,
}

impl Settings {
    /// Settings for tests and the command line.
    #[must_use]
    pub fn of(plugin: &str, pairs: &[(&str, &str)]) -> Self {
        let place = Place::new("command line", 0);
        Self {
            plugin: plugin.to_owned(),
            place: place.clone(),
            settings: pairs
                .iter()
                .map(|(k, v)| Setting {
                    key: k.to_ascii_lowercase(),
                    value: (*v).to_owned(),
                    place: place.clone(),
                })
                .collect(),
        }
    }

    /// Refuses unknown keys (naming the nearest known one), doubled keys, and values that cannot be
    /// read as their option's kind.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self, options: &[OptionSpec]) -> Result<(), ConfigError> {
        for (i, s) in self.settings.iter().enumerate() {
            let Some(spec) = options.iter().find(|o| o.name == s.key) else {
                let names = options.iter().map(|o| o.name);
                return Err(ConfigError::new(
                    &s.place,
                    format!(
                        "unknown key '{}' for {}{}",
                        s.key,
                        self.plugin,
                        did_you_mean(&s.key, names)
                    ),
                ));
            };
            if !spec.repeats
                && let Some(first) = self.settings[..i].iter().find(|f| f.key == s.key)
            {
                return Err(ConfigError::new(
                    &s.place,
                    format!(
                        "'{}' of {} is set twice (first at {}); remove one",
                        s.key, self.plugin, first.place
                    ),
                ));
            }
            check_value(s, spec.kind)?;
        }
        Ok(())
    }

    /// The setting called `key`, if given (the last one).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rfind(|s| s.key == key)
    }

    /// Every setting called `key`, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings.iter().filter(move |s| s.key == key)
    }

    /// The text of `key`, or `default`.
    #[must_use]
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.get(key).map_or(default, |s| &s.value)
    }

    /// The text of a key that must be given.
    ///
    /// # Errors
    /// When it is missing.
    pub fn required(&self, key: &str) -> Result<&str, ConfigError> {
        self.get(key).map(|s| s.value.as_str()).ok_or_else(|| {
            ConfigError::new(
                &self.place,
                format!("{} needs '{key}', which is not set", self.plugin),
            )
        })
    }

    /// A boolean, or `default`.
    ///
    /// # Errors
    /// When the value is no boolean.
    pub fn bool(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        self.parse(key, default, parse_bool, "true, on, yes, false, off or no")
    }

    /// A whole number, or `default`.
    ///
    /// # Errors
    /// When the value is no whole number.
    pub fn int(&self, key: &str, default: i64) -> Result<i64, ConfigError> {
        self.parse(key, default, |t| t.parse().ok(), "a whole number")
    }

    /// A decimal number, or `default`.
    ///
    /// # Errors
    /// When the value is no number.
    pub fn float(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        self.parse(key, default, |t| t.parse().ok(), "a number")
    }

    /// Bytes, or `default`.
    ///
    /// # Errors
    /// When the value is no size.
    pub fn size(&self, key: &str, default: u64) -> Result<u64, ConfigError> {
        self.parse(key, default, parse_size, SIZE_FORM)
    }

    /// Seconds, or `default`.
    ///
    /// # Errors
    /// When the value is no time.
    pub fn seconds(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        self.parse(key, default, parse_seconds, TIME_FORM)
    }

    /// The words of every comma separated list called `key`.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.settings
            .iter()
            .filter(|s| s.key == key)
            .flat_map(|s| s.value.split(','))
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .collect()
    }

    fn parse<T>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
        form: &str,
    ) -> Result<T, ConfigError> {
        let Some(s) = self.get(key) else {
            return Ok(default);
        };
        parse(&s.value).ok_or_else(|| bad_value(s, form))
    }
}

const SIZE_FORM: &str = "a size such as 512K, 5M, 5MiB or 1G";
const TIME_FORM: &str = "a time such as 5, 0.5, 30s, 5m, 1h or 2d";

fn bad_value(s: &Setting, form: &str) -> ConfigError {
    let cure = if s.value.contains(" #") {
        "; a comment needs a line of its own"
    } else {
        ""
    };
    let message = format!("'{}' is '{}', but must be {form}{cure}", s.key, s.value);
    ConfigError::new(&s.place, message)
}

fn check_value(s: &Setting, kind: OptionKind) -> Result<(), ConfigError> {
    let v = s.value.as_str();
    let (fits, form) = match kind {
        OptionKind::Bool => (
            parse_bool(v).is_some(),
            "true, on, yes, false, off or no".into(),
        ),
        OptionKind::Int => (v.parse::<i64>().is_ok(), "a whole number".to_owned()),
        OptionKind::Float => (v.parse::<f64>().is_ok(), "a number".into()),
        OptionKind::Size => (parse_size(v).is_some(), SIZE_FORM.into()),
        OptionKind::Time => (parse_seconds(v).is_some(), TIME_FORM.into()),
        OptionKind::Text | OptionKind::List => (true, String::new()),
        OptionKind::Pair => (
            v.split_whitespace().count() >= 2,
            "a key and a value".into(),
        ),
        OptionKind::Choice(words) => (
            words.iter().any(|w| w.eq_ignore_ascii_case(v)),
            format!("one of {}", words.join(", ")),
        ),
    };
    if fits {
        Ok(())
    } else {
        Err(bad_value(s, &form))
    }
}

/// Reads Fluent Bit's booleans.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|w| w.eq_ignore_ascii_case(text));
    match (is(["true", "on", "yes"]), is(["false", "off", "no"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// Reads a size in bytes: Fluent Bit's decimal suffixes, and the binary ones that it misreads.
/// `false` is 0, as there.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    if text.eq_ignore_ascii_case("false") {
        return Some(0);
    }
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024.0 * 1024.0,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * factor;
    (bytes < 9e18).then_some(bytes as u64)
}

/// The longest time that an option takes, about 31 years: more means the same, and clocks cannot add
/// any number of seconds.
const MAX_SECONDS: f64 = 1e9;

/// Reads seconds: `5`, `0.5`, `30s`, `5m`, `1h`, `2d`.
#[must_use]
pub fn parse_seconds(text: &str) -> Option<f64> {
    let (number, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1.0),
        b'm' => (&text[..text.len() - 1], 60.0),
        b'h' => (&text[..text.len() - 1], 3600.0),
        b'd' => (&text[..text.len() - 1], 86400.0),
        _ => (text, 1.0),
    };
    let value: f64 = number.trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then(|| (value * factor).min(MAX_SECONDS))
}

/// `; did you mean 'x'?` for the nearest known name, or a list of all when none is near.
#[must_use]
pub fn did_you_mean<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    let lower = word.to_ascii_lowercase();
    let nearest = names
        .iter()
        .map(|n| {
            (
                strsim::damerau_levenshtein(&lower, &n.to_ascii_lowercase()),
                *n,
            )
        })
        .min();
    match nearest {
        Some((distance, name)) if distance <= 1 + word.len() / 4 => {
            format!("; did you mean '{name}'?")
        }
        Some(_) => format!("; known: {}", names.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[OptionSpec] = &[
        OptionSpec::new("path", OptionKind::List, "", ""),
        OptionSpec::new("mem_buf_limit", OptionKind::Size, "", ""),
        OptionSpec::new("tls", OptionKind::Bool, "off", ""),
        OptionSpec::new("format", OptionKind::Choice(&["json", "csv"]), "json", ""),
        OptionSpec::new("record", OptionKind::Pair, "", "").repeated(),
    ];

    fn message(pairs: &[(&str, &str)]) -> String {
        match Settings::of("tail", pairs).check(OPTIONS) {
            Ok(()) => "ok".into(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn mistakes_are_named_with_their_cure() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("Path", "/a,/b"), ("mem_buf_limit", "5MiB")], "ok"),
            (&[("record", "a 1"), ("record", "b 2")], "ok"),
            (
                &[("pth", "x")],
                "command line: unknown key 'pth' for tail; did you mean 'path'?",
            ),
            (
                &[("tls", "1")],
                "command line: 'tls' is '1', but must be true, on, yes, false, off or no",
            ),
            (
                &[("tls", "on # encrypted")],
                "command line: 'tls' is 'on # encrypted', but must be true, on, yes, false, off or no; a comment needs a line of its own",
            ),
            (
                &[("tls", "on"), ("tls", "off")],
                "command line: 'tls' of tail is set twice (first at command line); remove one",
            ),
            (
                &[("mem_buf_limit", "5 quarts")],
                "command line: 'mem_buf_limit' is '5 quarts', but must be a size such as 512K, 5M, 5MiB or 1G",
            ),
            (
                &[("format", "xml")],
                "command line: 'format' is 'xml', but must be one of json, csv",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(message(pairs), *expected);
        }
    }

    #[test]
    fn sizes_and_times() {
        for (text, bytes) in [
            ("5M", 5_000_000),
            ("5MiB", 5 << 20),
            ("32768", 32768),
            ("1.5k", 1500),
            ("False", 0),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for (text, seconds) in [("1m", 60.0), ("0.5", 0.5), ("2d", 172_800.0)] {
            assert_eq!(parse_seconds(text), Some(seconds), "{text}");
        }
        assert_eq!(parse_size("-1"), None);
        assert_eq!(parse_seconds("1e300d"), Some(1e9));
        assert_eq!(parse_seconds("soon"), None);
    }
}
