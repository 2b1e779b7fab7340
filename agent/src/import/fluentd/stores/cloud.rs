//! Object stores, queues and the services of Amazon.

use super::{json_format, time_slice};
use crate::import::fluentd::outputs::Made;
use crate::import::fluentd::params::{As, Params};
use crate::import::fluentd::report::Report;
use crate::import::fluentd::text;
use crate::import::fluentd::written::Section;

/// Keys and the role to take; `ignored` is what of the role's section has no effect with us.
fn credentials(params: &Params<'_>, output: &mut Section, ignored: &[&str]) {
    if params.element.get("aws_key_id").is_some() || params.element.get("aws_sec_key").is_some() {
        params.ignore(&["aws_key_id", "aws_sec_key"]);
        params.lost("keys do not stand in the configuration: give the agent AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    }
    if let Some(role) = params.nested("assume_role_credentials") {
        role.copy(
            output,
            &[
                ("role_arn", "Role_ARN", As::Text),
                ("external_id", "External_ID", As::Text),
            ],
        );
        role.ignore(ignored);
        role.finish();
    }
}

pub(super) fn s3(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("s3", params);
    let output = &mut made.output;
    params.copy(
        output,
        &[
            ("s3_bucket", "Bucket", As::Text),
            ("s3_region", "Region", As::Text),
            ("s3_endpoint", "Endpoint", As::Text),
            ("acl", "Canned_ACL", As::Text),
            ("storage_class", "Storage_Class", As::Text),
        ],
    );
    credentials(
        params,
        output,
        &["role_session_name", "duration_seconds", "sts_region"],
    );
    params.ignore_elements(&[
        "instance_profile_credentials",
        "web_identity_credentials",
        "shared_credentials",
    ]);
    let store = params.word("store_as").unwrap_or_else(|| "gzip".to_owned());
    match store.as_str() {
        "gzip" | "gzip_command" => output.set("Compression", "gzip"),
        "zstd" => output.set("Compression", "zstd"),
        "json" | "text" => {}
        other => params.lost(format!(
            "'store_as' {other}: objects are plain, gzip or zstd"
        )),
    }
    let extension = match store.as_str() {
        "json" => "json",
        "text" => "txt",
        "zstd" => "zst",
        _ => "gz",
    };
    let buffer = params.nested("buffer");
    let timekey = buffer
        .as_ref()
        .and_then(|b| b.word("timekey"))
        .and_then(|t| text::seconds(&t))
        .unwrap_or(86_400.0);
    output.set("Upload_Timeout", &timekey.to_string());
    if let Some(size) = buffer
        .as_ref()
        .and_then(|b| b.word("chunk_limit_size"))
        .and_then(|t| text::size(&t))
    {
        output.set("Total_File_Size", &size.to_string());
    }
    output.set("Store_Dir", "/var/lib/kansoku/s3");
    let format = params
        .word("s3_object_key_format")
        .unwrap_or_else(|| "%{path}%{time_slice}_%{index}.%{file_extension}".to_owned());
    let path = params.word("path").unwrap_or_default();
    let slice = params
        .word("time_slice_format")
        .unwrap_or_else(|| time_slice(timekey).to_owned());
    let key = format
        .replace("%{path}", &path)
        .replace("%{time_slice}", &slice)
        .replace("%{index}", "$INDEX")
        .replace("%{uuid_flush}", "$UUID")
        .replace("%{uuid_hash}", "$UUID")
        .replace("%{hms_slice}", "%H%M%S")
        .replace("%{hex_random}", "$UUID")
        .replace("%{file_extension}", extension)
        .replace("%{hostname}", "${HOSTNAME}")
        .replace("${tag}", "$TAG")
        .replace("${tag[", "$TAG[")
        .replace("]}", "]");
    let unknown = key.contains("%{") || key.replace("${HOSTNAME}", "").contains("${");
    if unknown {
        params.lost(format!(
            "'s3_object_key_format' {format} holds more than $TAG, $INDEX, $UUID and a time can say"
        ));
    } else {
        output.set(
            "S3_Key_Format",
            &format!("/{}", key.trim_start_matches('/')),
        );
    }
    params.ignore(&[
        "force_path_style",
        "check_bucket",
        "check_object",
        "check_apikey_on_start",
        "auto_create_bucket",
        "hex_random_length",
        "warn_for_delay",
        "overwrite",
        "ssl_verify_peer",
        "instance_profile_ip_address",
        "signature_version",
        "compute_checksums",
        "use_server_side_encryption",
        "index_format",
        "reduced_redundancy",
        "utc",
        "proxy_uri",
        "enable_dual_stack",
        "enable_transfer_acceleration",
    ]);
    match params.elements("format").next() {
        None => params.differs(
            "objects hold a JSON record a line, where Fluentd writes time, tag and record",
        ),
        Some(element) => {
            let format = Params::new(element, report);
            match format.kind().as_str() {
                "json" => {}
                "single_value" => output.set(
                    "Log_Key",
                    &format
                        .word("message_key")
                        .unwrap_or_else(|| "message".to_owned()),
                ),
                other => format.lost(format!(
                    "<format> of type {other}: objects hold a JSON record a line"
                )),
            }
            format.ignore(&["add_newline"]);
            format.finish();
        }
    }
    Some(made)
}

pub(super) fn kafka(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("kafka", params);
    let output = &mut made.output;
    params.copy(
        output,
        &[
            ("brokers", "Brokers", As::Text),
            ("default_message_key", "Message_Key", As::Text),
            ("client_id", "Client_Id", As::Text),
        ],
    );
    let topic = params
        .text("default_topic")
        .or_else(|| params.text("topic"));
    match &topic {
        Some(topic) if topic.assumed.contains("${") => params.lost(format!(
            "the topic {} holds placeholders; put the topic into a field and name it in Topic_Key",
            topic.assumed
        )),
        Some(topic) => output.put("Topics", topic),
        None => {
            params
                .differs("no 'default_topic': records without a topic go to the topic fluent-bit");
        }
    }
    if params.element.get("default_topic").is_some() || params.element.get("topic_key").is_some() {
        output.set(
            "Topic_Key",
            &params
                .word("topic_key")
                .unwrap_or_else(|| "topic".to_owned()),
        );
        output.set("Dynamic_Topic", "on");
    }
    if let Some(key) = params.word("message_key_key") {
        output.set("Message_Key_Field", &key);
    }
    match params.word("compression_codec").as_deref() {
        None => {}
        Some(codec @ ("gzip" | "snappy" | "lz4" | "zstd")) => {
            output.set("rdkafka.compression.codec", codec);
        }
        Some(other) => params.lost(format!("'compression_codec' {other} is not known")),
    }
    let is_tls = params.element.get("ssl_ca_cert").is_some()
        || params.switch("ssl_ca_certs_from_system") == Some(true);
    params.copy(
        output,
        &[
            ("ssl_ca_cert", "rdkafka.ssl.ca.location", As::Text),
            (
                "ssl_client_cert",
                "rdkafka.ssl.certificate.location",
                As::Text,
            ),
            ("ssl_client_cert_key", "rdkafka.ssl.key.location", As::Text),
            ("username", "rdkafka.sasl.username", As::Text),
            ("password", "rdkafka.sasl.password", As::Text),
        ],
    );
    let has_sasl = params.element.get("username").is_some();
    if has_sasl {
        let mechanism = match params.word("scram_mechanism").as_deref() {
            Some("sha256") => "SCRAM-SHA-256",
            Some("sha512") => "SCRAM-SHA-512",
            _ => "PLAIN",
        };
        output.set("rdkafka.sasl.mechanism", mechanism);
    }
    let plain = params.switch("sasl_over_ssl") == Some(false);
    let protocol = match (has_sasl, is_tls || has_sasl && !plain) {
        (true, true) => "sasl_ssl",
        (true, false) => "sasl_plaintext",
        (false, true) => "ssl",
        (false, false) => "plaintext",
    };
    output.set("rdkafka.security.protocol", protocol);
    if params.word("required_acks").is_some_and(|a| a != "-1") {
        params.differs("'required_acks': always all replicas; nothing less is safe");
    }
    for key in [
        "partition_key",
        "partition_key_key",
        "default_partition_key",
    ] {
        if params.text(key).is_some_and(|t| !t.assumed.is_empty()) {
            params.lost(format!("'{key}': the partition goes by the message's key"));
        }
    }
    if params
        .word("partitioner_hash_function")
        .is_some_and(|f| f != "crc32")
    {
        params.differs("'partitioner_hash_function': see rdkafka.partitioner");
    }
    for key in [
        "exclude_topic_key",
        "exclude_message_key",
        "exclude_partition_key",
    ] {
        if params.switch(key) == Some(true) {
            params.lost(format!("'{key}': the field stays in the record"));
        }
    }
    params.ignore(&[
        "get_kafka_client_log",
        "max_send_retries",
        "ack_timeout",
        "max_send_limit_bytes",
        "discard_kafka_delivery_failed",
        "use_event_time",
        "idempotent",
        "ssl_verify_hostname",
        "min_bytes",
        "use_default_for_unknown_topic",
        "exclude_fields",
        "headers",
        "headers_from_record",
        "connect_timeout",
        "socket_timeout",
        "resolve_seed_brokers",
        "use_rdkafka",
        "kafka_agg_max_bytes",
        "kafka_agg_max_messages",
        "active_support_notification_regex",
        "monitoring_list",
        "recording_key",
        "output_include_time",
        "rdkafka_delivery_handle_poll_timeout",
        "rdkafka_message_max_bytes",
        "producer_batch_size",
    ]);
    match params.elements("format").next() {
        None => output.set("Format", "json"),
        Some(element) => {
            let format = Params::new(element, report);
            match format.kind().as_str() {
                "json" => output.set("Format", "json"),
                "msgpack" => output.set("Format", "msgpack"),
                "single_value" => {
                    output.set("Format", "raw");
                    output.set(
                        "Raw_Log_Key",
                        &format
                            .word("message_key")
                            .unwrap_or_else(|| "message".to_owned()),
                    );
                }
                other => format.lost(format!(
                    "<format> of type {other}: messages are json, msgpack or one field"
                )),
            }
            format.finish();
        }
    }
    Some(made)
}

pub(super) fn cloudwatch(params: &Params<'_>, _: &Report) -> Option<Made> {
    let mut made = Made::new("cloudwatch_logs", params);
    let output = &mut made.output;
    output.set(
        "Region",
        &params
            .text("region")
            .map_or("${AWS_REGION:-us-east-1}".to_owned(), |t| t.written),
    );
    params.copy(
        output,
        &[
            ("log_group_name", "Log_Group_Name", As::Text),
            ("log_stream_name", "Log_Stream_Name", As::Text),
            ("auto_create_stream", "Auto_Create_Group", As::Switch),
            ("endpoint", "Endpoint", As::Text),
            ("aws_sts_role_arn", "Role_ARN", As::Text),
        ],
    );
    if params.switch("use_tag_as_stream") == Some(true) {
        output.set("Log_Stream_Prefix", "fluentd-");
        params.differs("'use_tag_as_stream': the stream is fluentd- and the tag");
    }
    if params.switch("use_tag_as_group") == Some(true) {
        params
            .lost("'use_tag_as_group': name the group, or make it of fields in Log_Group_Template");
    }
    for (key, ours) in [
        ("log_group_name_key", "Log_Group_Template"),
        ("log_stream_name_key", "Log_Stream_Template"),
    ] {
        if let Some(path) = params.word(key).and_then(|k| text::path(&k)) {
            output.set(ours, &text::accessor(&path));
        }
    }
    if let Some(days) = params
        .word("retention_in_days")
        .filter(|d| d.parse::<u32>().is_ok())
    {
        output.set("Log_Retention_Days", &days);
    }
    if let Some(keys) = params.word("message_keys").filter(|k| !k.contains(',')) {
        output.set("Log_Key", &keys);
    }
    params.ignore(&[
        "json_handler",
        "log_rejected_request",
        "remove_log_group_name_key",
        "remove_log_stream_name_key",
        "max_message_length",
        "concurrency",
        "put_log_events_retry_limit",
        "put_log_events_retry_wait",
        "put_log_events_disable_retry_limit",
        "include_time_key",
        "localtime",
        "aws_use_sts",
        "aws_sts_session_name",
        "aws_key_id",
        "aws_sec_key",
        "retention_in_days_key",
        "remove_retention_in_days_key",
        "ssl_verify_peer",
    ]);
    Some(made)
}

pub(super) fn kinesis(params: &Params<'_>, report: &Report) -> Option<Made> {
    let is_firehose = params.kind() == "kinesis_firehose";
    let mut made = Made::new(
        if is_firehose {
            "kinesis_firehose"
        } else {
            "kinesis_streams"
        },
        params,
    );
    let output = &mut made.output;
    params.copy(
        output,
        &[
            ("region", "Region", As::Text),
            ("stream_name", "Stream", As::Text),
            ("delivery_stream_name", "Delivery_Stream", As::Text),
            ("endpoint", "Endpoint", As::Text),
        ],
    );
    if params.kind() == "kinesis_streams_aggregated" {
        output.set("Simple_Aggregation", "on");
    }
    credentials(params, output, &["role_session_name"]);
    if params.word("partition_key").is_some() {
        params.lost("'partition_key': records are spread over the shards by chance");
    }
    params.ignore(&[
        "append_new_line",
        "data_key",
        "log_truncate_max_size",
        "reset_backoff_if_success",
        "batch_request_max_count",
        "batch_request_max_size",
        "retries_on_batch_request",
        "compression",
        "reduce_max_size_error_message",
    ]);
    params.ignore_elements(&["instance_profile_credentials", "web_identity_credentials"]);
    json_format(params, report);
    Some(made)
}
