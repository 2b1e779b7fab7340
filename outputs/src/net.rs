//! Connections to a destination: names, addresses, time limits, proxies, TLS.
//!
//! Every step of making a connection stands under `net.connect_timeout`; what is said over it later
//! is the caller's to limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings, joined};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

use crate::proxy::Proxy;
use crate::{OutputEnvironment, tls};

const NET: &[OptionSpec] = &[
    OptionSpec::new(
        "host",
        OptionKind::Text,
        "127.0.0.1",
        "host name or address of the destination",
    ),
    OptionSpec::new("port", OptionKind::Int, "", "port of the destination"),
    OptionSpec::new(
        "ipv6",
        OptionKind::Bool,
        "off",
        "no effect: addresses of both kinds are tried",
    ),
    OptionSpec::new(
        "net.connect_timeout",
        OptionKind::Time,
        "10",
        "longest wait for a connection",
    ),
    OptionSpec::new(
        "net.connect_timeout_log_error",
        OptionKind::Bool,
        "on",
        "no effect: a failed connection is always told",
    ),
    OptionSpec::new(
        "net.io_timeout",
        OptionKind::Time,
        "0",
        "longest pause between two reads, 0 for no own limit",
    ),
    OptionSpec::new(
        "net.source_address",
        OptionKind::Text,
        "",
        "own address to connect from",
    ),
    OptionSpec::new(
        "net.dns.mode",
        OptionKind::Text,
        "",
        "no effect: the system's resolver is asked",
    ),
    OptionSpec::new(
        "net.dns.resolver",
        OptionKind::Text,
        "",
        "no effect: the system's resolver is asked",
    ),
    OptionSpec::new(
        "net.dns.prefer_ipv4",
        OptionKind::Bool,
        "off",
        "try IPv4 addresses first",
    ),
    OptionSpec::new(
        "net.dns.prefer_ipv6",
        OptionKind::Bool,
        "off",
        "try IPv6 addresses first",
    ),
    OptionSpec::new(
        "net.tcp_keepalive",
        OptionKind::Bool,
        "off",
        "let the kernel check idle connections",
    ),
    OptionSpec::new(
        "net.tcp_keepalive_time",
        OptionKind::Int,
        "-1",
        "seconds of silence before the first check",
    ),
    OptionSpec::new(
        "net.tcp_keepalive_interval",
        OptionKind::Int,
        "-1",
        "seconds between checks",
    ),
    OptionSpec::new(
        "net.tcp_keepalive_probes",
        OptionKind::Int,
        "-1",
        "checks without an answer until the connection is closed",
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
        "uses of one connection, 0 for no limit",
    ),
    OptionSpec::new(
        "net.max_worker_connections",
        OptionKind::Int,
        "0",
        "most connections at a time, 0 for no own limit",
    ),
    OptionSpec::new(
        "net.proxy_env_ignore",
        OptionKind::Bool,
        "off",
        "do not look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    ),
];

/// The options of every output that opens connections.
pub const OPTIONS: &[OptionSpec] = &joined::<{ NET.len() + tls::OPTIONS.len() }>(NET, tls::OPTIONS);

/// The longest answer of a proxy to CONNECT.
const PROXY_ANSWER_MAX_BYTES: usize = 8 << 10;

/// A connection, plain or encrypted.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that was made, and what the server chose of the protocols that were offered.
pub struct Connected {
    pub io: Box<dyn Io>,
    /// Whether ALPN chose HTTP/2.
    pub is_h2: bool,
}

/// How to connect to one destination.
pub struct Net {
    pub host: String,
    pub port: u16,
    pub proxy: Option<Proxy>,
    /// With the name to check, or why there can be none.
    tls: Option<(Box<tls::Reread>, Result<ServerName<'static>, String>)>,
    connect_timeout: Duration,
    source: Option<IpAddr>,
    /// `Some(true)`: IPv4 first.
    prefer_ipv4: Option<bool>,
    tcp_keepalive: Option<[Option<u32>; 3]>,
}

impl Net {
    /// Reads [`OPTIONS`].
    ///
    /// # Errors
    /// When a host, port, address or certificate cannot be used.
    pub fn build(
        settings: &Settings,
        environment: &OutputEnvironment,
        default_port: u16,
        alpn: &[&[u8]],
    ) -> Result<Self, ConfigError> {
        let host = settings.text("host", "127.0.0.1");
        let tls = tls::client_config(settings, environment, alpn)?;
        warn_of_idle_options(settings, environment);
        let mut net = Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port(settings, default_port)?,
            proxy: None,
            tls: None,
            connect_timeout: Duration::from_secs_f64(
                settings
                    .seconds("net.connect_timeout", 10.0)?
                    .clamp(0.001, 86_400.0),
            ),
            source: source(settings)?,
            prefer_ipv4: match (
                settings.bool("net.dns.prefer_ipv4", false)?,
                settings.bool("net.dns.prefer_ipv6", false)?,
            ) {
                (true, false) => Some(true),
                (false, true) => Some(false),
                _ => None,
            },
            tcp_keepalive: tcp_keepalive(settings)?,
        };
        if let Some(config) = tls {
            let name = settings.get("tls.vhost").map_or(&*net.host, |s| &s.value);
            let name = server_name(settings, name).map_err(|error| {
                let why = error.message.clone();
                // As in Fluent Bit, which starts and fails to connect.
                let cure = "; until 'host' (or 'tls.vhost') is a name or address nothing is sent";
                environment.warn(&error.place, format!("{why}{cure}"));
                why
            });
            net.tls = Some((Box::new(tls::Reread::new(config, settings, alpn)), name));
        }
        net.proxy = Proxy::of(settings, &net.host, net.tls.is_some())?;
        Ok(net)
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes a connection, through the proxy when there is one.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn connect(&self) -> Result<Connected, String> {
        match tokio::time::timeout(self.connect_timeout, self.connect_now()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no connection within {:?}", self.connect_timeout)),
        }
    }

    async fn connect_now(&self) -> Result<Connected, String> {
        if let Some((_, Err(why))) = &self.tls {
            return Err(why.clone());
        }
        let mut io: Box<dyn Io> = match &self.proxy {
            None => Box::new(self.tcp(&self.host, self.port).await?),
            Some(proxy) => {
                let tcp = self.tcp(&proxy.host, proxy.port).await?;
                let mut io: Box<dyn Io> = match &proxy.tls {
                    None => Box::new(tcp),
                    Some((config, name)) => {
                        handshake(config, name.clone(), Box::new(tcp)).await?.io
                    }
                };
                if self.is_tls() {
                    tunnel(&mut io, proxy, &self.host, self.port).await?;
                }
                io
            }
        };
        if let Some((reread, name)) = &self.tls {
            let (config, trouble) = reread.current();
            let connected = handshake(&config, name.clone()?, io).await;
            return connected.map_err(|reason| match trouble {
                Some(trouble) => format!("{reason}; certificates have changed, but {trouble}"),
                None => reason,
            });
        }
        io = Box::new(io);
        Ok(Connected { io, is_h2: false })
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let mut reason = format!("{host} has no address");
        for address in self.addresses(host, port).await? {
            match self.tcp_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) => reason = format!("cannot connect to {address}: {e}"),
            }
        }
        Err(reason)
    }

    /// A socket whose datagrams go to the destination.
    ///
    /// # Errors
    /// When the host has no address.
    pub async fn datagrams(&self) -> Result<UdpSocket, String> {
        let addresses = self.addresses(&self.host, self.port).await?;
        let address = addresses
            .first()
            .ok_or_else(|| format!("{} has no address", self.host))?;
        let own: IpAddr = match (self.source, address) {
            (Some(source), _) => source,
            (None, SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (None, SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let failed = |e: std::io::Error| format!("cannot send to {address}: {e}");
        let socket = UdpSocket::bind(SocketAddr::new(own, 0))
            .await
            .map_err(failed)?;
        socket.connect(address).await.map_err(failed)?;
        Ok(socket)
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
            .await
            .map_err(|e| format!("cannot resolve {host}: {e}"))?
            .collect();
        if let Some(ipv4) = self.prefer_ipv4 {
            addresses.sort_by_key(|a| a.is_ipv4() != ipv4);
        }
        if let Some(source) = self.source {
            addresses.retain(|a| a.is_ipv4() == source.is_ipv4());
        }
        Ok(addresses)
    }

    async fn tcp_to(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        if let Some([time, interval, probes]) = self.tcp_keepalive {
            use nix::sys::socket::{setsockopt, sockopt};
            socket.set_keepalive(true)?;
            if let Some(time) = time {
                setsockopt(&socket, sockopt::TcpKeepIdle, &time)?;
            }
            if let Some(interval) = interval {
                setsockopt(&socket, sockopt::TcpKeepInterval, &interval)?;
            }
            if let Some(probes) = probes {
                setsockopt(&socket, sockopt::TcpKeepCount, &probes)?;
            }
        }
        socket.connect(address).await
    }
}

async fn handshake(
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    io: Box<dyn Io>,
) -> Result<Connected, String> {
    let stream = TlsConnector::from(config.clone())
        .connect(name, io)
        .await
        .map_err(|e| {
            let text = format!("TLS handshake failed: {e}");
            if text.contains("not valid for name") || text.contains("NotValidForName") {
                format!("{text}; 'tls.vhost' names another host to check, 'tls.verify_hostname off' checks none")
            } else {
                text
            }
        })?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Connected {
        io: Box::new(stream),
        is_h2,
    })
}

/// Asks a proxy for a tunnel to `host`.
pub(crate) async fn tunnel(
    io: &mut Box<dyn Io>,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), String> {
    let at = authority(host, port);
    let login = proxy
        .login
        .as_ref()
        .map(|l| format!("Proxy-Authorization: {l}\r\n"))
        .unwrap_or_default();
    let request = format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n{login}\r\n");
    let failed = |e: std::io::Error| format!("proxy {}:{} failed: {e}", proxy.host, proxy.port);
    io.write_all(request.as_bytes()).await.map_err(failed)?;
    io.flush().await.map_err(failed)?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the empty line belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= PROXY_ANSWER_MAX_BYTES {
            return Err("the proxy's answer to CONNECT has no end".into());
        }
        answer.push(io.read_u8().await.map_err(failed)?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    match line.split_ascii_whitespace().nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(format!(
            "proxy {}:{} refused a tunnel to {at}: {line}",
            proxy.host, proxy.port
        )),
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The name to check a certificate against.
///
/// # Errors
/// When it is neither a host name nor an address.
pub fn server_name(settings: &Settings, name: &str) -> Result<ServerName<'static>, ConfigError> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        let place = (settings.get("tls.vhost").or(settings.get("host")))
            .map_or(&settings.place, |s| &s.place);
        ConfigError::new(
            place,
            format!("'{name}' is no host name or address, as TLS needs it"),
        )
    })
}

fn port(settings: &Settings, default: u16) -> Result<u16, ConfigError> {
    let port = settings.int("port", i64::from(default))?;
    u16::try_from(port).ok().filter(|&p| p > 0).ok_or_else(|| {
        let place = settings.get("port").map_or(&settings.place, |s| &s.place);
        ConfigError::new(place, format!("'port' is {port}, but must be 1 to 65535"))
    })
}

fn source(settings: &Settings) -> Result<Option<IpAddr>, ConfigError> {
    let Some(s) = settings.get("net.source_address") else {
        return Ok(None);
    };
    s.value.parse().map(Some).map_err(|_| {
        ConfigError::new(
            &s.place,
            format!(
                "'net.source_address' is '{}', but must be an IP address of this machine",
                s.value
            ),
        )
    })
}

fn tcp_keepalive(settings: &Settings) -> Result<Option<[Option<u32>; 3]>, ConfigError> {
    let number = |key: &str| -> Result<Option<u32>, ConfigError> {
        Ok(u32::try_from(settings.int(key, -1)?)
            .ok()
            .filter(|&n| n > 0))
    };
    let numbers = [
        number("net.tcp_keepalive_time")?,
        number("net.tcp_keepalive_interval")?,
        number("net.tcp_keepalive_probes")?,
    ];
    Ok(settings
        .bool("net.tcp_keepalive", false)?
        .then_some(numbers))
}

fn warn_of_idle_options(settings: &Settings, environment: &OutputEnvironment) {
    for key in ["net.dns.mode", "net.dns.resolver"] {
        if let Some(s) = settings.get(key) {
            let message = format!("'{key}' has no effect: the system's resolver is asked");
            environment.warn(&s.place, message);
        }
    }
}
