//! `tcp`: records over TCP connections, JSON or text.

use std::sync::Arc;

use kansoku_model::{ConfigError, OptionSpec, Plugin, Resource, Settings, joined};

use super::net::form::{self, Form};
use super::net::listen::{ALL_OPTIONS, Connection, Listen, N_OPTIONS, serve};
use super::net::stream::{self, Limits};
use super::net::{Net, resource, run};
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const OPTIONS: [OptionSpec; form::OPTIONS.len() + N_OPTIONS] = joined(form::OPTIONS, &ALL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "tcp",
    about: "Takes JSON or text over TCP.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    tcp\n    Listen  0.0.0.0\n    Port    5170\n    Format  json\n",
    build,
};

const PORT: u16 = 5170;
/// In the log.
const NAME: &str = "input:tcp";

struct Tcp {
    listen: Listen,
    form: Form,
    resource: Arc<Resource>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Tcp {
        listen: Listen::of(settings, environment, PORT, &[])?,
        form: Form::of(settings, environment)?,
        resource: resource(environment),
    }))
}

impl Input for Tcp {
    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Self {
            listen,
            form,
            resource,
        } = *self;
        let limits = Limits {
            chunk_bytes: form.chunk_bytes,
            max_bytes: form.max_bytes,
            idle: listen.idle_timeout,
        };
        run(link, move |Net { pipe }| {
            let one = pipe.clone();
            serve(NAME, listen, pipe, move |Connection { io, peer }| {
                let (form, pipe, resource) = (form.of_peer(&peer), one.clone(), resource.clone());
                async move { stream::serve(NAME, &peer, io, form, limits, pipe, resource).await }
            })
        })
    }
}
