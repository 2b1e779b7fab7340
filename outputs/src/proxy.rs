//! Which HTTP proxy stands between the agent and a destination: the `proxy` option or the environment.
//!
//! Loopback addresses never go through a proxy of the environment.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kansoku_model::{ConfigError, Settings};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::{net, tls};

/// A proxy to go through.
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub login: Option<String>,
    /// Set for a proxy that is itself spoken to over TLS.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Proxy {
    /// The proxy for `host`, if there is one.
    ///
    /// # Errors
    /// When its address cannot be read.
    pub fn of(settings: &Settings, host: &str, is_tls: bool) -> Result<Option<Self>, ConfigError> {
        if let Some(s) = settings.get("proxy") {
            let proxy = Self::parse(settings, &s.value).map_err(|e| {
                ConfigError::new(
                    &s.place,
                    format!(
                        "'proxy' is '{}', but must be http://host:port: {e}",
                        s.value
                    ),
                )
            })?;
            return Ok(Some(proxy));
        }
        if settings.bool("net.proxy_env_ignore", false)? {
            return Ok(None);
        }
        let read = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let either = |name: &str| read(name).or_else(|| read(&name.to_ascii_lowercase()));
        let Some(url) = from_environment(either, host, is_tls) else {
            return Ok(None);
        };
        Self::parse(settings, &url).map(Some).map_err(|e| {
            let message = format!("the proxy '{url}' of the environment cannot be used: {e}");
            ConfigError::new(&settings.place, message)
        })
    }

    fn parse(settings: &Settings, url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let rest = rest.trim_end_matches('/');
        let (login, at) = match rest.rsplit_once('@') {
            Some((login, at)) => (Some(login), at),
            None => (None, rest),
        };
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            other => return Err(format!("'{other}' is no scheme of a proxy")),
        };
        let (host, port) = match at.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                port.parse()
                    .map_err(|_| format!("'{port}' is no port number"))?,
            ),
            _ => (at, default_port),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("there is no host in it".into());
        }
        let tls = if scheme == "https" {
            let name = net::server_name(settings, &host).map_err(|e| e.message)?;
            Some((tls::proxy_config(settings).map_err(|e| e.message)?, name))
        } else {
            None
        };
        Ok(Self {
            host,
            port,
            login: login.map(|l| format!("Basic {}", STANDARD.encode(decoded(l)))),
            tls,
        })
    }
}

/// Percent-decodes the user and password of a URL.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let coded = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(coded.unwrap_or(bytes[at]));
        at += if coded.is_some() { 3 } else { 1 };
    }
    out
}

/// HTTPS_PROXY counts for TLS, HTTP_PROXY for everything else and, as in Fluent Bit, for TLS too.
fn from_environment(
    read: impl Fn(&str) -> Option<String>,
    host: &str,
    is_tls: bool,
) -> Option<String> {
    let is_loopback = host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if is_loopback || read("NO_PROXY").is_some_and(|list| is_exempt(&list, host)) {
        return None;
    }
    let own = if is_tls { read("HTTPS_PROXY") } else { None };
    own.or_else(|| read("HTTP_PROXY"))
}

/// Whether a NO_PROXY list names `host`: by name, by domain, by address, by network, or with `*`.
fn is_exempt(list: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*"
            || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
            || is_in_network(&entry, &host)
    })
}

fn is_in_network(network: &str, host: &str) -> bool {
    let parsed = network.split_once('/').and_then(|(base, bits)| {
        let base: IpAddr = base.parse().ok()?;
        let host: IpAddr = host.parse().ok()?;
        Some((base, host, bits.parse::<u32>().ok()?))
    });
    match parsed {
        Some((IpAddr::V4(a), IpAddr::V4(b), bits)) if bits <= 32 => {
            let shift = |ip: std::net::Ipv4Addr| u64::from(ip.to_bits()) >> (32 - bits);
            shift(a) == shift(b)
        }
        Some((IpAddr::V6(a), IpAddr::V6(b), bits)) if bits <= 128 => {
            let shift = |ip: std::net::Ipv6Addr| ip.to_bits().checked_shr(128 - bits).unwrap_or(0);
            shift(a) == shift(b)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_which_proxy_and_for_whom() {
        let read = |name: &str| {
            let found = match name {
                "HTTP_PROXY" => "http://p:1",
                "HTTPS_PROXY" => "http://s:2",
                "NO_PROXY" => "es.local, .svc,10.0.0.0/8,fd00::/16",
                _ => return None,
            };
            Some(found.to_owned())
        };
        for (host, is_tls, expected) in [
            ("example.org", false, Some("http://p:1")),
            ("example.org", true, Some("http://s:2")),
            ("127.0.0.1", false, None),
            ("localhost", true, None),
            ("es.local", false, None),
            ("a.es.local", false, None),
            ("notes.local", false, Some("http://p:1")),
            ("loki.svc", false, None),
            ("10.1.2.3", false, None),
            ("11.1.2.3", false, Some("http://p:1")),
            ("fd00::1", false, None),
        ] {
            let found = from_environment(read, host, is_tls);
            assert_eq!(found.as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn proxy_addresses_are_read() {
        let settings = Settings::default();
        let proxy = Proxy::parse(&settings, "http://us%40er:pw@p.example:3128/").expect("valid");
        assert_eq!((proxy.host.as_str(), proxy.port), ("p.example", 3128));
        let login = format!("Basic {}", STANDARD.encode("us@er:pw"));
        assert_eq!(proxy.login, Some(login));
        assert_eq!(Proxy::parse(&settings, "[::1]").expect("valid").port, 80);
        for bad in ["socks5://x", "http://", "http://x:y"] {
            assert!(Proxy::parse(&settings, bad).is_err(), "{bad}");
        }
    }
}
