//! Pods from the node's kubelet instead of the API server (`use_kubelet`).
//!
//! The kubelet tells no changes, so its list is read again from time to time, and at once when a
//! reader misses a pod; never once per record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::Client;

use super::watch::reduce;
use super::{Access, Pod, Pods, WatchState};
use crate::log;

const COMPONENT: &str = "kubernetes";
/// How often the list is read when nobody misses a pod.
const EVERY: Duration = Duration::from_secs(30);
/// How often at the most.
const NOT_BEFORE: Duration = Duration::from_millis(500);
/// After a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// A kubelet that takes longer is as good as away.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fills the table for as long as the task lives.
pub(super) async fn poll(pods: Arc<Pods>, access: &Access) {
    pods.set_state(WatchState::Starting);
    log::info(COMPONENT, format_args!("reading pods from the kubelet"));
    let mut client = None;
    loop {
        // A new client after a failure: certificates may have been exchanged.
        let pause = match tokio::time::timeout(TIMEOUT, read(client.take(), access)).await {
            Ok(Ok((list, good))) => {
                pods.replace(list, Instant::now());
                client = Some(good);
                EVERY
            }
            Ok(Err(error)) => failed(&pods, &error.to_string()),
            Err(_) => failed(&pods, "no answer in ten seconds"),
        };
        tokio::time::sleep(NOT_BEFORE).await;
        // Either way, whichever comes first.
        let _ = tokio::time::timeout(pause, pods.missed()).await;
    }
}

fn failed(pods: &Pods, error: &str) -> Duration {
    pods.set_state(WatchState::Failing);
    log::warn(
        COMPONENT,
        format_args!("cannot read pods from the kubelet, trying again: {error}"),
    );
    AFTER_FAILURE
}

async fn read(client: Option<Client>, access: &Access) -> anyhow::Result<(Vec<Pod>, Client)> {
    let client = match client {
        Some(client) => client,
        None => access.kubelet_client().await?,
    };
    let request = hyper::Request::get("/pods").body(Vec::new())?;
    let list: List<ApiPod> = client.request(request).await?;
    Ok((list.items.into_iter().map(reduce).collect(), client))
}
