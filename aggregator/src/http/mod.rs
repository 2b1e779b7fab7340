//! Requests and replies as the handlers see them: a [`Call`] in, a [`Reply`] out.
//!
//! Not here: sockets, which [`crate::server`] owns, and what the paths mean ([`routes`]). The one
//! rule: a handler gets a body that was read whole within its bound.

pub mod body;
pub mod budget;
pub mod cors;
pub mod form;
pub mod patience;
pub mod reply;
pub mod routes;
pub mod web;
pub mod websocket;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{AsHeaderName, COOKIE};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method};

pub use form::Form;
pub use reply::Reply;

use crate::access::Principal;
use crate::tenants::View;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    /// Nobody on the way reads along.
    pub is_tls: bool,
}

/// One request.
#[derive(Debug)]
pub struct Call {
    /// Whose data it is about.
    pub tenant: View,
    pub peer: Peer,
    /// Who asks.
    pub principal: Arc<Principal>,
    pub method: Method,
    /// Parameters of the URL and of a form body; those of the body come first, as in Go.
    pub form: Form,
    /// What stood in the path where the route has a name.
    pub path_value: String,
    pub headers: HeaderMap,
    /// The body as it was sent, possibly compressed. Empty for routes that take none.
    pub body: Bytes,
    /// The connection once it speaks another protocol, when the client asks for that.
    pub upgrade: Option<OnUpgrade>,
}

impl Call {
    /// A header as text; empty when it is missing or no ASCII.
    pub fn header(&self, name: impl AsHeaderName) -> &str {
        header(&self.headers, name)
    }
}

/// What a cookie holds.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    })
}

/// A header as text; empty when it is missing or no ASCII.
pub fn header(headers: &HeaderMap, name: impl AsHeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}
