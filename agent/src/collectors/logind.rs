//! Sessions of logind by seat, kind and class.

use std::collections::BTreeMap;

use kansoku_model::MetricBatch;
use kansoku_parsers::wire::dbus::{Call, Reader, Value};

use super::dbus::{Bus, Property, system_bus};
use super::desc::Desc;
use super::{Collector, Entry, Tier};

pub(super) const ENTRY: Entry = Entry {
    name: "logind",
    about: "sessions of users",
    is_default: false,
    tier: Tier::Background,
    build: |_| Ok(Box::new(Logind { bus: None })),
    ..Entry::DEFAULT
};

const SESSIONS: Desc = Desc::gauge(
    "node_logind_sessions",
    "Number of sessions registered in logind.",
);
const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const SESSION: &str = "org.freedesktop.login1.Session";
/// What is told apart; the first of types and classes stands for all others.
const REMOTES: [&str; 2] = ["true", "false"];
const TYPES: [&str; 7] = [
    "other",
    "unspecified",
    "tty",
    "x11",
    "wayland",
    "mir",
    "web",
];
const CLASSES: [&str; 5] = ["other", "user", "greeter", "lock-screen", "background"];

struct Logind {
    bus: Option<Bus>,
}

/// Seat, remote, type and class.
type Kind = (String, &'static str, &'static str, &'static str);

impl Collector for Logind {
    fn collect(&mut self, out: &mut MetricBatch) -> anyhow::Result<()> {
        let mut bus = match self.bus.take() {
            Some(bus) => bus,
            None => Bus::connect(&system_bus(), false)?,
        };
        let mut seats = bus.call(&list("ListSeats"), read_seats)?;
        // Sessions without a seat, such as those over the network.
        seats.push(String::new());
        let sessions = bus.call(&list("ListSessions"), read_sessions)?;
        let counts = count(&mut bus, &sessions)?;
        self.bus = Some(bus);
        for remote in REMOTES {
            for kind in TYPES {
                for class in CLASSES {
                    for seat in &seats {
                        let n = counts.get(&(seat.clone(), remote, kind, class));
                        let labels = [
                            ("seat", seat.as_str()),
                            ("remote", remote),
                            ("type", kind),
                            ("class", class),
                        ];
                        SESSIONS.sample(out, &labels, f64::from(n.copied().unwrap_or(0)));
                    }
                }
            }
        }
        Ok(())
    }
}

fn list(member: &str) -> Call<'_> {
    Call {
        destination: SERVICE,
        path: PATH,
        interface: MANAGER,
        member,
        arguments: &[],
    }
}

/// How many sessions there are of each kind; one that has ended meanwhile is left out.
fn count(bus: &mut Bus, sessions: &[(String, String)]) -> anyhow::Result<BTreeMap<Kind, u32>> {
    let mut wanted = Vec::new();
    for (_, path) in sessions {
        wanted.extend(["Remote", "Type", "Class"].map(|name| Property {
            destination: SERVICE,
            path,
            interface: SESSION,
            name,
        }));
    }
    let values = bus.properties(&wanted, |value| match value {
        Value::Text(text) => Some(text.to_owned()),
        Value::Bool(is_set) => Some(is_set.to_string()),
        Value::Number(_) => None,
    })?;
    let mut counts = BTreeMap::new();
    for ((seat, _), values) in sessions.iter().zip(values.chunks_exact(3)) {
        if let [Some(remote), Some(kind), Some(class)] = values {
            let remote = known(remote, &REMOTES);
            let key = (
                seat.clone(),
                remote,
                known(kind, &TYPES),
                known(class, &CLASSES),
            );
            *counts.entry(key).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The text itself if it is one of those, else the first.
fn known(text: &str, all: &[&'static str]) -> &'static str {
    all.iter().find(|one| **one == text).unwrap_or(&all[0])
}

/// `a(so)`: seat and path.
fn read_seats(mut body: Reader<'_>) -> anyhow::Result<Vec<String>> {
    let mut seats = Vec::new();
    let end = body.array(8)?;
    while body.is_before(end) {
        body.align(8);
        seats.push(body.text()?.to_owned());
        body.text()?;
    }
    Ok(seats)
}

/// `a(susso)`: session, user's number and name, seat and path; gives seat and path.
fn read_sessions(mut body: Reader<'_>) -> anyhow::Result<Vec<(String, String)>> {
    let mut sessions = Vec::new();
    let end = body.array(8)?;
    while body.is_before(end) {
        body.align(8);
        body.text()?;
        body.u32()?;
        body.text()?;
        let seat = body.text()?.to_owned();
        sessions.push((seat, body.text()?.to_owned()));
    }
    Ok(sessions)
}
