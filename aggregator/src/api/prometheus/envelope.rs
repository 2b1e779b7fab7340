//! The JSON envelope: `{"status":"success","data":…}` and its errors, with their statuses.

use hyper::StatusCode;
use kansoku_model::json::write_str;
use kansoku_model::select::SelectError;
use kansoku_query::promql::QueryError;

use crate::api::gate::Interrupted;
use crate::http::Reply;
use crate::tenants::NoStore;

/// Annotations of one kind in an answer; Prometheus shows as many.
const MAX_ANNOTATIONS: usize = 10;

/// Why a request failed, in Prometheus's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub kind: &'static str,
    pub message: String,
}

impl ApiError {
    /// The request is wrong.
    #[must_use]
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "bad_data",
            message: message.into(),
        }
    }

    /// A parameter is wrong.
    #[must_use]
    pub fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {message}"))
    }

    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
        }
    }

    /// The answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        error(self.status, self.kind, &self.message)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (status, kind) = match error {
            QueryError::Parse(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            QueryError::Execution(_) | QueryError::Limit(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "execution")
            }
            QueryError::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            QueryError::Cancelled(_) => (client_closed(), "canceled"),
            QueryError::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<NoStore> for ApiError {
    fn from(why: NoStore) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "unavailable", why.to_string())
    }
}

impl From<SelectError> for ApiError {
    fn from(error: SelectError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<Interrupted> for ApiError {
    fn from(why: Interrupted) -> Self {
        let (status, kind) = match why {
            Interrupted::TimedOut | Interrupted::TimedOutInQueue => {
                (StatusCode::SERVICE_UNAVAILABLE, "timeout")
            }
            Interrupted::Abandoned => (client_closed(), "canceled"),
            Interrupted::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, kind, why.message())
    }
}

/// 499, which no standard names and Prometheus uses.
fn client_closed() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits")
}

/// A success around `data`, which is JSON text.
#[must_use]
pub fn success(data: &[u8]) -> Reply {
    success_with(data, &[], &[])
}

/// A success with annotations.
#[must_use]
pub fn success_with(data: &[u8], warnings: &[String], infos: &[String]) -> Reply {
    let mut out = Vec::with_capacity(data.len() + 64);
    out.extend_from_slice(br#"{"status":"success","data":"#);
    out.extend_from_slice(data);
    write_annotations(&mut out, "warnings", warnings);
    write_annotations(&mut out, "infos", infos);
    out.push(b'}');
    Reply::json(StatusCode::OK, out)
}

fn write_annotations(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(format!(",\"{name}\":").as_bytes());
    let kind = name.trim_end_matches('s');
    let beyond = texts.len().saturating_sub(MAX_ANNOTATIONS);
    let more = format!("{beyond} more {kind} annotations omitted");
    let shown = texts.iter().take(MAX_ANNOTATIONS).map(String::as_str);
    let more = (beyond > 0).then_some(more.as_str());
    write_list(out, shown.chain(more));
}

/// Appends a list of strings.
pub fn write_list<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a str>) {
    out.push(b'[');
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_str(out, text.as_bytes());
    }
    out.push(b']');
}

/// An error.
#[must_use]
pub fn error(status: StatusCode, kind: &str, message: &str) -> Reply {
    let mut out = br#"{"status":"error","errorType":"#.to_vec();
    write_str(&mut out, kind.as_bytes());
    out.extend_from_slice(br#","error":"#);
    write_str(&mut out, message.as_bytes());
    out.push(b'}');
    Reply::json(status, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_prometheus_statuses() {
        let cases = [
            (QueryError::Parse("x".into()), 400, "bad_data"),
            (QueryError::Execution("x".into()), 422, "execution"),
            (QueryError::Limit("x".into()), 422, "execution"),
            (QueryError::Timeout("x".into()), 503, "timeout"),
            (QueryError::Cancelled("x".into()), 499, "canceled"),
            (QueryError::Storage("x".into()), 500, "internal"),
        ];
        for (error, status, kind) in cases {
            let error = ApiError::from(error);
            assert_eq!((error.status.as_u16(), error.kind), (status, kind));
        }
    }

    #[test]
    fn annotations_are_bounded() {
        let warnings: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
        let reply = success_with(b"[]", &warnings, &["i\"".into()]);
        let body = String::from_utf8(reply.body.to_vec()).unwrap();
        let expected = r#""w9","2 more warning annotations omitted"],"infos":["i\""]}"#;
        assert!(body.ends_with(expected), "{body}");
        assert!(body.starts_with(r#"{"status":"success","data":[],"warnings":["w0","#));
    }
}
