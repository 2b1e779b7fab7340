//! `azure_blob`: uploads records as block blobs to Azure Storage.
//!
//! As `s3`: records are safe in `buffer_dir` before they are acknowledged, and are in a blob once.
//! Append blobs, Fluent Bit's default, cannot tell a repeat from news; `blob_type appendblob` is
//! therefore taken as block blobs, with a warning when it is asked for by name.

use std::path::Path;
use std::sync::Arc;

use kansoku_model::{ConfigError, OptionKind, OptionSpec, Plugin, Settings, joined};
use object_store::azure::MicrosoftAzureBuilder;

use crate::object::http::Carrier;
use crate::object::key::KeyFormat;
use crate::object::{Objects, Packing, Plan, attributes, retries};
use crate::s3::plan;
use crate::{Output, OutputEnvironment, OutputPlugin, net};

const fn text(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Text, default, about)
}

const OWN: &[OptionSpec] = &[
    text("account_name", "", "name of the storage account"),
    text(
        "container_name",
        "",
        "container of the blobs; it has to exist",
    ),
    OptionSpec::new(
        "auth_type",
        OptionKind::Choice(&["key", "sas"]),
        "key",
        "how to log in",
    ),
    text("shared_key", "", "key of the account, for 'auth_type key'"),
    text("sas_token", "", "token, for 'auth_type sas'"),
    text("path", "", "folder of the blobs"),
    OptionSpec::new(
        "blob_type",
        OptionKind::Choice(&["appendblob", "blockblob"]),
        "appendblob",
        "both make block blobs",
    ),
    OptionSpec::new(
        "compress",
        OptionKind::Choice(&["gzip", "zstd"]),
        "",
        "same as 'compress_blob', with a choice",
    ),
    OptionSpec::new("compress_blob", OptionKind::Bool, "off", "gzip the blobs"),
    OptionSpec::new(
        "emulator_mode",
        OptionKind::Bool,
        "off",
        "speak to Azurite at 'endpoint'",
    ),
    text("endpoint", "", "URL of another server than Azure's"),
    text("date_key", "@timestamp", "key of the time"),
    OptionSpec::new(
        "auto_create_container",
        OptionKind::Bool,
        "on",
        "no effect: the container has to exist",
    ),
    OptionSpec::new(
        "buffering_enabled",
        OptionKind::Bool,
        "on",
        "no effect: records are always gathered on disk",
    ),
    text(
        "buffer_dir",
        "/tmp/fluent-bit/azure-blob/",
        "folder where records wait for their upload",
    ),
    OptionSpec::new(
        "store_dir_limit_size",
        OptionKind::Size,
        "8G",
        "size of the folder at which records have to wait",
    ),
    OptionSpec::new(
        "upload_timeout",
        OptionKind::Time,
        "30m",
        "age at which a blob is uploaded",
    ),
    OptionSpec::new(
        "upload_file_size",
        OptionKind::Size,
        "200M",
        "size at which a blob is uploaded",
    ),
    OptionSpec::new("part_size", OptionKind::Size, "25M", "size of a block"),
];
const OPTIONS: &[OptionSpec] = &joined::<{ OWN.len() + net::OPTIONS.len() }>(OWN, net::OPTIONS);

/// The plugin.
pub const PLUGIN: OutputPlugin = Plugin {
    name: "azure_blob",
    about: "Uploads records as blobs to Azure Storage.",
    options: OPTIONS,
    example: "[OUTPUT]\n    Name            azure_blob\n    Match           *\n    Account_Name    account\n    Shared_Key      a2V5\n    Container_Name  logs\n    Buffer_Dir      /var/lib/kansoku/azure\n",
    build,
};

fn build(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Box<dyn Output>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let account = settings.required("account_name")?;
    let container = settings.required("container_name")?;
    warn_of_idle_options(settings, environment);
    let packing = match settings.text("compress", "").to_ascii_lowercase().as_str() {
        "zstd" => Packing::Zstd,
        "gzip" => Packing::Gzip,
        _ if settings.bool("compress_blob", false)? => Packing::Gzip,
        _ => Packing::Plain,
    };
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_retry(retries())
        .with_use_emulator(settings.bool("emulator_mode", false)?)
        .with_http_connector(Carrier::new(settings, environment, None, Vec::new()));
    if let Some(s) = settings.get("endpoint") {
        builder = builder
            .with_allow_http(s.value.starts_with("http://"))
            .with_endpoint(s.value.clone());
    }
    builder = if settings
        .text("auth_type", "key")
        .eq_ignore_ascii_case("sas")
    {
        let token = settings.required("sas_token")?.trim_start_matches('?');
        let pairs = token.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> =
            pairs.map(|(k, v)| (k.to_owned(), unescaped(v))).collect();
        builder.with_sas_authorization(pairs)
    } else {
        builder.with_access_key(settings.required("shared_key")?)
    };
    let store = builder
        .build()
        .map_err(|e| ConfigError::new(&settings.place, e.to_string()))?;
    let path = settings.text("path", "").trim_matches('/');
    let folder = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut dated = settings.clone();
    let date_key = settings.text("date_key", "@timestamp");
    dated.settings.extend(
        Settings::of(
            "",
            &[
                ("json_date_key", date_key),
                (
                    "store_dir_limit_size",
                    settings.text("store_dir_limit_size", "8G"),
                ),
                ("upload_timeout", settings.text("upload_timeout", "30m")),
            ],
        )
        .settings,
    );
    let plan = plan(&dated, environment, packing)?;
    let plan = Plan {
        key: KeyFormat {
            format: format!("{folder}$TAG/%Y/%m/%d/%H/%M/%S-$UUID"),
            delimiters: ".".to_owned(),
            is_static: true,
            suffix: match packing {
                Packing::Plain => ".log",
                Packing::Gzip => ".log.gz",
                Packing::Zstd => ".log.zst",
            },
        },
        folder: Path::new(settings.text("buffer_dir", "/tmp/fluent-bit/azure-blob/"))
            .join(account)
            .join(container),
        max_bytes: settings.size("upload_file_size", 200_000_000)?.max(1),
        part_bytes: settings
            .size("part_size", 25_000_000)?
            .clamp(1 << 20, 1 << 30) as usize,
        attributes: attributes(packing, Some("application/json")),
        ..plan
    };
    Ok(Box::new(Objects::new(
        plan,
        Arc::new(store),
        &settings.plugin,
    )))
}

fn warn_of_idle_options(settings: &Settings, environment: &OutputEnvironment) {
    if let Some(s) = settings.get("blob_type")
        && s.value.eq_ignore_ascii_case("appendblob")
    {
        let message =
            "'blob_type appendblob' makes block blobs: a repeat could not be told from news";
        environment.warn(&s.place, message);
    }
    if let Some(s) = settings.get("auto_create_container") {
        let message = "'auto_create_container' has no effect: the container has to exist";
        environment.warn(&s.place, message);
    }
}

/// Undoes percent encoding: the builder encodes again.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unescaped_and_logins_are_asked_for() {
        assert_eq!(unescaped("a%2Bb%zz%"), "a+b%zz%");
        let account = [("account_name", "a"), ("container_name", "c")];
        for (more, message) in [
            (("auth_type", "key"), "needs 'shared_key'"),
            (("auth_type", "sas"), "needs 'sas_token'"),
        ] {
            let all = [&account[..], &[more]].concat();
            let error = build(
                &Settings::of("azure_blob", &all),
                &OutputEnvironment::default(),
            )
            .err()
            .expect("refused");
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
