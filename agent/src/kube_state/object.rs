//! An object of the API as families look at it, while it is being reduced.
//!
//! The metadata is read into its members, so that what nobody looks at (`managedFields` is often half of
//! an object) is skipped and not kept; the rest is a tree, in which a missing member is null.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// An object of any kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Object {
    pub metadata: Metadata,
    pub spec: Value,
    pub status: Value,
    /// Of Endpoints.
    pub subsets: Value,
    /// Of an EndpointSlice, as are the next two.
    pub endpoints: Value,
    pub ports: Value,
    pub address_type: String,
    /// Of a StorageClass, as are the next two.
    pub provisioner: String,
    pub reclaim_policy: Option<String>,
    pub volume_binding_mode: Option<String>,
    /// Of a Secret.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a RoleBinding or ClusterRoleBinding.
    pub role_ref: Value,
    /// Of a webhook configuration.
    pub webhooks: Value,
    /// Of a ServiceAccount, as are the next two.
    pub secrets: Value,
    pub image_pull_secrets: Value,
    pub automount_service_account_token: Option<bool>,
}

/// What objects of all kinds have.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub annotations: Option<BTreeMap<String, String>>,
    pub owner_references: Option<Vec<Owner>>,
}

/// An entry of `ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub controller: Option<bool>,
}

impl Metadata {
    /// An annotation's value.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Labels; empty when there are none.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.labels.as_ref())
    }

    /// All owners.
    #[must_use]
    pub fn owners(&self) -> &[Owner] {
        self.owner_references.as_deref().unwrap_or_default()
    }
}

/// The pairs of a map that may be missing.
pub fn pairs(map: Option<&BTreeMap<String, String>>) -> impl Iterator<Item = (&str, &str)> {
    map.into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v.as_str()))
}

/// The text of a member; empty when it is missing.
#[must_use]
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// The number of a member; 0 when it is missing, as in Go's structs.
#[must_use]
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// Whether a member is set and true.
#[must_use]
pub fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
}

/// 1 or 0.
#[must_use]
pub fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// The elements of a list; none when it is missing.
#[must_use]
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The members of an object; none when it is missing.
pub fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v))
}

/// Unix seconds of a time as the API writes it.
#[must_use]
pub fn unix_s(time: &str) -> Option<f64> {
    let time: Timestamp = time.parse().ok()?;
    Some(time.as_duration().as_secs_f64().floor())
}
