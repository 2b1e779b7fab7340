//! Labels and annotations of namespaces, kept by one watch when a filter asks for them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace as ApiNamespace;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_namespaces};
use kube::{Api, Client};

use super::Pods;
use crate::log;

const COMPONENT: &str = "kubernetes";

/// What is kept of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespace {
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
}

/// Namespaces by name. Their number is the cluster's, a few thousand at the most.
#[derive(Debug, Default)]
pub struct Namespaces(Mutex<HashMap<String, Arc<Namespace>>>);

impl Namespaces {
    /// The namespace of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        self.table().get(name).cloned()
    }

    /// Adds or replaces a namespace.
    pub fn put(&self, name: String, namespace: Namespace) {
        self.table().insert(name, Arc::new(namespace));
    }

    fn remove(&self, name: &str) {
        self.table().remove(name);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Namespace>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills the table for as long as the task lives.
pub(super) async fn watch(pods: Arc<Pods>, client: Client) {
    let config = watcher::Config::default();
    let stream = watch_namespaces(Api::<ApiNamespace>::all(client), config).default_backoff();
    let mut stream = pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::InitApply(namespace) | Event::Apply(namespace)) => {
                let (name, namespace) = reduce(namespace);
                pods.namespaces.put(name, namespace);
                pods.touch();
            }
            Ok(Event::Delete(namespace)) => {
                pods.namespaces.remove(&reduce(namespace).0);
            }
            Ok(Event::Init) => {}
            Ok(Event::InitDone) => pods.namespaces_answered(),
            Err(error) => {
                pods.namespaces_answered();
                log::warn(
                    COMPONENT,
                    format_args!("cannot watch namespaces, trying again: {error}"),
                );
            }
        }
    }
}

/// The name, and what the table keeps.
pub fn reduce(namespace: ApiNamespace) -> (String, Namespace) {
    let meta = namespace.metadata;
    let kept = Namespace {
        labels: meta.labels.unwrap_or_default().into_iter().collect(),
        annotations: meta.annotations.unwrap_or_default().into_iter().collect(),
    };
    (meta.name.unwrap_or_default(), kept)
}
