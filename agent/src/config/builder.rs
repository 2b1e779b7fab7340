//! Builds plugin after plugin into the specification of a pipeline.
//!
//! Instances are numbered over all of their kind, as Fluent Bit 5.1.1 does: the second input is `mem.1`
//! whatever the first one is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use kansoku_model::{ConfigError, Place, Settings};
use kansoku_outputs::{OutputEnvironment, RetryPolicy, Upstream};
use kansoku_parsers::config::routes::Route;
use kansoku_parsers::config::{Processor, Section, SectionKind};

use super::instance::{self, Mistake};
use super::parser_files::Parsers;
use super::routing::{OutputNames, Router};
use super::{Service, conditional, files, groups, named};
use crate::command_line;
use crate::kubernetes::Pods;
use crate::pipeline::{OutputSet, OutputSpec, PipelineSpec, ProcessorSpec, TagMatch};
use crate::plugin::Environment;
use crate::{filters, inputs};

/// The plugins built so far.
pub(super) struct Builder<'a> {
    spec: PipelineSpec,
    inputs: Vec<Settings>,
    /// How many sections of each kind there were.
    n_inputs: usize,
    n_filters: usize,
    n_outputs: usize,
    n_processors: usize,
    /// The routes of inputs, by the input's index.
    routes: Vec<(usize, Vec<Route>)>,
    output_names: OutputNames,
    /// Where each output without a match was written, by its index.
    without_match: Vec<(usize, Place)>,
    environment: Environment,
    output_environment: OutputEnvironment,
    retry: RetryPolicy,
    has_storage_path: bool,
    warnings: &'a mut Vec<ConfigError>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        service: &Service,
        parsers: Parsers,
        upstreams: HashMap<String, Arc<Upstream>>,
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
            n_inputs: 0,
            n_filters: 0,
            n_outputs: 0,
            n_processors: 0,
            routes: Vec::new(),
            output_names: OutputNames::default(),
            without_match: Vec::new(),
            output_environment: OutputEnvironment {
                host_name: host_name.clone(),
                user_agent: command_line::version().trim().replace(" v", "/"),
                upstreams,
                unicode: service.unicode,
                ..OutputEnvironment::default()
            },
            environment: Environment {
                host_name: host_name.into(),
                own_pod: files::own_pod(),
                parsers: Arc::new(parsers.lines),
                multilines: Arc::new(parsers.multilines),
                multiline_limit_bytes: service.multiline_limit_bytes,
                flush: service.flush,
                pods: Arc::new(Pods::default()),
                ..Environment::default()
            },
            retry: RetryPolicy {
                base: service.scheduler_base,
                cap: service.scheduler_cap,
                limit: None,
            },
            has_storage_path: service.storage_path.is_some(),
            warnings,
        }
    }

    /// Builds what one section says.
    pub(super) fn section(&mut self, mut section: Section) -> Result<(), Mistake> {
        let kind = section.kind;
        let name = section.settings.iter_mut().rfind(|s| s.key == "name");
        let Some(name) = name.map(|name| {
            let address = instance::split_address(kind, name);
            (name.clone(), address)
        }) else {
            let message =
                format!("the {kind:?} section has no 'name', which says which plugin it is");
            return Err(Mistake::read(ConfigError::new(&section.place, message)));
        };
        let (name, address) = name;
        section.settings.extend(address);
        groups(&section.groups, self.warnings).map_err(Mistake::read)?;
        let result = match kind {
            SectionKind::Input => self.input(&name.value, &name.place, section),
            SectionKind::Filter => self.filter(&name.value, &name.place, section),
            _ => self.output(&name.value, &name.place, section),
        };
        self.warnings.extend(self.environment.warnings.take());
        (self.warnings).extend(self.output_environment.warnings.take());
        result
    }

    fn input(&mut self, name: &str, at: &Place, section: Section) -> Result<(), Mistake> {
        let n = self.n_inputs;
        self.n_inputs += 1;
        let plugin = instance::find("input", name, at, inputs::ALL).map_err(Mistake::read)?;
        let settings = named(plugin.name, section.place, section.settings);
        let (spec, own) = instance::input(
            plugin,
            n,
            settings,
            &self.environment,
            self.has_storage_path,
            self.warnings,
        )?;
        let Some(mut spec) = spec else { return Ok(()) };
        // Behind what the input's own processors make.
        let nowhere = std::mem::take(&mut spec.processors);
        spec.processors = self.processors(section.processors)?;
        spec.processors.extend(nowhere);
        if !section.routes.is_empty() {
            self.routes.push((self.spec.inputs.len(), section.routes));
        }
        if let Some(db) = own.get("db").filter(|_| plugin.name == "tail") {
            // Only used when there is no storage.path.
            let folder = PathBuf::from(format!("{}.state", db.value));
            self.spec.state_path.get_or_insert(folder);
        }
        self.spec.inputs.push(spec);
        self.inputs.push(own);
        Ok(())
    }

    fn filter(&mut self, name: &str, at: &Place, section: Section) -> Result<(), Mistake> {
        let n = self.n_filters;
        self.n_filters += 1;
        let plugin = instance::find("filter", name, at, filters::ALL).map_err(Mistake::read)?;
        let settings = named(plugin.name, section.place, section.settings);
        let spec = instance::filter(plugin, n, settings, &self.environment, self.warnings)?;
        let Some(mut spec) = spec else { return Ok(()) };
        if let Some(condition) = section.condition {
            let message = "'condition' holds here; Fluent Bit ignores it on filters and only knows it on processors";
            (self.warnings).push(ConfigError::new(&condition.place, message));
            spec.filter = conditional::wrap(spec.filter, &condition).map_err(Mistake::plugin)?;
        }
        self.spec.filters.push(spec);
        Ok(())
    }

    fn output(&mut self, name: &str, at: &Place, section: Section) -> Result<(), Mistake> {
        let n = self.n_outputs;
        self.n_outputs += 1;
        let all = kansoku_outputs::ALL;
        let plugin = instance::find("output", name, at, all).map_err(Mistake::read)?;
        let settings = named(plugin.name, section.place.clone(), section.settings);
        let spec = instance::output(
            plugin,
            n,
            settings,
            &self.output_environment,
            self.retry,
            self.warnings,
        )?;
        let Some(spec) = spec else { return Ok(()) };
        if spec.matches.is_none() {
            let index = self.spec.outputs.len();
            self.without_match.push((index, section.place));
        }
        let processors = self.processors(section.processors)?;
        let instance = format!("{}.{n}", plugin.name);
        let index = self.spec.outputs.len();
        (self.output_names).add(index, &[&spec.name, &instance, plugin.name]);
        self.spec.outputs.push(OutputSpec {
            name: spec.name,
            matches: spec.matches.unwrap_or_else(|| TagMatch::wildcard("")),
            output: spec.output,
            retry: spec.retry,
            workers: spec.workers,
            processors,
            total_limit_bytes: spec.total_limit_bytes,
        });
        Ok(())
    }

    /// Builds the processors of one input or output: filters and processor plugins alike.
    fn processors(&mut self, processors: Vec<Processor>) -> Result<Vec<ProcessorSpec>, Mistake> {
        let mut built = Vec::new();
        for processor in processors {
            let n = self.n_processors;
            self.n_processors += 1;
            let name = processor.settings.iter().rfind(|s| s.key == "name");
            let Some(name) = name.cloned() else {
                let error = ConfigError::new(&processor.place, "the processor has no 'name'");
                return Err(Mistake::read(error));
            };
            let signal = processor.signal;
            let plugin = instance::processor_plugin(&name.value, &name.place, signal)
                .map_err(Mistake::read)?;
            let settings = named(plugin.name, processor.place, processor.settings);
            let environment = &self.environment;
            let mut spec = instance::processor(plugin, n, settings, environment, self.warnings)?;
            if let Some(condition) = &processor.condition {
                spec.filter = conditional::wrap(spec.filter, condition).map_err(Mistake::plugin)?;
            }
            spec.filter = conditional::only(spec.filter, signal);
            built.push(spec);
        }
        Ok(built)
    }

    /// Gives each input with routes the stage that marks its records.
    fn route(&mut self, is_only_one: bool) -> Result<(), Mistake> {
        for (at, routes) in std::mem::take(&mut self.routes) {
            if is_only_one {
                let message = "the routes have no effect: one input and one output belong together, as in Fluent Bit";
                self.warnings
                    .push(ConfigError::new(&routes[0].place, message));
                continue;
            }
            let router = Router::new(&routes, &self.output_names, self.warnings);
            let router = router.map_err(Mistake::plugin)?;
            let input = &mut self.spec.inputs[at];
            input.routed_to = router.outputs();
            input.processors.push(ProcessorSpec {
                name: format!("routes.{}", input.name),
                filter: Box::new(router),
            });
        }
        Ok(())
    }

    /// The pipeline, the settings of its inputs, and what plugins share.
    pub(super) fn finish(
        mut self,
        mistakes: &mut Vec<Mistake>,
    ) -> (PipelineSpec, Vec<Settings>, Environment) {
        // One input and one output need no match, as `-i x -o y` on the command line.
        let is_only_one = self.spec.inputs.len() == 1 && self.spec.outputs.len() == 1;
        let has_no_mistakes = mistakes.is_empty();
        if has_no_mistakes {
            mistakes.extend(self.route(is_only_one).err());
        }
        let inputs = self.spec.inputs.iter();
        let routed_to = inputs.fold(OutputSet::EMPTY, |set, i| set.union(i.routed_to));
        for (at, place) in &self.without_match {
            let output = &mut self.spec.outputs[*at];
            if is_only_one {
                output.matches = TagMatch::wildcard("*");
            } else if has_no_mistakes && !routed_to.contains(*at) {
                let message = format!(
                    "output {} gets nothing: it has no 'match'; 'match *' takes every record",
                    output.name
                );
                self.warnings.push(ConfigError::new(place, message));
            }
        }
        let place = Place::new("configuration", 0);
        let mut missing = |is_missing: bool, message: &str| {
            if is_missing && has_no_mistakes {
                self.warnings.push(ConfigError::new(&place, message));
            }
        };
        missing(
            self.spec.inputs.is_empty(),
            "there is no input: nothing is read; add an [INPUT] section or -i NAME",
        );
        missing(
            self.spec.outputs.is_empty(),
            "there is no output: every record is discarded",
        );
        (self.spec, self.inputs, self.environment)
    }
}
