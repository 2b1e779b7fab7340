//! `gcs`: uploads records as objects to Google Cloud Storage.
//!
//! As `s3`: records are safe in `store_dir` before they are acknowledged, and are in an object once.

use std::path::Path;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Settings, joined};
use object_store::gcp::GoogleCloudStorageBuilder;

use crate::object::http::Carrier;
use crate::object::key::KeyFormat;
use crate::object::{Objects, Plan, attributes, packing, retries};
use crate::s3::plan;
use crate::{Output, OutputEnvironment, OutputPlugin, net};

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const OWN: &[OptionSpec] = &[
    text("bucket", "", "name of the bucket"),
    text(
        "google_service_credentials",
        "",
        "file with a service account's key; GOOGLE_APPLICATION_CREDENTIALS or the machine's account when not set",
    ),
    text("endpoint", "", "URL of another server than Google's"),
    text(
        "gcs_key_format",
        "fluent-bit-logs/$TAG/%Y/%m/%d/%H/%M/%S",
        "name of the objects: $TAG, $TAG[n], $INDEX, $UUID and strftime",
    ),
    text(
        "gcs_key_format_tag_delimiters",
        ".",
        "characters between parts of a tag",
    ),
    OptionSpec::new(
        "static_file_path",
        OptionKind::Bool,
        "off",
        "add nothing to the name, even if objects overwrite each other",
    ),
    text("canned_acl", "", "predefined ACL of the objects"),
    text(
        "content_type",
        "application/json",
        "content type of the objects",
    ),
    text("compression", "none", "gzip, zstd or none"),
    OptionSpec::new(
        "upload_timeout",
        OptionKind::Time,
        "10m",
        "age at which an object is uploaded",
    ),
    OptionSpec::new(
        "total_file_size",
        OptionKind::Size,
        "100M",
        "size at which an object is uploaded",
    ),
    text(
        "store_dir",
        "/tmp/fluent-bit/gcs",
        "folder where records wait for their upload",
    ),
    OptionSpec::new(
        "store_dir_limit_size",
        OptionKind::Size,
        "0",
        "size of the folder at which records have to wait; 0 = the disk's",
    ),
    OptionSpec::new(
        "store_chunk_limit",
        OptionKind::Int,
        "0",
        "no effect: the folder is limited by its size",
    ),
    OptionSpec::new(
        "preserve_data_ordering",
        OptionKind::Bool,
        "on",
        "no effect: order is always kept",
    ),
    OptionSpec::new(
        "send_content_md5",
        OptionKind::Bool,
        "off",
        "no effect: TLS guards what is sent",
    ),
];
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "gcs",
    about: "Uploads records as objects to Google Cloud Storage.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name                        gcs\n    Match                       *\n    Bucket                      logs\n    Google_Service_Credentials  /etc/kansoku/key.json\n    Store_Dir                   /var/lib/kansoku/gcs\n",
    build,
};

/// Parts of an object; Google asks for multiples of 256 KiB.
const PART_BYTES: usize = 8 << 20;

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let bucket = settings.required("bucket")?;
    let packing = packing(settings, "compression")?;
    let mut headers = Vec::new();
    if let Some(s) = settings.get("canned_acl") {
        let value = HeaderValue::from_str(&s.value).map_err(|_| {
            ConfigError::new(
                &s.place,
                format!("'canned_acl' is '{}', which is no ACL", s.value),
            )
        })?;
        headers.push((HeaderName::from_static("x-goog-acl"), value));
    }
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_retry(retries())
        .with_http_connector(Carrier::new(settings, environment, None, headers));
    let key_file = settings
        .get("google_service_credentials")
        .map(|s| s.value.clone());
    if let Some(s) = settings.get("endpoint") {
        // A server of one's own knows no Google accounts.
        builder = builder
            .with_base_url(&s.value)
            .with_skip_signature(key_file.is_none());
    }
    if let Some(file) = key_file.or_else(|| std::env::var("GOOGLE_APPLICATION_CREDENTIALS").ok()) {
        builder = builder.with_service_account_path(file);
    }
    let store = builder
        .build()
        .map_err(|e| ConfigError::new(&settings.place, e.to_string()))?;
    let plan = plan(settings, environment, packing)?;
    let plan = Plan {
        key: KeyFormat {
            format: settings
                .text("gcs_key_format", "fluent-bit-logs/$TAG/%Y/%m/%d/%H/%M/%S")
                .to_owned(),
            delimiters: settings
                .text("gcs_key_format_tag_delimiters", ".")
                .to_owned(),
            is_static: settings.bool("static_file_path", false)?,
            suffix: "",
        },
        folder: Path::new(settings.text("store_dir", "/tmp/fluent-bit/gcs")).join(bucket),
        max_bytes: settings.size("total_file_size", 100_000_000)?.max(1),
        part_bytes: PART_BYTES,
        attributes: attributes(
            packing,
            Some(settings.text("content_type", "application/json")),
        ),
        ..plan
    };
    Ok(Box::new(Objects::new(
        plan,
        Arc::new(store),
        &settings.plugin,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_file_is_named() {
        let settings = Settings::of(
            "gcs",
            &[
                ("bucket", "b"),
                ("google_service_credentials", "/no/such.json"),
            ],
        );
        let error = build(&settings, &OutputEnvironment::default())
            .err()
            .expect("refused");
        assert!(error.to_string().contains("/no/such.json"), "{error}");
    }
}
