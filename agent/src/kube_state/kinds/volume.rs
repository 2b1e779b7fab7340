//! PersistentVolumes.

use serde_json::Value;

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{list, text};

pub const PERSISTENT_VOLUMES: Kind = Kind {
    resource: "persistentvolumes",
    api: "/api/v1",
    go_type: "*v1.PersistentVolume",
    is_namespaced: false,
    name_label: "persistentvolume",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[FAMILIES],
};

const FAMILIES: &[Family] = &[
    Family::new(
        "kube_persistentvolume_claim_ref",
        "[STABLE] Information about the Persistent Volume Claim Reference.",
        &["name", "claim_namespace"],
        |volume, out| {
            let claim = &volume.spec["claimRef"];
            if claim.is_object() {
                out.info(&[text(&claim["name"]), text(&claim["namespace"])]);
            }
        },
    ),
    Family::new(
        "kube_persistentvolume_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_persistentvolume_deletion_timestamp",
        common::DELETED,
        &[],
        common::deleted,
    ),
    Family::own_labels(
        "kube_persistentvolume_annotations",
        common::ANNOTATIONS,
        common::annotations,
    ),
    Family::own_labels(
        "kube_persistentvolume_labels",
        common::STABLE_LABELS,
        common::labels,
    ),
    Family::new(
        "kube_persistentvolume_status_phase",
        "[STABLE] The phase indicates if a volume is available, bound to a claim, or released by a claim.",
        &["phase"],
        |volume, out| {
            let phase = text(&volume.status["phase"]);
            if !phase.is_empty() {
                out.states(
                    &["Pending", "Available", "Bound", "Released", "Failed"],
                    phase,
                );
            }
        },
    ),
    Family::new(
        "kube_persistentvolume_info",
        "[STABLE] Information about persistentvolume.",
        &[
            "storageclass",
            "gce_persistent_disk_name",
            "ebs_volume_id",
            "azure_disk_name",
            "fc_wwids",
            "fc_lun",
            "fc_target_wwns",
            "iscsi_target_portal",
            "iscsi_iqn",
            "iscsi_lun",
            "iscsi_initiator_name",
            "nfs_server",
            "nfs_path",
            "csi_driver",
            "csi_volume_handle",
            "local_path",
            "local_fs",
            "host_path",
            "host_path_type",
            "reclaim_policy",
        ],
        |volume, out| {
            let spec = &volume.spec;
            // A volume is of one type; of the others every member is missing.
            let (fc, iscsi, nfs) = (&spec["fc"], &spec["iscsi"], &spec["nfs"]);
            let (csi, local, host) = (&spec["csi"], &spec["local"], &spec["hostPath"]);
            let iscsi_lun = iscsi
                .is_object()
                .then(|| lun(&iscsi["lun"]).unwrap_or("0".into()));
            out.info(&[
                text(&spec["storageClassName"]),
                text(&spec["gcePersistentDisk"]["pdName"]),
                text(&spec["awsElasticBlockStore"]["volumeID"]),
                text(&spec["azureDisk"]["diskName"]),
                &joined(&fc["wwids"]),
                &lun(&fc["lun"]).unwrap_or_default(),
                &joined(&fc["targetWWNs"]),
                text(&iscsi["targetPortal"]),
                text(&iscsi["iqn"]),
                &iscsi_lun.unwrap_or_default(),
                text(&iscsi["initiatorName"]),
                text(&nfs["server"]),
                text(&nfs["path"]),
                text(&csi["driver"]),
                text(&csi["volumeHandle"]),
                text(&local["path"]),
                text(&local["fsType"]),
                text(&host["path"]),
                text(&host["type"]),
                text(&spec["persistentVolumeReclaimPolicy"]),
            ]);
        },
    ),
    Family::new(
        "kube_persistentvolume_capacity_bytes",
        "[STABLE] Persistentvolume capacity in bytes.",
        &[],
        |volume, out| {
            let bytes = common::whole(&volume.spec["capacity"]["storage"]);
            out.number(bytes.unwrap_or(0.0));
        },
    ),
    Family::new(
        "kube_persistentvolume_csi_attributes",
        "CSI attributes of the Persistent Volume.",
        &["csi_mounter", "csi_map_options"],
        |volume, out| {
            let csi = &volume.spec["csi"];
            if csi.is_object() {
                let attributes = &csi["volumeAttributes"];
                out.info(&[
                    text(&attributes["mounter"]),
                    text(&attributes["mapOptions"]),
                ]);
            }
        },
    )
    .opt_in(),
    Family::new(
        "kube_persistentvolume_volume_mode",
        "Volume Mode information for the PersistentVolume.",
        &["volumemode"],
        |volume, out| out.info(&[volume.spec["volumeMode"].as_str().unwrap_or("Filesystem")]),
    ),
    Family::new(
        "kube_persistentvolume_access_mode",
        "The access mode(s) specified by the persistent volume.",
        &["access_mode"],
        |volume, out| {
            for mode in list(&volume.spec["accessModes"]) {
                out.info(&[text(mode)]);
            }
        },
    ),
];

fn lun(value: &Value) -> Option<String> {
    value.as_i64().map(|lun| lun.to_string())
}

fn joined(values: &Value) -> String {
    let values: Vec<&str> = list(values).iter().map(text).collect();
    values.join(",")
}
