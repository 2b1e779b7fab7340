//! object_store's requests through our own HTTP client: its proxies, TLS settings and deadlines, and
//! AWS signatures with its logins. No second HTTP stack is linked.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Response, Uri};
use kansoku_model::Settings;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient as StoreClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService,
};

use crate::OutputEnvironment;
use crate::aws::AwsLogin;
use crate::client::HttpClient;

/// Carries requests, and signs them when there is a login.
#[derive(Clone)]
pub struct Carrier(Arc<Inner>);

struct Inner {
    settings: Settings,
    environment: OutputEnvironment,
    login: Option<AwsLogin>,
    /// Headers of requests that make an object.
    object_headers: Vec<(HeaderName, HeaderValue)>,
    /// A client per scheme, host and port. Held only to look up and to insert.
    clients: Mutex<HashMap<String, Arc<HttpClient>>>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carrier")
    }
}

impl Carrier {
    /// A carrier with the `net.*` and `tls.*` options of `settings`.
    #[must_use]
    pub fn new(
        settings: &Settings,
        environment: &OutputEnvironment,
        login: Option<AwsLogin>,
        object_headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Self {
        let mut settings = settings.clone();
        settings.settings.retain(|s| {
            ["net.", "tls.", "http."]
                .iter()
                .any(|p| s.key.starts_with(p))
                || s.key == "proxy"
        });
        Self(Arc::new(Inner {
            settings,
            environment: environment.clone(),
            login,
            object_headers,
            clients: Mutex::default(),
        }))
    }
}

impl HttpConnector for Carrier {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<StoreClient> {
        Ok(StoreClient::new(self.clone()))
    }
}

fn failed(kind: HttpErrorKind, reason: String) -> HttpError {
    HttpError::new(kind, std::io::Error::other(reason))
}

impl HttpService for Carrier {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.0.carry(request))
    }
}

impl Inner {
    async fn carry(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut headers: Vec<(HeaderName, HeaderValue)> = parts
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length" | "user-agent"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let query = parts.uri.query().unwrap_or_default();
        if !query.contains("uploadId=") {
            headers.extend(self.object_headers.iter().cloned());
        }
        if let Some(login) = &self.login {
            let signed: Vec<(&str, &str)> = headers
                .iter()
                .filter(|(name, _)| name.as_str().starts_with("x-amz-"))
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            let host = parts.uri.authority().map_or("", |a| a.as_str());
            let added = login
                .headers_with(&parts.method, host, path, &signed, &body)
                .await
                .map_err(|e| failed(HttpErrorKind::Unknown, e))?;
            headers.extend(added);
            // What is signed has to be what is sent, also where the port is the usual one.
            if let Ok(host) = HeaderValue::from_str(host) {
                headers.push((HOST, host));
            }
        }
        let client = self
            .client(&parts.uri)
            .map_err(|e| failed(HttpErrorKind::Unknown, e))?;
        let answer = client
            .exchange(parts.method, path, &headers, body)
            .await
            .map_err(|e| failed(HttpErrorKind::Connect, e))?;
        let mut response = Response::new(answer.body.into());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    fn client(&self, uri: &Uri) -> Result<Arc<HttpClient>, String> {
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| format!("'{uri}' has no host"))?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let name = format!("{is_tls} {host}:{port}");
        let mut clients = self.clients.lock().expect("nobody panics with the lock");
        if let Some(known) = clients.get(&name) {
            return Ok(known.clone());
        }
        let mut settings = self.settings.clone();
        let tls = if is_tls { "on" } else { "off" };
        settings
            .settings
            .extend(Settings::of("", &[("host", host), ("tls", tls)]).settings);
        let client =
            HttpClient::build(&settings, &self.environment, port).map_err(|e| e.to_string())?;
        Ok(clients.entry(name).or_insert(Arc::new(client)).clone())
    }
}
