//! `udp`: records in UDP datagrams, JSON or text. A datagram is whole: what its last separator does not
//! end is a record, too.

use std::net::SocketAddr;
use std::sync::Arc;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Resource, Settings, joined};

use super::net::datagram::{self, Socket};
use super::net::form::{self, Form};
use super::net::stream::Framing;
use super::net::{Net, listen, resource, run};
use crate::pipeline::Link;
use crate::plugin::{Environment, Input, InputPlugin};

const LISTEN: &[OptionSpec] = &[
    OptionSpec::new(
        "listen",
        OptionKind::Text,
        "0.0.0.0",
        "address to listen on",
    ),
    OptionSpec::new("port", OptionKind::Int, "5170", "port to listen on"),
];
const OPTIONS: [OptionSpec; form::OPTIONS.len() + LISTEN.len()] = joined(form::OPTIONS, LISTEN);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "udp",
    about: "Takes JSON or text in UDP datagrams.",
    options: &OPTIONS,
    example: "[INPUT]\n    Name    udp\n    Listen  0.0.0.0\n    Port    5170\n    Format  json\n",
    build,
};

const PORT: u16 = 5170;
/// In the log.
const NAME: &str = "input:udp";

struct Udp {
    address: SocketAddr,
    form: Form,
    resource: Arc<Resource>,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Input>, ConfigError> {
    settings.check(PLUGIN.options)?;
    Ok(Box::new(Udp {
        address: listen::address(settings, PORT)?,
        form: Form::of(settings, environment)?,
        resource: resource(environment),
    }))
}

impl Input for Udp {
    fn can_wait(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, link: Link) -> anyhow::Result<()> {
        let Self {
            address,
            form,
            resource,
        } = *self;
        run(link, move |Net { pipe }| async move {
            let socket = Socket::udp(address, None)?;
            datagram::serve(NAME, socket, pipe, resource, move |bytes, peer, records| {
                // Nothing follows a datagram, so a form has no state to keep.
                let (_, result) = form.of_peer(peer).cut(bytes, true, records);
                debug_assert!(result.is_ok(), "every datagram gives records");
            })
            .await
        })
    }
}
