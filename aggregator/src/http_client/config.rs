//! What a configuration says of an HTTP client: Prometheus's `http_config` fields.
//!
//! Reading only; [`super::Client`] acts on it. The one rule: a field that cannot be acted on is an
//! error with its place. Paths are meant from the folder of the configuration file, as there.

use std::path::{Path, PathBuf};

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use kansoku_model::ConfigError;
use kansoku_parsers::config::yaml::tree::{Node, Value};

use super::oauth2::OAuth2;

/// The fields, besides those of what the client is for.
pub const KEYS: [&str; 13] = [
    "basic_auth",
    "authorization",
    "bearer_token",
    "bearer_token_file",
    "oauth2",
    "tls_config",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "http_headers",
    "follow_redirects",
    "enable_http2",
];

/// The result of reading.
pub type Read<T> = Result<T, ConfigError>;

/// A text that nobody should see, or the file that holds it, which is read at every use.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Text(String),
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Secret {
    /// The text, of a file without spaces around it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(e) => Err(format!("failed to read {}: {e}", path.display())),
            },
        }
    }

    /// A secret in a file, which must be there.
    ///
    /// # Errors
    /// When it cannot be read now.
    pub fn file(node: &Node) -> Read<Self> {
        let secret = Self::File(path(node)?);
        secret.read().map_err(|e| node.error(e))?;
        Ok(secret)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

/// Who the client says it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Credentials {
    Basic { name: Secret, password: Secret },
    Header { scheme: String, secret: Secret },
    OAuth2(Box<OAuth2>),
}

/// A PEM text or the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    Text(Secret),
    File(PathBuf),
}

/// How the other side of a TLS connection is known, and what it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca: Option<Pem>,
    /// Certificate and key.
    pub identity: Option<(Pem, Pem)>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    /// The last digit of TLS 1.x.
    pub min_version: Option<u8>,
    pub max_version: Option<u8>,
}

/// Through whom requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    pub url: Option<String>,
    pub no_proxy: String,
    pub from_environment: bool,
    pub connect_headers: Vec<(HeaderName, Vec<Secret>)>,
}

/// A whole client.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    pub credentials: Option<Credentials>,
    pub tls: Tls,
    pub proxy: Proxy,
    pub headers: Vec<(HeaderName, Vec<Secret>)>,
    pub follows_redirects: bool,
    pub http2: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            credentials: None,
            tls: Tls::default(),
            proxy: Proxy::default(),
            headers: Vec::new(),
            follows_redirects: true,
            http2: true,
        }
    }
}

/// Headers that a request has anyway, as in Prometheus.
const RESERVED_HEADERS: [&str; 13] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
];

impl HttpConfig {
    /// Takes one of [`KEYS`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, key: &str, node: &Node) -> Read<()> {
        match key {
            "basic_auth" => {
                let basic = basic(node)?;
                self.set(basic, node)?;
            }
            "authorization" => {
                let authorization = authorization(node)?;
                self.set(authorization, node)?;
            }
            "bearer_token" => self.set(bearer(Secret::Text(node.text()?.to_owned())), node)?,
            "bearer_token_file" => self.set(bearer(Secret::file(node)?), node)?,
            "oauth2" => {
                let oauth2 = Credentials::OAuth2(Box::new(OAuth2::read(node)?));
                self.set(oauth2, node)?;
            }
            "tls_config" => self.tls = tls(node)?,
            "http_headers" => self.headers = headers(node)?,
            "follow_redirects" => self.follows_redirects = truth(node)?,
            "enable_http2" => self.http2 = truth(node)?,
            _ => self.proxy.take(key, node)?,
        }
        Ok(())
    }

    fn set(&mut self, credentials: Credentials, node: &Node) -> Read<()> {
        if self.credentials.is_some() {
            return Err(node.error(
                "at most one of basic_auth, oauth2, authorization, bearer_token & bearer_token_file must be configured",
            ));
        }
        self.credentials = Some(credentials);
        Ok(())
    }

    /// What can be wrong between fields; `node` is what they stand in.
    ///
    /// # Errors
    /// When they do not go together.
    pub fn check(&self, node: &Node) -> Read<()> {
        self.proxy.check(node)
    }
}

impl Proxy {
    /// Takes one of the fields about proxies.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, key: &str, node: &Node) -> Read<()> {
        match key {
            "proxy_url" => {
                let text = node.text()?;
                let uri: Option<Uri> = text.parse().ok();
                let scheme = uri.as_ref().and_then(Uri::scheme_str).unwrap_or_default();
                if scheme != "http" || uri.as_ref().and_then(Uri::host).is_none() {
                    return Err(node.error(format!(
                        "proxy_url '{text}' must be http://HOST:PORT; other kinds of proxies are not spoken to"
                    )));
                }
                self.url = Some(text.to_owned());
            }
            "no_proxy" => node.text()?.clone_into(&mut self.no_proxy),
            "proxy_from_environment" => self.from_environment = truth(node)?,
            _ => {
                for (key, value) in node.pairs()? {
                    let name = header_name(&key.text, node)?;
                    let mut values = Vec::new();
                    for item in value.items()? {
                        values.push(Secret::Text(header_text(item)?));
                    }
                    self.connect_headers.push((name, values));
                }
            }
        }
        Ok(())
    }

    /// What can be wrong between the fields.
    ///
    /// # Errors
    /// When they do not go together.
    pub fn check(&self, node: &Node) -> Read<()> {
        let wrong = |message: &str| Err(node.error(message));
        let has_url = self.url.is_some();
        if self.from_environment && has_url {
            return wrong(
                "if proxy_from_environment is configured, proxy_url must not be configured",
            );
        }
        if self.from_environment && !self.no_proxy.is_empty() {
            return wrong(
                "if proxy_from_environment is configured, no_proxy must not be configured",
            );
        }
        if !has_url && !self.no_proxy.is_empty() {
            return wrong("if no_proxy is configured, proxy_url must also be configured");
        }
        if !has_url && !self.from_environment && !self.connect_headers.is_empty() {
            return wrong(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            );
        }
        Ok(())
    }
}

/// `true` or `false`.
///
/// # Errors
/// When it is something else.
pub fn truth(node: &Node) -> Read<bool> {
    match node.text()? {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(node.error(format!("expected true or false, found '{other}'"))),
    }
}

/// A path, meant from the folder of the file that it stands in.
///
/// # Errors
/// When it is no text.
pub fn path(node: &Node) -> Read<PathBuf> {
    let folder = Path::new(&*node.place.file).parent();
    Ok(folder.unwrap_or(Path::new("")).join(node.text()?))
}

/// The texts of a list.
///
/// # Errors
/// When it is none.
pub fn texts(node: &Node) -> Read<Vec<String>> {
    let items = node.items()?.iter();
    items.map(|item| item.text().map(str::to_owned)).collect()
}

fn bearer(secret: Secret) -> Credentials {
    Credentials::Header {
        scheme: "Bearer".into(),
        secret,
    }
}

/// One of a text and a file, where both would be too many.
fn either(found: &mut Secret, new: Secret, node: &Node, names: &str) -> Read<()> {
    if !found.is_empty() {
        return Err(node.error(format!("at most one of {names} must be configured")));
    }
    *found = new;
    Ok(())
}

fn basic(node: &Node) -> Read<Credentials> {
    let (mut name, mut password) = (Secret::Text(String::new()), Secret::Text(String::new()));
    let keys = ["username", "username_file", "password", "password_file"];
    for (key, value) in node.checked_pairs(&keys)? {
        let secret = match key.ends_with("_file") {
            true => Secret::file(value)?,
            false => Secret::Text(value.text()?.to_owned()),
        };
        match key.starts_with("username") {
            true => either(&mut name, secret, value, "username & username_file")?,
            false => either(&mut password, secret, value, "password & password_file")?,
        }
    }
    Ok(Credentials::Basic { name, password })
}

fn authorization(node: &Node) -> Read<Credentials> {
    let (mut scheme, mut secret) = ("Bearer".to_owned(), Secret::Text(String::new()));
    for (key, value) in node.checked_pairs(&["type", "credentials", "credentials_file"])? {
        const BOTH: &str = "authorization credentials & credentials_file";
        match key {
            "type" => value.text()?.trim().clone_into(&mut scheme),
            "credentials" => {
                let text = Secret::Text(value.text()?.to_owned());
                either(&mut secret, text, value, BOTH)?;
            }
            _ => either(&mut secret, Secret::file(value)?, value, BOTH)?,
        }
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return Err(
            node.error("authorization type cannot be set to \"basic\", use \"basic_auth\" instead")
        );
    }
    Ok(Credentials::Header { scheme, secret })
}

fn header_name(text: &str, node: &Node) -> Read<HeaderName> {
    text.parse()
        .map_err(|_| node.error(format!("'{text}' is no name of a header")))
}

fn header_text(node: &Node) -> Read<String> {
    let text = node.text()?;
    match HeaderValue::from_str(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(node.error("the value of a header holds a control character")),
    }
}

fn headers(node: &Node) -> Read<Vec<(HeaderName, Vec<Secret>)>> {
    let mut found = Vec::new();
    for (key, value) in node.pairs()? {
        let name = header_name(&key.text, value)?;
        if RESERVED_HEADERS.contains(&name.as_str()) {
            let message = format!(
                "setting header \"{}\" is not allowed; credentials have fields of their own",
                key.text
            );
            return Err(ConfigError::new(&key.place, message));
        }
        let mut values = Vec::new();
        for (kind, list) in value.checked_pairs(&["values", "secrets", "files"])? {
            for item in list.items()? {
                values.push(match kind {
                    "files" => Secret::file(item)?,
                    _ => Secret::Text(header_text(item)?),
                });
            }
        }
        found.push((name, values));
    }
    Ok(found)
}

/// The versions that can be named.
fn version(node: &Node) -> Read<u8> {
    let names = ["TLS10", "TLS11", "TLS12", "TLS13"];
    let text = node.text()?;
    let found = names.iter().position(|name| *name == text);
    let digit = found.and_then(|n| u8::try_from(n).ok());
    digit.ok_or_else(|| {
        node.error(format!(
            "unknown TLS version: '{text}'; expected TLS12 or TLS13 (TLS10 and TLS11 are never spoken)"
        ))
    })
}

const TLS_KEYS: [&str; 10] = [
    "ca",
    "cert",
    "key",
    "ca_file",
    "cert_file",
    "key_file",
    "server_name",
    "insecure_skip_verify",
    "min_version",
    "max_version",
];

/// Reads a `tls_config`.
///
/// # Errors
/// What is wrong with it.
pub fn tls(node: &Node) -> Read<Tls> {
    let mut out = Tls::default();
    let (mut certificate, mut private) = (None, None);
    for (key, value) in node.checked_pairs(&TLS_KEYS)? {
        let pem = |at: &mut Option<Pem>, new: Pem| match at.replace(new) {
            Some(_) => Err(value.error(format!(
                "at most one of {0} and {0}_file must be configured",
                key.trim_end_matches("_file")
            ))),
            None => Ok(()),
        };
        let inline = || Ok::<_, ConfigError>(Pem::Text(Secret::Text(value.text()?.to_owned())));
        match key {
            "ca" => pem(&mut out.ca, inline()?)?,
            "cert" => pem(&mut certificate, inline()?)?,
            "key" => pem(&mut private, inline()?)?,
            "ca_file" => pem(&mut out.ca, Pem::File(path(value)?))?,
            "cert_file" => pem(&mut certificate, Pem::File(path(value)?))?,
            "key_file" => pem(&mut private, Pem::File(path(value)?))?,
            "server_name" => out.server_name = Some(value.text()?.to_owned()),
            "insecure_skip_verify" => out.insecure_skip_verify = truth(value)?,
            "min_version" => out.min_version = Some(version(value)?),
            _ => {
                let version = version(value)?;
                if version < 2 {
                    let message = "max_version must be TLS12 or TLS13: older ones are never spoken";
                    return Err(value.error(message));
                }
                out.max_version = Some(version);
            }
        }
    }
    if let (Some(min), Some(max)) = (out.min_version, out.max_version)
        && min > max
    {
        return Err(node.error(
            "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
        ));
    }
    out.identity = match (certificate, private) {
        (Some(certificate), Some(private)) => Some((certificate, private)),
        (None, None) => None,
        _ => return Err(node.error("cert_file and key_file belong together; set both or neither")),
    };
    Ok(out)
}

/// The values of `endpoint_params`: a text or a list of them for each name.
///
/// # Errors
/// When they are something else.
pub fn parameters(node: &Node) -> Read<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (key, value) in node.pairs()? {
        match &value.value {
            Value::List(items) => {
                for item in items {
                    found.push((key.text.clone(), item.text()?.to_owned()));
                }
            }
            _ => found.push((key.text.clone(), value.text()?.to_owned())),
        }
    }
    Ok(found)
}
