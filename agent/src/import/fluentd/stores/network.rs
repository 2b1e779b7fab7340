//! Destinations that are reached over a protocol of their own: forward, HTTP, Loki, Splunk, Graylog, syslog.

use super::{headers, json_format, servers, url};
use crate::import::fluentd::outputs::Made;
use crate::import::fluentd::params::{As, Params};
use crate::import::fluentd::report::Report;
use crate::import::fluentd::text;

pub(super) fn forward(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("forward", params);
    let mut nodes = Vec::new();
    for element in params.elements("server") {
        let server = Params::new(element, report);
        let Some(host) = server.text("host").map(|t| t.written) else {
            server.lost(
                "<server> has no 'host', without which Fluentd does not start; it is left out",
            );
            continue;
        };
        let port = server
            .text("port")
            .map_or("24224".to_owned(), |t| t.written);
        if server.switch("standby") == Some(true) {
            server.differs("'standby': servers take turns; there is none that only stands by");
        }
        server.ignore(&["name", "weight"]);
        if nodes.is_empty() {
            server.copy(
                &mut made.output,
                &[
                    ("username", "Username", As::Text),
                    ("password", "Password", As::Text),
                    ("shared_key", "Shared_Key", As::Text),
                ],
            );
        } else {
            server.ignore(&["username", "password", "shared_key"]);
        }
        server.finish();
        nodes.push((host, port));
    }
    if nodes.is_empty()
        && let Some(host) = params.text("host")
    {
        nodes.push((
            host.written,
            params
                .text("port")
                .map_or("24224".to_owned(), |t| t.written),
        ));
    }
    servers(params, &mut made.output, &mut made.upstream, &nodes, true);
    let output = &mut made.output;
    // Fluentd's receivers expect [time, record].
    output.set("Retain_Metadata_In_Forward_Mode", "off");
    if params.word("transport").as_deref() == Some("tls") {
        output.set("tls", "on");
        let ca = ["tls_ca_cert_path", "tls_cert_path"]
            .iter()
            .find_map(|k| params.list(k).into_iter().next());
        output.set("tls.ca_file", &ca.unwrap_or_default());
        if params.switch("tls_insecure_mode") == Some(true)
            || params.switch("tls_allow_self_signed_cert") == Some(true)
        {
            output.set("tls.verify", "off");
        }
        params.copy(
            output,
            &[
                ("tls_verify_hostname", "tls.verify_hostname", As::Switch),
                ("tls_client_cert_path", "tls.crt_file", As::Text),
                ("tls_client_private_key_path", "tls.key_file", As::Text),
            ],
        );
        params.ignore(&["tls_version", "tls_ciphers"]);
    }
    params.copy(
        output,
        &[
            ("require_ack_response", "Require_ack_response", As::Switch),
            ("compress", "Compress", As::Text),
            ("time_as_integer", "Time_as_Integer", As::Switch),
        ],
    );
    if let Some(security) = params.nested("security") {
        security.copy(
            output,
            &[
                ("self_hostname", "Self_Hostname", As::Text),
                ("shared_key", "Shared_Key", As::Text),
            ],
        );
        security.finish();
    }
    params.ignore_elements(&["service_discovery"]);
    if params.nested("service_discovery").is_some() {
        params.lost("<service_discovery>: name the servers in an Upstream file");
    }
    params.ignore(&[
        "send_timeout",
        "connect_timeout",
        "heartbeat_type",
        "heartbeat_interval",
        "recover_wait",
        "hard_timeout",
        "phi_threshold",
        "phi_failure_detector",
        "ack_response_timeout",
        "expire_dns_cache",
        "dns_round_robin",
        "ignore_network_errors_at_startup",
        "verify_connection_at_startup",
        "keepalive",
        "keepalive_timeout",
        "send_keepalive_packet",
        "read_interval_msec",
        "read_length",
        "port",
    ]);
    Some(made)
}

pub(super) fn http(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("http", params);
    let output = &mut made.output;
    let key = if params.element.get("endpoint").is_some() {
        "endpoint"
    } else {
        "endpoint_url"
    };
    url(params, key, output, "URI");
    let is_array = params.switch("json_array") == Some(true);
    output.set("Format", if is_array { "json" } else { "json_lines" });
    if let Some(method) = params.word("http_method") {
        output.set("HTTP_Method", &method.to_ascii_uppercase());
    }
    match params.word("content_type") {
        Some(kind) => output.set("Header", &format!("Content-Type {kind}")),
        None => output.set(
            "Header",
            if is_array {
                "Content-Type application/json"
            } else {
                "Content-Type application/x-ndjson"
            },
        ),
    }
    headers(params, "headers", output);
    if let Some(auth) = params.nested("auth") {
        auth.copy(
            output,
            &[
                ("username", "HTTP_User", As::Text),
                ("password", "HTTP_Passwd", As::Text),
            ],
        );
        if auth.word("method").as_deref() == Some("aws_sigv4") {
            output.set("AWS_Auth", "on");
            auth.copy(
                output,
                &[
                    ("aws_service", "AWS_Service", As::Text),
                    ("aws_region", "AWS_Region", As::Text),
                    ("aws_role_arn", "AWS_Role_ARN", As::Text),
                ],
            );
        }
        auth.finish();
    }
    if params.word("compress").as_deref() == Some("gzip") {
        output.set("Compress", "gzip");
    }
    if params.word("tls_verify_mode").as_deref() == Some("none") {
        output.set("tls.verify", "off");
    }
    params.copy(
        output,
        &[
            ("proxy", "Proxy", As::Text),
            ("tls_ca_cert_path", "tls.ca_file", As::Text),
            ("tls_client_cert_path", "tls.crt_file", As::Text),
            ("tls_private_key_path", "tls.key_file", As::Text),
            ("read_timeout", "http.response_timeout", As::Time),
        ],
    );
    params.ignore(&[
        "open_timeout",
        "ssl_timeout",
        "reuse_connections",
        "error_response_as_unrecoverable",
        "retryable_response_codes",
        "tls_version",
        "tls_ciphers",
        "serializer",
        "rate_limit_msec",
        "raise_on_error",
        "authentication",
    ]);
    json_format(params, report);
    Some(made)
}

pub(super) fn loki(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("loki", params);
    let output = &mut made.output;
    url(params, "url", output, "URI");
    if let Some(path) = output
        .get("uri")
        .map(|p| format!("{}/loki/api/v1/push", p.trim_end_matches('/')))
    {
        output.replace("URI", &path);
    }
    params.copy(
        output,
        &[
            ("username", "HTTP_User", As::Text),
            ("password", "HTTP_Passwd", As::Text),
            ("bearer_token_file", "Bearer_Token_File", As::Text),
            ("tenant", "Tenant_ID", As::Text),
            ("line_format", "Line_Format", As::Text),
            ("ca_cert", "tls.ca_file", As::Text),
            ("cert", "tls.crt_file", As::Text),
            ("key", "tls.key_file", As::Text),
            ("drop_single_key", "Drop_Single_Key", As::Switch),
            (
                "extract_kubernetes_labels",
                "Auto_Kubernetes_Labels",
                As::Switch,
            ),
        ],
    );
    if output.get("line_format").is_none() {
        output.set("Line_Format", "key_value");
    }
    if params.switch("insecure_tls") == Some(true) {
        output.set("tls.verify", "off");
    }
    let mut labels: Vec<String> = params
        .pairs("extra_labels")
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    for element in params.elements("label") {
        let label = Params::new(element, report);
        for attribute in &element.attributes {
            let value = label
                .word(&attribute.key)
                .unwrap_or_else(|| attribute.key.clone());
            match text::path(&value) {
                Some(path) => labels.push(format!("{}={}", attribute.key, text::accessor(&path))),
                None => label.lost(format!("the label {} reaches into an array", attribute.key)),
            }
        }
        label.finish();
    }
    if labels.is_empty() {
        params.differs("streams need a label: job=fluentd");
        labels.push("job=fluentd".to_owned());
    }
    output.set("Labels", &labels.join(", "));
    let removed = params.list("remove_keys");
    if !removed.is_empty() {
        output.set("Remove_Keys", &removed.join(", "));
    }
    headers(params, "custom_headers", output);
    params.ignore(&["include_thread_label", "compress"]);
    Some(made)
}

pub(super) fn splunk(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("splunk", params);
    let output = &mut made.output;
    match params.text("full_url") {
        Some(_) => url(params, "full_url", output, "URI"),
        None => {
            let host = params
                .text("hec_host")
                .or_else(|| params.text("host"))
                .or_else(|| params.text("server"));
            output.set("Host", &host.map(|t| t.written).unwrap_or_default());
            output.set(
                "Port",
                &params
                    .text("hec_port")
                    .or_else(|| params.text("port"))
                    .map_or("8088".to_owned(), |t| t.written),
            );
        }
    }
    let protocol = params
        .word("protocol")
        .unwrap_or_else(|| "https".to_owned());
    if protocol == "https" {
        output.set("tls", "on");
    }
    if params.switch("insecure_ssl") == Some(true) {
        output.set("tls.verify", "off");
    }
    let field = |key: &str| {
        params
            .word(key)
            .map(|k| text::path(&k).map_or(k.clone(), |p| text::accessor(&p)))
    };
    params.copy(
        output,
        &[
            ("hec_token", "Splunk_Token", As::Text),
            ("token", "Splunk_Token", As::Text),
            ("index", "Event_Index", As::Text),
            ("source", "Event_Source", As::Text),
            ("sourcetype", "Event_Sourcetype", As::Text),
            ("host", "Event_Host", As::Text),
            ("ca_file", "tls.ca_file", As::Text),
            ("client_cert", "tls.crt_file", As::Text),
            ("client_key", "tls.key_file", As::Text),
        ],
    );
    for (key, ours) in [
        ("index_key", "Event_Index_Key"),
        ("source_key", "Event_Source"),
        ("sourcetype_key", "Event_Sourcetype_Key"),
        ("host_key", "Event_Host"),
    ] {
        if let Some(value) = field(key) {
            output.set(ours, &value);
        }
    }
    for element in params.elements("fields") {
        let fields = Params::new(element, report);
        for attribute in &element.attributes {
            let from = fields
                .word(&attribute.key)
                .unwrap_or_else(|| attribute.key.clone());
            let path = text::path(&from).unwrap_or_else(|| vec![from.clone()]);
            output.set(
                "Event_Field",
                &format!("{} {}", attribute.key, text::accessor(&path)),
            );
        }
        fields.finish();
    }
    params.ignore(&[
        "keep_keys",
        "data_type",
        "coerce_to_utf8",
        "non_utf8_replacement_string",
        "idle_timeout",
        "read_timeout",
        "open_timeout",
        "ssl_ciphers",
        "ca_path",
        "consume_chunk_on_4xx_errors",
        "app_name",
        "app_version",
        "gzip_compression",
        "use_ack",
        "time_key",
    ]);
    json_format(params, report);
    Some(made)
}

pub(super) fn gelf(params: &Params<'_>, _: &Report) -> Option<Made> {
    let mut made = Made::new("gelf", params);
    let output = &mut made.output;
    params.copy(
        output,
        &[("host", "Host", As::Text), ("port", "Port", As::Text)],
    );
    let mode = params.word("protocol").unwrap_or_else(|| "udp".to_owned());
    let is_tls = params.switch("tls") == Some(true);
    output.set("Mode", if is_tls { "tls" } else { &mode });
    output.set("Gelf_Short_Message_Key", "log");
    if params.switch("include_tag_key") == Some(true) {
        output.set(
            "Gelf_Tag_Key",
            &params.word("tag_key").unwrap_or_else(|| "tag".to_owned()),
        );
    }
    params.ignore(&[
        "use_record_host",
        "add_msec_time",
        "max_bytes",
        "udp_transport_type",
        "tls_options",
        "tag_key",
    ]);
    params.differs("the short message is the field log; name another in Gelf_Short_Message_Key");
    Some(made)
}

pub(super) fn syslog(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("syslog", params);
    let output = &mut made.output;
    let host = params.text("host").or_else(|| params.text("remote_syslog"));
    output.set("Host", &host.map(|t| t.written).unwrap_or_default());
    output.set(
        "Port",
        &params.text("port").map_or("514".to_owned(), |t| t.written),
    );
    let is_tls = params.switch("tls") == Some(true);
    let mode = params.word("protocol").unwrap_or_else(|| "udp".to_owned());
    output.set("Mode", if is_tls { "tls" } else { &mode });
    output.set("Syslog_Format", "rfc3164");
    params.copy(
        output,
        &[
            ("program", "Syslog_Appname_Preset", As::Text),
            ("ca_file", "tls.ca_file", As::Text),
            ("packet_size", "Syslog_Maxsize", As::Size),
        ],
    );
    output.set(
        "Syslog_Hostname_Preset",
        &params
            .text("hostname")
            .map_or("${HOSTNAME}".to_owned(), |t| t.written),
    );
    let mut message = "message".to_owned();
    if let Some(element) = params.elements("format").next() {
        let format = Params::new(element, report);
        match format.kind().as_str() {
            "single_value" => message = format.word("message_key").unwrap_or(message),
            other => format.lost(format!(
                "<format> of type {other}: the message is one field"
            )),
        }
        format.finish();
    }
    output.set("Syslog_Message_Key", &message);
    for key in ["severity", "facility"] {
        if let Some(value) = params.word(key) {
            params.differs(format!(
                "'{key}' {value}: set Syslog_{}_Preset to its number",
                if key == "severity" {
                    "Severity"
                } else {
                    "Facility"
                }
            ));
        }
    }
    params.ignore(&[
        "timeout",
        "timeout_exception",
        "keep_alive",
        "keep_alive_idle",
        "keep_alive_cnt",
        "keep_alive_intvl",
        "verify_mode",
        "payload_key",
    ]);
    Some(made)
}
