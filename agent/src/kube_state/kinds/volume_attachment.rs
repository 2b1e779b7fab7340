//! VolumeAttachments.

use super::common;
use crate::kube_state::family::{Family, Form, Kind};
use crate::kube_state::object::{flag, is_true, members, text};

pub const VOLUME_ATTACHMENTS: Kind = Kind {
    resource: "volumeattachments",
    api: "/apis/storage.k8s.io/v1",
    go_type: "*v1.VolumeAttachment",
    is_namespaced: false,
    name_label: "volumeattachment",
    has_uid: false,
    form: Form::Whole,
    is_default: true,
    families: &[VOLUME_ATTACHMENT],
};

const VOLUME_ATTACHMENT: &[Family] = &[
    // All of them: kube-state-metrics asks no allow list here.
    Family::own_labels(
        "kube_volumeattachment_labels",
        common::LABELS,
        |attachment, out| out.pairs("label", attachment.metadata.labels(), &[]),
    ),
    Family::new(
        "kube_volumeattachment_info",
        "Information about volumeattachment.",
        &["attacher", "node"],
        |attachment, out| {
            let spec = &attachment.spec;
            out.info(&[text(&spec["attacher"]), text(&spec["nodeName"])]);
        },
    ),
    Family::new(
        "kube_volumeattachment_created",
        common::CREATED,
        &[],
        common::created,
    ),
    Family::new(
        "kube_volumeattachment_spec_source_persistentvolume",
        "PersistentVolume source reference.",
        &["volumename"],
        |attachment, out| {
            if let Some(name) = attachment.spec["source"]["persistentVolumeName"].as_str() {
                out.info(&[name]);
            }
        },
    ),
    Family::new(
        "kube_volumeattachment_status_attached",
        "Information about volumeattachment.",
        &[],
        |attachment, out| out.number(flag(is_true(&attachment.status["attached"]))),
    ),
    Family::own_labels(
        "kube_volumeattachment_status_attachment_metadata",
        "volumeattachment metadata.",
        |attachment, out| {
            let metadata = members(&attachment.status["attachmentMetadata"]);
            out.pairs("metadata", metadata.map(|(k, v)| (k, text(v))), &[]);
        },
    ),
];
