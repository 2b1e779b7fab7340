//! Fluentd's output plugins, one function each.

mod cloud;
mod elasticsearch;
mod network;

use super::outputs::Made;
use super::params::Params;
use super::report::Report;
use super::text::{self, Text};
use super::written::Section;

type Convert = fn(&Params<'_>, &Report) -> Option<Made>;

/// The plugins by their names.
pub(super) const ALL: &[(&[&str], Convert)] = &[
    (
        &[
            "elasticsearch",
            "elasticsearch_dynamic",
            "elasticsearch_data_stream",
        ],
        elasticsearch::elasticsearch,
    ),
    (
        &["opensearch", "opensearch_data_stream"],
        elasticsearch::elasticsearch,
    ),
    (&["forward", "secure_forward"], network::forward),
    (&["http", "http_ext"], network::http),
    (&["loki"], network::loki),
    (&["s3"], cloud::s3),
    (
        &["kafka2", "kafka", "kafka_buffered", "rdkafka2", "rdkafka"],
        cloud::kafka,
    ),
    (&["stdout"], stdout),
    (&["file"], file),
    (&["null"], null),
    (
        &["splunk_hec", "splunk_ex", "splunk-http-eventcollector"],
        network::splunk,
    ),
    (&["gelf"], network::gelf),
    (&["cloudwatch_logs"], cloud::cloudwatch),
    (
        &[
            "kinesis_streams",
            "kinesis_streams_aggregated",
            "kinesis_firehose",
        ],
        cloud::kinesis,
    ),
    (
        &["remote_syslog", "syslog", "syslog_buffered"],
        network::syslog,
    ),
];

/// Host, port, path and TLS of a URL.
fn url(params: &Params<'_>, key: &str, output: &mut Section, path_key: &str) {
    let Some(Text { written, .. }) = params.text(key) else {
        params.lost(format!("'{key}' is missing; set Host, Port and tls"));
        return;
    };
    let (scheme, rest) = written.split_once("://").unwrap_or(("http", &written));
    if written.starts_with("${") {
        params.lost(format!(
            "'{key}' comes from the variable {written}: set Host, Port, tls and {path_key} from it"
        ));
        return;
    }
    let (address, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (user, address) = address
        .rsplit_once('@')
        .map_or((None, address), |(u, a)| (Some(u), a));
    let default = if scheme == "https" { "443" } else { "80" };
    let (host, port) = address
        .rsplit_once(':')
        .filter(|(_, p)| !p.ends_with('}') || p.starts_with("${"))
        .unwrap_or((address, default));
    output.set("Host", host);
    output.set("Port", port);
    if scheme == "https" {
        output.set("tls", "on");
    }
    if let Some((user, password)) = user.and_then(|u| u.split_once(':')) {
        output.set("HTTP_User", user);
        output.set("HTTP_Passwd", password);
    }
    if path.len() > 1 {
        output.set(path_key, path);
    }
}

fn headers(params: &Params<'_>, key: &str, output: &mut Section) {
    for (name, value) in params.pairs(key) {
        output.set("Header", &format!("{name} {}", Text::plain(&value).written));
    }
}

/// Chunk placeholders as record accessors; none for what is no field.
fn placeholders(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let end = rest[at..].find('}')? + at;
        let inside = &rest[at + 2..end];
        if inside.starts_with("tag") || inside == "chunk_id" {
            return None;
        }
        out.push_str(&rest[..at]);
        let path = match inside.starts_with('$') {
            true => text::path(inside)?,
            false => inside.split('.').map(ToOwned::to_owned).collect(),
        };
        out.push_str(&text::accessor(&path));
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

/// One server is the output's own; several take turns by an upstream file.
fn servers(
    params: &Params<'_>,
    output: &mut Section,
    upstream: &mut Option<Section>,
    nodes: &[(String, String)],
    knows_upstream: bool,
) {
    match nodes {
        [] => params.lost("no server is named"),
        [(host, port)] => {
            output.set("Host", host);
            output.set("Port", port);
        }
        many if knows_upstream => {
            let mut file = Section::new("UPSTREAM", "");
            for (host, port) in many {
                file.set("node", &format!("{host} {port}"));
            }
            *upstream = Some(file);
        }
        [(host, port), ..] => {
            output.set("Host", host);
            output.set("Port", port);
            params.lost("this output has one host: the first is taken; name one that leads to all, such as a Service");
        }
    }
}

fn removed_keys(params: &Params<'_>, filters: &mut Vec<Section>) {
    let keys = params.list("remove_keys");
    if !keys.is_empty() {
        let mut filter = Section::plugin("FILTER", "record_modifier", "");
        for key in keys {
            filter.set("Remove_key", key.trim_start_matches("$."));
        }
        filters.push(filter);
    }
}

/// `<format>` where only JSON can be written.
fn json_format(params: &Params<'_>, report: &Report) {
    let Some(element) = params.elements("format").next() else {
        return;
    };
    let format = Params::new(element, report);
    let kind = format.kind();
    if !matches!(kind.as_str(), "json" | "") {
        format.lost(format!(
            "<format> of type {kind}: records are written as JSON"
        ));
    }
    format.ignore(&["add_newline"]);
    format.finish();
}

fn time_slice(timekey: f64) -> &'static str {
    match timekey {
        t if t < 60.0 => "%Y%m%d%H%M%S",
        t if t < 3600.0 => "%Y%m%d%H%M",
        t if t < 86_400.0 => "%Y%m%d%H",
        _ => "%Y%m%d",
    }
}

fn stdout(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("stdout", params);
    made.output.set("Format", "json_lines");
    params.ignore(&["use_logger", "output_type"]);
    params.differs("records are printed as JSON lines without tag and time");
    for element in params.elements("format") {
        let format = Params::new(element, report);
        format.kind();
        format.ignore(&["output_type"]);
        format.finish();
    }
    Some(made)
}

fn file(params: &Params<'_>, report: &Report) -> Option<Made> {
    let mut made = Made::new("file", params);
    let output = &mut made.output;
    let Some(path) = params.text("path") else {
        params.lost("<match> of type file has no 'path' that can be used; it is left out");
        return None;
    };
    let (folder, name) = path
        .written
        .rsplit_once('/')
        .unwrap_or((".", &path.written));
    let timekey = params
        .nested("buffer")
        .and_then(|b| b.word("timekey"))
        .and_then(|t| text::seconds(&t));
    let slice = params
        .word("time_slice_format")
        .unwrap_or_else(|| time_slice(timekey.unwrap_or(86_400.0)).to_owned());
    if path.assumed.contains("${") {
        params.lost(format!(
            "'path' {} holds placeholders; write Path and File with $TAG or fields",
            path.assumed
        ));
    } else {
        output.set("Path", if folder.is_empty() { "/" } else { folder });
        let suffix = if params.switch("add_path_suffix") == Some(false) {
            String::new()
        } else {
            params
                .word("path_suffix")
                .unwrap_or_else(|| ".log".to_owned())
        };
        let dated = if path.assumed.contains('%') || name.is_empty() {
            name.to_owned()
        } else {
            format!("{name}.{slice}")
        };
        output.set("File", &format!("{dated}{suffix}"));
        output.set("Enable_Strftime", "on");
    }
    output.set("Mkdir", "on");
    let format = match params.elements("format").next() {
        None => "out_file".to_owned(),
        Some(element) => {
            let format = Params::new(element, report);
            let kind = format.kind();
            if kind == "ltsv" || kind == "csv" {
                format.differs(format!("a line of {kind} begins with the time and holds all fields, with texts between quotes"));
                format.ignore(&["delimiter", "label_delimiter", "fields", "force_quotes"]);
            }
            format.ignore(&[
                "output_time",
                "output_tag",
                "time_format",
                "localtime",
                "utc",
                "timezone",
            ]);
            if kind == "single_value" {
                output.set(
                    "Template",
                    &format!(
                        "{{{}}}",
                        format
                            .word("message_key")
                            .unwrap_or_else(|| "message".to_owned())
                    ),
                );
            }
            format.finish();
            kind
        }
    };
    match format.as_str() {
        "json" => output.set("Format", "plain"),
        "ltsv" | "csv" | "msgpack" => output.set("Format", &format),
        "single_value" => output.set("Format", "template"),
        _ => {
            output.set("Format", "out_file");
            params.differs("a line is 'tag: [time, {record}]', where Fluentd writes time, tag and record between tabs");
        }
    }
    if params.word("compress").is_some_and(|c| c == "gzip") {
        params.differs("'compress gzip': files are compressed when they are rotated (Rotate on)");
    }
    params.ignore(&[
        "append",
        "recompress",
        "symlink_path",
        "symlink_path_use_relative",
    ]);
    Some(made)
}

fn null(params: &Params<'_>, _: &Report) -> Option<Made> {
    params.ignore(&["never_flush", "feed_delay"]);
    Some(Made::new("null", params))
}
