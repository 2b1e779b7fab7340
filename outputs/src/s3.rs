//! `s3`: uploads records as objects to S3 and what speaks its protocol.
//!
//! Records are safe in `store_dir` before they are acknowledged, and go on from there after a crash:
//! each is in an object once. Names get a suffix unless they are unique (`$UUID`, `$INDEX`) or
//! `static_file_path` is on. Uploads go one after the other, so order is always kept.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Settings, joined};
use object_store::Attribute;
use object_store::aws::AmazonS3Builder;

use crate::aws::AwsLogin;
use crate::object::http::Carrier;
use crate::object::key::KeyFormat;
use crate::object::{Objects, Plan, attributes, log_key, packing, retries};
use crate::render::{DATE_KEY, date_format_option};
use crate::{Output, OutputEnvironment, OutputPlugin, net};

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const OWN: &[OptionSpec] = &[
    text("bucket", "", "name of the bucket"),
    text("region", "us-east-1", "region of the bucket"),
    text(
        "endpoint",
        "",
        "other server than Amazon's: a host or a URL",
    ),
    text("role_arn", "", "role to assume"),
    text("external_id", "", "external id for assuming the role"),
    text("sts_endpoint", "", "STS endpoint for assuming the role"),
    text("profile", "", "profile of the credentials file"),
    OptionSpec::new(
        "format",
        OptionKind::Choice(&["json_lines"]),
        "json_lines",
        "form of the records",
    ),
    DATE_KEY,
    date_format_option("iso8601"),
    text("log_key", "", "field to write alone, a line a record"),
    OptionSpec::new(
        "total_file_size",
        OptionKind::Size,
        "100M",
        "size at which an object is uploaded",
    ),
    OptionSpec::new(
        "upload_chunk_size",
        OptionKind::Size,
        "5242880",
        "size of the parts of an object",
    ),
    OptionSpec::new(
        "upload_timeout",
        OptionKind::Time,
        "10m",
        "age at which an object is uploaded",
    ),
    OptionSpec::new(
        "use_put_object",
        OptionKind::Bool,
        "off",
        "upload objects whole instead of in parts",
    ),
    text("compression", "", "gzip or zstd"),
    text("content_type", "", "content type of the objects"),
    text("canned_acl", "", "predefined ACL of the objects"),
    text("storage_class", "", "storage class of the objects"),
    text(
        "s3_key_format",
        "/fluent-bit-logs/$TAG/%Y/%m/%d/%H/%M/%S",
        "name of the objects: $TAG, $TAG[n], $INDEX, $UUID and strftime",
    ),
    text(
        "s3_key_format_tag_delimiters",
        ".",
        "characters between parts of a tag",
    ),
    OptionSpec::new(
        "static_file_path",
        OptionKind::Bool,
        "off",
        "add nothing to the name, even if objects overwrite each other",
    ),
    text(
        "store_dir",
        "/tmp/fluent-bit/s3",
        "folder where records wait for their upload",
    ),
    OptionSpec::new(
        "store_dir_limit_size",
        OptionKind::Size,
        "0",
        "size of the folder at which records have to wait; 0 = the disk's",
    ),
    OptionSpec::new(
        "preserve_data_ordering",
        OptionKind::Bool,
        "on",
        "no effect: order is always kept",
    ),
    OptionSpec::new(
        "auto_retry_requests",
        OptionKind::Bool,
        "on",
        "no effect: uploads are repeated until they succeed",
    ),
    text(
        "retry_exhausted_action",
        "quarantine",
        "no effect: uploads are repeated until they succeed",
    ),
    OptionSpec::new(
        "quarantine_dir_limit_size",
        OptionKind::Size,
        "0",
        "no effect: uploads are repeated until they succeed",
    ),
    OptionSpec::new(
        "send_content_md5",
        OptionKind::Bool,
        "off",
        "no effect: every request is signed with the SHA-256 of its content",
    ),
];
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "s3",
    about: "Uploads records as objects to S3.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name             s3\n    Match            *\n    Bucket           logs\n    Region           eu-central-1\n    Total_File_Size  50M\n    Compression      gzip\n    Store_Dir        /var/lib/kansoku/s3\n",
    build,
};

/// The least size of a part, S3's own rule.
const PART_MIN_BYTES: u64 = 5 << 20;

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let bucket = settings.required("bucket")?;
    let region = settings.text("region", "us-east-1");
    let packing = packing(settings, "compression")?;
    let mut headers = Vec::new();
    if let Some(s) = settings.get("canned_acl") {
        let value = HeaderValue::from_str(&s.value).map_err(|_| {
            ConfigError::new(
                &s.place,
                format!("'canned_acl' is '{}', which is no ACL", s.value),
            )
        })?;
        headers.push((HeaderName::from_static("x-amz-acl"), value));
    }
    let mut attributes = attributes(packing, settings.get("content_type").map(|s| &*s.value));
    if let Some(s) = settings.get("storage_class") {
        attributes.insert(Attribute::StorageClass, s.value.clone().into());
    }
    let login = AwsLogin::new(settings, region, "s3");
    let carrier = Carrier::new(settings, environment, Some(login), headers);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        // The carrier signs.
        .with_skip_signature(true)
        .with_retry(retries())
        .with_http_connector(carrier);
    if let Some(s) = settings.get("endpoint") {
        let url = if s.value.contains("://") {
            s.value.clone()
        } else {
            format!("https://{}", s.value)
        };
        builder = builder
            .with_allow_http(url.starts_with("http://"))
            .with_endpoint(url);
    } else {
        builder = builder.with_virtual_hosted_style_request(!bucket.contains('.'));
    }
    let store = builder
        .build()
        .map_err(|e| ConfigError::new(&settings.place, e.to_string()))?;
    let whole = settings.bool("use_put_object", false)?;
    let part_bytes = settings
        .size("upload_chunk_size", PART_MIN_BYTES)?
        .max(PART_MIN_BYTES);
    let plan = plan(settings, environment, packing)?;
    let plan = Plan {
        key: KeyFormat {
            format: settings
                .text("s3_key_format", "/fluent-bit-logs/$TAG/%Y/%m/%d/%H/%M/%S")
                .to_owned(),
            delimiters: settings
                .text("s3_key_format_tag_delimiters", ".")
                .to_owned(),
            is_static: settings.bool("static_file_path", false)?,
            suffix: "",
        },
        folder: std::path::Path::new(settings.text("store_dir", "/tmp/fluent-bit/s3")).join(bucket),
        max_bytes: settings.size("total_file_size", 100_000_000)?.max(1),
        part_bytes: if whole {
            usize::MAX
        } else {
            part_bytes as usize
        },
        attributes,
        ..plan
    };
    Ok(Box::new(Objects::new(
        plan,
        Arc::new(store),
        &settings.plugin,
    )))
}

/// What the outputs of objects have in common; the caller fills in the rest.
pub(crate) fn plan(
    settings: &Settings,
    environment: &OutputEnvironment,
    packing: crate::object::Packing,
) -> Result<Plan, ConfigError> {
    let mut dated = settings.clone();
    if dated.get("json_date_format").is_none() {
        dated
            .settings
            .extend(Settings::of("", &[("json_date_format", "iso8601")]).settings);
    }
    Ok(Plan {
        format: Plan::lines(&dated)?.with(environment.unicode),
        log_key: log_key(settings)?,
        packing,
        key: KeyFormat {
            format: String::new(),
            delimiters: String::new(),
            is_static: false,
            suffix: "",
        },
        node: environment.host_name.clone(),
        folder: std::path::PathBuf::new(),
        max_bytes: 100_000_000,
        max_age_s: settings.seconds("upload_timeout", 600.0)?.max(1.0) as i64,
        folder_max_bytes: match settings.size("store_dir_limit_size", 0)? {
            0 => u64::MAX,
            n => n,
        },
        part_bytes: PART_MIN_BYTES as usize,
        attributes: object_store::Attributes::new(),
    })
}
