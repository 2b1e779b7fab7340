//! Probes a URL: every phase is timed, redirects are followed, the answer is held to what the module says.
//!
//! Source: blackbox_exporter, `prober/http.go`. Left out: cookies between redirects.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION,
    USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kansoku_outputs::net::{Io, authority};
use kansoku_parsers::wire::compressed::unpack;

use super::config::{HeaderMatch, Http};
use super::report::Report;
use super::resolve::resolve;
use super::tcp::connect;
use super::tls::Facts;

const DURATION: &str = "probe_http_duration_seconds";
/// As in blackbox_exporter.
const MAX_REDIRECTS: usize = 10;
/// The most of a body that is kept to look at; what follows is counted only.
const MAX_BODY_BYTES: usize = 64 << 20;
const AGENT: &str = concat!("kansoku-agent/", env!("CARGO_PKG_VERSION"));

/// The value of `Authorization` for a user and password.
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Probes a URL, or `host:port/path` over plain HTTP. `host_header` replaces the module's.
pub async fn probe(
    module: &Http,
    target: &str,
    host_header: Option<&str>,
    report: &mut Report,
) -> bool {
    report.set("probe_failed_due_to_regex", 0.0);
    for name in [
        "probe_http_content_length",
        "probe_http_uncompressed_body_length",
        "probe_http_redirects",
        "probe_http_ssl",
        "probe_http_status_code",
        "probe_http_version",
    ] {
        report.set(name, 0.0);
    }
    let lower = target.to_ascii_lowercase();
    let has_scheme = lower.starts_with("http://") || lower.starts_with("https://");
    let url = if has_scheme {
        target.to_owned()
    } else {
        format!("http://{target}")
    };
    report.add_phase(DURATION, "resolve", 0.0);
    match follow(module, &url, host_header, report).await {
        Ok(is_success) => is_success,
        Err(why) => {
            report.say(why);
            false
        }
    }
}

/// What of a request changes from redirect to redirect.
struct Hop {
    uri: Uri,
    method: Method,
    body: Bytes,
    /// Still at the host that was asked first.
    is_first_host: bool,
}

async fn follow(
    module: &Http,
    url: &str,
    host_header: Option<&str>,
    report: &mut Report,
) -> Result<bool, String> {
    let first = parse(url)?;
    let mut hop = Hop {
        uri: first.clone(),
        method: module
            .method
            .parse()
            .map_err(|_| format!("'{}' is no method", module.method))?,
        body: body(module)?,
        is_first_host: true,
    };
    let mut n_redirects = 0;
    loop {
        let (answer, facts, begin) = exchange(module, &hop, host_header, report).await?;
        let status = answer.status();
        report.say(format_args!("{} {} answered {status}", hop.method, hop.uri));
        let location = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok());
        if let (301..=303 | 307 | 308, Some(location)) = (status.as_u16(), location) {
            n_redirects += 1;
            report.set("probe_http_redirects", n_redirects as f64);
            report.say(format_args!("redirect to {location}"));
            if module.follows_redirects && n_redirects <= MAX_REDIRECTS {
                let uri = join(&hop.uri, location)?;
                let is_get = matches!(hop.method, Method::GET | Method::HEAD);
                if !is_get && matches!(status.as_u16(), 301..=303) {
                    (hop.method, hop.body) = (Method::GET, Bytes::new());
                }
                hop.is_first_host = uri.host() == first.host();
                hop.uri = uri;
                continue;
            }
            report.say("the redirect is not followed");
            return finish(module, answer, facts, begin, false, report).await;
        }
        return finish(module, answer, facts, begin, true, report).await;
    }
}

fn parse(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|e| format!("'{url}' is no URL: {e}"))?;
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(uri),
        _ => Err(format!("'{url}' names no host")),
    }
}

/// The URL that a `Location` means.
fn join(from: &Uri, location: &str) -> Result<Uri, String> {
    let location = location.split('#').next().unwrap_or_default();
    if location.contains("://") {
        return parse(location);
    }
    let scheme = from.scheme_str().unwrap_or("http");
    if location.starts_with("//") {
        return parse(&format!("{scheme}:{location}"));
    }
    let authority = from.authority().map_or("", |a| a.as_str());
    let folder = from
        .path()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    match location {
        rooted if rooted.starts_with('/') => parse(&format!("{scheme}://{authority}{rooted}")),
        query if query.starts_with('?') => {
            parse(&format!("{scheme}://{authority}{}{query}", from.path()))
        }
        relative => parse(&format!("{scheme}://{authority}{folder}/{relative}")),
    }
}

fn body(module: &Http) -> Result<Bytes, String> {
    match &module.body_file {
        None => Ok(Bytes::from(module.body.clone())),
        Some(path) => match std::fs::read(path) {
            Ok(bytes) => Ok(Bytes::from(bytes)),
            Err(error) => Err(format!("cannot read '{path}': {error}")),
        },
    }
}

type Answered = (Response<Incoming>, Option<Facts>, Instant);

/// One request: the answer's head, what TLS says, and when the head came.
async fn exchange(
    module: &Http,
    hop: &Hop,
    host_header: Option<&str>,
    report: &mut Report,
) -> Result<Answered, String> {
    let host = hop.uri.host().unwrap_or_default();
    let is_tls = hop.uri.scheme_str() == Some("https");
    let port = hop.uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let Some((ip, seconds)) = resolve(host, module.preference, report).await else {
        return Err(format!("no address of {host} to probe"));
    };
    report.add_phase(DURATION, "resolve", seconds);
    // Without an address there is nothing else to time.
    for phase in ["connect", "tls", "processing", "transfer"] {
        report.add_phase(DURATION, phase, 0.0);
    }
    let begin = Instant::now();
    let stream = connect(ip, port, None).await;
    let stream = stream.map_err(|e| format!("cannot connect to {ip}:{port}: {e}"))?;
    report.add_phase(DURATION, "connect", begin.elapsed().as_secs_f64());
    let mut io: Box<dyn Io> = Box::new(stream);
    let own_host = module
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let own_host = host_header.or(own_host.map(|(_, value)| value.as_str()));
    let own_host = own_host.filter(|_| hop.is_first_host);
    let mut facts = None;
    if is_tls {
        let begin = Instant::now();
        let alpn: &[&[u8]] = match module.is_http2 {
            true => &[b"h2", b"http/1.1"],
            false => &[b"http/1.1"],
        };
        let name = own_host.unwrap_or(host).trim_matches(['[', ']']);
        let (encrypted, found) = module.tls.connect(io, name, alpn).await?;
        report.add_phase(DURATION, "tls", begin.elapsed().as_secs_f64());
        (io, facts) = (encrypted, Some(found));
    }
    let is_h2 = facts.as_ref().is_some_and(|f| f.is_h2);
    let request = request(module, hop, own_host, is_h2)?;
    let failed = |e: hyper::Error| {
        let cause = std::error::Error::source(&e).map(|s| format!(": {s}"));
        format!("no answer: {e}{}", cause.unwrap_or_default())
    };
    let begin = Instant::now();
    let answer = if is_h2 {
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io));
        let (mut sender, connection) = handshake.await.map_err(failed)?;
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let answer = answer.map_err(failed)?;
    report.add_phase(DURATION, "processing", begin.elapsed().as_secs_f64());
    Ok((answer, facts, Instant::now()))
}

fn request(
    module: &Http,
    hop: &Hop,
    own_host: Option<&str>,
    is_h2: bool,
) -> Result<Request<Full<Bytes>>, String> {
    let host = hop.uri.host().unwrap_or_default();
    // A login in the URL is no part of the host.
    let place = match hop.uri.port_u16() {
        Some(port) => authority(host.trim_matches(['[', ']']), port),
        None => host.to_owned(),
    };
    let shown = own_host.unwrap_or(&place);
    let path = hop.uri.path_and_query().map_or("/", |p| p.as_str());
    let uri = match is_h2 {
        true => format!("https://{shown}{path}"),
        false => path.to_owned(),
    };
    let mut request = Request::builder()
        .method(hop.method.clone())
        .uri(uri)
        .body(Full::new(hop.body.clone()))
        .map_err(|e| format!("the request cannot be made: {e}"))?;
    let headers = request.headers_mut();
    let bad = |name: &str| format!("the header {name} cannot be sent");
    if !is_h2 {
        headers.insert(HOST, HeaderValue::from_str(shown).map_err(|_| bad("Host"))?);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let login = hop
        .uri
        .authority()
        .and_then(|a| a.as_str().rsplit_once('@'));
    if let Some((login, _)) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let value = HeaderValue::from_str(&basic(user, password));
        headers.insert(AUTHORIZATION, value.map_err(|_| bad("Authorization"))?);
    }
    for (name, value) in &module.headers {
        let is_login = name.eq_ignore_ascii_case("authorization");
        // A login is for the host that it was written for.
        if name.eq_ignore_ascii_case("host") || (is_login && !hop.is_first_host) {
            continue;
        }
        let header = HeaderName::try_from(name.as_str()).map_err(|_| bad(name))?;
        headers.insert(header, HeaderValue::from_str(value).map_err(|_| bad(name))?);
    }
    Ok(request)
}

/// Holds the last answer to what the module says.
async fn finish(
    module: &Http,
    answer: Response<Incoming>,
    facts: Option<Facts>,
    begin: Instant,
    reads_body: bool,
    report: &mut Report,
) -> Result<bool, String> {
    let (parts, incoming) = answer.into_parts();
    report.set("probe_http_status_code", f64::from(parts.status.as_u16()));
    let (version, name) = match parts.version {
        Version::HTTP_2 => (2.0, "HTTP/2.0"),
        Version::HTTP_10 => (1.0, "HTTP/1.0"),
        _ => (1.1, "HTTP/1.1"),
    };
    report.set("probe_http_version", version);
    report.set(
        "probe_http_content_length",
        content_length(&parts.headers, parts.status, &incoming),
    );
    let last_modified = parts
        .headers
        .get(LAST_MODIFIED)
        .and_then(|v| v.to_str().ok());
    if let Some(Ok(time)) = last_modified.map(jiff::fmt::rfc2822::parse) {
        let seconds = time.timestamp().as_second();
        report.set("probe_http_last_modified_timestamp_seconds", seconds as f64);
    }
    let mut is_success = match module.valid_status_codes.as_slice() {
        [] => parts.status.is_success(),
        valid => valid.contains(&parts.status.as_u16()),
    };
    if !is_success {
        report.say(format_args!("the status {} is not valid", parts.status));
    }
    if is_success && let Some(why) = wrong_header(module, &parts.headers) {
        report.say(why);
        report.set("probe_failed_due_to_regex", 1.0);
        is_success = false;
    }
    if reads_body {
        is_success &= check_body(module, incoming, is_success, report).await;
    }
    report.add_phase(DURATION, "transfer", begin.elapsed().as_secs_f64());
    if !module.valid_http_versions.is_empty()
        && !module.valid_http_versions.iter().any(|v| v == name)
    {
        report.say(format_args!("the version {name} is not valid"));
        is_success = false;
    }
    if let Some(facts) = &facts {
        report.set("probe_http_ssl", 1.0);
        module.tls.report(facts, true, true, report);
    }
    if facts.is_some() && module.fail_if_ssl {
        report.say("the last request was over TLS");
        is_success = false;
    }
    if facts.is_none() && module.fail_if_not_ssl {
        report.say("the last request was not over TLS");
        is_success = false;
    }
    Ok(is_success)
}

/// What Go calls it: -1 when the answer does not say.
fn content_length(headers: &HeaderMap, status: StatusCode, body: &Incoming) -> f64 {
    use hyper::body::Body;
    let said = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<f64>().ok());
    if let Some(said) = said {
        return said;
    }
    let is_empty = body.is_end_stream() && status != StatusCode::NOT_MODIFIED;
    if is_empty { 0.0 } else { -1.0 }
}

/// The first header that is not as it must be.
fn wrong_header(module: &Http, headers: &HeaderMap) -> Option<String> {
    let values = |rule: &HeaderMatch| -> Vec<String> {
        let all = headers.get_all(rule.header.as_str()).iter();
        all.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect()
    };
    for (rules, must_match) in [
        (&module.fail_if_header_matches, false),
        (&module.fail_if_header_not_matches, true),
    ] {
        for rule in rules {
            let values = values(rule);
            if values.is_empty() {
                if rule.allow_missing {
                    continue;
                }
                return Some(format!("the header {} is missing", rule.header));
            }
            if values.iter().any(|v| rule.pattern.is_match(v)) != must_match {
                let what = if must_match {
                    "does not match"
                } else {
                    "matches"
                };
                return Some(format!(
                    "the header {} {what} '{}'",
                    rule.header, rule.pattern
                ));
            }
        }
    }
    None
}

/// Reads the body and holds it to the patterns, unless the probe failed before.
async fn check_body(
    module: &Http,
    mut incoming: Incoming,
    is_success: bool,
    report: &mut Report,
) -> bool {
    let limit = module.body_size_limit;
    let has_patterns =
        !module.fail_if_body_matches.is_empty() || !module.fail_if_body_not_matches.is_empty();
    let keeps = has_patterns || module.compression.is_some();
    let (mut kept, mut n_bytes) = (Vec::new(), 0u64);
    let mut is_whole = true;
    while let Some(frame) = incoming.frame().await {
        let data = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_)) => continue,
            Err(error) => {
                report.say(format_args!("the body broke off: {error}"));
                is_whole = false;
                break;
            }
        };
        n_bytes += data.len() as u64;
        let room = if keeps {
            MAX_BODY_BYTES.saturating_sub(kept.len())
        } else {
            0
        };
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if limit > 0 && n_bytes > limit && module.compression.is_none() {
            report.say(format_args!("the body is larger than {limit} bytes"));
            (n_bytes, is_whole) = (limit, false);
            break;
        }
    }
    if let Some(compression) = &module.compression {
        let most = match limit {
            0 => MAX_BODY_BYTES,
            limit => usize::try_from(limit)
                .unwrap_or(MAX_BODY_BYTES)
                .min(MAX_BODY_BYTES),
        };
        match unpack(compression, &kept, most) {
            Ok(plain) => (n_bytes, kept) = (plain.len() as u64, plain),
            Err(error) => {
                report.say(format_args!("the body: {error}"));
                is_whole = false;
            }
        }
    }
    report.set("probe_http_uncompressed_body_length", n_bytes as f64);
    if !is_success || !is_whole {
        return false;
    }
    let text = String::from_utf8_lossy(&kept);
    let bad = module
        .fail_if_body_matches
        .iter()
        .find(|p| p.is_match(&text));
    let missing = module
        .fail_if_body_not_matches
        .iter()
        .find(|p| !p.is_match(&text));
    match (bad, missing) {
        (Some(pattern), _) => report.say(format_args!("the body matches '{pattern}'")),
        (None, Some(pattern)) => report.say(format_args!("the body does not match '{pattern}'")),
        (None, None) => return true,
    }
    report.set("probe_failed_due_to_regex", 1.0);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined() {
        let from = parse("http://h:81/a/b?c=d").expect("a URL");
        for (location, expected) in [
            ("https://x/y", "https://x/y"),
            ("//x:1/y", "http://x:1/y"),
            ("/y?z=1#f", "http://h:81/y?z=1"),
            ("y", "http://h:81/a/y"),
            ("?q", "http://h:81/a/b?q"),
        ] {
            assert_eq!(join(&from, location).expect(location).to_string(), expected);
        }
        assert!(join(&from, "http:///x").is_err());
        assert!(parse("/x").is_err());
    }
}
