//! Calls of Amazon's JSON services (`X-Amz-Target`), signed, for CloudWatch Logs, Kinesis and
//! Firehose.

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};

use crate::aws::AwsLogin;
use crate::client::HttpClient;
use crate::net::authority;
use crate::pool::Answer;
use crate::{Outcome, OutputEnvironment};

const fn text(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

/// The options that all of them share.
pub const OPTIONS: &[OptionSpec] = &[
    text("region", "region of the service"),
    text("endpoint", "other server than Amazon's: a host or a URL"),
    text("role_arn", "role to assume"),
    text("external_id", "external id for assuming the role"),
    text("sts_endpoint", "STS endpoint for assuming the role"),
    text("profile", "profile of the credentials file"),
    OptionSpec::new(
        "auto_retry_requests",
        OptionKind::Bool,
        "on",
        "no effect: requests are repeated until they succeed",
    ),
];

/// A signed client of one service.
pub(crate) struct AwsService {
    client: HttpClient,
    login: AwsLogin,
    host: String,
    path: String,
    /// Before the name of an operation, such as `Logs_20140328.`.
    target: &'static str,
}

impl AwsService {
    /// A client from [`OPTIONS`] and `net::OPTIONS`. `service` is the name in host and signature.
    pub(crate) fn build(
        settings: &Settings,
        environment: &OutputEnvironment,
        service: &str,
        target: &'static str,
    ) -> Result<Self, ConfigError> {
        let region = settings.required("region")?;
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        let default = format!("https://{service}.{region}.amazonaws.com{china}");
        let url = match settings.get("endpoint") {
            Some(s) if s.value.contains("://") => s.value.clone(),
            Some(s) => format!("https://{}", s.value),
            None => default,
        };
        let bad = || {
            let place = settings
                .get("endpoint")
                .map_or(&settings.place, |s| &s.place);
            ConfigError::new(place, format!("'{url}' is no URL"))
        };
        let uri: hyper::Uri = url.parse().map_err(|_| bad())?;
        let name = uri.host().ok_or_else(bad)?.to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let usual = if is_tls { 443 } else { 80 };
        // An endpoint may come with a port of its own option, as in Fluent Bit.
        let port = match uri.port_u16() {
            Some(port) => port,
            None => u16::try_from(settings.int("port", usual)?).map_err(|_| bad())?,
        };
        let mut own = settings.clone();
        own.settings.retain(|s| {
            ["net.", "tls.", "http."]
                .iter()
                .any(|p| s.key.starts_with(p))
                || s.key == "proxy"
        });
        let tls = if is_tls { "on" } else { "off" };
        let more = Settings::of("", &[("host", name.as_str()), ("tls", tls)]);
        own.settings.extend(more.settings);
        Ok(Self {
            client: HttpClient::build(&own, environment, port)?,
            login: AwsLogin::new(settings, region, service),
            host: match i64::from(port) == usual {
                true => name,
                false => authority(&name, port),
            },
            path: match uri.path() {
                "" => "/".to_owned(),
                path => path.to_owned(),
            },
            target,
        })
    }

    /// Calls `operation`.
    pub(crate) async fn call(&self, operation: &str, body: Vec<u8>) -> Result<Answer, String> {
        self.call_with(operation, &[], body).await
    }

    /// Calls `operation` with further headers.
    pub(crate) async fn call_with(
        &self,
        operation: &str,
        more: &[(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let target = format!("{}{operation}", self.target);
        let content_type = "application/x-amz-json-1.1";
        let signed = [
            ("content-type", content_type),
            ("x-amz-target", target.as_str()),
        ];
        let mut headers = self
            .login
            .headers_with(&Method::POST, &self.host, &self.path, &signed, &body)
            .await?;
        headers.push((
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.1"),
        ));
        headers.push((
            HeaderName::from_static("x-amz-target"),
            HeaderValue::from_str(&target).map_err(|e| e.to_string())?,
        ));
        // What is signed has to be what is sent, also where the port is the usual one.
        let host = HeaderValue::from_str(&self.host).map_err(|e| e.to_string())?;
        headers.push((HOST, host));
        headers.extend(more.iter().map(|&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        }));
        let path = &self.path;
        self.client
            .exchange(Method::POST, path, &headers, body)
            .await
    }

    /// What an answer that is no success means for all records of the call.
    pub(crate) fn failure(&self, answer: &Answer) -> Outcome {
        match error_name(&answer.body).as_str() {
            // Amazon says 400 for what only takes time.
            "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "ServiceUnavailableException"
            | "OperationAbortedException"
            | "ResourceNotFoundException"
            | "ExpiredTokenException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "AccessDeniedException" => self.client.retry(text_of(answer), None),
            _ => self.client.outcome(answer),
        }
    }

    /// An outcome for a call that got no answer.
    pub(crate) fn no_answer(&self, reason: &str) -> Outcome {
        self.client.retry(reason, None)
    }
}

fn text_of(answer: &Answer) -> String {
    let kept = &answer.body[..answer.body.len().min(512)];
    format!("{}: {}", answer.status, String::from_utf8_lossy(kept))
}

/// The last part of `__type`: `com.amazon#ResourceNotFoundException`.
pub(crate) fn error_name(body: &[u8]) -> String {
    let tree: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let name = tree["__type"].as_str().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::aws_sign::Credentials;

    impl AwsService {
        /// With credentials that need no search.
        pub(crate) fn with_key(mut self) -> Self {
            self.login = self.login.with_credentials(Credentials {
                access_key: "AKID".into(),
                secret_key: "SECRET".into(),
                session_token: None,
            });
            self
        }
    }

    /// A service that keeps what it is told as `OPERATION body` and answers from a list; then `{}`.
    pub(crate) async fn service(
        answers: Vec<(u16, &'static str)>,
    ) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (kept, answers) = (calls.clone(), Arc::new(Mutex::new(answers)));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let (kept, answers) = (kept.clone(), answers.clone());
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    while let Some((head, body)) = request(&mut stream, &mut buffer).await {
                        assert!(head.contains("authorization: AWS4-HMAC-SHA256 Credential=AKID/"));
                        let target = head.split("x-amz-target: ").nth(1).expect("target");
                        let operation = target.split(['.', '\r']).nth(1).expect("operation");
                        kept.lock()
                            .expect("lock")
                            .push(format!("{operation} {body}"));
                        let next = {
                            let mut answers = answers.lock().expect("lock");
                            if answers.is_empty() {
                                (200, "{}")
                            } else {
                                answers.remove(0)
                            }
                        };
                        let text = format!(
                            "HTTP/1.1 {} X\r\ncontent-length: {}\r\n\r\n{}",
                            next.0,
                            next.1.len(),
                            next.1
                        );
                        stream.write_all(text.as_bytes()).await.expect("writes");
                    }
                });
            }
        });
        (url, calls)
    }

    async fn request(
        stream: &mut tokio::net::TcpStream,
        buffer: &mut Vec<u8>,
    ) -> Option<(String, String)> {
        loop {
            let text = String::from_utf8_lossy(buffer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.replace("Authorization", "authorization");
                let len = head.split("content-length: ").nth(1).expect("length");
                let len: usize = len.lines().next()?.trim().parse().expect("length");
                if body.len() >= len {
                    let body = body[..len].to_owned();
                    buffer.clear();
                    return Some((head, body));
                }
            }
            if stream.read_buf(buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    #[test]
    fn errors_have_names() {
        let body = br#"{"__type":"com.amazon.coral#ThrottlingException","message":"x"}"#;
        assert_eq!(error_name(body), "ThrottlingException");
        assert_eq!(error_name(b"<html>"), "");
    }
}
