//! Which pods a workload has, by how its controller names them: `NAME-HASH-RANDOM` for deployments,
//! `NAME-0` for stateful sets and so on. Pods that are gone have no object to ask, but their names stay.

use crate::error::{Error, Result};

/// What Kubernetes makes random parts of names of.
const RANDOM: &str = "[bcdfghjklmnpqrstvwxz2456789]";

/// A kind of workload: its names on the command line, and what stands behind its name in those of its pods.
struct Kind {
    names: &'static [&'static str],
    /// Its name in `kube_pod_owner`; a deployment's pods are owned by replica sets, a cron job's by jobs.
    owner: &'static str,
    suffix: &'static str,
}

const fn kind(names: &'static [&'static str], owner: &'static str, suffix: &'static str) -> Kind {
    Kind {
        names,
        owner,
        suffix,
    }
}

const KINDS: &[Kind] = &[
    kind(
        &["deployment", "deployments", "deploy"],
        "ReplicaSet",
        "-R{1,10}-R{5}",
    ),
    kind(&["replicaset", "replicasets", "rs"], "ReplicaSet", "-R{5}"),
    kind(
        &["replicationcontroller", "replicationcontrollers", "rc"],
        "ReplicationController",
        "-R{5}",
    ),
    kind(
        &["statefulset", "statefulsets", "sts"],
        "StatefulSet",
        "-[0-9]+",
    ),
    kind(&["daemonset", "daemonsets", "ds"], "DaemonSet", "-R{5}"),
    kind(&["job", "jobs"], "Job", "(-[0-9]+)?-R{5}"),
    kind(
        &["cronjob", "cronjobs", "cj"],
        "Job",
        "-[0-9]{8,10}(-[0-9]+)?-R{5}",
    ),
];

/// What a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Pod(String),
    Workload(Workload),
}

/// A workload and how to find its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// As kubectl writes it: `deployments.apps "web"`.
    pub shown: String,
    /// A pattern for the names of its pods.
    pub pods: String,
    /// The kind that owns its pods.
    pub owner: &'static str,
}

/// Reads `NAME`, `pod/NAME` or `TYPE/NAME`, with the API group behind the type if any.
///
/// # Errors
/// When it is none of these.
pub fn parse(text: &str) -> Result<Resource> {
    let Some((kind, name)) = text.split_once('/') else {
        return Ok(Resource::Pod(checked(text, text)?));
    };
    let name = checked(name, text)?;
    let kind = kind
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if matches!(kind.as_str(), "pod" | "pods" | "po") {
        return Ok(Resource::Pod(name));
    }
    let found = KINDS.iter().find(|k| k.names.contains(&kind.as_str()));
    let found = found.ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|k| k.names[0]).collect();
        Error::failed(format!(
            "the server doesn't have logs by resource type \"{kind}\"; expected pod, {}",
            known.join(", ")
        ))
    })?;
    let plural = found.names.get(1).copied().unwrap_or_default();
    let group = match plural {
        "jobs" | "cronjobs" => ".batch",
        "replicationcontrollers" => "",
        _ => ".apps",
    };
    Ok(Resource::Workload(Workload {
        shown: format!("{plural}{group} \"{name}\""),
        pods: format!(
            "{}{}",
            name.replace('.', r"\."),
            found.suffix.replace('R', RANDOM)
        ),
        owner: found.owner,
    }))
}

/// A name of Kubernetes holds nothing that a pattern or a query could take for something else.
fn checked(name: &str, text: &str) -> Result<String> {
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    if is_name {
        Ok(name.to_owned())
    } else {
        Err(Error::failed(format!(
            "\"{text}\" names no pod or workload: expected POD or TYPE/NAME in lower case"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, expected) in [
            ("web-0", Some(("pod", "web-0"))),
            ("pod/web-0", Some(("pod", "web-0"))),
            ("po/web-0", Some(("pod", "web-0"))),
            (
                "deploy/web",
                Some((
                    r#"deployments.apps "web""#,
                    "web-[bcdfghjklmnpqrstvwxz2456789]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}",
                )),
            ),
            (
                "deployments.apps/we.b",
                Some((
                    r#"deployments.apps "we.b""#,
                    r"we\.b-[bcdfghjklmnpqrstvwxz2456789]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}",
                )),
            ),
            (
                "StatefulSet/db",
                Some((r#"statefulsets.apps "db""#, "db-[0-9]+")),
            ),
            (
                "job/x",
                Some((
                    r#"jobs.batch "x""#,
                    "x(-[0-9]+)?-[bcdfghjklmnpqrstvwxz2456789]{5}",
                )),
            ),
            ("service/x", None),
            ("pod/", None),
            ("pod/a|b", None),
            ("x\"}", None),
        ] {
            let got = parse(text).ok().map(|r| match r {
                Resource::Pod(name) => ("pod".to_owned(), name),
                Resource::Workload(w) => (w.shown, w.pods),
            });
            let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(got, expected, "{text}");
        }
    }
}
