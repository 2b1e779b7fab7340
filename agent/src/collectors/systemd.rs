//! Units of systemd: their states, and what services, sockets and timers count.
//!
//! Everything is asked over the system bus on a connection that stays open. The properties of all
//! units go out together, which costs a few round trips instead of one per unit and property.

use std::path::PathBuf;

use anyhow::Context;
use kansoku_model::MetricBatch;
use kansoku_parsers::wire::dbus::{Call, Reader, Value};
use regex::Regex;

use super::dbus::{Bus, Property, system_bus};
use super::desc::Desc;
use super::flags::Flag;
use super::{Collector, Entry, NodeSpec, Tier};

pub(super) const ENTRY: Entry = Entry {
    name: "systemd",
    about: "units of systemd",
    is_default: false,
    tier: Tier::Background,
    flags: &[
        INCLUDE,
        INCLUDE_OLD,
        EXCLUDE,
        EXCLUDE_OLD,
        PRIVATE,
        TASKS,
        RESTARTS,
        START_TIME,
    ],
    build: |spec| Ok(Box::new(Systemd::new(spec)?)),
    ..Entry::DEFAULT
};

/// Units to tell of.
pub(crate) const INCLUDE: Flag = Flag::text(
    "collector.systemd.unit-include",
    ".+",
    "Regexp of systemd units to include. Units must both match include and not match exclude to be included.",
);
const INCLUDE_OLD: Flag = Flag::deprecated("collector.systemd.unit-whitelist", INCLUDE.name);
/// Units to leave out.
pub(crate) const EXCLUDE: Flag = Flag::text(
    "collector.systemd.unit-exclude",
    ".+\\.(automount|device|mount|scope|slice)",
    "Regexp of systemd units to exclude. Units must both match include and not match exclude to be included.",
);
const EXCLUDE_OLD: Flag = Flag::deprecated("collector.systemd.unit-blacklist", EXCLUDE.name);
const PRIVATE: Flag = Flag::switch(
    "collector.systemd.private",
    false,
    "Establish a private, direct connection to systemd without dbus (Strongly discouraged since it requires root. For testing purposes only).",
)
.hidden();
/// Tasks of services.
pub(crate) const TASKS: Flag = Flag::switch(
    "collector.systemd.enable-task-metrics",
    false,
    "Enables service unit tasks metrics unit_tasks_current and unit_tasks_max",
);
/// Restarts of services.
pub(crate) const RESTARTS: Flag = Flag::switch(
    "collector.systemd.enable-restarts-metrics",
    false,
    "Enables service unit metric service_restart_total",
);
/// When units started.
pub(crate) const START_TIME: Flag = Flag::switch(
    "collector.systemd.enable-start-time-metrics",
    false,
    "Enables service unit metric unit_start_time_seconds",
);

const VERSION: Desc = Desc::gauge("node_systemd_version", "Detected systemd version");
const VIRTUALIZATION: Desc = Desc::gauge(
    "node_systemd_virtualization_info",
    "Detected virtualization technology",
);
const UNITS: Desc = Desc::gauge("node_systemd_units", "Summary of systemd unit states");
const UNIT_STATE: Desc = Desc::gauge("node_systemd_unit_state", "Systemd unit");
const RESTART: Desc = Desc::counter(
    "node_systemd_service_restart_total",
    "Service unit count of Restart triggers",
);
const UNIT_START_TIME: Desc = Desc::gauge(
    "node_systemd_unit_start_time_seconds",
    "Start time of the unit since unix epoch in seconds.",
);
const TASKS_CURRENT: Desc = Desc::gauge(
    "node_systemd_unit_tasks_current",
    "Current number of tasks per Systemd unit",
);
const TASKS_MAX: Desc = Desc::gauge(
    "node_systemd_unit_tasks_max",
    "Maximum number of tasks per Systemd unit",
);
const LAST_TRIGGER: Desc = Desc::gauge(
    "node_systemd_timer_last_trigger_seconds",
    "Seconds since epoch of last trigger.",
);
const ACCEPTED: Desc = Desc::counter(
    "node_systemd_socket_accepted_connections_total",
    "Total number of accepted socket connections",
);
const CONNECTIONS: Desc = Desc::gauge(
    "node_systemd_socket_current_connections",
    "Current number of socket connections",
);
const REFUSED: Desc = Desc::counter(
    "node_systemd_socket_refused_connections_total",
    "Total number of refused socket connections",
);
const RUNNING: Desc = Desc::gauge(
    "node_systemd_system_running",
    "Whether the system is operational (see 'systemctl is-system-running')",
);

const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];
const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PRIVATE_SOCKET: &str = "/run/systemd/private";
/// Older ones know neither the state of the system nor when timers ran.
const MIN_VERSION: f64 = 212.0;
const MICRO_DIVISOR: f64 = 1e6;

struct Systemd {
    socket: PathBuf,
    is_private: bool,
    include: Regex,
    exclude: Regex,
    has_tasks: bool,
    has_restarts: bool,
    has_start_time: bool,
    bus: Option<Bus>,
}

/// A unit as the manager lists it.
#[derive(Debug, PartialEq)]
struct Unit {
    name: String,
    load_state: String,
    active_state: String,
    path: String,
}

/// What a property of a unit becomes.
enum Use {
    Type,
    /// The family and the divisor to the unit; all bits set is no number.
    Sample(Desc, f64),
}

/// A value of a property, apart from the connection.
#[derive(Debug, Clone)]
enum Owned {
    Text(String),
    Number(u64),
}

impl Systemd {
    fn new(spec: &NodeSpec) -> anyhow::Result<Self> {
        let flags = &spec.flags;
        let whole = |flag: &Flag| {
            let pattern = Regex::new(&format!("^(?:{})$", flags.text(flag)));
            pattern.with_context(|| format!("--{} is no valid pattern", flag.name))
        };
        let is_private = flags.is_on(&PRIVATE);
        Ok(Self {
            socket: match is_private {
                true => PRIVATE_SOCKET.into(),
                false => system_bus(),
            },
            is_private,
            include: whole(&INCLUDE)?,
            exclude: whole(&EXCLUDE)?,
            has_tasks: flags.is_on(&TASKS),
            has_restarts: flags.is_on(&RESTARTS),
            has_start_time: flags.is_on(&START_TIME),
            bus: None,
        })
    }

    fn collect_all(&self, bus: &mut Bus, out: &mut MetricBatch) -> anyhow::Result<()> {
        let manager = ["Version", "Virtualization", "SystemState"].map(|name| Property {
            destination: SERVICE,
            path: PATH,
            interface: MANAGER,
            name,
        });
        let [version, virtualization, state] = texts(bus, &manager)?;
        let (number, full) = version_number(version.as_deref().unwrap_or_default());
        VERSION.sample(out, &[("version", full)], number);
        let virtualization = match virtualization.as_deref() {
            None => "unknown",
            Some("") => "none",
            Some(kind) => kind,
        };
        let label = [("virtualization_type", virtualization)];
        VIRTUALIZATION.sample(out, &label, 1.0);

        let list = Call {
            destination: SERVICE,
            path: PATH,
            interface: MANAGER,
            member: "ListUnits",
            arguments: &[],
        };
        let mut units = bus.call(&list, read_units)?;
        summarize(out, &units);
        units.retain(|unit| {
            unit.load_state == "loaded"
                && self.include.is_match(&unit.name)
                && !self.exclude.is_match(&unit.name)
        });
        self.collect_units(bus, out, &units, number >= MIN_VERSION)?;
        if number >= MIN_VERSION {
            let is_running = state.context("systemd does not tell its state")? == "running";
            RUNNING.value(out, f64::from(is_running));
        }
        Ok(())
    }

    fn collect_units(
        &self,
        bus: &mut Bus,
        out: &mut MetricBatch,
        units: &[Unit],
        has_timers: bool,
    ) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        for (at, unit) in units.iter().enumerate() {
            for (interface, name, purpose) in self.properties(unit, has_timers) {
                let property = Property {
                    destination: SERVICE,
                    path: &unit.path,
                    interface,
                    name,
                };
                wanted.push((at, property, purpose));
            }
        }
        let properties: Vec<Property<'_>> = wanted.iter().map(|(_, p, _)| *p).collect();
        let values = bus.properties(&properties, |value| match value {
            Value::Text(text) => Some(Owned::Text(text.to_owned())),
            Value::Number(number) => Some(Owned::Number(number)),
            Value::Bool(_) => None,
        })?;
        let mut types = vec![String::new(); units.len()];
        for ((at, _, purpose), value) in wanted.iter().zip(values) {
            match (purpose, value) {
                (Use::Type, Some(Owned::Text(text))) => types[*at] = text,
                (Use::Sample(desc, divisor), Some(Owned::Number(number))) if number != u64::MAX => {
                    let label = [("name", units[*at].name.as_str())];
                    desc.sample(out, &label, number as f64 / divisor);
                }
                _ => {}
            }
        }
        for (unit, kind) in units.iter().zip(&types) {
            for state in STATES {
                let labels = [
                    ("name", unit.name.as_str()),
                    ("state", state),
                    ("type", kind),
                ];
                UNIT_STATE.sample(out, &labels, f64::from(state == unit.active_state));
            }
            if self.has_start_time && unit.active_state != "active" {
                UNIT_START_TIME.sample(out, &[("name", &unit.name)], 0.0);
            }
        }
        Ok(())
    }

    /// Interface, name and purpose of the properties that a unit is asked for.
    fn properties(&self, unit: &Unit, has_timers: bool) -> Vec<(&'static str, &'static str, Use)> {
        let mut all = Vec::new();
        let plain = |desc| Use::Sample(desc, 1.0);
        let kind = unit.name.rsplit_once('.').map_or("", |(_, kind)| kind);
        match kind {
            "service" => {
                const INTERFACE: &str = "org.freedesktop.systemd1.Service";
                all.push((INTERFACE, "Type", Use::Type));
                if self.has_restarts {
                    all.push((INTERFACE, "NRestarts", plain(RESTART)));
                }
                if self.has_tasks {
                    all.push((INTERFACE, "TasksCurrent", plain(TASKS_CURRENT)));
                    all.push((INTERFACE, "TasksMax", plain(TASKS_MAX)));
                }
            }
            "mount" => all.push(("org.freedesktop.systemd1.Mount", "Type", Use::Type)),
            "socket" => {
                const INTERFACE: &str = "org.freedesktop.systemd1.Socket";
                all.push((INTERFACE, "NAccepted", plain(ACCEPTED)));
                all.push((INTERFACE, "NConnections", plain(CONNECTIONS)));
                all.push((INTERFACE, "NRefused", plain(REFUSED)));
            }
            "timer" if has_timers => {
                let purpose = Use::Sample(LAST_TRIGGER, MICRO_DIVISOR);
                all.push(("org.freedesktop.systemd1.Timer", "LastTriggerUSec", purpose));
            }
            _ => {}
        }
        if self.has_start_time && unit.active_state == "active" {
            let purpose = Use::Sample(UNIT_START_TIME, MICRO_DIVISOR);
            let interface = "org.freedesktop.systemd1.Unit";
            all.push((interface, "ActiveEnterTimestamp", purpose));
        }
        all
    }
}

impl Collector for Systemd {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut bus = match self.bus.take() {
            Some(bus) => bus,
            None => Bus::connect(&self.socket, self.is_private)?,
        };
        self.collect_all(&mut bus, out)?;
        self.bus = Some(bus);
        Ok(())
    }
}

fn texts<const N: usize>(
    bus: &mut Bus,
    properties: &[Property<'_>; N],
) -> anyhow::Result<[Option<String>; N]> {
    let values = bus.properties(properties, |value| match value {
        Value::Text(text) => Some(text.to_owned()),
        _ => None,
    })?;
    let values = values.try_into();
    values.map_err(|_| anyhow::anyhow!("D-Bus gave another number of answers"))
}

/// `a(ssssssouso)`: name, description, load, active and sub state, followed, path, job, type, path.
fn read_units(mut body: Reader<'_>) -> anyhow::Result<Vec<Unit>> {
    let mut units = Vec::new();
    let end = body.array(8)?;
    while body.is_before(end) {
        body.align(8);
        let name = body.text()?.to_owned();
        body.text()?;
        let load_state = body.text()?.to_owned();
        let active_state = body.text()?.to_owned();
        body.text()?;
        body.text()?;
        let path = body.text()?.to_owned();
        body.u32()?;
        body.text()?;
        body.text()?;
        units.push(Unit {
            name,
            load_state,
            active_state,
            path,
        });
    }
    Ok(units)
}

/// How many units have each state, also states that are none of ours.
fn summarize(out: &mut MetricBatch, units: &[Unit]) {
    let mut counts: Vec<(&str, u32)> = STATES.iter().map(|state| (*state, 0)).collect();
    for unit in units {
        match counts
            .iter_mut()
            .find(|(state, _)| *state == unit.active_state)
        {
            Some((_, n)) => *n += 1,
            None => counts.push((&unit.active_state, 1)),
        }
    }
    for (state, n) in counts {
        UNITS.sample(out, &[("state", state)], f64::from(n));
    }
}

/// The first number of three digits and more, with what follows a dot, and the whole text; 0 and
/// nothing when there is none.
fn version_number(version: &str) -> (f64, &str) {
    let mut rest = version;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = &rest[start..];
        let is_end = |c: char| !c.is_ascii_digit();
        let end = digits.find(is_end).unwrap_or(digits.len());
        if end >= 3 {
            let fraction = digits[end..].strip_prefix('.').unwrap_or_default();
            let fraction_end = fraction.find(is_end).unwrap_or(fraction.len());
            let end = if fraction_end > 0 {
                end + 1 + fraction_end
            } else {
                end
            };
            return (digits[..end].parse().unwrap_or(0.0), version);
        }
        rest = &digits[end..];
    }
    (0.0, "")
}

#[cfg(test)]
mod tests;
