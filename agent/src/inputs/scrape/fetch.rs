//! Fetching one page over HTTP: what is asked for, how much of it is read, and how it becomes a batch.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
};
use hyper::{Method, StatusCode};
use kansoku_model::plugin::Setting;
use kansoku_model::{ConfigError, Place, Resource, Settings};
use kansoku_outputs::OutputEnvironment;
use kansoku_outputs::client::HttpClient;
use kansoku_parsers::wire::compressed::{UnpackError, unpack};
use kansoku_parsers::wire::prometheus_protobuf::{self, Histograms};
use kansoku_parsers::wire::prometheus_text::{self, Page};

use super::target::Target;

/// Names of the forms of a page in Prometheus' configuration, and their media types; protobuf, the only form with native
/// histograms, first.
pub const PROTOCOLS: [(&str, &str); 5] = [
    ("PrometheusProto", PROTOBUF),
    (
        "OpenMetricsText1.0.0",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
    ),
    (
        "OpenMetricsText0.0.1",
        "application/openmetrics-text;version=0.0.1",
    ),
    (
        "PrometheusText1.0.0",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
    ),
    ("PrometheusText0.0.4", "text/plain;version=0.0.4"),
];
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
/// Tells a target how long it has.
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What is equal for all pages of an input.
#[derive(Debug, Clone)]
pub struct Form {
    /// The most bytes of a page, unpacked.
    pub body_size_limit: usize,
    pub wants_compression: bool,
    /// The value of `Accept`.
    pub accept: HeaderValue,
    pub histograms: Histograms,
}

/// The value of `Accept` that asks for these media types, the first one most.
#[must_use]
pub fn accept(media_types: &[&str]) -> HeaderValue {
    let first = PROTOCOLS.len() + 1;
    let all = media_types.iter().chain([&"*/*"]).enumerate();
    let weighted = all.map(|(n, media_type)| format!("{media_type};q=0.{}", first - n));
    let text = weighted.collect::<Vec<_>>().join(",");
    HeaderValue::from_str(&text).expect("media types are a header's value")
}

/// A client for a target; `settings` hold all that is equal for the input's targets.
///
/// # Errors
/// When a certificate file or another of the settings cannot be used.
pub fn client(
    settings: &Settings,
    environment: &OutputEnvironment,
    target: &Target,
    form: &Form,
) -> Result<HttpClient, ConfigError> {
    let (host, port) = &target.address;
    let mut own = settings.clone();
    let place = settings.place.clone();
    set(&mut own, "host", host.clone(), &place);
    set(&mut own, "port", port.to_string(), &place);
    let tls = if target.is_tls { "on" } else { "off" };
    set(&mut own, "tls", tls.to_owned(), &place);
    let mut client = HttpClient::build(&own, environment, *port)?;
    // One byte more shows that there is more.
    client.answer_max_bytes = form.body_size_limit.saturating_add(1);
    Ok(client)
}

fn set(settings: &mut Settings, key: &str, value: String, place: &Place) {
    settings.settings.retain(|s| s.key != key);
    settings.settings.push(Setting {
        key: key.to_owned(),
        value,
        place: place.clone(),
    });
}

/// Fetches a page: its content type and its bytes.
///
/// # Errors
/// Why there is none, in words.
pub async fn fetch(
    client: &HttpClient,
    form: &Form,
    path: &str,
    timeout: Duration,
) -> Result<(String, Vec<u8>), String> {
    let exchange = exchange(client, form, path, timeout);
    match tokio::time::timeout(timeout, exchange).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

async fn exchange(
    client: &HttpClient,
    form: &Form,
    path: &str,
    timeout: Duration,
) -> Result<(String, Vec<u8>), String> {
    let seconds = HeaderValue::from_str(&timeout.as_secs_f64().to_string());
    let mut headers = vec![
        (ACCEPT, form.accept.clone()),
        (
            TIMEOUT_HEADER,
            seconds.expect("digits are a header's value"),
        ),
    ];
    if form.wants_compression {
        headers.push((ACCEPT_ENCODING, HeaderValue::from_static("gzip")));
    }
    let answer = client
        .exchange(Method::GET, path, &headers, Vec::new())
        .await?;
    if answer.status != StatusCode::OK {
        return Err(format!("the answer was {}", answer.status));
    }
    let header = |name: HeaderName| answer.headers.get(name).and_then(|v| v.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let limit = form.body_size_limit;
    let too_large = || format!("body_size_limit exceeded (limit: {limit} bytes)");
    if answer.body.len() > limit {
        return Err(too_large());
    }
    let body = match header(CONTENT_ENCODING) {
        None | Some("identity") => answer.body.to_vec(),
        Some(encoding) => unpack(encoding, &answer.body, limit).map_err(|e| match e {
            UnpackError::TooLarge { .. } => too_large(),
            other => other.to_string(),
        })?,
    };
    Ok((content_type, body))
}

/// Reads a page in the form that its content type names.
///
/// # Errors
/// When nothing of it can be read.
pub fn read(
    (content_type, body): &(String, Vec<u8>),
    histograms: Histograms,
    tag: Arc<str>,
    resource: Arc<Resource>,
    now_ms: i64,
) -> Result<Page, String> {
    let page = if content_type.contains("application/vnd.google.protobuf") {
        prometheus_protobuf::parse(body, histograms, tag, resource, now_ms)
            .map_err(|e| e.to_string())?
    } else {
        let text = std::str::from_utf8(body).map_err(|_| "the page is not UTF-8".to_owned())?;
        let is_open_metrics = content_type.contains("openmetrics-text");
        prometheus_text::parse(text, is_open_metrics, tag, resource, now_ms)
    };
    let is_empty = page.batch.points().is_empty() && page.batch.histograms().is_empty();
    match page.refused.first {
        Some(first) if is_empty => Err(first),
        _ => Ok(page),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_as_prometheus_does() {
        let texts: Vec<&str> = PROTOCOLS[3..].iter().map(|(_, media)| *media).collect();
        assert_eq!(
            accept(&texts),
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
        );
    }

    #[test]
    fn a_page_is_read_by_its_content_type() {
        let histograms = Histograms {
            native: true,
            always_classic: false,
        };
        let read = |kind: &str, body: &[u8]| {
            let answer = (kind.to_owned(), body.to_vec());
            let page = read(&answer, histograms, "t".into(), Arc::default(), 7);
            page.map(|page| page.batch.points().len())
        };
        assert_eq!(read("text/plain", b"a 1\nb 2\n"), Ok(2));
        assert_eq!(read("text/plain", b""), Ok(0));
        assert!(read("text/plain", b"a").is_err());
        assert!(read("text/plain", b"\xff").is_err());
        let gauge = b"\x12\x0a\x01g\x18\x01\x22\x0b\x12\x09\x09\0\0\0\0\0\0\xf0\x3f";
        assert_eq!(read(PROTOBUF, gauge), Ok(1));
        assert!(read(PROTOBUF, b"\x05a").is_err());
    }
}
