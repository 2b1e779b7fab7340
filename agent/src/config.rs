//! From sections and keys to typed plugins, with errors that name file, line and cure.
//!
//! Everything that can be wrong is found here, before anything runs, and all mistakes are told at
//! once: sections, names, core options, the `[SERVICE]` section, parsers, and what each plugin's own
//! `build` checks.

pub mod files;
pub mod instance;
pub mod service;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use kansoku_model::plugin::{Setting, did_you_mean};
use kansoku_model::{ConfigError, Place, Settings};
use kansoku_outputs::{OutputEnvironment, RetryPolicy};
use kansoku_parsers::config::{Document, Section, SectionKind, classic};
use kansoku_parsers::line::{self, Parser};

use crate::command_line::{self, Invocation};
use crate::kubernetes::Pods;
use crate::pipeline::{OutputSpec, PipelineSpec, TagMatch};
use crate::plugin::Environment;
use crate::server::PluginNames;
use crate::{filters, inputs};

use instance::Mistake;
pub use service::{HealthCheck, Service};

/// A whole configuration, built and ready to run.
pub struct Configuration {
    pub service: Service,
    pub pipeline: PipelineSpec,
    /// The own settings of each input: `/metrics` collects by them, too.
    pub inputs: Vec<Settings>,
    /// The names of all plugins in use.
    pub plugins: PluginNames,
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
    let result = match documents(invocation, &mut warnings) {
        Ok(sections) => build(sections, &mut warnings),
        Err(error) => Err(vec![Mistake::read(error)]),
    };
    Outcome { result, warnings }
}

/// The sections of file and command line, with variables replaced.
fn documents(
    invocation: &Invocation,
    warnings: &mut Vec<ConfigError>,
) -> Result<Vec<Section>, ConfigError> {
    let mut document = match &invocation.config_file {
        Some(path) => read(path, path)?,
        None => Document::default(),
    };
    document
        .sections
        .extend(invocation.sections.iter().cloned());
    if !invocation.service.is_empty() {
        document.sections.push(Section {
            kind: SectionKind::Service,
            place: invocation.service[0].place.clone(),
            settings: invocation.service.clone(),
        });
    }
    document.expand(&files::variable);
    warnings.append(&mut document.warnings);
    Ok(document.sections)
}

/// Reads one file and its includes; relative paths are also looked for beside `main`.
fn read(path: &str, main: &str) -> Result<Document, ConfigError> {
    let mut document = classic::parse(path, &mut |wanted| {
        let lower = wanted.to_ascii_lowercase();
        if lower.ends_with(".yaml") || lower.ends_with(".yml") {
            let message = "is YAML, which is not supported yet; use the classic format ([SERVICE], [INPUT], ...)";
            return Err(format!("{wanted} {message}"));
        }
        files::read(wanted, main)
    })?;
    for (_, value) in &mut document.variables {
        if let Some(file) = value.strip_prefix("file://") {
            *value = files::text(file).map_err(|e| {
                let place = Place::new(path, 0);
                ConfigError::new(&place, e)
            })?;
        }
    }
    Ok(document)
}

fn build(
    sections: Vec<Section>,
    warnings: &mut Vec<ConfigError>,
) -> Result<Configuration, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut service_settings = Settings {
        plugin: "SERVICE".into(),
        ..Settings::default()
    };
    let mut plugins = Vec::new();
    for section in sections {
        match section.kind {
            SectionKind::Service => service_settings.settings.extend(section.settings),
            SectionKind::Input | SectionKind::Filter | SectionKind::Output => plugins.push(section),
            kind => mistakes.push(Mistake::read(misplaced(kind, &section.place))),
        }
    }
    let service = match Service::of(&service_settings, warnings) {
        Ok(service) => service,
        Err(error) => {
            mistakes.push(Mistake::read(error));
            return Err(mistakes);
        }
    };
    let parsers = parsers(&service_settings, warnings).unwrap_or_else(|error| {
        mistakes.push(Mistake::read(error));
        HashMap::new()
    });
    let mut builder = Builder::new(&service, parsers, warnings);
    for section in plugins {
        builder
            .section(section)
            .unwrap_or_else(|mistake| mistakes.push(mistake));
    }
    if builder.spec.inputs.is_empty() && mistakes.is_empty() {
        let place = Place::new("configuration", 0);
        let message = "there is no input; add an [INPUT] section or -i NAME";
        mistakes.push(Mistake::read(ConfigError::new(&place, message)));
    }
    let (pipeline, inputs, plugins, environment) = builder.finish(mistakes.is_empty());
    if mistakes.is_empty() {
        Ok(Configuration {
            service,
            pipeline,
            inputs,
            plugins,
            environment,
        })
    } else {
        Err(mistakes)
    }
}

fn misplaced(kind: SectionKind, place: &Place) -> ConfigError {
    let message = match kind {
        SectionKind::Parser | SectionKind::MultilineParser => {
            "parsers belong into a file of their own, named by parsers_file in [SERVICE]"
        }
        SectionKind::StreamTask => "the stream processor is not supported; remove the section",
        SectionKind::Plugins => "no shared objects are loaded; remove the section",
        SectionKind::Custom => "there are no custom plugins; remove the section",
        _ => "upstream sections belong into a file of their own, and are not supported yet",
    };
    ConfigError::new(place, message)
}

/// The built-in parsers and those of the files named by `parsers_file`.
fn parsers(
    service: &Settings,
    warnings: &mut Vec<ConfigError>,
) -> Result<HashMap<String, Arc<Parser>>, ConfigError> {
    let zones: line::Zones<'_> = &|name| match name {
        "" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    };
    let builtin = line::builtin::all(zones);
    let mut all: HashMap<String, Arc<Parser>> = builtin
        .into_iter()
        .map(|p| (p.name().to_owned(), Arc::new(p)))
        .collect();
    let mut defined: HashMap<String, Place> = HashMap::new();
    let main = service.place.file.to_string();
    for file in service.all("parsers_file") {
        let beside = if main.is_empty() {
            file.place.file.to_string()
        } else {
            main.clone()
        };
        let mut document = read(&file.value, &beside).map_err(|mut e| {
            // The file itself is missing: the place to mend is where it is named.
            if e.place.line == 0 {
                e.place = file.place.clone();
            }
            e
        })?;
        document.expand(&files::variable);
        warnings.append(&mut document.warnings);
        for section in document.sections {
            let settings = named("PARSER", section.place.clone(), section.settings);
            match section.kind {
                SectionKind::Parser => {}
                SectionKind::MultilineParser => {
                    let message = format!(
                        "multiline parser '{}' is not available: only the built-in ones are supported yet",
                        settings.text("name", "")
                    );
                    warnings.push(ConfigError::new(&section.place, message));
                    continue;
                }
                kind => {
                    return Err(ConfigError::new(
                        &section.place,
                        format!("a parsers file cannot hold a {kind:?} section"),
                    ));
                }
            }
            let name = settings.required("name")?.to_owned();
            if let Some(first) = defined.insert(name.clone(), section.place.clone()) {
                let message =
                    format!("parser '{name}' is defined twice (first at {first}); remove one");
                return Err(ConfigError::new(&section.place, message));
            }
            match Parser::new(&settings, zones) {
                Ok(parser) => drop(all.insert(name, Arc::new(parser))),
                // Shared parsers files hold more parsers than anyone uses: only the use is a mistake.
                Err(e) => {
                    all.remove(&name);
                    let message = format!("parser '{name}' is not available: {}", e.message);
                    warnings.push(ConfigError::new(&e.place, message));
                }
            }
        }
    }
    Ok(all)
}

fn named(plugin: &str, place: Place, settings: Vec<Setting>) -> Settings {
    Settings {
        plugin: plugin.to_owned(),
        place,
        settings,
    }
}

/// Builds plugin after plugin.
struct Builder<'a> {
    spec: PipelineSpec,
    inputs: Vec<Settings>,
    plugins: PluginNames,
    /// Where each output without a match was written, by its index.
    without_match: Vec<(usize, Place)>,
    environment: Environment,
    output_environment: OutputEnvironment,
    retry: RetryPolicy,
    service: &'a Service,
    warnings: &'a mut Vec<ConfigError>,
}

impl<'a> Builder<'a> {
    fn new(
        service: &'a Service,
        parsers: HashMap<String, Arc<Parser>>,
        warnings: &'a mut Vec<ConfigError>,
    ) -> Self {
        let host_name = files::host_name();
        Self {
            spec: PipelineSpec {
                flush: service.flush,
                grace: service.grace,
                storage_path: service.storage_path.clone(),
                storage: service.storage.clone(),
                mem_limit_bytes: service.mem_limit_bytes,
                ..PipelineSpec::default()
            },
            inputs: Vec::new(),
            plugins: PluginNames::default(),
            without_match: Vec::new(),
            output_environment: OutputEnvironment {
                host_name: host_name.clone(),
                user_agent: command_line::version().trim().replace(" v", "/"),
                ..OutputEnvironment::default()
            },
            environment: Environment {
                host_name: host_name.into(),
                parsers: Arc::new(parsers),
                flush: service.flush,
                pods: Arc::new(Pods::default()),
            },
            retry: RetryPolicy {
                base: service.scheduler_base,
                cap: service.scheduler_cap,
                limit: None,
            },
            service,
            warnings,
        }
    }

    fn section(&mut self, section: Section) -> Result<(), Mistake> {
        let Section {
            kind,
            place,
            settings,
        } = section;
        let Some(name) = settings.iter().rfind(|s| s.key == "name").cloned() else {
            let message =
                format!("the {kind:?} section has no 'name', which says which plugin it is");
            return Err(Mistake::read(ConfigError::new(&place, message)));
        };
        match kind {
            SectionKind::Input => {
                let plugin = instance::find("input", &name.value, &name.place, inputs::ALL)
                    .map_err(Mistake::read)?;
                let n = self
                    .spec
                    .inputs
                    .iter()
                    .filter(|i| is_of(&i.name, plugin.name))
                    .count();
                let spilled = self.service.storage_path.is_some();
                let (spec, own) = instance::input(
                    plugin,
                    n,
                    named(plugin.name, place, settings),
                    &self.environment,
                    spilled,
                    self.warnings,
                )?;
                self.spec.inputs.push(spec);
                self.inputs.push(own);
                self.plugins.inputs.push(plugin.name);
            }
            SectionKind::Filter => {
                let plugin = instance::find("filter", &name.value, &name.place, filters::ALL)
                    .map_err(Mistake::read)?;
                let n = self
                    .spec
                    .filters
                    .iter()
                    .filter(|i| is_of(&i.name, plugin.name))
                    .count();
                let spec = instance::filter(
                    plugin,
                    n,
                    named(plugin.name, place, settings),
                    &self.environment,
                    self.warnings,
                )?;
                self.spec.filters.push(spec);
                self.plugins.filters.push(plugin.name);
            }
            _ => {
                let plugin =
                    instance::find("output", &name.value, &name.place, kansoku_outputs::ALL)
                        .map_err(Mistake::read)?;
                let n = self
                    .spec
                    .outputs
                    .iter()
                    .filter(|i| is_of(&i.name, plugin.name))
                    .count();
                let settings = named(plugin.name, place.clone(), settings);
                let spec = instance::output(
                    plugin,
                    n,
                    settings,
                    &self.output_environment,
                    self.retry,
                    self.warnings,
                )?;
                self.warnings
                    .extend(self.output_environment.warnings.take());
                if spec.matches.is_none() {
                    self.without_match.push((self.spec.outputs.len(), place));
                }
                self.plugins.outputs.push(plugin.name);
                self.spec.outputs.push(OutputSpec {
                    name: spec.name,
                    matches: spec.matches.unwrap_or_else(|| TagMatch::wildcard("")),
                    output: spec.output,
                    retry: spec.retry,
                    workers: spec.workers,
                    processors: Vec::new(),
                    total_limit_bytes: spec.total_limit_bytes,
                });
            }
        }
        Ok(())
    }

    fn finish(
        mut self,
        has_no_mistakes: bool,
    ) -> (PipelineSpec, Vec<Settings>, PluginNames, Environment) {
        // One input and one output need no match, as `-i x -o y` on the command line.
        let is_only_one = self.spec.inputs.len() == 1 && self.spec.outputs.len() == 1;
        for (at, place) in &self.without_match {
            let output = &mut self.spec.outputs[*at];
            if is_only_one {
                output.matches = TagMatch::wildcard("*");
            } else if has_no_mistakes {
                let message = format!(
                    "output {} gets nothing: it has no 'match'; 'match *' takes every record",
                    output.name
                );
                self.warnings.push(ConfigError::new(place, message));
            }
        }
        if self.spec.outputs.is_empty() && has_no_mistakes {
            let place = Place::new("configuration", 0);
            self.warnings.push(ConfigError::new(
                &place,
                "there is no output: every record is discarded",
            ));
        }
        (self.spec, self.inputs, self.plugins, self.environment)
    }
}

/// Whether an instance's name counts in the numbers of a plugin: `tail.0` does, an alias does not.
fn is_of(name: &str, plugin: &str) -> bool {
    let number = name
        .strip_prefix(plugin)
        .and_then(|rest| rest.strip_prefix('.'));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Finds a parser by name, for plugins that take one.
///
/// # Errors
/// When there is none of that name.
pub fn find_parser(
    environment: &Environment,
    setting: &Setting,
) -> Result<Arc<Parser>, ConfigError> {
    environment
        .parsers
        .get(&setting.value)
        .cloned()
        .ok_or_else(|| {
            let hint = did_you_mean(
                &setting.value,
                environment.parsers.keys().map(String::as_str),
            );
            let message = format!(
                "unknown parser '{}'{hint} (parsers come from parsers_file in [SERVICE])",
                setting.value
            );
            ConfigError::new(&setting.place, message)
        })
}

#[cfg(test)]
mod tests;
