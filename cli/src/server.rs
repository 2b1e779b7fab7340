//! Where the server is: flags, environment, the configuration file's context, or a cluster whose API
//! server passes requests on to the aggregator's service.
//!
//! The way through a cluster is a child `kubectl proxy` on a free port of this machine, so that every
//! kind of credential that kubectl knows works here too.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::args::Global;
use crate::client::Client;
use crate::config::{self, Context};
use crate::error::{Error, Result};
use crate::login;
use crate::output::say;
use crate::time;

/// Where an aggregator listens that was told nothing else.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9428";
/// The service of the chart and of the manifests.
const DEFAULT_SERVICE: &str = "kansoku/kansoku-aggregator:9428";

/// The server, and what must live as long as it is asked.
pub struct Server {
    pub client: Client,
    /// The namespace when no flag names one.
    pub namespace: String,
    _proxy: Option<Proxy>,
}

#[cfg(feature = "fuzzing")]
impl Server {
    /// A server that is asked through a client that is there already.
    pub(crate) fn of(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            _proxy: None,
        }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The configuration file that the environment names.
#[must_use]
pub fn config_of_environment() -> Option<std::path::PathBuf> {
    environment("KANSOKU_CONFIG").map(Into::into)
}

/// Flags that are not given, from the environment.
#[must_use]
pub fn with_environment(mut global: Global) -> Global {
    // A flag that leads elsewhere wins over a variable.
    let leads_elsewhere = global.context.is_some()
        || global.kube_service.is_some()
        || global.kubeconfig.is_some()
        || global.kube_context.is_some();
    if !leads_elsewhere && global.server.is_none() {
        global.server = environment("KANSOKU_SERVER");
        if global.server.is_none() {
            global.context = environment("KANSOKU_CONTEXT");
        }
    }
    if global.token.is_none() && global.username.is_none() {
        global.token = environment("KANSOKU_TOKEN");
        if global.token.is_none() {
            global.username = environment("KANSOKU_USERNAME");
        }
    }
    global.password = global.password.or_else(|| environment("KANSOKU_PASSWORD"));
    global.tenant = global.tenant.or_else(|| environment("KANSOKU_TENANT"));
    global
}

/// Finds the server; `is_plugin` when kubectl has started us.
///
/// # Errors
/// When what is configured is wrong, or the proxy does not start.
pub fn find(global: &Global, is_plugin: bool) -> Result<Server> {
    let context = context(global)?;
    let timeout_ns = time::duration_ns(&global.request_timeout)?;
    let timeout = u64::try_from(timeout_ns).ok().filter(|ns| *ns > 0);
    let timeout = timeout.map(Duration::from_nanos);
    let login = login::of(&context)?;
    let asks_cluster = context.kube_service.is_some()
        || context.kubeconfig.is_some()
        || context.kube_context.is_some();
    if context.server.is_some() || (!is_plugin && !asks_cluster) {
        let url = context.server.as_deref().unwrap_or(DEFAULT_SERVER);
        let namespace = match &context.namespace {
            Some(name) => name.clone(),
            None if is_plugin => kube_namespace(&context),
            None => "default".into(),
        };
        return Ok(Server {
            client: Client::new(url, &context, login.as_ref(), timeout, false)?,
            namespace,
            _proxy: None,
        });
    }
    let service = context.kube_service.as_deref().unwrap_or(DEFAULT_SERVICE);
    let path = service_path(service)?;
    let namespace = context.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| kube_namespace(&context));
    let proxy = Proxy::start(&context)?;
    let url = format!("http://{}{path}", proxy.address);
    // The API server keeps the Authorization header to itself, so a login of ours cannot pass.
    if login.is_some() {
        say(
            "warning: the API server does not pass tokens and passwords on; an aggregator that wants them must be reached by --server",
        );
    }
    Ok(Server {
        client: Client::new(&url, &context, None, timeout, true)?,
        namespace,
        _proxy: Some(proxy),
    })
}

/// The context with the flags laid over it.
fn context(global: &Global) -> Result<Context> {
    let path = global.config.clone().or_else(config::default_path);
    // A server on the command line needs no file, not even a right one.
    let is_needed = global.server.is_none() || global.context.is_some();
    let file = match &path {
        Some(path) if is_needed => config::read(path, global.config.is_some())?,
        _ => config::File::default(),
    };
    let cluster_flags = global.kube_service.is_some()
        || global.kubeconfig.is_some()
        || global.kube_context.is_some();
    let name = match &global.context {
        Some(name) => Some(name.clone()),
        // Flags that lead elsewhere leave the context that happens to be current out of it.
        None if global.server.is_some() || cluster_flags => None,
        None => file.current.clone(),
    };
    let mut context = match name {
        None => Context::default(),
        Some(name) => file.contexts.get(&name).cloned().ok_or_else(|| {
            let known: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
            Error::failed(format!(
                "there is no context \"{name}\" in {}; known: {}",
                path.map(|p| p.display().to_string()).unwrap_or_default(),
                if known.is_empty() {
                    "none ('kansoku config set-context')".into()
                } else {
                    known.join(", ")
                }
            ))
        })?,
    };
    if cluster_flags && global.server.is_none() {
        context.server = None;
    }
    let over = |to: &mut Option<String>, from: &Option<String>| {
        if from.is_some() {
            to.clone_from(from);
        }
    };
    over(&mut context.server, &global.server);
    over(&mut context.tenant, &global.tenant);
    over(&mut context.kube_service, &global.kube_service);
    over(&mut context.kube_context, &global.kube_context);
    login::lay_over(&mut context, global);
    if global.kubeconfig.is_some() {
        context.kubeconfig.clone_from(&global.kubeconfig);
    }
    Ok(context)
}

/// The path of a service below the API server.
pub(crate) fn service_path(service: &str) -> Result<String> {
    let bad = || {
        Error::Usage(format!(
            "\"{service}\" is no service: expected NAMESPACE/NAME:PORT, for example {DEFAULT_SERVICE}"
        ))
    };
    let (namespace, rest) = service.split_once('/').ok_or_else(bad)?;
    let (name, port) = rest.rsplit_once(':').ok_or_else(bad)?;
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    };
    // https:NAME:PORT is how the API server is told to speak TLS to the service.
    let (scheme, name) = match name.strip_prefix("https:") {
        Some(name) => ("https:", name),
        None => ("", name),
    };
    if ![namespace, name, port].into_iter().all(is_name) {
        return Err(bad());
    }
    Ok(format!(
        "/api/v1/namespaces/{namespace}/services/{scheme}{name}:{port}/proxy"
    ))
}

fn kubectl(context: &Context) -> Command {
    let mut command = Command::new("kubectl");
    if let Some(path) = &context.kubeconfig {
        command.arg("--kubeconfig").arg(path);
    }
    if let Some(name) = &context.kube_context {
        command.arg("--context").arg(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The namespace of the kubeconfig's context.
fn kube_namespace(context: &Context) -> String {
    let output = kubectl(context)
        .args(["config", "view", "--minify", "-o", "jsonpath={..namespace}"])
        .stderr(Stdio::null())
        .output();
    let name = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    name.ok()
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| "default".into())
}

/// `kubectl proxy` on a free port; it ends with this.
struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    fn start(context: &Context) -> Result<Self> {
        let child = kubectl(context)
            .args(["proxy", "--port=0", "--address=127.0.0.1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.map_err(|e| {
            Error::failed(format!(
                "cannot run kubectl, which leads into the cluster: {e}\ninstall it, or name the server with --server URL"
            ))
        })?;
        let mut proxy = Self {
            child,
            address: String::new(),
        };
        let mut line = String::new();
        if let Some(out) = proxy.child.stdout.take() {
            // A line of a few words; whatever else comes is no address.
            let _ = BufReader::new(out.take(4096)).read_line(&mut line);
        }
        let Some(address) = address_in(&line) else {
            let _ = proxy.child.kill();
            let mut said = String::new();
            if let Some(err) = proxy.child.stderr.take() {
                let _ = err.take(4096).read_to_string(&mut said);
            }
            return Err(Error::failed(format!(
                "kubectl proxy did not start: {}\nname the server with --server URL to go without it",
                said.trim()
            )));
        };
        proxy.address = address.to_owned();
        // What it complains of later must not fill the pipe.
        if let Some(mut err) = proxy.child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
        }
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `Starting to serve on 127.0.0.1:41234`.
pub(crate) fn address_in(line: &str) -> Option<&str> {
    let (_, address) = line.trim().rsplit_once(' ')?;
    let (_, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok().map(|_| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services() {
        for (service, expected) in [
            (
                DEFAULT_SERVICE,
                Some("/api/v1/namespaces/kansoku/services/kansoku-aggregator:9428/proxy"),
            ),
            (
                "a/https:b:https",
                Some("/api/v1/namespaces/a/services/https:b:https/proxy"),
            ),
            ("b:1", None),
            ("a/b", None),
            ("a/../b:1", None),
            ("a/b:", None),
        ] {
            assert_eq!(service_path(service).ok().as_deref(), expected, "{service}");
        }
    }

    #[test]
    fn addresses_of_the_proxy() {
        assert_eq!(
            address_in("Starting to serve on 127.0.0.1:41234\n"),
            Some("127.0.0.1:41234")
        );
        assert_eq!(address_in("error: x"), None);
        assert_eq!(address_in(""), None);
    }
}
