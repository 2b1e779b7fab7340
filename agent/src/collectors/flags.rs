//! node_exporter's per-collector flags: what there is, what was given, and how a value is read.
//!
//! A collector names its flags as constants in its own file and lists them in its
//! [`Entry`](super::Entry); the command line, its help and the `node_exporter_metrics` input all go
//! by that list. The rule: a value is read when its collector is built, so a bad one is a mistake at
//! the start and never a failed scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kansoku_web::go_duration;
use regex::bytes::Regex;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagKind {
    /// No value: `--x` and `--no-x`.
    Switch,
    /// One value.
    Text,
    /// A value each time it is given.
    List,
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without the dashes: `collector.arp.netlink`.
    pub name: &'static str,
    pub kind: FlagKind,
    /// `true` or `false` for a switch.
    pub default: &'static str,
    pub help: &'static str,
    /// Left out of the help, as in node_exporter.
    pub is_hidden: bool,
    /// The newer flag that a deprecated one gives its value to.
    pub stands_for: Option<&'static str>,
}

impl Flag {
    /// A flag without a value.
    #[must_use]
    pub const fn switch(name: &'static str, is_on: bool, help: &'static str) -> Self {
        let default = if is_on { "true" } else { "false" };
        Self::new(name, FlagKind::Switch, default, help)
    }

    /// A flag with one value.
    #[must_use]
    pub const fn text(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self::new(name, FlagKind::Text, default, help)
    }

    /// A flag that may be given several times.
    #[must_use]
    pub const fn list(name: &'static str, help: &'static str) -> Self {
        Self::new(name, FlagKind::List, "", help)
    }

    /// An old name of another flag.
    #[must_use]
    pub const fn deprecated(name: &'static str, stands_for: &'static str) -> Self {
        let mut flag = Self::new(name, FlagKind::Text, "", "");
        flag.stands_for = Some(stands_for);
        flag.hidden()
    }

    /// The same flag, left out of the help.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.is_hidden = true;
        self
    }

    const fn new(
        name: &'static str,
        kind: FlagKind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            help,
            is_hidden: false,
            stands_for: None,
        }
    }
}

/// The values that were given, by the flag's name.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    given: BTreeMap<&'static str, Vec<String>>,
}

impl Flags {
    /// Takes over a value; a deprecated flag gives it to the one it stands for.
    ///
    /// # Errors
    /// When a flag that takes one value has one already.
    pub fn set(&mut self, flag: &Flag, value: impl Into<String>) -> Result<(), String> {
        let values = self
            .given
            .entry(flag.stands_for.unwrap_or(flag.name))
            .or_default();
        if flag.kind != FlagKind::List && !values.is_empty() {
            return Err(match flag.stands_for {
                Some(newer) => format!("--{} and --{newer} are mutually exclusive", flag.name),
                None => format!("flag '{}' cannot be repeated", flag.name),
            });
        }
        values.push(value.into());
        Ok(())
    }

    /// Whether a value was given.
    #[must_use]
    pub fn is_given(&self, flag: &Flag) -> bool {
        self.given.contains_key(flag.name)
    }

    /// The value, or the default.
    #[must_use]
    pub fn text<'a>(&'a self, flag: &'a Flag) -> &'a str {
        self.list(flag).last().map_or(flag.default, String::as_str)
    }

    /// Every value, in order.
    #[must_use]
    pub fn list(&self, flag: &Flag) -> &[String] {
        self.given.get(flag.name).map_or(&[], Vec::as_slice)
    }

    /// Whether a switch is on.
    #[must_use]
    pub fn is_on(&self, flag: &Flag) -> bool {
        self.text(flag) == "true"
    }

    /// A whole number.
    ///
    /// # Errors
    /// When the value is none.
    pub fn number(&self, flag: &Flag) -> anyhow::Result<u64> {
        let text = self.text(flag);
        let number = text.parse();
        number.with_context(|| format!("--{} is '{text}', but must be a whole number", flag.name))
    }

    /// A duration as Go writes it: `5s`, `1m30s`, `1.5ms`.
    ///
    /// # Errors
    /// When the value is none.
    pub fn duration(&self, flag: &Flag) -> anyhow::Result<Duration> {
        let text = self.text(flag);
        go_duration(text).with_context(|| {
            format!(
                "--{} is '{text}', but must be a duration such as 5s",
                flag.name
            )
        })
    }

    /// A pattern that is searched in a name; `None` when the value is empty.
    ///
    /// # Errors
    /// When the value is no regular expression.
    pub fn pattern(&self, flag: &Flag) -> anyhow::Result<Option<Regex>> {
        let text = self.text(flag);
        if text.is_empty() {
            return Ok(None);
        }
        let regex = Regex::new(text);
        let regex = regex.with_context(|| format!("--{} is no valid pattern", flag.name))?;
        Ok(Some(regex))
    }

    /// A filter of both flags' patterns: both apply.
    ///
    /// # Errors
    /// When a value is no regular expression.
    pub fn filter(&self, include: &Flag, exclude: &Flag) -> anyhow::Result<NameFilter> {
        Ok(NameFilter {
            exclude: self.pattern(exclude)?,
            include: self.pattern(include)?,
        })
    }

    /// A filter of one of the two flags: giving `include` takes the default of `exclude` away.
    ///
    /// # Errors
    /// When both were given, or a value is no regular expression.
    pub fn either_filter(&self, include: &Flag, exclude: &Flag) -> anyhow::Result<NameFilter> {
        let mut filter = self.filter(include, exclude)?;
        if filter.include.is_some() {
            if self.is_given(exclude) && filter.exclude.is_some() {
                bail!(
                    "--{} and --{} are mutually exclusive",
                    exclude.name,
                    include.name
                );
            }
            filter.exclude = None;
        }
        Ok(filter)
    }
}

/// Which names are left out.
#[derive(Debug, Clone, Default)]
pub struct NameFilter {
    exclude: Option<Regex>,
    include: Option<Regex>,
}

impl NameFilter {
    /// Whether the name is to be left out.
    #[must_use]
    pub fn is_ignored(&self, name: &str) -> bool {
        let is_match = |regex: &Regex| regex.is_match(name.as_bytes());
        self.exclude.as_ref().is_some_and(is_match)
            || self
                .include
                .as_ref()
                .is_some_and(|include| !is_match(include))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCLUDE: Flag = Flag::text("x.include", "", "");
    const EXCLUDE: Flag = Flag::text("x.exclude", "^lo$", "");
    const OLD: Flag = Flag::deprecated("x.blacklist", "x.exclude");
    const ON: Flag = Flag::switch("x.on", true, "");
    const MANY: Flag = Flag::list("x.many", "");

    fn given(pairs: &[(&Flag, &str)]) -> Flags {
        let mut flags = Flags::default();
        for (flag, value) in pairs {
            flags.set(flag, *value).expect("given once");
        }
        flags
    }

    #[test]
    fn defaults_values_and_lists() {
        let flags = given(&[(&MANY, "a"), (&MANY, "b"), (&OLD, "^x$")]);
        assert_eq!(flags.text(&EXCLUDE), "^x$");
        assert_eq!(flags.list(&MANY), ["a", "b"]);
        assert!(flags.is_on(&ON) && !given(&[(&ON, "false")]).is_on(&ON));
        assert_eq!(Flags::default().text(&EXCLUDE), "^lo$");
        let again = given(&[(&EXCLUDE, "y")]).set(&EXCLUDE, "z");
        assert_eq!(
            again.expect_err("twice"),
            "flag 'x.exclude' cannot be repeated"
        );
        let both = given(&[(&EXCLUDE, "y")]).set(&OLD, "z");
        assert_eq!(
            both.expect_err("both names"),
            "--x.blacklist and --x.exclude are mutually exclusive"
        );
    }

    #[test]
    fn filters_search_and_exclude_each_other() {
        let filter = Flags::default()
            .either_filter(&INCLUDE, &EXCLUDE)
            .expect("valid");
        assert!(filter.is_ignored("lo") && !filter.is_ignored("lol"));
        let filter = given(&[(&INCLUDE, "o")])
            .either_filter(&INCLUDE, &EXCLUDE)
            .expect("valid");
        assert!(!filter.is_ignored("lo") && filter.is_ignored("eth1"));
        let both = given(&[(&INCLUDE, "o"), (&EXCLUDE, "e")]);
        assert_eq!(
            both.either_filter(&INCLUDE, &EXCLUDE)
                .expect_err("both")
                .to_string(),
            "--x.exclude and --x.include are mutually exclusive"
        );
        let filter = both.filter(&INCLUDE, &EXCLUDE).expect("valid");
        assert!(filter.is_ignored("eth1") && filter.is_ignored("neo") && !filter.is_ignored("lo"));
        assert!(given(&[(&INCLUDE, "(")]).pattern(&INCLUDE).is_err());
    }

    #[test]
    fn durations_are_go_s() {
        for (text, seconds) in [
            ("5s", Some(5.0)),
            ("1m30s", Some(90.0)),
            ("3.46608s", Some(3.46608)),
            ("1.5ms", Some(0.0015)),
            ("0", Some(0.0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-1s", None),
        ] {
            assert_eq!(
                go_duration(text).map(|d| d.as_secs_f64()),
                seconds,
                "{text}"
            );
        }
    }
}
