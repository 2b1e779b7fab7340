//! Streams to one destination: TCP, TLS or a Unix socket, kept open between requests.
//!
//! Every step has a deadline: connecting with its TLS handshake, each write, each read. A connection
//! that failed, or that the other side closed meanwhile, is never used again.

use std::io::{self, Error, ErrorKind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::OutputEnvironment;
use crate::net::{self, Io, Net};

/// The longest wait for one write or one answer when `net.io_timeout` does not say.
const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections to keep when `net.max_worker_connections` does not say.
const IDLE_CONNECTIONS: usize = 2;
/// The most idle connections to one destination, whatever the settings say.
const MAX_IDLE_CONNECTIONS: i64 = 64;

/// Makes and keeps the streams to one destination.
pub struct Dialer {
    address: Address,
    connect_timeout: Duration,
    io_timeout: Duration,
    idle_timeout: Duration,
    max_uses: u32,
    max_idle: usize,
    /// Connections nobody uses now, the latest last. Held only to push and pop.
    idle: Mutex<Vec<Connection>>,
}

enum Address {
    Unix(PathBuf),
    Network(Box<Net>),
}

impl Dialer {
    /// A dialer from [`net::OPTIONS`].
    ///
    /// # Errors
    /// When a host or certificate file cannot be used.
    pub fn build(
        settings: &Settings,
        environment: &OutputEnvironment,
        default_port: u16,
    ) -> Result<Self, ConfigError> {
        let mut net = Net::build(settings, environment, default_port, &[])?;
        // HTTP proxies carry HTTP.
        net.proxy = None;
        Self::with(settings, Address::Network(Box::new(net)))
    }

    /// The same with TLS whatever the option `tls` says.
    ///
    /// # Errors
    /// When a host or certificate file cannot be used.
    pub fn build_tls(
        settings: &Settings,
        environment: &OutputEnvironment,
        default_port: u16,
    ) -> Result<Self, ConfigError> {
        let mut settings = settings.clone();
        settings.settings.retain(|s| s.key != "tls");
        settings.settings.push(Setting {
            key: "tls".to_owned(),
            value: "on".to_owned(),
            place: settings.place.clone(),
        });
        Self::build(&settings, environment, default_port)
    }

    /// A dialer for a Unix socket.
    ///
    /// # Errors
    /// When a time in the settings is none.
    pub fn unix(settings: &Settings, path: &str) -> Result<Self, ConfigError> {
        Self::with(settings, Address::Unix(path.into()))
    }

    fn with(settings: &Settings, address: Address) -> Result<Self, ConfigError> {
        let time = |key: &str, default: Duration| {
            let seconds = settings.seconds(key, 0.0)?;
            // Fluent Bit's 0 means "for ever"; here nothing waits for ever.
            Ok(match seconds {
                0.0 => default,
                seconds => Duration::from_secs_f64(seconds.min(86_400.0)),
            })
        };
        let wanted = settings.int("net.max_worker_connections", 0)?;
        Ok(Self {
            address,
            connect_timeout: time("net.connect_timeout", Duration::from_secs(10))?,
            io_timeout: time("net.io_timeout", IO_TIMEOUT)?,
            idle_timeout: time("net.keepalive_idle_timeout", Duration::from_secs(30))?,
            max_uses: match u32::try_from(settings.int("net.keepalive_max_recycle", 2000)?) {
                Ok(0) | Err(_) => u32::MAX,
                Ok(n) => n,
            },
            max_idle: match (settings.bool("net.keepalive", true)?, wanted) {
                (false, _) => 0,
                (true, ..=0) => IDLE_CONNECTIONS,
                (true, n) => n.min(MAX_IDLE_CONNECTIONS) as usize,
            },
            idle: Mutex::default(),
        })
    }

    /// What to call the destination in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.address {
            Address::Unix(path) => path.display().to_string(),
            Address::Network(net) => net::authority(&net.host, net.port),
        }
    }

    /// An open connection: an idle one that is still good, or a new one.
    ///
    /// # Errors
    /// When none can be made in time.
    pub async fn connection(&self) -> io::Result<Connection> {
        while let Some(mut idle) = self.pop_idle() {
            if idle.last_use.elapsed() < self.idle_timeout && idle.is_open().await {
                return Ok(idle);
            }
        }
        let stream = within(self.connect_timeout, "no connection", self.dial()).await?;
        Ok(Connection {
            stream,
            uses: 0,
            last_use: Instant::now(),
            io_timeout: self.io_timeout,
        })
    }

    fn pop_idle(&self) -> Option<Connection> {
        self.idle.lock().expect("nobody panics with the lock").pop()
    }

    /// Keeps a connection whose last exchange went well.
    pub fn keep(&self, mut connection: Connection) {
        connection.uses += 1;
        connection.last_use = Instant::now();
        let mut idle = self.idle.lock().expect("nobody panics with the lock");
        if connection.uses < self.max_uses && idle.len() < self.max_idle {
            idle.push(connection);
        }
    }

    async fn dial(&self) -> io::Result<Box<dyn Io>> {
        match &self.address {
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Network(net) => Ok(net.connect().await.map_err(Error::other)?.io),
        }
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::TimedOut,
            format!("{what} within {limit:?}"),
        ))
    })
}

/// A stream in use. Drop it after an error; give it to [`Dialer::keep`] after a success.
pub struct Connection {
    stream: Box<dyn Io>,
    /// Exchanges that went well.
    uses: u32,
    last_use: Instant,
    io_timeout: Duration,
}

impl Connection {
    /// Whether nothing was sent over it yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.uses == 0
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// When the other side closed, or takes nothing for too long.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let write = self.stream.write(rest);
            match within(self.io_timeout, "nothing was taken", write).await? {
                0 => return Err(ErrorKind::WriteZero.into()),
                n => rest = &rest[n..],
            }
        }
        within(self.io_timeout, "nothing was taken", self.stream.flush()).await
    }

    /// Appends what comes next; at least one byte.
    ///
    /// # Errors
    /// When the other side closed, or is silent for too long.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let read = self.stream.read_buf(buffer);
        match within(self.io_timeout, "no answer", read).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Whether the other side has neither closed nor said anything that nobody asked for. Without
    /// this look, a request written to a closed connection would seem delivered.
    pub async fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        tokio::time::timeout(Duration::ZERO, read).await.is_err()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn dialer(port: u16, pairs: &[(&str, &str)]) -> Dialer {
        let port = port.to_string();
        let mut all = vec![("port", port.as_str())];
        all.extend_from_slice(pairs);
        let settings = Settings::of("tcp", &all);
        Dialer::build(&settings, &OutputEnvironment::default(), 1).expect("valid settings")
    }

    #[tokio::test]
    async fn a_connection_is_kept_until_the_other_side_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let dialer = dialer(listener.local_addr().expect("address").port(), &[]);
        let mut first = dialer.connection().await.expect("connects");
        let (mut peer, _) = listener.accept().await.expect("accepts");
        first.write(b"one").await.expect("writes");
        assert!(first.is_new());
        dialer.keep(first);
        let again = dialer.connection().await.expect("still open");
        assert!(!again.is_new());
        dialer.keep(again);
        let mut text = [0; 3];
        peer.read_exact(&mut text).await.expect("reads");
        assert_eq!(&text, b"one");
        drop(peer);
        // The close is seen once the system has delivered it.
        for _ in 0..1000 {
            let connection = dialer.connection().await.expect("connects");
            if connection.is_new() {
                return;
            }
            dialer.keep(connection);
            tokio::task::yield_now().await;
        }
        panic!("a closed connection was used again");
    }

    #[tokio::test]
    async fn silence_ends_at_its_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let dialer = dialer(port, &[("net.io_timeout", "0.05")]);
        let mut connection = dialer.connection().await.expect("connects");
        let error = connection.read(&mut Vec::new()).await.expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
