//! Streams to one destination: TCP, TLS or a Unix socket, kept open between requests.
//!
//! Every step has a deadline: connecting with its TLS handshake, each write, each read. A connection
//! that failed, or that the other side closed meanwhile, is never used again.

use std::io::{self, Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::tls;

/// Where an output sends to.
pub const ADDRESS_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "host",
        OptionKind::Text,
        "127.0.0.1",
        "host name or address of the destination",
    ),
    OptionSpec::new("port", OptionKind::Int, "", "port of the destination"),
];

/// The options of every output that keeps streams open.
pub const STREAM_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("tls", OptionKind::Bool, "off", "speak TLS"),
    OptionSpec::new(
        "tls.verify",
        OptionKind::Bool,
        "on",
        "check the server's certificate",
    ),
    OptionSpec::new(
        "tls.ca_file",
        OptionKind::Text,
        "",
        "certificates to trust instead of the system's (PEM)",
    ),
    OptionSpec::new(
        "tls.vhost",
        OptionKind::Text,
        "",
        "name that the certificate must have, when it is not the host's",
    ),
    OptionSpec::new(
        "net.connect_timeout",
        OptionKind::Time,
        "10",
        "longest wait for a connection with its TLS handshake",
    ),
    OptionSpec::new(
        "net.io_timeout",
        OptionKind::Time,
        "30",
        "longest wait for one write or one answer",
    ),
    OptionSpec::new(
        "net.keepalive",
        OptionKind::Bool,
        "on",
        "use a connection for several requests",
    ),
    OptionSpec::new(
        "net.keepalive_idle_timeout",
        OptionKind::Time,
        "30",
        "close a connection that was idle this long",
    ),
    OptionSpec::new(
        "net.keepalive_max_recycle",
        OptionKind::Int,
        "2000",
        "requests after which a connection is made anew",
    ),
    OptionSpec::new(
        "net.max_worker_connections",
        OptionKind::Int,
        "2",
        "idle connections to keep",
    ),
    OptionSpec::new(
        "net.source_address",
        OptionKind::Text,
        "",
        "own address to connect from",
    ),
    OptionSpec::new(
        "net.tcp_keepalive",
        OptionKind::Bool,
        "off",
        "let the system probe idle connections",
    ),
    OptionSpec::new(
        "net.tcp_keepalive_time",
        OptionKind::Int,
        "-1",
        "seconds of silence before the first probe",
    ),
    OptionSpec::new(
        "net.tcp_keepalive_interval",
        OptionKind::Int,
        "-1",
        "seconds between probes",
    ),
    OptionSpec::new(
        "net.tcp_keepalive_probes",
        OptionKind::Int,
        "-1",
        "unanswered probes that end a connection",
    ),
    OptionSpec::new(
        "net.dns.prefer_ipv4",
        OptionKind::Bool,
        "off",
        "try IPv4 addresses of a name first",
    ),
    OptionSpec::new(
        "net.dns.prefer_ipv6",
        OptionKind::Bool,
        "off",
        "try IPv6 addresses of a name first",
    ),
];

/// The most idle connections to one destination, whatever the settings say.
const MAX_IDLE_CONNECTIONS: i64 = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

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
    Network(Network),
}

struct Network {
    host: Host,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    probes: Option<socket2::TcpKeepalive>,
}

impl Dialer {
    /// A dialer from [`ADDRESS_OPTIONS`] and [`STREAM_OPTIONS`].
    ///
    /// # Errors
    /// When a host or certificate file cannot be used.
    pub fn build(settings: &Settings, default_port: u16) -> Result<Self, ConfigError> {
        let with_tls = settings.bool("tls", false)?;
        Self::build_with(settings, default_port, with_tls)
    }

    /// The same with TLS on or off, whatever the option `tls` says.
    ///
    /// # Errors
    /// When a host or certificate file cannot be used.
    pub fn build_with(
        settings: &Settings,
        default_port: u16,
        with_tls: bool,
    ) -> Result<Self, ConfigError> {
        let host = Host::build(settings, default_port)?;
        let tls = if with_tls {
            let name = settings.text("tls.vhost", &host.name).to_owned();
            let name = ServerName::try_from(name.clone()).map_err(|_| {
                let message = format!("'{name}' can be in no certificate; set 'tls.vhost'");
                ConfigError::new(&settings.place, message)
            })?;
            let config = tls::config(settings)?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let network = Network {
            host,
            tls,
            probes: probes(settings)?,
        };
        Self::with(settings, Address::Network(network))
    }

    /// A dialer for a Unix socket.
    ///
    /// # Errors
    /// When a time in the settings is none.
    pub fn unix(settings: &Settings, path: &str) -> Result<Self, ConfigError> {
        Self::with(settings, Address::Unix(path.into()))
    }

    fn with(settings: &Settings, address: Address) -> Result<Self, ConfigError> {
        let time = |key: &str, default: f64| {
            let seconds = settings.seconds(key, default)?;
            // Fluent Bit's 0 means "for ever"; here nothing waits for ever.
            let seconds = if seconds == 0.0 { default } else { seconds };
            Ok(Duration::from_secs_f64(seconds.min(86_400.0)))
        };
        let keepalive = settings.bool("net.keepalive", true)?;
        let wanted = settings.int("net.max_worker_connections", 2)?;
        Ok(Self {
            address,
            connect_timeout: time("net.connect_timeout", 10.0)?,
            io_timeout: time("net.io_timeout", 30.0)?,
            idle_timeout: time("net.keepalive_idle_timeout", 30.0)?,
            max_uses: u32::try_from(settings.int("net.keepalive_max_recycle", 2000)?)
                .unwrap_or(u32::MAX),
            max_idle: match keepalive {
                true => wanted.clamp(1, MAX_IDLE_CONNECTIONS) as usize,
                false => 0,
            },
            idle: Mutex::default(),
        })
    }

    /// What to call the destination in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.address {
            Address::Unix(path) => path.display().to_string(),
            Address::Network(network) => network.host.to_string(),
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

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        let network = match &self.address {
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Network(network) => network,
        };
        let stream = network.host.connect().await?;
        stream.set_nodelay(true)?;
        if let Some(probes) = &network.probes {
            socket2::SockRef::from(&stream).set_tcp_keepalive(probes)?;
        }
        match &network.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
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

fn probes(settings: &Settings) -> Result<Option<socket2::TcpKeepalive>, ConfigError> {
    if !settings.bool("net.tcp_keepalive", false)? {
        return Ok(None);
    }
    let mut probes = socket2::TcpKeepalive::new();
    if let Ok(seconds @ 1..) = u64::try_from(settings.int("net.tcp_keepalive_time", -1)?) {
        probes = probes.with_time(Duration::from_secs(seconds));
    }
    if let Ok(seconds @ 1..) = u64::try_from(settings.int("net.tcp_keepalive_interval", -1)?) {
        probes = probes.with_interval(Duration::from_secs(seconds));
    }
    if let Ok(count @ 1..) = u32::try_from(settings.int("net.tcp_keepalive_probes", -1)?) {
        probes = probes.with_retries(count);
    }
    Ok(Some(probes))
}

/// A stream in use. Drop it after an error; give it to [`Dialer::keep`] after a success.
pub struct Connection {
    stream: Box<dyn Stream>,
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

/// A host with its port, and how to reach it.
pub struct Host {
    name: String,
    port: u16,
    source: Option<IpAddr>,
    /// `Some(true)`: IPv4 first.
    prefer_ipv4: Option<bool>,
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

impl Host {
    /// The host of `host` and `port`.
    ///
    /// # Errors
    /// When the port or the own address is none.
    pub fn build(settings: &Settings, default_port: u16) -> Result<Self, ConfigError> {
        let name = settings.text("host", "127.0.0.1");
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let port = settings.int("port", i64::from(default_port))?;
        let place = settings.get("port").map_or(&settings.place, |s| &s.place);
        let source = match settings.get("net.source_address") {
            None => None,
            Some(s) => Some(s.value.parse().map_err(|_| {
                let message = format!("'net.source_address' is '{}', which is no address", s.value);
                ConfigError::new(&s.place, message)
            })?),
        };
        Ok(Self {
            name: name.to_owned(),
            port: match u16::try_from(port) {
                Ok(port @ 1..) => port,
                _ => {
                    let message = format!("'port' is {port}, but must be 1 to 65535");
                    return Err(ConfigError::new(place, message));
                }
            },
            source,
            prefer_ipv4: if settings.bool("net.dns.prefer_ipv4", false)? {
                Some(true)
            } else if settings.bool("net.dns.prefer_ipv6", false)? {
                Some(false)
            } else {
                None
            },
        })
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = lookup_host((self.name.as_str(), self.port))
            .await?
            .filter(|a| self.source.is_none_or(|s| s.is_ipv4() == a.is_ipv4()))
            .collect();
        if let Some(ipv4) = self.prefer_ipv4 {
            found.sort_by_key(|a| a.is_ipv4() != ipv4);
        }
        if found.is_empty() {
            let message = format!("{} has no address", self.name);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(found)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut last = Error::from(ErrorKind::NotFound);
        for address in self.addresses().await? {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(source) = self.source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// A datagram socket that sends to this host only.
    ///
    /// # Errors
    /// When the name has no address.
    pub async fn datagrams(&self) -> io::Result<UdpSocket> {
        let address = self.addresses().await?[0];
        let own: IpAddr = match (self.source, address) {
            (Some(source), _) => source,
            (None, SocketAddr::V4(_)) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            (None, SocketAddr::V6(_)) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(own, 0)).await?;
        socket.connect(address).await?;
        Ok(socket)
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
        Dialer::build(&Settings::of("tcp", &all), 1).expect("valid settings")
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

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (key, value, message) in [
            ("port", "0", "'port' is 0, but must be 1 to 65535"),
            ("net.source_address", "x", "'net.source_address' is 'x'"),
        ] {
            let error = Dialer::build(&Settings::of("tcp", &[(key, value)]), 1)
                .err()
                .expect("refused");
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
