//! Parsers and multiline parsers by name: the built-in ones, those of `parsers_file`, and those of a
//! YAML configuration itself.
//!
//! Shared parsers files hold more than anyone uses, so a parser that cannot be built is a warning; only
//! its use is a mistake.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, Place, Settings};
use kansoku_parsers::config::{Section, SectionKind};
use kansoku_parsers::line::multiline::{self, Multiline};
use kansoku_parsers::line::{self, Parser};

use super::catalogue::Catalogue;
use super::{documents, named};
use crate::plugin::Environment;

/// All parsers of a configuration.
#[derive(Default)]
pub(super) struct Parsers {
    pub lines: Catalogue<Parser>,
    /// By name in lower case.
    pub multilines: Catalogue<Multiline>,
}

/// Reads the files named by `parsers_file` and the sections of the main configuration.
pub(super) fn read(
    service: &Settings,
    sections: Vec<Section>,
    warnings: &mut Vec<ConfigError>,
) -> Result<Parsers, ConfigError> {
    let mut all: Vec<Section> = Vec::new();
    for file in service.all("parsers_file") {
        for section in documents::named_by(file, &service.place.file, warnings)? {
            match section.kind {
                SectionKind::Parser | SectionKind::MultilineParser => all.push(section),
                kind => {
                    let message = format!("a parsers file cannot hold a {kind:?} section");
                    return Err(ConfigError::new(&section.place, message));
                }
            }
        }
    }
    all.extend(sections);
    build(all, warnings)
}

fn build(sections: Vec<Section>, warnings: &mut Vec<ConfigError>) -> Result<Parsers, ConfigError> {
    let mut parsers = Parsers::default();
    for name in line::builtin::names() {
        let make = move || line::builtin::named(name, &zone);
        parsers.lines.insert(name, make);
    }
    for name in multiline::builtin::names() {
        let make = move || multiline::builtin::named(name);
        parsers.multilines.insert(&name.to_ascii_lowercase(), make);
    }
    let (lines, multilines): (Vec<_>, Vec<_>) =
        (sections.into_iter()).partition(|s| s.kind == SectionKind::Parser);
    each(
        lines,
        "parser",
        |name, settings, _| {
            parsers.lines.remove(name);
            // Built once to see that it can be, and again when it is used.
            Parser::new(settings, &zone)?;
            let settings = settings.clone();
            let make = move || Parser::new(&settings, &zone).ok();
            parsers.lines.insert(name, make);
            Ok(())
        },
        warnings,
    )?;
    let Parsers {
        lines,
        multilines: known,
    } = &mut parsers;
    // After all parsers: a multiline parser may name any of them.
    each(
        multilines,
        "multiline parser",
        |name, settings, _| {
            known.remove(&name.to_ascii_lowercase());
            let parser = Multiline::new(settings, &|wanted| lines.get(wanted))?;
            known.insert(&name.to_ascii_lowercase(), move || Some(parser.clone()));
            Ok(())
        },
        warnings,
    )?;
    Ok(parsers)
}

/// A zone of the IANA database, or the system's for the empty name.
fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    }
}

/// Builds section by section; a name may be there once.
fn each(
    sections: Vec<Section>,
    what: &str,
    mut add: impl FnMut(&str, &Settings, &Place) -> Result<(), ConfigError>,
    warnings: &mut Vec<ConfigError>,
) -> Result<(), ConfigError> {
    let mut defined: HashMap<String, Place> = HashMap::new();
    for section in sections {
        let settings = named("PARSER", section.place.clone(), section.settings);
        let name = settings.required("name")?.to_owned();
        if let Some(first) = defined.insert(name.clone(), section.place.clone()) {
            let message =
                format!("{what} '{name}' is defined twice (first at {first}); remove one");
            return Err(ConfigError::new(&section.place, message));
        }
        if let Err(e) = add(&name, &settings, &section.place) {
            let message = format!("{what} '{name}' is not available: {}", e.message);
            warnings.push(ConfigError::new(&e.place, message));
        }
    }
    Ok(())
}

/// Finds a parser by name, for plugins that take one.
///
/// # Errors
/// When there is none of that name.
pub fn find_parser(
    environment: &Environment,
    setting: &Setting,
) -> Result<Arc<Parser>, ConfigError> {
    let found = environment.parsers.get(&setting.value);
    let names = environment.parsers.names();
    found.ok_or_else(|| unknown("parser", &setting.value, &setting.place, names))
}

/// Finds a parser by name where Fluent Bit goes on without one that it does not know: lines stay as
/// they are, which is told.
#[must_use]
pub fn find_parser_or_raw(environment: &Environment, setting: &Setting) -> Option<Arc<Parser>> {
    let found = find_parser(environment, setting);
    found
        .map_err(|error| {
            let message = format!("{}; lines are not parsed", error.message);
            environment.warn(&error.place, message);
        })
        .ok()
}

/// Finds a multiline parser by name, in any case, for plugins that take some.
///
/// # Errors
/// When there is none of that name.
pub fn find_multiline(
    environment: &Environment,
    name: &str,
    place: &Place,
) -> Result<Arc<Multiline>, ConfigError> {
    let all = &environment.multilines;
    let found = all.get(&name.to_ascii_lowercase());
    let names = all.names();
    found.ok_or_else(|| unknown("multiline parser", name, place, names))
}

fn unknown<'a>(
    what: &str,
    name: &str,
    place: &Place,
    names: impl Iterator<Item = &'a str>,
) -> ConfigError {
    let hint = did_you_mean(name, names);
    let message =
        format!("unknown {what} '{name}'{hint} (parsers come from parsers_file in [SERVICE])");
    ConfigError::new(place, message)
}
