//! A connection to the system bus, for asking services what they know.
//!
//! Calls are written in groups before the answers are read, so that hundreds of properties cost a
//! few round trips. A connection that failed is thrown away; the next reading makes a new one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use kansoku_parsers::wire::dbus::{self, Call, Message, Reader, Value};

/// Where the bus listens when nothing else is said.
const SYSTEM_BUS: &str = "/var/run/dbus/system_bus_socket";
/// A service that is asked for so long and has not answered is taken to hang.
const PATIENCE: Duration = Duration::from_secs(2);
/// Calls on their way at a time: their bytes fit the sockets' buffers, so that nobody waits for us
/// while we wait for them.
const CALLS_AT_A_TIME: usize = 64;
const READ_BYTES: usize = 64 << 10;
/// A line of the greeting, such as `OK 1234deadbeef`.
const MAX_LINE_BYTES: usize = 1024;
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The system bus's socket.
pub(super) fn system_bus() -> PathBuf {
    // Of several addresses the first one is taken, as long as it is a socket of this machine.
    let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    let path = address.strip_prefix("unix:path=").map(|rest| {
        let end = rest.find([',', ';']).unwrap_or(rest.len());
        &rest[..end]
    });
    path.unwrap_or(SYSTEM_BUS).into()
}

/// A property of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Property<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub name: &'a str,
}

/// A connection.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Bytes that came, of which the first `taken` were read.
    received: Vec<u8>,
    taken: usize,
}

impl Bus {
    /// Connects and says hello to the bus; a private socket of a service has no bus to greet.
    pub(super) fn connect(path: &Path, is_private: bool) -> anyhow::Result<Self> {
        let failed = || format!("failed to connect to the D-Bus socket {}", path.display());
        let mut stream = UnixStream::connect(path).with_context(failed)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        authenticate(&mut stream).with_context(failed)?;
        let mut bus = Self {
            stream,
            serial: 0,
            received: Vec::new(),
            taken: 0,
        };
        if !is_private {
            let hello = Call {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                arguments: &[],
            };
            bus.call(&hello, |_| Ok(())).with_context(failed)?;
        }
        Ok(bus)
    }

    /// Makes a call and reads the answer's body.
    pub(super) fn call<T>(
        &mut self,
        call: &Call<'_>,
        read: impl Fn(Reader<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let answers = self.calls(std::slice::from_ref(call), &read)?;
        let answer = answers.into_iter().next();
        answer.context("a call without an answer")?
    }

    /// Asks for properties; one that is refused is `None`.
    pub(super) fn properties<T>(
        &mut self,
        properties: &[Property<'_>],
        read: impl Fn(Value<'_>) -> Option<T>,
    ) -> anyhow::Result<Vec<Option<T>>> {
        let arguments: Vec<[&str; 2]> = properties.iter().map(|p| [p.interface, p.name]).collect();
        let calls = properties
            .iter()
            .zip(&arguments)
            .map(|(property, args)| Call {
                destination: property.destination,
                path: property.path,
                interface: PROPERTIES,
                member: "Get",
                arguments: args,
            });
        let calls: Vec<Call<'_>> = calls.collect();
        let answers = self.calls(&calls, &|mut body: Reader<'_>| Ok(read(body.variant()?)))?;
        Ok(answers.into_iter().map(|a| a.ok().flatten()).collect())
    }

    /// The outer error is the connection's, the inner ones are the service's.
    fn calls<T>(
        &mut self,
        calls: &[Call<'_>],
        read: &impl Fn(Reader<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<anyhow::Result<T>>> {
        let mut answers = Vec::with_capacity(calls.len());
        for group in calls.chunks(CALLS_AT_A_TIME) {
            let first = self.serial.wrapping_add(1);
            let mut bytes = Vec::new();
            for call in group {
                self.serial = self.serial.wrapping_add(1);
                call.write(self.serial, &mut bytes);
            }
            self.stream
                .write_all(&bytes)
                .context("failed to write to D-Bus")?;
            let mut group_answers: Vec<Option<anyhow::Result<T>>> = Vec::new();
            group_answers.resize_with(group.len(), || None);
            let mut n_missing = group.len();
            while n_missing > 0 {
                let (serial, answer) = self.next_answer(read)?;
                let at = serial.wrapping_sub(first) as usize;
                if let Some(slot @ None) = group_answers.get_mut(at) {
                    *slot = Some(answer);
                    n_missing -= 1;
                }
            }
            answers.extend(group_answers.into_iter().flatten());
        }
        Ok(answers)
    }

    /// The next message that answers a call; others are passed over.
    fn next_answer<T>(
        &mut self,
        read: &impl Fn(Reader<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<(u32, anyhow::Result<T>)> {
        loop {
            match dbus::parse(&self.received[self.taken..])? {
                Some((message, length)) => {
                    self.taken += length;
                    match message {
                        Message::Answer { serial, body } => return Ok((serial, read(body))),
                        Message::Refusal { serial, name } => {
                            return Ok((serial, Err(anyhow::anyhow!("D-Bus: {name}"))));
                        }
                        Message::Other => {}
                    }
                }
                None => self.receive()?,
            }
        }
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        self.received.drain(..std::mem::take(&mut self.taken));
        let filled = self.received.len();
        self.received.resize(filled + READ_BYTES, 0);
        let n = self.stream.read(&mut self.received[filled..]);
        self.received
            .truncate(filled + n.as_ref().map_or(0, |n| *n));
        if n.context("failed to read from D-Bus")? == 0 {
            bail!("D-Bus closed the connection");
        }
        Ok(())
    }
}

/// Says who we are; the socket tells the bus that it is true.
fn authenticate(stream: &mut UnixStream) -> anyhow::Result<()> {
    let uid = nix::unistd::geteuid().to_string();
    let digits: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        anyhow::ensure!(
            line.len() < MAX_LINE_BYTES && stream.read(&mut byte)? == 1,
            "no answer to the greeting"
        );
        line.push(byte[0]);
    }
    anyhow::ensure!(
        line.starts_with(b"OK "),
        "we are not let in: {}",
        String::from_utf8_lossy(line.trim_ascii())
    );
    stream.write_all(b"BEGIN\r\n")?;
    Ok(())
}
