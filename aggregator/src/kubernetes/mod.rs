//! Objects of a Kubernetes cluster, listed and watched as JSON.
//!
//! A watch of our own and no client library: what rules and the discovery of Alertmanagers need is a
//! list, a watch and a few fields, over the HTTP client that is there. [`access`] finds the API server,
//! [`watch`] keeps a copy of objects of one kind, [`selector`] reads selectors of labels. The one rule:
//! while the API is away, what is known stays known.

pub mod access;
pub mod selector;
pub mod watch;
