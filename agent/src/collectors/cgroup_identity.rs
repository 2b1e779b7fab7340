//! What a cgroup's path tells of pod and container, for the paths that kubelet, containerd, CRI-O,
//! Docker and Podman make, with the cgroupfs and the systemd driver.
//!
//! ```text
//! /kubepods/burstable/pod<uid>/<id>
//! /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope
//! /system.slice/containerd.service/kubepods-pod<uid_>.slice:cri-containerd:<id>
//! /docker/<id>   /system.slice/docker-<id>.scope   /machine.slice/libpod-<id>.scope
//! ```
//! Guaranteed pods have no class in their path; static pods have 32 hex digits as uid. The rule: only
//! the path's last part names a pod or a container, so what lies beside or below a container (a
//! monitor of CRI-O, a cgroup that the container made) belongs to no pod and is not summed into it.

/// What a path tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity<'a> {
    /// As the API writes it, with dashes.
    pub pod_uid: Option<String>,
    /// 64 hex digits.
    pub container_id: Option<&'a str>,
}

/// Reads a path as seen from the root of its cgroup tree.
#[must_use]
pub fn identify(path: &str) -> Identity<'_> {
    let last = path.rsplit('/').next().unwrap_or("");
    let container_id = container_id(last);
    let (pod_uid, is_last) = match pod_uid(path) {
        Some((uid, is_last)) => (Some(uid), is_last),
        None => (None, false),
    };
    Identity {
        pod_uid: pod_uid.filter(|_| is_last || container_id.is_some()),
        container_id,
    }
}

/// The uid, and whether the path ends with the part that holds it.
fn pod_uid(path: &str) -> Option<(String, bool)> {
    let mut is_below_kubepods = false;
    let mut parts = path.split('/').filter(|p| !p.is_empty()).peekable();
    while let Some(part) = parts.next() {
        is_below_kubepods |= part.contains("kubepods");
        if !is_below_kubepods {
            continue;
        }
        let part = part.split(':').next().unwrap_or(part);
        let uid = match part.strip_suffix(".slice") {
            Some(slice) => slice.rsplit_once("-pod").map(|(_, uid)| uid),
            None => part.strip_prefix("pod"),
        };
        let is_uid = |uid: &str| {
            (32..=36).contains(&uid.len())
                && uid
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_')
        };
        if let Some(uid) = uid.filter(|u| is_uid(u)) {
            return Some((uid.replace('_', "-"), parts.peek().is_none()));
        }
    }
    None
}

/// Prefixes that runtimes put before the id.
const RUNTIMES: [&str; 5] = ["cri-containerd-", "crio-", "docker-", "libpod-", "nerdctl-"];

/// The id that a path's last part names.
pub(super) fn container_id(last: &str) -> Option<&str> {
    let name = last.strip_suffix(".scope").unwrap_or(last);
    let name = name.rsplit(':').next().unwrap_or(name);
    let name = RUNTIMES
        .iter()
        .find_map(|runtime| name.strip_prefix(runtime))
        .unwrap_or(name);
    (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "f2abc406-d0c8-4c90-9eec-c1dff4881ecc";
    const UNDERSCORED: &str = "f2abc406_d0c8_4c90_9eec_c1dff4881ecc";
    const STATIC: &str = "0123456789abcdef0123456789abcdef";
    const ID: &str = "8c1e95494ea7663abdf674fb02ba74658ac8f68aa78ed359b10a5429acfe31f2";

    #[test]
    fn paths_of_every_runtime_and_driver() {
        let cases = [
            ("/", None, false),
            ("/system.slice/ssh.service", None, false),
            ("/kubepods", None, false),
            ("/kubepods/burstable", None, false),
            ("/kubepods/burstable/podUID", Some(UID), false),
            ("/kubepods/besteffort/podUID/ID", Some(UID), true),
            ("/kubepods/podUID/ID", Some(UID), true),
            ("/kubepods/podSTATIC/ID", Some(STATIC), true),
            ("/kubepods/burstable/podUID/crio-ID", Some(UID), true),
            ("/kubelet/kubepods/burstable/podUID/ID", Some(UID), true),
            ("/kubepods.slice/kubepods-podUNDER.slice", Some(UID), false),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNDER.slice/cri-containerd-ID.scope",
                Some(UID),
                true,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSTATIC.slice/crio-ID.scope",
                Some(STATIC),
                true,
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUNDER.slice/docker-ID.scope",
                Some(UID),
                true,
            ),
            (
                "/kubepods.slice/kubepods-podUNDER.slice/crio-conmon-ID.scope",
                None,
                false,
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-podUNDER.slice:cri-containerd:ID",
                Some(UID),
                true,
            ),
            ("/docker/ID", None, true),
            ("/system.slice/docker-ID.scope", None, true),
            ("/machine.slice/libpod-ID.scope", None, true),
            ("/machine.slice/libpod-conmon-ID.scope", None, false),
            ("/default/ID", None, true),
            ("/kubepods/burstable/podUID/ID/init.scope", None, false),
            ("/kubepods/burstable/podX/ID", None, true),
            ("/podUID", None, false),
        ];
        for (path, pod_uid, is_container) in cases {
            let path = path
                .replace("UNDER", UNDERSCORED)
                .replace("UID", UID)
                .replace("STATIC", STATIC)
                .replace("ID", ID);
            let got = identify(&path);
            assert_eq!(got.pod_uid.as_deref(), pod_uid, "{path}");
            assert_eq!(got.container_id, is_container.then_some(ID), "{path}");
        }
    }
}
