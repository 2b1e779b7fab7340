//! `null`: takes everything and keeps nothing. For measuring inputs and for switching an output off.

use kansoku_model::{ConfigError, Plugin, RecordBatch, Settings};

use crate::{Outcome, Output, OutputEnvironment, OutputPlugin, Request, SendFuture};

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "null",
    about: "Discards all records.",
    options: &[],
    example: "[OUTPUT]\n    Name   null\n    Match  *\n",
    build,
};

struct Null;

fn build(settings: &Settings, _: &OutputEnvironment) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Null))
}

impl Output for Null {
    fn send<'a>(&'a self, _: Request<'a>) -> SendFuture<'a> {
        Box::pin(std::future::ready(Outcome::Delivered))
    }

    fn drops_repeats(&self) -> bool {
        true
    }

    fn takes(&self, _: &RecordBatch) -> bool {
        true
    }
}
