//! Elasticsearch and OpenSearch.

use super::{headers, placeholders, removed_keys, servers, url};
use crate::import::fluentd::outputs::Made;
use crate::import::fluentd::params::{As, Params};
use crate::import::fluentd::report::Report;
use crate::import::fluentd::text::Text;
use crate::import::fluentd::written::Section;

pub(super) fn elasticsearch(params: &Params<'_>, _: &Report) -> Option<Made> {
    let is_opensearch = params.kind().starts_with("opensearch");
    let mut made = Made::new(if is_opensearch { "opensearch" } else { "es" }, params);
    let output = &mut made.output;
    let hosts = params.list("hosts");
    match hosts.as_slice() {
        [] => {
            output.set(
                "Host",
                &params
                    .text("host")
                    .map_or("localhost".to_owned(), |t| t.written),
            );
            output.set(
                "Port",
                &params.text("port").map_or("9200".to_owned(), |t| t.written),
            );
            if params.word("scheme").as_deref() == Some("https") {
                output.set("tls", "on");
            }
        }
        hosts => {
            params.ignore(&["host", "port"]);
            let mut is_tls = params.word("scheme").as_deref() == Some("https");
            let mut nodes = Vec::new();
            for host in hosts {
                is_tls |= host.starts_with("https://");
                let bare = host.split_once("://").map_or(host.as_str(), |(_, h)| h);
                let bare = bare
                    .rsplit_once('@')
                    .map_or(bare, |(_, h)| h)
                    .trim_end_matches('/');
                let (name, port) = bare.rsplit_once(':').unwrap_or((bare, "9200"));
                nodes.push((name.to_owned(), port.to_owned()));
            }
            if is_tls {
                output.set("tls", "on");
            }
            servers(params, output, &mut made.upstream, &nodes, !is_opensearch);
        }
    }
    let output = &mut made.output;
    params.copy(
        output,
        &[
            ("ssl_verify", "tls.verify", As::Switch),
            ("ca_file", "tls.ca_file", As::Text),
            ("client_cert", "tls.crt_file", As::Text),
            ("client_key", "tls.key_file", As::Text),
            ("user", "HTTP_User", As::Text),
            ("password", "HTTP_Passwd", As::Text),
            ("path", "Path", As::Text),
            ("pipeline", "Pipeline", As::Text),
            ("id_key", "Id_Key", As::Text),
            ("request_timeout", "http.response_timeout", As::Time),
        ],
    );
    if !is_opensearch {
        params.copy(
            output,
            &[
                ("api_key", "HTTP_API_Key", As::Text),
                ("cloud_id", "Cloud_Id", As::Text),
                ("cloud_auth", "Cloud_Auth", As::Text),
            ],
        );
    }
    index(params, output);
    // Fluentd indexes, so that a document with a known id is replaced.
    let operation = params
        .word("write_operation")
        .unwrap_or_else(|| "index".to_owned());
    let is_stream = params.kind().ends_with("data_stream");
    output.set(
        "Write_Operation",
        if is_stream { "create" } else { &operation },
    );
    let doc_type = params
        .word("type_name")
        .filter(|t| !matches!(t.as_str(), "_doc" | "fluentd"));
    match doc_type {
        Some(kind) => output.set("Type", &kind),
        None => output.set("Suppress_Type_Name", "on"),
    }
    if params.switch("include_tag_key") == Some(true) {
        output.set("Include_Tag_Key", "on");
        output.set(
            "Tag_Key",
            &params.word("tag_key").unwrap_or_else(|| "tag".to_owned()),
        );
    }
    params.ignore(&["tag_key"]);
    if params.element.get("compression_level").is_some() {
        params.ignore(&["compression_level"]);
        output.set("Compress", "gzip");
    }
    headers(params, "custom_headers", output);
    if let Some(endpoint) = params.nested("endpoint") {
        url(&endpoint, "url", output, "Path");
        output.set("AWS_Auth", "on");
        endpoint.copy(
            output,
            &[
                ("region", "AWS_Region", As::Text),
                ("assume_role_arn", "AWS_Role_ARN", As::Text),
                ("aws_service_name", "AWS_Service_Name", As::Text),
            ],
        );
        endpoint.ignore(&[
            "access_key_id",
            "secret_access_key",
            "assume_role_session_name",
            "refresh_credentials_interval",
        ]);
        endpoint.finish();
    }
    removed_keys(params, &mut made.filters);
    let templates = [
        "template_name",
        "template_file",
        "templates",
        "customize_template",
        "index_prefix",
        "data_stream_template_name",
        "data_stream_ilm_name",
        "data_stream_ism_name",
    ];
    if templates
        .iter()
        .any(|k| params.text(k).is_some_and(|t| !t.assumed.is_empty()))
    {
        params.lost("index templates are not written by the agent; put them there once with the index template API");
    }
    let lifecycle = [
        "enable_ilm",
        "ilm_policy_id",
        "ilm_policy",
        "ilm_policies",
        "rollover_index",
        "deflector_alias",
        "index_date_pattern",
        "application_name",
    ];
    if params.switch("enable_ilm") == Some(true) || params.switch("rollover_index") == Some(true) {
        params.lost(
            "index lifecycle and rollover are set up in Elasticsearch itself, not by the agent",
        );
    }
    params.ignore(&lifecycle);
    params.ignore(&[
        "template_overwrite",
        "reload_connections",
        "reconnect_on_error",
        "reload_on_failure",
        "reload_after",
        "resurrect_after",
        "log_es_400_reason",
        "log_os_400_reason",
        "sniffer_class_name",
        "selector_class_name",
        "ssl_version",
        "ssl_min_version",
        "ssl_max_version",
        "http_backend",
        "prefer_oj_serializer",
        "with_transporter_log",
        "max_retry_putting_template",
        "fail_on_putting_template_retry_exceed",
        "fail_on_detecting_es_version_retry_exceed",
        "max_retry_get_es_version",
        "verify_es_version_at_startup",
        "verify_os_version_at_startup",
        "default_elasticsearch_version",
        "default_opensearch_version",
        "bulk_message_request_threshold",
        "unrecoverable_error_types",
        "unrecoverable_record_types",
        "emit_error_for_missing_id",
        "exception_backup",
        "suppress_doc_wrap",
        "ignore_exceptions",
        "content_type",
        "time_parse_error_tag",
        "include_timestamp",
        "enable_gzip",
        "emit_error_label_event",
        "validate_client_version",
        "http_backend_excon_nonblock",
        "suppress_type_name",
        "custom_headers",
        "logstash_format",
        "client_key_pass",
        "use_legacy_template",
        "template_use_index_pattern",
        "catch_transport_exception_on_retry",
        "fail_on_putting_template_retry_exceeded",
    ]);
    if params.word("client_key_pass").is_some() {
        params.lost("'client_key_pass': a key has to be stored decrypted");
    }
    Some(made)
}

/// Where documents go.
fn index(params: &Params<'_>, output: &mut Section) {
    if params.kind().ends_with("data_stream") {
        let name = params.word("data_stream_name").unwrap_or_default();
        match placeholders(&name) {
            Some(name) => output.set("Index", &name),
            None => params.lost(format!(
                "'data_stream_name' {name} holds placeholders that are no fields"
            )),
        }
        return;
    }
    let is_logstash = params.switch("logstash_format") == Some(true);
    if is_logstash {
        output.set("Logstash_Format", "on");
        let prefix = params.text("logstash_prefix");
        let assumed = prefix
            .as_ref()
            .map(|p| p.assumed.clone())
            .unwrap_or_default();
        match assumed.find("${") {
            None => output.set(
                "Logstash_Prefix",
                &prefix.map_or("logstash".to_owned(), |p| p.written),
            ),
            // One field, alone, can be the prefix.
            Some(0)
                if assumed.ends_with('}')
                    && assumed.matches("${").count() == 1
                    && !assumed.starts_with("${tag") =>
            {
                output.set(
                    "Logstash_Prefix_Key",
                    &placeholders(&assumed).unwrap_or_default(),
                );
            }
            Some(_) => match placeholders(&assumed) {
                Some(prefix) => {
                    let separator = params
                        .word("logstash_prefix_separator")
                        .unwrap_or_else(|| "-".to_owned());
                    let date = params
                        .word("logstash_dateformat")
                        .unwrap_or_else(|| "%Y.%m.%d".to_owned());
                    output.set("Index", &format!("{prefix}{separator}{date}"));
                    params.lost(format!("'logstash_prefix' {assumed}: an index takes either a prefix with a date or one field; give the record a field with the prefix and name it in Logstash_Prefix_Key"));
                }
                None => params.lost(format!(
                    "'logstash_prefix' {assumed} holds placeholders that are no fields"
                )),
            },
        }
        params.copy(
            output,
            &[
                (
                    "logstash_prefix_separator",
                    "Logstash_Prefix_Separator",
                    As::Text,
                ),
                ("logstash_dateformat", "Logstash_DateFormat", As::Text),
            ],
        );
        params.ignore(&["index_name"]);
        if params.switch("utc_index") == Some(false) {
            params.lost("'utc_index false': days of indexes begin at midnight UTC");
        }
    } else {
        let name = params
            .text("index_name")
            .unwrap_or_else(|| Text::plain("fluentd"));
        match (name.has_variable, placeholders(&name.assumed)) {
            (true, _) => output.put("Index", &name),
            (false, Some(index)) => output.set("Index", &index),
            (false, None) => params.lost(format!(
                "'index_name' {} holds placeholders that are no fields",
                name.assumed
            )),
        }
        params.ignore(&[
            "logstash_prefix",
            "logstash_prefix_separator",
            "logstash_dateformat",
            "utc_index",
        ]);
    }
    params.copy(output, &[("time_key", "Time_Key", As::Text)]);
    params.ignore(&[
        "time_key_format",
        "time_precision",
        "time_key_exclude_timestamp",
    ]);
    if params
        .text("target_index_key")
        .is_some_and(|t| !t.assumed.is_empty())
    {
        params.lost("'target_index_key': with Logstash_Format the field in Logstash_Prefix_Key names the index, with a date behind it");
    }
    params.ignore(&["target_type_key"]);
}
