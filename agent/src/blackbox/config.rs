//! blackbox_exporter's configuration: modules by name, every key that blackbox_exporter 0.28 knows.
//!
//! What cannot be done here (HTTP/3, CEL, proxies, OAuth 2, the websocket and unix probers) is an error with its place, as an unknown key
//! is: a probe that silently checks less than it was told to is worse than none.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use kansoku_model::plugin::did_you_mean;
use kansoku_model::{ConfigError, Place};
use kansoku_parsers::config::yaml::tree::{Node, parse};
use kansoku_parsers::time::prometheus_duration;
use kansoku_parsers::wire::dns::{CLASSES, CODES, TYPES};
use regex::Regex;

use super::resolve::Preference;
use super::tls::Tls;

/// The longest password or token in a file.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Modules by name.
#[derive(Debug, Default)]
pub struct Config {
    pub modules: BTreeMap<String, Module>,
}

/// How to probe.
#[derive(Debug)]
pub struct Module {
    pub prober: Prober,
    /// Zero when it is not set.
    pub timeout: Duration,
}

/// What to probe with.
#[derive(Debug)]
pub enum Prober {
    Http(Box<Http>),
    Tcp(Tcp),
    Icmp(Icmp),
    Dns(Box<Dns>),
    Grpc(Grpc),
}

impl Prober {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Icmp(_) => "icmp",
            Self::Dns(_) => "dns",
            Self::Grpc(_) => "grpc",
        }
    }
}

/// Section `http`.
#[derive(Debug)]
pub struct Http {
    pub valid_status_codes: Vec<u16>,
    pub valid_http_versions: Vec<String>,
    pub preference: Preference,
    pub follows_redirects: bool,
    pub fail_if_ssl: bool,
    pub fail_if_not_ssl: bool,
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub fail_if_body_matches: Vec<Regex>,
    pub fail_if_body_not_matches: Vec<Regex>,
    pub fail_if_header_matches: Vec<HeaderMatch>,
    pub fail_if_header_not_matches: Vec<HeaderMatch>,
    pub body: String,
    pub body_file: Option<String>,
    /// `gzip` or `deflate`.
    pub compression: Option<String>,
    /// 0 for none.
    pub body_size_limit: u64,
    pub is_http2: bool,
    pub tls: Tls,
}

/// A pattern for a header's values.
#[derive(Debug)]
pub struct HeaderMatch {
    pub header: String,
    pub pattern: Regex,
    pub allow_missing: bool,
}

/// Section `tcp`.
#[derive(Debug, Default)]
pub struct Tcp {
    pub preference: Preference,
    pub source: Option<std::net::IpAddr>,
    pub steps: Vec<Step>,
    pub is_tls: bool,
    pub tls: Tls,
}

/// One of `query_response`.
#[derive(Debug)]
pub struct Step {
    pub expect: Option<Regex>,
    pub expect_bytes: String,
    pub labels: Vec<(String, String)>,
    pub send: String,
    pub starttls: bool,
}

/// Section `icmp`.
#[derive(Debug)]
pub struct Icmp {
    pub preference: Preference,
    pub source: Option<std::net::IpAddr>,
    pub payload_bytes: usize,
    pub ttl: u8,
}

/// Section `dns`.
#[derive(Debug, Default)]
pub struct Dns {
    pub preference: Preference,
    pub over_tls: bool,
    pub tls: Tls,
    pub source: Option<std::net::IpAddr>,
    pub is_tcp: bool,
    pub class: u16,
    pub name: String,
    pub kind: u16,
    pub recursion: bool,
    pub valid_codes: Vec<u8>,
    pub answer: Validator,
    pub authority: Validator,
    pub additional: Validator,
}

/// What records must look like.
#[derive(Debug, Default)]
pub struct Validator {
    pub fail_if_matches: Vec<Regex>,
    pub fail_if_all_match: Vec<Regex>,
    pub fail_if_not_matches: Vec<Regex>,
    pub fail_if_none_matches: Vec<Regex>,
}

/// Section `grpc`.
#[derive(Debug, Default)]
pub struct Grpc {
    pub service: String,
    pub is_tls: bool,
    pub tls: Tls,
    pub preference: Preference,
    pub metadata: Vec<(String, String)>,
}

impl Config {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// The first mistake with its place.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for root in parse(file, bytes, &mut Vec::new())? {
            if root.is_null() {
                continue;
            }
            for (_, modules) in root.checked_pairs(&["modules"])? {
                for (key, node) in modules.pairs()? {
                    let module = module(node)?;
                    if config.modules.insert(key.text.clone(), module).is_some() {
                        let message = format!("module '{}' is there twice", key.text);
                        return Err(ConfigError::new(&key.place, message));
                    }
                }
            }
        }
        if config.modules.is_empty() {
            let message = "the file has no modules";
            return Err(ConfigError::new(&Place::new(file, 0), message));
        }
        Ok(config)
    }
}

const SECTIONS: [&str; 7] = ["http", "tcp", "icmp", "dns", "grpc", "unix", "websocket"];

fn module(node: &Node) -> Result<Module, ConfigError> {
    let mut keys = vec!["prober", "timeout"];
    keys.extend(SECTIONS);
    let map = Map::of(node, &keys)?;
    let prober = map.get("prober");
    let name = prober.map_or(Ok(""), Node::text)?;
    // Sections of other probers are checked, too.
    let http = http(map.get("http"))?;
    let tcp = tcp(map.get("tcp"))?;
    let icmp = icmp(map.get("icmp"))?;
    let dns = dns(map.get("dns"))?;
    let grpc = grpc(map.get("grpc"))?;
    let prober = match name {
        "http" => Prober::Http(Box::new(http)),
        "tcp" => Prober::Tcp(tcp),
        "icmp" => Prober::Icmp(icmp),
        "dns" => Prober::Dns(Box::new(dns)),
        "grpc" => Prober::Grpc(grpc),
        "unix" | "websocket" => {
            let message = format!("prober '{name}' is not supported");
            return Err(prober.unwrap_or(node).error(message));
        }
        other => {
            let hint = did_you_mean(other, SECTIONS.into_iter());
            let message = format!("prober '{other}' is not valid{hint}");
            return Err(prober.unwrap_or(node).error(message));
        }
    };
    let timeout = match map.get("timeout") {
        None => Duration::ZERO,
        Some(node) => duration(node)?,
    };
    Ok(Module { prober, timeout })
}

/// The pairs of a section, which may be missing.
struct Map<'a> {
    pairs: Vec<(&'a str, &'a Node)>,
}

impl<'a> Map<'a> {
    fn of(node: &'a Node, keys: &[&str]) -> Result<Self, ConfigError> {
        Ok(Self {
            pairs: node.checked_pairs(keys)?,
        })
    }

    fn section_of(node: Option<&'a Node>, keys: &[&str]) -> Result<Self, ConfigError> {
        match node {
            Some(node) => Self::of(node, keys),
            None => Ok(Self { pairs: Vec::new() }),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Node> {
        self.pairs
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, node)| *node)
    }

    fn text(&self, key: &str) -> Result<String, ConfigError> {
        let text = self.get(key).map(Node::text).transpose()?;
        Ok(text.unwrap_or_default().to_owned())
    }

    fn bool(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(node) = self.get(key) else {
            return Ok(default);
        };
        match node.text()? {
            "true" | "True" | "TRUE" | "yes" | "on" => Ok(true),
            "false" | "False" | "FALSE" | "no" | "off" => Ok(false),
            other => Err(node.error(format!("'{key}' is '{other}', but must be true or false"))),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(node) = self.get(key) else {
            return Ok(Vec::new());
        };
        node.items()?
            .iter()
            .map(|item| item.text().map(str::to_owned))
            .collect()
    }

    fn patterns(&self, key: &str) -> Result<Vec<Regex>, ConfigError> {
        let Some(node) = self.get(key) else {
            return Ok(Vec::new());
        };
        node.items()?.iter().map(pattern).collect()
    }

    fn number(&self, key: &str, max: u64) -> Result<Option<u64>, ConfigError> {
        self.get(key).map(|node| number(node, max)).transpose()
    }

    fn preference(&self) -> Result<Preference, ConfigError> {
        let is_ip4 = match self.get("preferred_ip_protocol") {
            None => false,
            Some(node) => match node.text()? {
                "ip4" => true,
                "ip6" | "" => false,
                other => {
                    let message = format!("'{other}' is no IP protocol; use ip4 or ip6");
                    return Err(node.error(message));
                }
            },
        };
        Ok(Preference {
            is_ip4,
            falls_back: self.bool("ip_protocol_fallback", true)?,
        })
    }

    fn source(&self) -> Result<Option<std::net::IpAddr>, ConfigError> {
        let Some(node) = self.get("source_ip_address") else {
            return Ok(None);
        };
        let text = node.text()?;
        let parsed = text
            .parse()
            .map_err(|_| node.error(format!("'{text}' is no IP address")))?;
        Ok(Some(parsed))
    }

    /// Refuses a key that is there.
    fn refuse(&self, keys: &[&str]) -> Result<(), ConfigError> {
        match keys.iter().find_map(|key| Some((key, self.get(key)?))) {
            Some((key, node)) => Err(node.error(format!("'{key}' is not supported"))),
            None => Ok(()),
        }
    }

    fn tls(&self) -> Result<Tls, ConfigError> {
        tls(self.get("tls_config"))
    }
}

fn pattern(node: &Node) -> Result<Regex, ConfigError> {
    let text = node.text()?;
    Regex::new(text).map_err(|e| {
        let why = e.to_string();
        let why = why.lines().last().unwrap_or_default().trim();
        node.error(format!("'{text}' is no regular expression: {why}"))
    })
}

fn number(node: &Node, max: u64) -> Result<u64, ConfigError> {
    let text = node.text()?;
    let parsed = text.parse().ok().filter(|n| *n <= max);
    parsed.ok_or_else(|| node.error(format!("'{text}' must be a whole number up to {max}")))
}

fn duration(node: &Node) -> Result<Duration, ConfigError> {
    let text = node.text()?;
    let seconds = || {
        let number = text.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(number).ok()
    };
    prometheus_duration(text)
        .or_else(seconds)
        .ok_or_else(|| node.error(format!("'{text}' must be a duration such as 5s")))
}

fn tls(node: Option<&Node>) -> Result<Tls, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "ca",
            "cert",
            "key",
            "ca_ref",
            "cert_ref",
            "key_ref",
            "ca_file",
            "cert_file",
            "key_file",
            "server_name",
            "insecure_skip_verify",
            "min_version",
            "max_version",
        ],
    )?;
    map.refuse(&["ca", "cert", "key", "ca_ref", "cert_ref", "key_ref"])?;
    let version = |key: &str| -> Result<Option<String>, ConfigError> {
        let Some(node) = map.get(key) else {
            return Ok(None);
        };
        match node.text()? {
            "TLS10" | "TLS11" | "TLS12" => Ok(Some("TLSv1.2".to_owned())),
            "TLS13" => Ok(Some("TLSv1.3".to_owned())),
            other => Err(node.error(format!("'{other}' is no TLS version; use TLS12 or TLS13"))),
        }
    };
    let optional = |key: &str| -> Result<Option<String>, ConfigError> {
        Ok(Some(map.text(key)?).filter(|text| !text.is_empty()))
    };
    let tls = Tls {
        place: node.map(|n| n.place.clone()).unwrap_or_default(),
        ca_file: optional("ca_file")?,
        certificate_file: optional("cert_file")?,
        key_file: optional("key_file")?,
        server_name: optional("server_name")?,
        verifies: !map.bool("insecure_skip_verify", false)?,
        min_version: version("min_version")?,
        max_version: version("max_version")?,
        ..Tls::default()
    };
    if node.is_some() {
        // A wrong path should not wait for the first probe.
        tls.client(&[])
            .map_err(|why| ConfigError::new(&tls.place, why))?;
    }
    Ok(tls)
}

fn http(node: Option<&Node>) -> Result<Http, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "valid_status_codes",
            "valid_http_versions",
            "preferred_ip_protocol",
            "ip_protocol_fallback",
            "skip_resolve_phase_with_proxy",
            "no_follow_redirects",
            "fail_if_ssl",
            "fail_if_not_ssl",
            "method",
            "headers",
            "fail_if_body_matches_regexp",
            "fail_if_body_not_matches_regexp",
            "fail_if_body_json_matches_cel",
            "fail_if_body_json_not_matches_cel",
            "fail_if_header_matches",
            "fail_if_header_not_matches",
            "body",
            "body_file",
            "compression",
            "body_size_limit",
            "enable_http3",
            "basic_auth",
            "authorization",
            "oauth2",
            "bearer_token",
            "bearer_token_file",
            "tls_config",
            "follow_redirects",
            "enable_http2",
            "proxy_url",
            "no_proxy",
            "proxy_from_environment",
            "proxy_connect_header",
            "http_headers",
        ],
    )?;
    map.refuse(&[
        "fail_if_body_json_matches_cel",
        "fail_if_body_json_not_matches_cel",
        "oauth2",
        "proxy_url",
        "no_proxy",
        "proxy_connect_header",
    ])?;
    for key in ["enable_http3", "proxy_from_environment"] {
        if map.bool(key, false)? {
            map.refuse(&[key])?;
        }
    }
    let mut valid_status_codes = Vec::new();
    for item in map
        .get("valid_status_codes")
        .map_or(Ok(&[][..]), Node::items)?
    {
        valid_status_codes.push(u16::try_from(number(item, 999)?).unwrap_or_default());
    }
    let follows = map.bool("follow_redirects", true)?;
    let compression = map.get("compression");
    let compression = match (compression, compression.map(Node::text).transpose()?) {
        (Some(node), Some(text)) => match text.to_ascii_lowercase().as_str() {
            "" | "identity" => None,
            known @ ("gzip" | "deflate") => Some(known.to_owned()),
            other => return Err(node.error(format!("compression '{other}' is not supported"))),
        },
        _ => None,
    };
    let body_file = Some(map.text("body_file")?).filter(|f| !f.is_empty());
    let body = map.text("body")?;
    if let (Some(_), false, Some(node)) = (&body_file, body.is_empty(), map.get("body_file")) {
        return Err(node.error("set 'body' or 'body_file', not both"));
    }
    Ok(Http {
        valid_status_codes,
        valid_http_versions: map.texts("valid_http_versions")?,
        preference: map.preference()?,
        follows_redirects: match map.get("no_follow_redirects") {
            Some(_) => !map.bool("no_follow_redirects", false)?,
            None => follows,
        },
        fail_if_ssl: map.bool("fail_if_ssl", false)?,
        fail_if_not_ssl: map.bool("fail_if_not_ssl", false)?,
        method: Some(map.text("method")?)
            .filter(|m| !m.is_empty())
            .unwrap_or("GET".into()),
        headers: headers(&map)?,
        fail_if_body_matches: map.patterns("fail_if_body_matches_regexp")?,
        fail_if_body_not_matches: map.patterns("fail_if_body_not_matches_regexp")?,
        fail_if_header_matches: header_matches(map.get("fail_if_header_matches"))?,
        fail_if_header_not_matches: header_matches(map.get("fail_if_header_not_matches"))?,
        body,
        body_file,
        compression,
        body_size_limit: match map.get("body_size_limit") {
            None => 0,
            Some(node) => size(node)?,
        },
        is_http2: map.bool("enable_http2", true)?,
        tls: map.tls()?,
    })
}

/// `headers`, `http_headers` and the kinds of login.
fn headers(map: &Map<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut headers = Vec::new();
    if let Some(node) = map.get("headers") {
        for (key, value) in node.pairs()? {
            headers.push((key.text.clone(), value.text()?.to_owned()));
        }
    }
    if let Some(node) = map.get("http_headers") {
        for (key, value) in node.pairs()? {
            let own = Map::of(value, &["values", "secrets", "files"])?;
            own.refuse(&["files"])?;
            for text in own
                .texts("values")?
                .into_iter()
                .chain(own.texts("secrets")?)
            {
                headers.push((key.text.clone(), text));
            }
        }
    }
    let secret = |map: &Map<'_>, key: &str, file_key: &str| -> Result<String, ConfigError> {
        let Some(node) = map.get(file_key) else {
            return map.text(key);
        };
        let path = node.text()?;
        let mut read = String::new();
        let file = std::fs::File::open(path).map(|file| file.take(MAX_SECRET_BYTES));
        file.and_then(|mut file| file.read_to_string(&mut read))
            .map_err(|e| node.error(format!("cannot read '{path}': {e}")))?;
        Ok(read.trim().to_owned())
    };
    let mut login = None;
    if let Some(node) = map.get("basic_auth") {
        let keys = &["username", "username_file", "password", "password_file"];
        let own = Map::of(node, keys)?;
        let user = secret(&own, "username", "username_file")?;
        let password = secret(&own, "password", "password_file")?;
        login = Some(super::http::basic(&user, &password));
    }
    if let Some(node) = map.get("authorization") {
        let own = Map::of(node, &["type", "credentials", "credentials_file"])?;
        let kind = Some(own.text("type")?).filter(|k| !k.is_empty());
        let token = secret(&own, "credentials", "credentials_file")?;
        login = Some(format!("{} {token}", kind.unwrap_or("Bearer".into())));
    }
    let token = secret(map, "bearer_token", "bearer_token_file")?;
    if !token.is_empty() {
        login = Some(format!("Bearer {token}"));
    }
    headers.extend(login.map(|value| ("Authorization".to_owned(), value)));
    Ok(headers)
}

fn header_matches(node: Option<&Node>) -> Result<Vec<HeaderMatch>, ConfigError> {
    let items = node.map_or(Ok(&[][..]), Node::items)?;
    let one = |item: &Node| {
        let map = Map::of(item, &["header", "regexp", "allow_missing"])?;
        let header = map.text("header")?;
        let Some(regexp) = map.get("regexp").filter(|_| !header.is_empty()) else {
            return Err(item.error("'header' and 'regexp' must be set"));
        };
        Ok(HeaderMatch {
            header,
            pattern: pattern(regexp)?,
            allow_missing: map.bool("allow_missing", false)?,
        })
    };
    items.iter().map(one).collect()
}

/// Powers of 1024, whatever the suffix says, as in blackbox_exporter.
fn size(node: &Node) -> Result<u64, ConfigError> {
    let text = node.text()?;
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let factor = match text[digits..].trim() {
        "" | "B" => Some(1u64),
        "K" | "KB" | "KiB" => Some(1 << 10),
        "M" | "MB" | "MiB" => Some(1 << 20),
        "G" | "GB" | "GiB" => Some(1 << 30),
        _ => None,
    };
    let number: Option<f64> = text[..digits].parse().ok();
    match (number, factor) {
        (Some(number), Some(factor)) => Ok((number * factor as f64) as u64),
        _ => Err(node.error(format!("'{text}' must be a size such as 10MB"))),
    }
}

fn tcp(node: Option<&Node>) -> Result<Tcp, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "preferred_ip_protocol",
            "ip_protocol_fallback",
            "source_ip_address",
            "query_response",
            "tls",
            "tls_config",
        ],
    )?;
    let mut steps = Vec::new();
    for item in map.get("query_response").map_or(Ok(&[][..]), Node::items)? {
        steps.push(step(item)?);
    }
    Ok(Tcp {
        preference: map.preference()?,
        source: map.source()?,
        steps,
        is_tls: map.bool("tls", false)?,
        tls: map.tls()?,
    })
}

fn step(node: &Node) -> Result<Step, ConfigError> {
    let map = Map::of(
        node,
        &["expect", "expect_bytes", "labels", "send", "starttls"],
    )?;
    let mut labels = Vec::new();
    for item in map.get("labels").map_or(Ok(&[][..]), Node::items)? {
        let label = Map::of(item, &["name", "value"])?;
        labels.push((label.text("name")?, label.text("value")?));
    }
    let step = Step {
        expect: map.get("expect").map(pattern).transpose()?,
        expect_bytes: map.text("expect_bytes")?,
        labels,
        send: map.text("send")?,
        starttls: map.bool("starttls", false)?,
    };
    if step.expect.is_some() && !step.expect_bytes.is_empty() {
        return Err(node.error("set 'expect' or 'expect_bytes', not both"));
    }
    Ok(step)
}

fn icmp(node: Option<&Node>) -> Result<Icmp, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "preferred_ip_protocol",
            "ip_protocol_fallback",
            "source_ip_address",
            "payload_size",
            "dont_fragment",
            "ttl",
        ],
    )?;
    if map.bool("dont_fragment", false)? {
        map.refuse(&["dont_fragment"])?;
    }
    Ok(Icmp {
        preference: map.preference()?,
        source: map.source()?,
        payload_bytes: map.number("payload_size", 65_000)?.unwrap_or(0) as usize,
        ttl: map.number("ttl", 255)?.unwrap_or(64) as u8,
    })
}

fn dns(node: Option<&Node>) -> Result<Dns, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "preferred_ip_protocol",
            "ip_protocol_fallback",
            "dns_over_tls",
            "tls_config",
            "source_ip_address",
            "transport_protocol",
            "query_class",
            "query_name",
            "query_type",
            "recursion_desired",
            "valid_rcodes",
            "validate_answer_rrs",
            "validate_authority_rrs",
            "validate_additional_rrs",
        ],
    )?;
    let name = map.text("query_name")?;
    if let (true, Some(node)) = (name.is_empty(), node) {
        return Err(node.error("'query_name' must be set"));
    }
    let known = |key: &str, names: &[(&str, u16)], default: u16| -> Result<u16, ConfigError> {
        let Some(node) = map.get(key) else {
            return Ok(default);
        };
        let word = node.text()?;
        let found = names.iter().find(|(name, _)| *name == word);
        found.map(|(_, n)| *n).ok_or_else(|| {
            let hint = did_you_mean(word, names.iter().map(|(name, _)| *name));
            node.error(format!("'{word}' is not known{hint}"))
        })
    };
    let mut valid_codes = Vec::new();
    for word in map.texts("valid_rcodes")? {
        let found = CODES.iter().find(|(name, _)| *name == word);
        let (_, code) = found.ok_or_else(|| {
            let hint = did_you_mean(&word, CODES.iter().map(|(name, _)| *name));
            let node = map.get("valid_rcodes").or(node);
            let place = node.map(|n| n.place.clone()).unwrap_or_default();
            ConfigError::new(&place, format!("'{word}' is no answer code{hint}"))
        })?;
        valid_codes.push(*code);
    }
    if valid_codes.is_empty() {
        valid_codes.push(0);
    }
    let over_tls = map.bool("dns_over_tls", false)?;
    let is_tcp = match map.get("transport_protocol") {
        None => false,
        Some(node) => match node.text()? {
            "tcp" => true,
            "udp" | "" => false,
            other => return Err(node.error(format!("'{other}' must be udp or tcp"))),
        },
    };
    if let (true, false, Some(node)) = (over_tls, is_tcp, node) {
        return Err(node.error("'dns_over_tls' needs 'transport_protocol: tcp'"));
    }
    Ok(Dns {
        preference: map.preference()?,
        over_tls,
        tls: map.tls()?,
        source: map.source()?,
        is_tcp,
        class: known("query_class", CLASSES, 1)?,
        kind: known("query_type", TYPES, 255)?,
        name,
        recursion: map.bool("recursion_desired", true)?,
        valid_codes,
        answer: validator(map.get("validate_answer_rrs"))?,
        authority: validator(map.get("validate_authority_rrs"))?,
        additional: validator(map.get("validate_additional_rrs"))?,
    })
}

fn validator(node: Option<&Node>) -> Result<Validator, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "fail_if_matches_regexp",
            "fail_if_all_match_regexp",
            "fail_if_not_matches_regexp",
            "fail_if_none_matches_regexp",
        ],
    )?;
    Ok(Validator {
        fail_if_matches: map.patterns("fail_if_matches_regexp")?,
        fail_if_all_match: map.patterns("fail_if_all_match_regexp")?,
        fail_if_not_matches: map.patterns("fail_if_not_matches_regexp")?,
        fail_if_none_matches: map.patterns("fail_if_none_matches_regexp")?,
    })
}

fn grpc(node: Option<&Node>) -> Result<Grpc, ConfigError> {
    let map = Map::section_of(
        node,
        &[
            "service",
            "tls",
            "tls_config",
            "ip_protocol_fallback",
            "preferred_ip_protocol",
            "metadata",
        ],
    )?;
    let mut metadata = Vec::new();
    if let Some(node) = map.get("metadata") {
        for (key, values) in node.pairs()? {
            for value in values.items()? {
                metadata.push((key.text.to_ascii_lowercase(), value.text()?.to_owned()));
            }
        }
    }
    Ok(Grpc {
        service: map.text("service")?,
        is_tls: map.bool("tls", false)?,
        tls: map.tls()?,
        preference: map.preference()?,
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_blackbox_exporter_is_read() {
        let text = include_str!("../../../fixtures/blackbox/blackbox.yml");
        let config = Config::parse("b.yml", text.as_bytes()).expect("a configuration");
        let names: Vec<&str> = config.modules.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "dns_soa",
                "grpc",
                "http_2xx",
                "http_post",
                "icmp",
                "pop3s_banner",
                "smtp_starttls"
            ]
        );
        let Prober::Http(http) = &config.modules["http_post"].prober else {
            panic!("an http module");
        };
        assert_eq!(
            (http.method.as_str(), http.body_size_limit),
            ("POST", 10 << 20)
        );
        assert_eq!(
            http.headers[0],
            ("Host".to_owned(), "vhost.example.com".to_owned())
        );
        assert_eq!(http.headers[2].1, "Basic dXNlcjpwYXNz");
        assert!(!http.preference.falls_back && http.preference.is_ip4);
        assert_eq!(
            config.modules["http_2xx"].timeout,
            Duration::from_millis(1500)
        );
        let Prober::Tcp(tcp) = &config.modules["smtp_starttls"].prober else {
            panic!("a tcp module");
        };
        assert_eq!(tcp.steps.len(), 5);
        assert!(tcp.steps[3].starttls);
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, expected) in [
            (
                "modules:\n  a:\n    prober: htp\n",
                "b:3:13: prober 'htp' is not valid; did you mean 'http'?",
            ),
            (
                "modules:\n  a:\n    prober: unix\n",
                "b:3:13: prober 'unix' is not supported",
            ),
            (
                "modules:\n  a:\n    prober: http\n    http:\n      methd: GET\n",
                "b:5:7: unknown key 'methd'; did you mean 'method'?",
            ),
            (
                "modules:\n  a:\n    prober: http\n    http:\n      proxy_url: x\n",
                "b:5:18: 'proxy_url' is not supported",
            ),
            (
                "modules:\n  a:\n    prober: http\n    http:\n      enable_http3: true\n",
                "b:5:21: 'enable_http3' is not supported",
            ),
            (
                "modules:\n  a:\n    prober: http\n    timeout: soon\n",
                "b:4:14: 'soon' must be a duration such as 5s",
            ),
            (
                "modules:\n  a:\n    prober: dns\n    dns: {query_name: a, query_type: AX}\n",
                "b:4:38: 'AX' is not known; did you mean 'A'?",
            ),
            (
                "modules:\n  a:\n    prober: dns\n    dns: {query_type: A}\n",
                "b:4:10: 'query_name' must be set",
            ),
            (
                "modules:\n  a:\n    prober: http\n    http: {fail_if_body_matches_regexp: ['(']}\n",
                "b:4:42: '(' is no regular expression: error: unclosed group",
            ),
            (
                "modules:\n  a:\n    prober: tcp\n    tcp: {tls_config: {ca_file: /none}}\n",
                "b:4:23: cannot read certificates from '/none'",
            ),
            ("modules: {}\n", "b: the file has no modules"),
        ] {
            let error = Config::parse("b", text.as_bytes())
                .expect_err(text)
                .to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
