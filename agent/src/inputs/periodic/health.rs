//! `health`: whether somebody takes TCP connections at an address.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, joined};

use super::{Field, INTERVAL_OPTIONS, Probe, Record, input};
use crate::plugin::InputPlugin;

/// The longest wait for a connection: Fluent Bit's net.connect_timeout.
const CONNECT_S: f64 = 10.0;

const OWN: &[OptionSpec] = &[
    OptionSpec::new(
        "host",
        OptionKind::Text,
        "127.0.0.1",
        "host name or address",
    ),
    OptionSpec::new("port", OptionKind::Int, "", "TCP port"),
    OptionSpec::new(
        "alert",
        OptionKind::Bool,
        "off",
        "only tell when nobody answers",
    ),
    OptionSpec::new(
        "add_host",
        OptionKind::Bool,
        "off",
        "add the host to each record",
    ),
    OptionSpec::new(
        "add_port",
        OptionKind::Bool,
        "off",
        "add the port to each record",
    ),
    OptionSpec::new(
        "net.connect_timeout",
        OptionKind::Time,
        "10",
        "longest wait for a connection",
    ),
];
const OPTIONS: &[OptionSpec] =
    &joined::<{ OWN.len() + INTERVAL_OPTIONS.len() }>(OWN, INTERVAL_OPTIONS);

/// The plugin.
pub const PLUGIN: InputPlugin = Plugin {
    name: "health",
    about: "Tells whether a TCP port takes connections.",
    options: OPTIONS,
    example: "[INPUT]\n    Name  health\n    Tag   health\n    Host  127.0.0.1\n    Port  80\n",
    build: |settings, environment| {
        settings.check(OPTIONS)?;
        settings.required("port")?;
        let port = settings.int("port", 0)?;
        let port = u16::try_from(port).ok().filter(|p| *p > 0).ok_or_else(|| {
            let place = settings.get("port").map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, format!("'port' is {port}, but must be 1 to 65535"))
        })?;
        let patience = settings.seconds("net.connect_timeout", CONNECT_S)?;
        let probe = Health {
            host: settings.text("host", "127.0.0.1").to_owned(),
            port,
            only_alert: settings.bool("alert", false)?,
            add_host: settings.bool("add_host", false)?,
            add_port: settings.bool("add_port", false)?,
            patience: Duration::from_secs_f64(patience.clamp(0.001, 3600.0)),
        };
        input(settings, environment, probe)
    },
};

struct Health {
    host: String,
    port: u16,
    only_alert: bool,
    add_host: bool,
    add_port: bool,
    patience: Duration,
}

impl Probe for Health {
    fn ask(&mut self, record: &mut Record) -> anyhow::Result<()> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let is_alive = addresses.is_ok_and(|mut all| {
            all.any(|address| TcpStream::connect_timeout(&address, self.patience).is_ok())
        });
        if is_alive && self.only_alert {
            return Ok(());
        }
        record.push(("alive".into(), Field::Bool(is_alive)));
        if self.add_host {
            let host = self.host.clone().into_bytes();
            record.push(("hostname".into(), Field::Text(host)));
        }
        if self.add_port {
            record.push(("port".into(), Field::Int(self.port.into())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_alive_until_it_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut probe = Health {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            only_alert: true,
            add_host: true,
            add_port: true,
            patience: Duration::from_secs(5),
        };
        assert_eq!(super::super::told(&mut probe), "");
        drop(listener);
        let expected = format!(
            r#""alive":false,"hostname":"127.0.0.1","port":{}"#,
            probe.port
        );
        assert_eq!(super::super::told(&mut probe), expected);
    }
}
