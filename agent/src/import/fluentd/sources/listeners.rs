//! Inputs that listen: `forward`, `http`, `syslog`, `tcp` and `udp`.

use super::super::params::{As, Params};
use super::super::parse::Parse;
use super::super::report::Report;
use super::super::tags::{self, Piece};
use super::super::text;
use super::super::written::Section;
use super::super::{Converter, origin};
use super::Given;

pub(super) fn forward(params: &Params<'_>) -> Given {
    let mut input = Section::plugin("INPUT", "forward", &origin(params.element));
    let tag = params.word("tag");
    let prefix = params.word("add_tag_prefix").map(|p| format!("{p}."));
    if let Some(tag) = &tag {
        input.set("Tag", tag);
    }
    if let Some(prefix) = &prefix {
        input.set("Tag_Prefix", prefix);
    }
    listen(params, &mut input, "24224");
    params.copy(
        &mut input,
        &[("chunk_size_limit", "Buffer_Max_Size", As::Size)],
    );
    params.ignore(&[
        "backlog",
        "linger_timeout",
        "blocking_timeout",
        "resolve_hostname",
        "deny_keepalive",
        "send_keepalive_packet",
        "chunk_size_warn_limit",
        "skip_invalid_event",
        "decompression_size_limit",
    ]);
    if let Some(security) = params.nested("security") {
        security.copy(
            &mut input,
            &[
                ("self_hostname", "Self_Hostname", As::Text),
                ("shared_key", "Shared_Key", As::Text),
            ],
        );
        security.ignore(&["user_auth", "allow_anonymous_source"]);
        for user in security.elements("user") {
            let written = |key| Some(text::text(&user.get(key)?.value).ok()?.written);
            if let (Some(name), Some(password)) = (written("username"), written("password")) {
                input.set("Security.Users", &format!("{name} {password}"));
            }
        }
        security.finish();
    }
    let any = prefix.map_or_else(|| tags::starred("*"), |p| tags::starred(&format!("{p}*")));
    let logical = tag.as_ref().map_or(any, |t| tags::literal(t));
    let mut given = Given::new(input, vec![logical]);
    given.is_open = tag.is_none();
    given
}

/// Where an input listens, and `<transport tls>`.
fn listen(params: &Params<'_>, input: &mut Section, default_port: &str) {
    for (key, ours, default) in [
        ("bind", "Listen", "0.0.0.0"),
        ("port", "Port", default_port),
    ] {
        let given = params.text(key).map(|t| t.written);
        input.set(ours, given.as_deref().unwrap_or(default));
    }
    let Some(transport) = params.nested("transport") else {
        return;
    };
    if transport.element.argument.to_string() == "tls" {
        input.set("tls", "on");
        transport.copy(
            input,
            &[
                ("cert_path", "tls.crt_file", As::Text),
                ("private_key_path", "tls.key_file", As::Text),
                ("ca_path", "tls.ca_file", As::Text),
                ("client_cert_auth", "tls.verify_client_cert", As::Switch),
            ],
        );
        transport.ignore(&[
            "version",
            "min_version",
            "max_version",
            "ciphers",
            "insecure",
        ]);
    }
    transport.ignore(&["linger_timeout"]);
    transport.finish();
}

pub(super) fn http(params: &Params<'_>, report: &Report) -> Given {
    let mut input = Section::plugin("INPUT", "http", &origin(params.element));
    listen(params, &mut input, "9880");
    let code = if params.switch("use_204_response") == Some(true) {
        "204"
    } else {
        "200"
    };
    input.set("Successful_Response_Code", code);
    params.copy(
        &mut input,
        &[
            ("body_size_limit", "Buffer_Max_Size", As::Size),
            ("add_remote_addr", "Add_Remote_Addr", As::Switch),
        ],
    );
    params.ignore(&[
        "keepalive_timeout",
        "backlog",
        "blocking_timeout",
        "dump_error_log",
        "decompression_size_limit",
        "respond_with_empty_img",
        "cors_allow_credentials",
    ]);
    if let Some(parse) = params.elements("parse").next() {
        let parse = Params::new(parse, report);
        if !matches!(parse.kind().as_str(), "" | "json" | "in_http") {
            parse.lost(
                "the http input takes JSON and forms; lines in other formats come in over tcp",
            );
        }
        parse.ignore(&[
            "time_key",
            "time_format",
            "keep_time_key",
            "expression",
            "time_type",
        ]);
        parse.finish();
    }
    let mut given = Given::new(input, vec![tags::starred("*")]);
    given.is_open = true;
    given
}

impl Converter {
    pub(super) fn syslog(&mut self, params: &Params<'_>, report: &Report) -> Given {
        let mut input = Section::plugin("INPUT", "syslog", &origin(params.element));
        let tag = params.word("tag").unwrap_or_default();
        input.set("Tag", &tag);
        let protocol = params.word("protocol_type");
        let transport_of = params
            .elements("transport")
            .next()
            .map(|t| t.argument.to_string());
        let mode = match transport_of.or(protocol).as_deref() {
            Some("tcp" | "tls") => "tcp",
            _ => "udp",
        };
        input.set("Mode", mode);
        listen(params, &mut input, "5140");
        let parser = match params.elements("parse").next() {
            Some(parse) => {
                let parse = Params::new(parse, report);
                let kind = parse.kind();
                if !matches!(kind.as_str(), "" | "syslog") {
                    parse.lost(format!("<parse> of type {kind}: messages are read as syslog; name a parser of yours in Parser"));
                }
                let name = self.parsers.syslog(&parse, true);
                parse.finish();
                name
            }
            None => self.parsers.syslog(params, true),
        };
        input.set("Parser", &parser);
        params.differs(
            "the record keeps pri, of which Fluentd makes the facility and severity of the tag",
        );
        if params.word("frame_type").as_deref() == Some("octet_count") {
            input.set("Format", "octet_counting");
        }
        params.copy(
            &mut input,
            &[
                ("source_address_key", "Source_Address_Key", As::Text),
                ("message_length_limit", "Buffer_Max_Size", As::Size),
            ],
        );
        params.ignore(&[
            "blocking_timeout",
            "send_keepalive_packet",
            "resolve_hostname",
            "delimiter",
            "emit_unmatched_lines",
            "format",
        ]);
        for key in ["severity_key", "priority_key", "facility_key"] {
            if params.word(key).is_some() {
                params.differs(format!(
                    "'{key}': the field pri holds facility * 8 + severity as a number"
                ));
            }
        }
        let mut logical = tags::starred(&format!("{tag}."));
        logical.extend([Piece::Part, Piece::Char('.'), Piece::Part]);
        let mut given = Given::new(input, vec![logical]);
        given.physical = Some(vec![tags::literal(&tag)]);
        given
    }

    pub(super) fn socket(&mut self, kind: &str, params: &Params<'_>, report: &Report) -> Given {
        let tag = params.word("tag").unwrap_or_default();
        let mut input = Section::plugin("INPUT", kind, &origin(params.element)).with("Tag", &tag);
        listen(params, &mut input, "5170");
        params.copy(
            &mut input,
            &[("source_address_key", "Source_Address_Key", As::Text)],
        );
        let separator = params.word("delimiter");
        params.ignore(&[
            "body_size_limit",
            "message_length_limit",
            "blocking_timeout",
            "send_keepalive_packet",
            "remove_newline",
        ]);
        input.set("Format", "none");
        if let Some(separator) = separator {
            input.set(
                "Separator",
                &separator.replace('\n', "\\n").replace('\r', "\\r"),
            );
        }
        let parse = self.parsers.of(params, report, "none");
        let mut given = Given::new(input, vec![tags::literal(&tag)]);
        match parse {
            Parse::By(name) => given.inputs[0].set("Parser", &name),
            Parse::Raw(key) if key == "log" => {}
            Parse::Raw(key) => given.filters.push(Section::plugin("FILTER", "modify", "").with("Rename", &format!("log {key}"))),
            _ => params.lost("this form of <parse> cannot be read from a socket; lines stay whole in the field log"),
        }
        given
    }
}
