//! From sections and keys to typed plugins, with errors that name file, line and cure.
//!
//! Everything that can be wrong is found here, before anything runs, and all mistakes are told at
//! once: sections, names, core options, the `[SERVICE]` section, parsers, and what each plugin's own
//! `build` checks.

mod builder;
pub mod catalogue;
mod conditional;
mod documents;
pub mod files;
mod foreign;
pub mod instance;
mod parser_files;
pub(crate) mod routing;
pub mod service;
mod voice;
pub mod without_effect;

use std::collections::HashMap;

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Place, Settings};
use kansoku_parsers::config::{Group, Section, SectionKind};

use crate::command_line::Invocation;
use crate::pipeline::PipelineSpec;
use crate::plugin::Environment;

use builder::Builder;
use instance::Mistake;
use parser_files::Parsers;
pub use parser_files::{find_multiline, find_parser, find_parser_or_raw};
pub use service::{HealthCheck, Service};

/// A whole configuration, built and ready to run.
pub struct Configuration {
    pub service: Service,
    pub pipeline: PipelineSpec,
    /// What SERVICE and the plugins' sections said, for reports.
    pub sections: Vec<(SectionKind, Vec<Setting>)>,
    /// The own settings of each input: `/metrics` collects by them, too.
    pub inputs: Vec<Settings>,
    pub environment: Environment,
}

/// What reading the configuration gave.
pub struct Outcome {
    pub result: Result<Configuration, Vec<Mistake>>,
    /// What has no effect and surely was not meant so.
    pub warnings: Vec<ConfigError>,
}

/// Reads the files that the command line names, and builds every plugin.
#[must_use]
pub fn load(invocation: &Invocation) -> Outcome {
    let mut warnings = Vec::new();
    let main = invocation.config_file.as_deref().unwrap_or_default();
    let result = match documents::of_invocation(invocation, &mut warnings) {
        Ok((sections, file)) => build(sections, main, &mut warnings).map(|mut built| {
            built.pipeline.config_file = file;
            built
        }),
        Err(error) => Err(vec![Mistake::read(error)]),
    };
    Outcome { result, warnings }
}

fn build(
    sections: Vec<Section>,
    main: &str,
    warnings: &mut Vec<ConfigError>,
) -> Result<Configuration, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut service_settings = Settings {
        plugin: "SERVICE".into(),
        place: Place::new(main, 0),
        ..Settings::default()
    };
    let (mut plugins, mut own_parsers, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let is_yaml = kansoku_parsers::config::is_yaml(main);
    for section in sections {
        match section.kind {
            SectionKind::Service => {
                mistakes.extend(groups(&section.groups, warnings).err());
                service_settings.settings.extend(section.settings);
            }
            SectionKind::Input | SectionKind::Filter | SectionKind::Output => plugins.push(section),
            SectionKind::Parser | SectionKind::MultilineParser if is_yaml => {
                own_parsers.push(section);
            }
            SectionKind::Upstream | SectionKind::Node => others.push(section),
            kind => mistakes.extend(misplaced(kind, &section)),
        }
    }
    let mut mistakes: Vec<Mistake> = mistakes.into_iter().map(Mistake::read).collect();
    let mut note = |error: ConfigError| mistakes.push(Mistake::read(error));
    let service = match Service::of(&service_settings, warnings) {
        Ok(service) => service,
        Err(error) => {
            note(error);
            return Err(mistakes);
        }
    };
    for key in ["plugins_file", "streams_file"] {
        for setting in service_settings.all(key) {
            match documents::named_by(setting, main, warnings) {
                Ok(sections) => {
                    let found = sections.iter().filter_map(|s| misplaced(s.kind, s));
                    found.for_each(&mut note);
                }
                Err(error) => note(error),
            }
        }
    }
    let parsers = parser_files::read(&service_settings, own_parsers, warnings);
    let parsers = parsers.unwrap_or_else(|error| {
        note(error);
        Parsers::default()
    });
    others.extend(
        plugins
            .iter()
            .filter(|s| s.kind == SectionKind::Output)
            .cloned(),
    );
    let upstreams = documents::upstreams(&others, main, warnings).unwrap_or_else(|error| {
        note(error);
        HashMap::new()
    });
    let service_section = (SectionKind::Service, service_settings.settings.clone());
    let of_plugins = plugins.iter().map(|s| (s.kind, s.settings.clone()));
    let shown = std::iter::once(service_section).chain(of_plugins).collect();
    let mut builder = Builder::new(&service, parsers, upstreams, warnings);
    for section in plugins {
        builder
            .section(section)
            .unwrap_or_else(|mistake| mistakes.push(mistake));
    }
    let (pipeline, inputs, environment) = builder.finish(&mut mistakes);
    if mistakes.is_empty() {
        Ok(Configuration {
            service,
            pipeline,
            sections: shown,
            inputs,
            environment,
        })
    } else {
        Err(mistakes)
    }
}

/// Groups of keys in SERVICE or a plugin's section: only `telemetry` has a meaning in Fluent Bit.
fn groups(groups: &[Group], warnings: &mut Vec<ConfigError>) -> Result<(), ConfigError> {
    for group in groups {
        let message = match group.name.as_str() {
            "telemetry" => {
                let message = "'telemetry' has no effect: records are counted per input, filter and output";
                warnings.push(ConfigError::new(&group.place, message));
                continue;
            }
            "processors" => "processors can be written in YAML only; rename the file to .yaml and rewrite it, or use [FILTER] sections".to_owned(),
            name => format!("nothing knows the group '{name}'; remove it"),
        };
        return Err(ConfigError::new(&group.place, message));
    }
    Ok(())
}

/// What is said of a section that has no place in the main file, or none at all; nothing of one that
/// asks for nothing, as [PLUGINS] in Fluent Bit's own files.
fn misplaced(kind: SectionKind, section: &Section) -> Option<ConfigError> {
    if section.settings.is_empty() {
        return None;
    }
    let value = |key: &str| {
        let found = section.settings.iter().find(|s| s.key == key);
        found.map_or("", |s| s.value.as_str())
    };
    let message = match kind {
        SectionKind::Parser | SectionKind::MultilineParser => {
            "parsers belong into a file of their own, named by parsers_file in [SERVICE]".to_owned()
        }
        SectionKind::StreamTask => format!(
            "stream task '{}': there is no stream processor; remove it, and compute from the records where they are stored, or use the filter log_to_metrics",
            value("name")
        ),
        SectionKind::Plugins => format!(
            "plugin '{}': shared objects (Go, C) cannot be loaded; use a built-in plugin instead, see --help, or send to the destination over http, forward or opentelemetry",
            value("path")
        ),
        SectionKind::Custom => format!(
            "custom plugin '{}' does not exist here; remove the section",
            value("name")
        ),
        kind => format!("a {kind:?} section cannot be in this file"),
    };
    Some(ConfigError::new(&section.place, message))
}

fn named(plugin: &str, place: Place, settings: Vec<Setting>) -> Settings {
    Settings {
        plugin: plugin.to_owned(),
        place,
        settings,
    }
}

#[cfg(test)]
mod tests;
