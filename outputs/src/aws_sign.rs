//! AWS Signature Version 4: the headers that prove a request to come from the owner of a key.
//!
//! Pure: the time, the credentials and the whole request are arguments. Where credentials come from
//! is another file's business.

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use jiff::Timestamp;
use ring::{digest, hmac};

/// A key that requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
    /// Set for keys that expire.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.access_key)
    }
}

/// The request to sign. `headers` are signed in addition to `host`, names in lower case.
#[derive(Debug, Clone, Copy)]
pub struct ToSign<'a> {
    pub method: &'a str,
    /// As the `Host` header has it.
    pub host: &'a str,
    /// The path as it is sent, without the query.
    pub path: &'a str,
    /// The query as it is sent, without `?`; empty when there is none.
    pub query: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
    pub region: &'a str,
    /// Such as `es`, `aps`, `logs`, `kinesis`.
    pub service: &'a str,
    /// Whether to send (and sign) `x-amz-content-sha256`, which OpenSearch and S3 ask for.
    pub with_body_hash: bool,
}

/// The headers to add to the request: `x-amz-date`, `authorization` and what goes with them.
#[must_use]
pub fn sign(
    credentials: &Credentials,
    request: &ToSign<'_>,
    unix_seconds: i64,
) -> Vec<(HeaderName, HeaderValue)> {
    let time = Timestamp::from_second(unix_seconds).unwrap_or_default();
    let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let body_hash = hex(digest::digest(&digest::SHA256, request.body).as_ref());

    let mut headers = vec![("host", request.host), ("x-amz-date", time.as_str())];
    headers.extend_from_slice(request.headers);
    if request.with_body_hash {
        headers.push(("x-amz-content-sha256", body_hash.as_str()));
    }
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", token));
    }
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");

    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        // S3 alone signs the path as it is sent; the others encode what is encoded already.
        match request.service {
            "s3" => request.path.to_owned(),
            _ => encoded(request.path, true),
        },
        canonical_query(request.query)
    );
    for (name, value) in &headers {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        canonical.push_str(&format!("{name}:{}\n", words.join(" ")));
    }
    canonical.push_str(&format!("\n{names}\n{body_hash}"));

    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let signature = signature(
        credentials,
        (request.region, request.service),
        &time,
        &canonical,
    );
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );

    let mut added = vec![
        (HeaderName::from_static("x-amz-date"), value_of(&time)),
        (AUTHORIZATION, value_of(&authorization)),
    ];
    if request.with_body_hash {
        let name = HeaderName::from_static("x-amz-content-sha256");
        added.push((name, value_of(&body_hash)));
    }
    if let Some(token) = &credentials.session_token {
        let name = HeaderName::from_static("x-amz-security-token");
        added.push((name, value_of(token)));
    }
    added
}

/// The URL of a GET request for `/` that is signed in its query, good for `expires_s`; `query` is encoded.
#[must_use]
pub fn presigned(
    credentials: &Credentials,
    host: &str,
    query: &str,
    (region, service): (&str, &str),
    unix_seconds: i64,
    expires_s: u32,
) -> String {
    let time = Timestamp::from_second(unix_seconds).unwrap_or_default();
    let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
    let access_key = &credentials.access_key;
    let scope = format!(
        "{access_key}/{}/{region}/{service}/aws4_request",
        &time[..8]
    );
    let scope = encoded(&scope, false);
    let token = credentials
        .session_token
        .as_ref()
        .map_or_else(String::new, |token| {
            format!("&X-Amz-Security-Token={}", encoded(token, false))
        });
    let query = canonical_query(&format!(
        "{query}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date={time}\
         &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host{token}"
    ));
    let body_hash = hex(digest::digest(&digest::SHA256, b"").as_ref());
    let canonical = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{body_hash}");
    let signature = signature(credentials, (region, service), &time, &canonical);
    format!("https://{host}/?{query}&X-Amz-Signature={signature}")
}

/// The signature of a canonical request at a time such as `20261121T200000Z`.
fn signature(
    credentials: &Credentials,
    (region, service): (&str, &str),
    time: &str,
    canonical: &str,
) -> String {
    let date = &time[..8];
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
    let start = format!("AWS4{}", credentials.secret_key).into_bytes();
    let parts = [date, region, service, "aws4_request"];
    let key = parts.iter().fold(start, |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

/// A value that a header cannot carry makes a request that AWS refuses with a clear answer.
fn value_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Percent-encodes all but unreserved characters; with `is_path` a slash stays.
#[must_use]
pub fn encoded(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || (is_path && byte == b'/');
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if is_path && out.is_empty() {
        out.push('/');
    }
    out
}

/// The query's pairs in order; they are encoded already, as they are sent.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(method: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let request = ToSign {
            method,
            host: "example.amazonaws.com",
            path: "/",
            query,
            headers,
            body,
            region: "us-east-1",
            service: "service",
            with_body_hash: false,
        };
        let added = sign(&credentials, &request, 1_440_938_160);
        let (_, value) = added
            .iter()
            .find(|(n, _)| *n == AUTHORIZATION)
            .expect("signed");
        let value = value.to_str().expect("ascii").to_owned();
        value.rsplit('=').next().expect("signature").to_owned()
    }

    /// The published test vectors of Signature Version 4.
    #[test]
    fn published_vectors_hold() {
        for (method, query, headers, body, expected) in [
            (
                "GET",
                "",
                &[][..],
                &b""[..],
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "",
                &[],
                b"",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "GET",
                "Param2=value2&Param1=value1",
                &[],
                b"",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "",
                &[("content-type", "application/x-www-form-urlencoded")],
                b"Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            assert_eq!(signature(method, query, headers, body), expected, "{query}");
        }
    }

    /// The signatures are those of botocore's SigV4QueryAuth.
    #[test]
    fn urls_are_signed_in_their_query() {
        for (token, expected) in [
            (
                None,
                "&X-Amz-SignedHeaders=host&X-Amz-Signature=d53146382b434d05eefc2171aafcda7911a492948e39d0dbfd90824cd6112ec6",
            ),
            (
                Some("TO/KEN+=="),
                "&X-Amz-Security-Token=TO%2FKEN%2B%3D%3D&X-Amz-SignedHeaders=host&X-Amz-Signature=f61b23b5e2395588d674cf4d9bdfed36f0e34bc74593bea75bc62e6cc8daf9ae",
            ),
        ] {
            let credentials = Credentials {
                access_key: "AKIDEXAMPLE".into(),
                secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                session_token: token.map(str::to_owned),
            };
            let url = presigned(
                &credentials,
                "kafka.eu-west-1.amazonaws.com",
                "Action=kafka-cluster%3AConnect",
                ("eu-west-1", "kafka-cluster"),
                1_795_291_200,
                900,
            );
            let start = "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261121%2Feu-west-1%2Fkafka-cluster%2Faws4_request&X-Amz-Date=20261121T200000Z&X-Amz-Expires=900";
            assert_eq!(url, format!("{start}{expected}"));
        }
    }

    #[test]
    fn tokens_and_body_hashes_are_signed_and_sent() {
        let credentials = Credentials {
            access_key: "A".into(),
            secret_key: "S".into(),
            session_token: Some("T".into()),
        };
        let request = ToSign {
            method: "POST",
            host: "h",
            path: "/a b",
            query: "",
            headers: &[],
            body: b"x",
            region: "r",
            service: "es",
            with_body_hash: true,
        };
        let names: Vec<String> = sign(&credentials, &request, 0)
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().expect("ascii")))
            .collect();
        assert!(
            names[1].contains(
                "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"
            )
        );
        assert_eq!(names[3], "x-amz-security-token: T");
        assert_eq!(encoded("/a b", true), "/a%20b");
    }
}
