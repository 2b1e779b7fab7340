//! Objects as the API writes them in, the exposition out, and what dashboards want held against it.
//! `UPDATE=1` rewrites what is expected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kansoku_model::MetricBatch;
use serde_json::Value;

use super::family::{Form, LabelNames};
use super::selection::{Asked, Scope, selection};
use super::table::{Cursor, Table};
use super::{Shown, api, kinds, object};

/// Every name of kube-state-metrics in the rules, alerts and dashboards of kubernetes-mixin, and those
/// that other common alerts use. What is called `kube_pod_windows_*` is recorded by the mixin's own rules.
const WANTED: &str = "
    kube_daemonset_status_current_number_scheduled kube_daemonset_status_desired_number_scheduled
    kube_daemonset_status_number_available kube_daemonset_status_number_misscheduled
    kube_daemonset_status_updated_number_scheduled kube_deployment_metadata_generation
    kube_deployment_spec_replicas kube_deployment_status_condition
    kube_deployment_status_observed_generation kube_deployment_status_replicas_available
    kube_deployment_status_replicas_updated kube_horizontalpodautoscaler_spec_max_replicas
    kube_horizontalpodautoscaler_spec_min_replicas
    kube_horizontalpodautoscaler_status_current_replicas
    kube_horizontalpodautoscaler_status_desired_replicas kube_job_failed kube_job_owner
    kube_job_status_active kube_job_status_start_time kube_namespace_status_phase kube_node_info
    kube_node_role kube_node_spec_taint kube_node_spec_unschedulable kube_node_status_allocatable
    kube_node_status_capacity kube_node_status_condition kube_persistentvolume_status_phase
    kube_persistentvolumeclaim_access_mode kube_persistentvolumeclaim_labels
    kube_pod_container_info kube_pod_container_resource_limits
    kube_pod_container_resource_requests kube_pod_container_status_waiting_reason kube_pod_info
    kube_pod_owner kube_pod_status_phase kube_pod_status_ready kube_pod_status_reason
    kube_poddisruptionbudget_status_current_healthy kube_poddisruptionbudget_status_desired_healthy
    kube_replicaset_owner kube_resourcequota kube_statefulset_metadata_generation
    kube_statefulset_replicas kube_statefulset_status_current_revision
    kube_statefulset_status_observed_generation kube_statefulset_status_replicas_ready
    kube_statefulset_status_replicas_updated kube_statefulset_status_update_revision
    kube_configmap_info kube_cronjob_spec_suspend kube_cronjob_status_active
    kube_cronjob_status_last_schedule_time kube_cronjob_status_last_successful_time
    kube_cronjob_next_schedule_time kube_daemonset_status_number_ready
    kube_deployment_status_replicas_unavailable kube_endpoint_info
    kube_horizontalpodautoscaler_status_condition kube_ingress_info kube_job_spec_completions
    kube_job_status_completion_time kube_job_status_failed kube_job_status_succeeded
    kube_persistentvolumeclaim_info kube_persistentvolumeclaim_status_phase
    kube_pod_container_status_last_terminated_exitcode
    kube_pod_container_status_last_terminated_reason kube_pod_container_status_ready
    kube_pod_container_status_restarts_total kube_pod_container_status_running
    kube_pod_container_status_terminated kube_pod_container_status_waiting kube_pod_status_qos_class
    kube_pod_status_scheduled kube_replicaset_spec_replicas kube_replicaset_status_ready_replicas
    kube_secret_info kube_service_info kube_statefulset_status_replicas";

fn fixture(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/kube_state");
    PathBuf::from(folder).join(name)
}

/// The objects of the fixture by their resource, as the API would list them.
fn lists() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(fixture("objects.json")).expect("a fixture");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for item in object::list(&all["items"]) {
        let kind = object::text(&item["kind"]).to_lowercase();
        let resource = match kind.as_str() {
            "endpoints" => kind,
            kind if kind.ends_with('s') => format!("{kind}es"),
            kind if kind.ends_with("policy") => kind.replace("policy", "policies"),
            kind => format!("{kind}s"),
        };
        lists.entry(resource).or_default().push(item.clone());
    }
    let page = |(resource, items): (String, Vec<Value>)| {
        let rows: Vec<Value> = items
            .iter()
            .map(|item| serde_json::json!({"cells": [item["metadata"]["name"], item["type"], 1, "9d"], "object": item}))
            .collect();
        let page = if resource == "secrets" {
            serde_json::json!({"kind": "Table", "rows": rows})
        } else {
            serde_json::json!({"items": items})
        };
        (resource, page.to_string())
    };
    lists.into_iter().map(page).collect()
}

fn everything() -> Vec<Arc<Table>> {
    let resources: Vec<&str> = kinds::ALL.iter().map(|k| k.resource).collect();
    let labels = resources
        .join("=[*],")
        .replace("pods=[*]", "pods=[app*,team]")
        + "=[*]";
    let asked = Asked {
        scope: Scope::Cluster,
        resources: &resources.join(","),
        metric_opt_in_list: ".",
        metric_labels_allowlist: &labels,
        metric_annotations_allowlist: "*=[*]",
        ..Asked::default()
    };
    let plans = selection(&asked).expect("the options are right");
    let table = |plan| Arc::new(Table::new(Arc::new(plan), "", String::new()));
    let tables: Vec<_> = plans.into_iter().map(table).collect();
    let lists = lists();
    for table in &tables {
        let list = &lists[table.plan.kind.resource];
        let page = api::Page::parse(list.as_bytes()).expect("a list");
        table.begin_list();
        for object in page.objects() {
            table.apply(&object.expect("an object"));
        }
        table.end_list();
    }
    tables
}

#[test]
fn objects_are_exposed_as_kube_state_metrics_exposes_them() {
    let mut found = Vec::new();
    assert_eq!(Shown::default().expose(&mut found), None);
    let (shown, tables) = (Shown::default(), everything());
    shown.add(&tables);
    assert_eq!(shown.expose(&mut found), Some(0));
    let found = String::from_utf8(found).expect("text");
    // The others tell of the watches.
    let found = found
        .split("# HELP kansoku_kube_state")
        .next()
        .unwrap_or_default();
    let path = fixture("expected.prom");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, found).expect("the fixture can be written");
    }
    let expected = std::fs::read_to_string(path).expect("a fixture");
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn every_family_of_the_fixture_has_samples_and_none_comes_twice() {
    let mut batch = MetricBatch::default();
    for table in everything() {
        table.push(&mut Cursor::default(), -1.0, usize::MAX, &mut batch);
    }
    let made: BTreeSet<&str> = batch
        .points()
        .iter()
        .map(|p| batch.text(batch.family_of(p).name))
        .collect();
    let all: Vec<_> = kinds::ALL.iter().flat_map(|k| k.families()).collect();
    let names: BTreeSet<&str> = all.iter().map(|f| f.name).collect();
    assert_eq!(names.len(), all.len(), "a name twice");
    let without: Vec<_> = names.difference(&made).collect();
    assert!(without.is_empty(), "no sample of {without:?}");
    for kind in kinds::ALL {
        for family in kind.families() {
            let named = family.name.split('_').nth(1).unwrap_or_default();
            let of_kind = kind.resource.starts_with(named.trim_end_matches('y'));
            assert!(of_kind, "{} of {}", family.name, kind.resource);
            if let LabelNames::Fixed(labels) = family.labels {
                let labels: Vec<_> = kind.base_labels().chain(labels.iter().copied()).collect();
                let different: BTreeSet<_> = labels.iter().collect();
                assert_eq!(
                    different.len(),
                    labels.len(),
                    "a label twice in {}",
                    family.name
                );
            }
        }
    }
}

#[test]
fn what_dashboards_and_alerts_use_is_supplied() {
    let supplied: BTreeSet<&str> = kinds::ALL
        .iter()
        .flat_map(|k| k.families())
        .map(|f| f.name)
        .collect();
    let missing: Vec<&str> = WANTED
        .split_whitespace()
        .filter(|name| !supplied.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_push_ends_the_series_that_are_gone_and_no_others() {
    let tables = everything();
    let pods = &tables[0];
    let push = |limit| {
        let (mut cursor, mut batches) = (Cursor::default(), vec![MetricBatch::default()]);
        while pods.push(
            &mut cursor,
            -1.0,
            limit,
            batches.last_mut().expect("a batch"),
        ) {
            batches.push(MetricBatch::default());
        }
        let rows = batches
            .iter()
            .flat_map(|b| b.points().iter().map(move |p| (b.series_of(p), p.value)));
        (rows.collect::<Vec<_>>(), batches.len())
    };
    let (first, n_batches) = push(usize::MAX);
    assert_eq!(n_batches, 1);
    assert!(first.iter().all(|(_, value)| *value != -1.0));
    let (in_parts, n_batches) = push(1);
    assert_eq!(
        (in_parts.len(), n_batches),
        (first.len(), 3),
        "an object per batch"
    );

    // One pod changes its phase twice, one goes, one stays.
    let list = lists()["pods"].clone();
    let objects = || -> Vec<object::Object> {
        let page = api::Page::parse(list.as_bytes()).expect("a list");
        page.objects().map(|o| o.expect("an object")).collect()
    };
    pods.delete(&objects()[1]);
    for phase in ["Pending", "Succeeded"] {
        let mut object = objects().remove(0);
        object.status["phase"] = phase.into();
        object.status["podIPs"] = Value::Null;
        pods.apply(&object);
    }
    let (second, _) = push(usize::MAX);
    let ended: Vec<_> = second.iter().filter(|(_, value)| *value == -1.0).collect();
    let of = |name: &str| {
        let pod = Some(name);
        ended
            .iter()
            .filter(|(series, _)| series.get("pod") == pod)
            .count()
    };
    let n_done = first
        .iter()
        .filter(|(series, _)| series.get("pod") == Some("done"))
        .count();
    assert_eq!(
        (of("web-1"), of("done"), of("odd")),
        (2, n_done, 0),
        "{ended:?}"
    );
    let (third, _) = push(usize::MAX);
    assert!(third.iter().all(|(_, value)| *value != -1.0), "ended once");
}

#[test]
fn a_push_waits_for_the_first_complete_list() {
    let filled = everything();
    let table = Table::new(filled[0].plan.clone(), "", String::new());
    let page = lists()["pods"].clone();
    table.begin_list();
    for object in api::Page::parse(page.as_bytes()).expect("a list").objects() {
        table.apply(&object.expect("an object"));
    }
    let mut batch = MetricBatch::default();
    assert!(!table.push(&mut Cursor::default(), -1.0, 1, &mut batch));
    assert!(batch.points().is_empty());
}

#[test]
fn secrets_are_read_without_what_they_hold() {
    let secrets = kinds::ALL
        .iter()
        .find(|k| k.resource == "secrets")
        .expect("a kind");
    assert_eq!(secrets.form, Form::Table);
    assert!(api::accept(secrets, true).contains("as=Table"));
    let line = r#"{"type":"ADDED","object":{"kind":"Table","metadata":{"resourceVersion":"9"},
        "columnDefinitions":[{"name":"Name"},{"name":"Data"},{"name":"Type"}],
        "rows":[{"cells":["s",1,"Opaque"],"object":{"metadata":{"name":"s","namespace":"n","resourceVersion":"7"}}}]}}"#;
    let line = line.replace('\n', " ");
    let event = api::Event::parse(line.as_bytes(), Form::Table).expect("an event");
    let api::Event::Applied(secret) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        (&*secret.kind, &*secret.metadata.resource_version),
        ("Opaque", "7")
    );
    let line = r#"{"type":"BOOKMARK","object":{"kind":"Table","metadata":{"resourceVersion":"12"},"rows":[]}}"#;
    let event = api::Event::parse(line.as_bytes(), Form::Table).expect("an event");
    assert!(
        matches!(&event, api::Event::Bookmark(version) if version == "12"),
        "{event:?}"
    );
}
