//! Where the API server is and who asks it: from within a pod, by a kubeconfig, or as written out.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kansoku_parsers::config::yaml::tree::{self, Node};

use crate::http_client::Client;
use crate::http_client::config::{self, Credentials, HttpConfig, Pem, Read, Secret};

/// The fields of this, besides those of [`HttpConfig`].
pub const KEYS: [&str; 2] = ["api_server", "kubeconfig_file"];

/// Where a pod finds what it may show.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How a cluster is reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Access {
    pub api_server: Option<String>,
    pub kubeconfig: Option<PathBuf>,
    pub http: HttpConfig,
}

impl Access {
    /// Takes one of [`KEYS`] or of the fields of the HTTP client.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, key: &str, node: &Node) -> Read<()> {
        match key {
            "api_server" => {
                let url = node.text()?.trim_end_matches('/');
                if !url.starts_with("http://") && !url.starts_with("https://") {
                    return Err(
                        node.error(format!("api_server '{url}' must be http(s)://HOST:PORT"))
                    );
                }
                self.api_server = Some(url.to_owned());
                Ok(())
            }
            "kubeconfig_file" => {
                self.kubeconfig = Some(config::path(node)?);
                Ok(())
            }
            _ => self.http.take(key, node),
        }
    }

    /// What can be wrong between the fields.
    ///
    /// # Errors
    /// When they do not go together.
    pub fn check(&self, node: &Node) -> Read<()> {
        self.http.check(node)?;
        let wrong = |message: &str| Err(node.error(message));
        if self.api_server.is_some() && self.kubeconfig.is_some() {
            return wrong("cannot use 'kubeconfig_file' and 'api_server' simultaneously");
        }
        let is_custom = self.http != HttpConfig::default();
        if self.kubeconfig.is_some() && is_custom {
            return wrong(
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
            );
        }
        if self.api_server.is_none() && is_custom {
            return wrong(
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
            );
        }
        Ok(())
    }

    /// A client for the API.
    ///
    /// # Errors
    /// When there is no cluster to be found, or its certificates cannot be used.
    pub fn api(&self) -> Result<Api, String> {
        let (url, http) = match (&self.api_server, &self.kubeconfig) {
            (Some(url), _) => (url.clone(), self.http.clone()),
            (None, Some(path)) => kubeconfig(path)?,
            (None, None) => of_pod()?,
        };
        let client = Client::new(&http)?;
        Ok(Api { url, client })
    }
}

/// The API server.
#[derive(Debug, Clone)]
pub struct Api {
    /// Without a slash at its end.
    pub url: String,
    pub client: Client,
}

/// The namespace of the pod that this program runs in.
#[must_use]
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(ACCOUNT).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn of_pod() -> Result<(String, HttpConfig), String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let host = variable("KUBERNETES_SERVICE_HOST").ok_or(
        "this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set); name one with 'api_server' or 'kubeconfig_file'",
    )?;
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host,
    };
    let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into());
    let account = Path::new(ACCOUNT);
    let token = Secret::File(account.join("token"));
    token
        .read()
        .map_err(|e| format!("{e}; the pod needs a service account with its token mounted"))?;
    let mut http = HttpConfig {
        credentials: Some(bearer(token)),
        ..HttpConfig::default()
    };
    http.tls.ca = Some(Pem::File(account.join("ca.crt")));
    Ok((format!("https://{host}:{port}"), http))
}

fn bearer(secret: Secret) -> Credentials {
    Credentials::Header {
        scheme: "Bearer".into(),
        secret,
    }
}

/// More is no kubeconfig.
const KUBECONFIG_MAX_BYTES: u64 = 1 << 20;

fn kubeconfig(path: &Path) -> Result<(String, HttpConfig), String> {
    let name = path.display();
    let read = |e: std::io::Error| format!("failed to read {name}: {e}");
    let len = std::fs::metadata(path).map_err(read)?.len();
    if len > KUBECONFIG_MAX_BYTES {
        return Err(format!(
            "{name} has {len} bytes; expected at most {KUBECONFIG_MAX_BYTES}"
        ));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    of_kubeconfig(&name.to_string(), &bytes)
}

/// The value of a key, if there is one.
fn field<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let pairs = node.pairs().ok()?;
    let found = pairs.iter().find(|(k, _)| k.text == key);
    found
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}

fn text_of(node: &Node, key: &str) -> Option<String> {
    Some(field(node, key)?.text().ok()?.to_owned())
}

/// What a kubeconfig says of its current context.
fn of_kubeconfig(name: &str, bytes: &[u8]) -> Result<(String, HttpConfig), String> {
    let roots = tree::parse(name, bytes, &mut Vec::new()).map_err(|e| e.to_string())?;
    let root = roots.first().ok_or_else(|| format!("{name} is empty"))?;
    let named = |list: &str, kind: &str, wanted: &str| {
        let items = field(root, list).and_then(|node| node.items().ok());
        let mut items = items.unwrap_or_default().iter();
        let found = items.find(|item| text_of(item, "name").as_deref() == Some(wanted));
        found
            .and_then(|item| field(item, kind))
            .ok_or_else(|| format!("{name} has no {kind} '{wanted}'"))
    };
    let current = text_of(root, "current-context").ok_or_else(|| {
        format!("{name} has no current-context; kubectl config use-context sets it")
    })?;
    let context = named("contexts", "context", &current)?;
    let of_context = |key: &str| {
        text_of(context, key)
            .ok_or_else(|| format!("the context '{current}' of {name} has no {key}"))
    };
    let cluster = named("clusters", "cluster", &of_context("cluster")?)?;
    let user = named("users", "user", &of_context("user")?)?;
    let url = text_of(cluster, "server").ok_or_else(|| format!("{name} names no server"))?;
    let mut http = HttpConfig::default();
    http.tls.ca = pem(cluster, "certificate-authority")?;
    http.tls.server_name = text_of(cluster, "tls-server-name");
    http.tls.insecure_skip_verify =
        text_of(cluster, "insecure-skip-tls-verify").as_deref() == Some("true");
    http.proxy.url = text_of(cluster, "proxy-url");
    let certificate = pem(user, "client-certificate")?;
    http.tls.identity = certificate.zip(pem(user, "client-key")?);
    let path = |node: &Node| config::path(node).map_err(|e| e.to_string());
    http.credentials = if let Some(node) = field(user, "tokenFile") {
        Some(bearer(Secret::File(path(node)?)))
    } else if let Some(token) = text_of(user, "token") {
        Some(bearer(Secret::Text(token)))
    } else {
        let name = text_of(user, "username").map(Secret::Text);
        name.map(|name| Credentials::Basic {
            name,
            password: Secret::Text(text_of(user, "password").unwrap_or_default()),
        })
    };
    for plugin in ["exec", "auth-provider"] {
        if let Some(node) = field(user, plugin) {
            return Err(node
                .error(format!(
                    "'{plugin}' starts programs, which is not done; use a token, a certificate or the pod's service account"
                ))
                .to_string());
        }
    }
    Ok((url.trim_end_matches('/').to_owned(), http))
}

/// A certificate or key that stands in the file or beside it.
fn pem(node: &Node, key: &str) -> Result<Option<Pem>, String> {
    if let Some(data) = field(node, &format!("{key}-data")) {
        let text = data.text().map_err(|e| e.to_string())?;
        let bytes = STANDARD.decode(text.trim()).ok();
        let decoded = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let wrong = || {
            data.error(format!("{key}-data is no base64 of PEM"))
                .to_string()
        };
        return Ok(Some(Pem::Text(Secret::Text(decoded.ok_or_else(wrong)?))));
    }
    let path = field(node, key).map(config::path).transpose();
    Ok(path.map_err(|e| e.to_string())?.map(Pem::File))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
current-context: one
clusters:
- name: c
  cluster: {server: 'https://192.0.2.1:6443/', certificate-authority-data: Q0E=, tls-server-name: kubernetes}
contexts:
- {name: other, context: {cluster: c, user: nobody}}
- {name: one, context: {cluster: c, user: admin}}
users:
- name: admin
  user: {client-certificate: a.crt, client-key: a.key}
- {name: robot, user: {token: secret}}
- {name: cloud, user: {exec: {command: aws}}}
";

    #[test]
    fn a_kubeconfig_is_read_by_its_current_context() {
        let (url, http) = of_kubeconfig("/etc/k/config", KUBECONFIG.as_bytes()).unwrap();
        assert_eq!(url, "https://192.0.2.1:6443");
        assert_eq!(http.tls.ca, Some(Pem::Text(Secret::Text("CA".into()))));
        assert_eq!(http.tls.server_name.as_deref(), Some("kubernetes"));
        let file = |name: &str| Pem::File(Path::new("/etc/k").join(name));
        assert_eq!(http.tls.identity, Some((file("a.crt"), file("a.key"))));
        let of_user = |user: &str| {
            let text = KUBECONFIG.replace("user: admin", &format!("user: {user}"));
            of_kubeconfig("k", text.as_bytes())
        };
        let (_, http) = of_user("robot").unwrap();
        assert_eq!(
            http.credentials,
            Some(bearer(Secret::Text("secret".into())))
        );
        for (text, expected) in [
            (of_user("cloud").unwrap_err(), "k:12:"),
            (of_user("ghost").unwrap_err(), "has no user 'ghost'"),
            (of_kubeconfig("k", b"{}").unwrap_err(), "no current-context"),
            (of_kubeconfig("k", b"").unwrap_err(), "is empty"),
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
