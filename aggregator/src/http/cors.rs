//! Which web pages may read answers: `--web.cors.origin`, as Prometheus has it.
//!
//! Source: Prometheus, `util/httputil/cors.go`.

use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};
use regex::Regex;

/// The origins that may.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// What the whole of an origin must match; `None` takes each.
    pattern: Option<Regex>,
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ".*" {
            return Ok(Self::default());
        }
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => Ok(Self {
                pattern: Some(pattern),
            }),
            Err(e) => Err(format!(
                "expected a regular expression such as 'https?://(a|b)\\.com': {e}"
            )),
        }
    }
}

impl Origins {
    /// Adds what a browser wants to see to the headers of an answer.
    pub fn allow(&self, headers: &mut HeaderMap, request_headers: &HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request_headers.get(header::ORIGIN) else {
            return;
        };
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Origin",
        );
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS");
        set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date");
        let matches = |pattern: &Regex| origin.to_str().is_ok_and(|o| pattern.is_match(o));
        let allowed = match &self.pattern {
            None => HeaderValue::from_static("*"),
            Some(pattern) if matches(pattern) => origin.clone(),
            Some(_) => return,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        let pattern = self.pattern.as_ref().map(Regex::as_str);
        let inner = pattern.and_then(|p| p.strip_prefix("^(?:")?.strip_suffix(")$"));
        inner.unwrap_or(".*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_what_the_pattern_says() {
        for (pattern, origin, expected) in [
            (".*", "https://a.example", "*"),
            (".*", "", ""),
            (
                "https?://a\\.example",
                "https://a.example",
                "https://a.example",
            ),
            ("https?://a\\.example", "https://a.example.org", ""),
        ] {
            let origins: Origins = pattern.parse().unwrap();
            assert_eq!(origins.text(), pattern);
            let (mut asked, mut told) = (HeaderMap::new(), HeaderMap::new());
            if !origin.is_empty() {
                asked.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            origins.allow(&mut told, &asked);
            let allowed = super::super::header(&told, header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(allowed, expected, "{pattern} {origin}");
            assert_eq!(told[header::VARY], "Origin");
        }
        assert!("(".parse::<Origins>().is_err());
    }
}
