//! Listening sockets, TCP or Unix, plain or TLS, with a bound on connections.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pipe::Pipe;
use super::{int_within, tls};
use crate::log;
use crate::plugin::Environment;

/// Connections at a time unless configured otherwise; more wait in the kernel's queue.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;
/// How long to wait when no connection can be accepted, for want of descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The options of every input that listens on TCP.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "listen",
        OptionKind::Text,
        "0.0.0.0",
        "address to listen on",
    ),
    OptionSpec::new(
        "port",
        OptionKind::Int,
        "",
        "port to listen on; 0 lets the system choose",
    ),
    OptionSpec::new(
        "net.backlog",
        OptionKind::Int,
        "128",
        "connections that may wait to be accepted",
    ),
    OptionSpec::new(
        "net.share_port",
        OptionKind::Bool,
        "off",
        "let several inputs listen on the port",
    ),
    OptionSpec::new(
        "net.io_timeout",
        OptionKind::Time,
        "0s",
        "close a connection that is idle for so long; 0 = never",
    ),
    OptionSpec::new(
        "net.accept_timeout",
        OptionKind::Time,
        "10s",
        "time for the TLS handshake",
    ),
    OptionSpec::new(
        "net.accept_timeout_log_error",
        OptionKind::Bool,
        "on",
        "off: a TLS handshake that took too long is told at level debug only",
    ),
    OptionSpec::new(
        "net.keepalive",
        OptionKind::Bool,
        "on",
        "off: an HTTP/1 connection serves one request. Of no meaning for other protocols, whose clients end connections",
    ),
    OptionSpec::new(
        "host",
        OptionKind::Text,
        "",
        "no effect on an input that listens: 'listen' is its address",
    ),
];

/// Joined in front of a plugin's own options.
pub const N_OPTIONS: usize = OPTIONS.len() + tls::OPTIONS.len();
/// [`OPTIONS`] and those of TLS.
pub const ALL_OPTIONS: [OptionSpec; N_OPTIONS] = kansoku_model::joined(OPTIONS, tls::OPTIONS);

/// Where and how to listen.
#[derive(Clone)]
pub struct Listen {
    pub place: Where,
    pub tls: Option<TlsAcceptor>,
    pub max_connections: usize,
    /// `None` = for ever.
    pub idle_timeout: Option<Duration>,
    backlog: u32,
    /// Whether a connection may serve more than one HTTP request.
    pub keepalive: bool,
    share_port: bool,
    accept: Patience,
}

/// How long a TLS handshake may take, and whether it is an error when it takes longer.
#[derive(Clone, Copy)]
struct Patience {
    time: Duration,
    is_error: bool,
}

/// An address.
#[derive(Debug, Clone)]
pub enum Where {
    Tcp(SocketAddr),
    /// A path and its permissions.
    Unix(PathBuf, Option<u32>),
}

impl Listen {
    /// Reads `listen`, `port`, `net.*` and `tls.*`.
    ///
    /// # Errors
    /// The first mistake.
    pub fn of(
        s: &Settings,
        environment: &Environment,
        default_port: u16,
        alpn: &[&[u8]],
    ) -> Result<Self, ConfigError> {
        if let Some(k) = s.get("host") {
            environment.warn(
                &k.place,
                "'host' has no effect on an input that listens; its address is 'listen'",
            );
        }
        let idle = s.seconds("net.io_timeout", 0.0)?;
        let accept = s.seconds("net.accept_timeout", 10.0)?;
        Ok(Self {
            place: Where::Tcp(address(s, default_port)?),
            tls: tls::acceptor(s, environment, alpn)?,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            idle_timeout: (idle > 0.0).then(|| Duration::from_secs_f64(idle.min(1e9))),
            backlog: int_within(s, "net.backlog", 128, 1..=65_535)? as u32,
            share_port: s.bool("net.share_port", false)?,
            keepalive: s.bool("net.keepalive", true)?,
            accept: Patience {
                time: Duration::from_secs_f64(accept.clamp(0.1, 1e6)),
                is_error: s.bool("net.accept_timeout_log_error", true)?,
            },
        })
    }

    /// Listens on a Unix socket instead.
    #[must_use]
    pub fn on_path(mut self, path: &str, permissions: Option<u32>) -> Self {
        self.place = Where::Unix(path.into(), permissions);
        self
    }
}

/// Reads `listen` and `port`.
///
/// # Errors
/// When the address is no IP address or the port none.
pub fn address(s: &Settings, default_port: u16) -> Result<SocketAddr, ConfigError> {
    let port = int_within(s, "port", i64::from(default_port), 0..=65_535)? as u16;
    let text = s.text("listen", "0.0.0.0");
    let text = if text == "localhost" {
        "127.0.0.1"
    } else {
        text
    };
    let ip: IpAddr = text.trim_matches(['[', ']']).parse().map_err(|_| {
        let place = s.get("listen").map_or(&s.place, |k| &k.place);
        ConfigError::new(
            place,
            format!("'listen' is '{text}', but must be an IP address"),
        )
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// Reads an octal `unix_perm`.
///
/// # Errors
/// When it is no permission.
pub fn unix_permissions(s: &Settings) -> Result<Option<u32>, ConfigError> {
    let Some(k) = s.get("unix_perm") else {
        return Ok(None);
    };
    match u32::from_str_radix(&k.value, 8) {
        Ok(bits) if bits <= 0o7777 => Ok(Some(bits)),
        _ => Err(ConfigError::new(
            &k.place,
            format!(
                "'unix_perm' is '{}', but must be octal, such as 0644",
                k.value
            ),
        )),
    }
}

/// One accepted connection.
pub struct Connection {
    pub io: Io,
    /// The peer's address; empty for Unix sockets.
    pub peer: String,
}

/// The bytes of a connection.
pub enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Opens the socket.
fn open(listen: &Listen) -> anyhow::Result<Socket> {
    match &listen.place {
        Where::Tcp(address) => {
            let open = || -> io::Result<TcpListener> {
                let socket = if address.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                socket.set_reuseaddr(true)?;
                if listen.share_port {
                    socket.set_reuseport(true)?;
                }
                socket.bind(*address)?;
                socket.listen(listen.backlog)
            };
            let failed = || format!("failed to listen on {address}; choose another listen or port");
            Ok(Socket::Tcp(open().with_context(failed)?))
        }
        Where::Unix(path, permissions) => {
            make_way(path)?;
            let failed = || format!("failed to listen on {}", path.display());
            let socket = UnixListener::bind(path).with_context(failed)?;
            permit(path, *permissions)?;
            Ok(Socket::Unix(socket))
        }
    }
}

/// Removes a socket that an earlier run left behind; anything else stays.
pub fn make_way(path: &Path) -> anyhow::Result<()> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            anyhow::bail!(
                "{} exists and is no socket; choose another path",
                path.display()
            );
        }
        std::fs::remove_file(path)
            .with_context(|| format!("failed to remove the old socket {}", path.display()))?;
    }
    Ok(())
}

/// Sets the permissions of a socket.
pub fn permit(path: &Path, permissions: Option<u32>) -> anyhow::Result<()> {
    let Some(bits) = permissions else {
        return Ok(());
    };
    std::fs::set_permissions(path, Permissions::from_mode(bits))
        .with_context(|| format!("failed to set the permissions of {}", path.display()))
}

/// Accepts until the agent stops; each connection is served by a task of its own. Returns once all of
/// them have ended.
///
/// # Errors
/// When the address cannot be had.
pub async fn serve<F>(
    name: &'static str,
    listen: Listen,
    pipe: Pipe,
    serve_one: impl Fn(Connection) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let socket = open(&listen)?;
    let file = match &listen.place {
        Where::Unix(path, _) => Some(SocketFile(path.clone())),
        Where::Tcp(_) => None,
    };
    if let Socket::Tcp(socket) = &socket {
        log::info(name, format_args!("listening on {}", socket.local_addr()?));
    }
    let room = Arc::new(Semaphore::new(listen.max_connections));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let accepting = async {
            let permit = room.clone().acquire_owned().await;
            (accept(&socket).await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepting => accepted,
            () = pipe.stopping() => break,
        };
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn(name, format_args!("failed to accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, patience, serve_one) = (listen.tls.clone(), listen.accept, serve_one.clone());
        tasks.spawn(async move {
            if let Some(io) = shake_hands(name, io, tls, patience).await {
                serve_one(Connection { io, peer }).await;
            }
            drop(permit);
        });
    }
    drop(socket);
    drop(file);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// The file of a listening socket, removed even when the runtime ends before the listener does.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Left behind it would only be removed by the next run.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn accept(socket: &Socket) -> io::Result<(Io, String)> {
    match socket {
        Socket::Tcp(socket) => {
            let (stream, peer) = socket.accept().await?;
            // Answers are small and waited for.
            stream.set_nodelay(true)?;
            Ok((Io::Tcp(stream), peer.ip().to_canonical().to_string()))
        }
        Socket::Unix(socket) => Ok((Io::Unix(socket.accept().await?.0), String::new())),
    }
}

/// TLS where it is wanted; `None`, and a line in the log, when it fails.
async fn shake_hands(
    name: &str,
    io: Io,
    tls: Option<TlsAcceptor>,
    patience: Patience,
) -> Option<Io> {
    let (tcp, tls) = match (io, tls) {
        (Io::Tcp(tcp), Some(tls)) => (tcp, tls),
        (io, _) => return Some(io),
    };
    match tokio::time::timeout(patience.time, tls.accept(tcp)).await {
        Ok(Ok(stream)) => Some(Io::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            log::warn(name, format_args!("TLS handshake failed: {error}"));
            None
        }
        Err(_) => {
            let what = "TLS handshake took too long";
            if patience.is_error {
                log::warn(name, what);
            } else {
                log::debug(name, what);
            }
            None
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
            Self::Unix(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Self::Unix(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
