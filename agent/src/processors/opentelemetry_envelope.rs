//! `opentelemetry_envelope`: in Fluent Bit, wraps plain records into resource and scope.
//!
//! Here every batch has its resource from the start, and the OpenTelemetry output writes it; so the
//! processor has nothing left to do.

use kansoku_model::{ConfigError, LogBatch, Plugin, Settings};

use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "opentelemetry_envelope",
    about: "Does nothing: every batch has its OpenTelemetry resource already.",
    options: &[],
    example: "pipeline:\n  inputs:\n    - name: tail\n      path: /var/log/*.log\n      processors:\n        logs:\n          - name: opentelemetry_envelope\n",
    build,
};

struct Envelope;

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Envelope))
}

impl Filter for Envelope {
    fn apply(&self, _: &mut LogBatch, _: &mut FilterContext) {}
}
