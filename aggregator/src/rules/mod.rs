//! Recording and alerting rules, as Prometheus and Loki's ruler have them.
//!
//! [`file`] reads what people write, [`group`] evaluates it, [`alert`] knows how an alert comes and
//! goes, [`manager`] lets all groups work, [`notifier`] tells the Alertmanagers that [`discovery`] finds,
//! [`objects`] reads rules from a Kubernetes cluster, [`kept`] carries alerts over a restart. What evaluation needs of the rest of the program is in [`environment`]:
//! [`live`] is the running aggregator, [`unit_test`] gives tests of rules another one.

pub mod alert;
mod alertmanager;
pub mod config;
mod dependencies;
pub mod discovery;
pub mod environment;
mod expand;
pub mod file;
pub mod flags;
pub mod globs;
pub mod group;
pub mod kept;
pub mod live;
pub mod manager;
pub mod metrics;
pub mod notifier;
pub mod objectives;
pub mod objects;
pub mod unit_test;
