//! AWS logins: where credentials come from, how long they are kept, and the headers of a request.
//!
//! The chain is AWS's own: environment, profile file, web identity (IRSA), container endpoint (ECS,
//! EKS pod identity), instance metadata; and a role to assume with what was found.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Settings};
use tokio::sync::Mutex;

use crate::OutputEnvironment;
use crate::aws_sign::{Credentials, ToSign, encoded, presigned, sign};
use crate::client::fetch;

const fn text(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, "", about)
}

/// The `aws_*` options of outputs that can sign their requests.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new(
        "aws_auth",
        OptionKind::Bool,
        "off",
        "sign requests for AWS (Signature Version 4)",
    ),
    text("aws_region", "region of the service"),
    text("aws_service", "service to sign for, such as es or aps"),
    text("aws_service_name", "the same, as es and opensearch call it"),
    text("aws_profile", "profile of the credentials file"),
    text("aws_role_arn", "role to assume"),
    text("aws_external_id", "external id for assuming the role"),
    text("aws_sts_endpoint", "STS endpoint for assuming the role"),
];

/// Credentials are renewed this long before their end.
const RENEW_BEFORE_S: i64 = 300;
/// The longest wait for one source of credentials.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const METADATA: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";

/// Signs requests for one service in one region.
pub struct AwsLogin {
    region: String,
    service: String,
    settings: Settings,
    profile: Option<String>,
    role: Option<String>,
    external_id: Option<String>,
    sts: Option<String>,
    /// Credentials and the Unix second of their end. Held while new ones are fetched.
    known: Mutex<Option<(Credentials, i64)>>,
}

impl AwsLogin {
    /// Reads [`OPTIONS`]; `None` when `aws_auth` is off.
    ///
    /// # Errors
    /// When region or service is missing.
    pub fn of(settings: &Settings, _: &OutputEnvironment) -> Result<Option<Self>, ConfigError> {
        if !settings.bool("aws_auth", false)? {
            return Ok(None);
        }
        let service = match settings
            .get("aws_service_name")
            .or_else(|| settings.get("aws_service"))
        {
            Some(s) => s.value.as_str(),
            None => match settings.plugin.as_str() {
                "es" | "opensearch" => "es",
                "prometheus_remote_write" => "aps",
                "opentelemetry" => "logs",
                _ => settings.required("aws_service")?,
            },
        };
        let region = settings.required("aws_region")?;
        Ok(Some(Self::new(settings, region, service)))
    }

    /// A login for a service that an output names itself. Of `settings` it reads `aws_profile` or
    /// `profile`, `aws_role_arn` or `role_arn`, and so on, and the TLS options.
    #[must_use]
    pub fn new(settings: &Settings, region: &str, service: &str) -> Self {
        let either = |name: &str| {
            settings
                .get(&format!("aws_{name}"))
                .or_else(|| settings.get(name))
                .map(|s| s.value.clone())
        };
        Self {
            region: region.to_owned(),
            service: service.to_owned(),
            profile: either("profile").or_else(|| variable("AWS_PROFILE")),
            role: either("role_arn"),
            external_id: either("external_id"),
            sts: either("sts_endpoint"),
            settings: settings.clone(),
            known: Mutex::new(None),
        }
    }

    /// The same login with credentials that are known.
    #[cfg(test)]
    pub(crate) fn with_credentials(self, credentials: Credentials) -> Self {
        Self {
            known: Mutex::new(Some((credentials, i64::MAX))),
            ..self
        }
    }

    /// The headers that a request needs. `path` has the query with it; `host` is without a port.
    ///
    /// # Errors
    /// Why there are no credentials.
    pub async fn headers(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        self.headers_with(method, host, path, &[], body).await
    }

    /// The same with further headers under the signature (names in lower case).
    ///
    /// # Errors
    /// Why there are no credentials.
    pub async fn headers_with(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let credentials = self.credentials().await?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = ToSign {
            method: method.as_str(),
            host,
            path,
            query,
            headers,
            body,
            region: &self.region,
            service: &self.service,
            with_body_hash: matches!(self.service.as_str(), "es" | "aoss" | "s3"),
        };
        Ok(sign(&credentials, &request, now()))
    }

    /// The URL of a GET request for `/` of a host, signed in its query and good for `expires_s`.
    ///
    /// # Errors
    /// Why there are no credentials.
    pub async fn presigned(
        &self,
        host: &str,
        query: &str,
        expires_s: u32,
    ) -> Result<String, String> {
        let credentials = self.credentials().await?;
        let of = (self.region.as_str(), self.service.as_str());
        Ok(presigned(&credentials, host, query, of, now(), expires_s))
    }

    async fn credentials(&self) -> Result<Credentials, String> {
        let mut known = self.known.lock().await;
        if let Some((credentials, end)) = &*known
            && now() < end.saturating_sub(RENEW_BEFORE_S)
        {
            return Ok(credentials.clone());
        }
        let base = self.base().await?;
        let found = match &self.role {
            None => base,
            Some(role) => self.assume(role, &base.0).await?,
        };
        let credentials = found.0.clone();
        *known = Some(found);
        Ok(credentials)
    }

    async fn base(&self) -> Result<(Credentials, i64), String> {
        if let (Some(access_key), Some(secret_key)) = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        ) {
            let credentials = Credentials {
                access_key,
                secret_key,
                session_token: variable("AWS_SESSION_TOKEN"),
            };
            return Ok((credentials, i64::MAX));
        }
        if let Some(credentials) = self.profile_credentials() {
            // The file may change under us.
            return Ok((credentials, now() + 2 * RENEW_BEFORE_S));
        }
        if let (Some(file), Some(role)) = (
            variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
            variable("AWS_ROLE_ARN"),
        ) {
            return self.web_identity(&file, &role).await;
        }
        if let Some(found) = self.container_credentials().await? {
            return Ok(found);
        }
        self.metadata_credentials().await.map_err(|e| {
            format!("no AWS credentials in environment, profile, web identity, container or instance metadata ({e})")
        })
    }

    fn profile_credentials(&self) -> Option<Credentials> {
        let path = variable("AWS_SHARED_CREDENTIALS_FILE")
            .or_else(|| variable("HOME").map(|home| format!("{home}/.aws/credentials")))?;
        let text = std::fs::read_to_string(path).ok()?;
        profile(&text, self.profile.as_deref().unwrap_or("default"))
    }

    async fn get(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<String, String> {
        self.call(Method::GET, url, headers, String::new()).await
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: String,
    ) -> Result<String, String> {
        let fetched = Box::pin(fetch(
            &self.settings,
            method,
            url,
            headers,
            body,
            FETCH_TIMEOUT,
        ));
        let answer = fetched.await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status.is_success() {
            Ok(text)
        } else {
            Err(format!("{url} answered {}: {}", answer.status, text.trim()))
        }
    }

    async fn container_credentials(&self) -> Result<Option<(Credentials, i64)>, String> {
        let url = match (
            variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ) {
            (Some(path), _) => format!("{CONTAINER}{path}"),
            (None, Some(url)) => url,
            (None, None) => return Ok(None),
        };
        let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?,
            None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap_or_default(),
        };
        let mut headers = Vec::new();
        if !token.trim().is_empty() {
            let value = HeaderValue::from_str(token.trim())
                .map_err(|_| "the container's token cannot be sent".to_owned())?;
            headers.push((AUTHORIZATION, value));
        }
        let answer = self.get(&url, &headers).await?;
        from_json(&answer)
            .map(Some)
            .ok_or_else(|| format!("{url} answered without credentials"))
    }

    async fn metadata_credentials(&self) -> Result<(Credentials, i64), String> {
        let life = (
            HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"),
            HeaderValue::from_static("60"),
        );
        let url = format!("{METADATA}/latest/api/token");
        let token = self.call(Method::PUT, &url, &[life], String::new()).await?;
        let token = HeaderValue::from_str(token.trim()).map_err(|_| "bad metadata token")?;
        let headers = [(HeaderName::from_static("x-aws-ec2-metadata-token"), token)];
        let url = format!("{METADATA}/latest/meta-data/iam/security-credentials/");
        let roles = self.get(&url, &headers).await?;
        let role = roles.lines().next().unwrap_or_default().trim().to_owned();
        let answer = self.get(&format!("{url}{role}"), &headers).await?;
        from_json(&answer).ok_or_else(|| "instance metadata has no credentials".to_owned())
    }

    fn sts_url(&self) -> String {
        match &self.sts {
            Some(url) if url.contains("://") => url.trim_end_matches('/').to_owned(),
            Some(host) => format!("https://{host}"),
            None => format!("https://sts.{}.amazonaws.com", self.region),
        }
    }

    async fn web_identity(&self, file: &str, role: &str) -> Result<(Credentials, i64), String> {
        let token = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        let name = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "kansoku-agent".to_owned());
        let url = format!(
            "{}/?Version=2011-06-15&Action=AssumeRoleWithWebIdentity&RoleSessionName={}&RoleArn={}&WebIdentityToken={}",
            self.sts_url(),
            encoded(&name, false),
            encoded(role, false),
            encoded(token.trim(), false)
        );
        let answer = self.get(&url, &[]).await?;
        from_xml(&answer).ok_or_else(|| "STS answered without credentials".to_owned())
    }

    async fn assume(&self, role: &str, base: &Credentials) -> Result<(Credentials, i64), String> {
        let url = self.sts_url();
        let host = url.split("://").nth(1).unwrap_or_default().to_owned();
        let mut query = format!(
            "Action=AssumeRole&RoleArn={}&RoleSessionName=kansoku-agent&Version=2011-06-15",
            encoded(role, false)
        );
        if let Some(id) = &self.external_id {
            query.push_str(&format!("&ExternalId={}", encoded(id, false)));
        }
        let form = "application/x-www-form-urlencoded";
        let request = ToSign {
            method: "POST",
            host: host.split('/').next().unwrap_or_default(),
            path: "/",
            query: "",
            headers: &[("content-type", form)],
            body: query.as_bytes(),
            region: &self.region,
            service: "sts",
            with_body_hash: false,
        };
        let mut headers = sign(base, &request, now());
        headers.push((CONTENT_TYPE, HeaderValue::from_static(form)));
        headers.push((ACCEPT, HeaderValue::from_static("application/xml")));
        let answer = self
            .call(Method::POST, &format!("{url}/"), &headers, query)
            .await?;
        from_xml(&answer).ok_or_else(|| "STS answered without credentials".to_owned())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() as i64)
}

fn end_of(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>()
        .map_or_else(|_| now() + 2 * RENEW_BEFORE_S, jiff::Timestamp::as_second)
}

/// One profile of a credentials file.
pub(crate) fn profile(text: &str, name: &str) -> Option<Credentials> {
    let mut is_ours = false;
    let (mut access, mut secret, mut session_token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']').trim();
            is_ours = header == name || header.strip_prefix("profile ") == Some(name);
        } else if let (true, Some((key, value))) = (is_ours, line.split_once('=')) {
            let value = Some(value.trim().to_owned());
            match key.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => access = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => session_token = value,
                _ => {}
            }
        }
    }
    Some(Credentials {
        access_key: access?,
        secret_key: secret?,
        session_token,
    })
}

pub(crate) fn from_json(answer: &str) -> Option<(Credentials, i64)> {
    let tree: serde_json::Value = serde_json::from_str(answer).ok()?;
    let text = |key: &str| tree.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    let credentials = Credentials {
        access_key: text("AccessKeyId")?,
        secret_key: text("SecretAccessKey")?,
        session_token: text("Token"),
    };
    let end = text("Expiration").map_or_else(|| now() + 2 * RENEW_BEFORE_S, |t| end_of(&t));
    Some((credentials, end))
}

/// STS answers with flat XML whose values hold no markup.
pub(crate) fn from_xml(answer: &str) -> Option<(Credentials, i64)> {
    let text = |tag: &str| {
        let (_, rest) = answer.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>"))
            .map(|(value, _)| value.trim().to_owned())
    };
    let credentials = Credentials {
        access_key: text("AccessKeyId")?,
        secret_key: text("SecretAccessKey")?,
        session_token: text("SessionToken"),
    };
    let end = text("Expiration").map_or_else(|| now() + 2 * RENEW_BEFORE_S, |t| end_of(&t));
    Some((credentials, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_every_source() {
        let file = "[default]\naws_access_key_id = A\naws_secret_access_key=S\n\n[profile b]\n\
                    aws_access_key_id=B\naws_secret_access_key=T\naws_session_token = X\n";
        assert_eq!(profile(file, "default").expect("there").access_key, "A");
        let b = profile(file, "b").expect("there");
        assert_eq!(
            (b.secret_key.as_str(), b.session_token.as_deref()),
            ("T", Some("X"))
        );
        assert!(profile(file, "c").is_none());

        let json = r#"{"AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2030-01-01T00:00:00Z"}"#;
        let (credentials, end) = from_json(json).expect("there");
        assert_eq!(
            (credentials.session_token.as_deref(), end),
            (Some("T"), 1_893_456_000)
        );
        assert!(from_json("{}").is_none());

        let xml = "<R><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
                   <SessionToken>T</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></R>";
        assert_eq!(from_xml(xml).expect("there").1, 1_893_456_000);
        assert!(from_xml("<Error/>").is_none());
    }

    #[test]
    fn a_region_is_needed() {
        let settings = Settings::of("es", &[("aws_auth", "on")]);
        let error = AwsLogin::of(&settings, &OutputEnvironment::default())
            .err()
            .expect("refused");
        assert!(error.to_string().contains("needs 'aws_region'"), "{error}");
    }
}
