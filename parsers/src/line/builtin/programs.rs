//! The parsers of the other parsers files of Fluent Bit: `parsers_extra`, `parsers_ambassador`,
//! `parsers_openstack`, `parsers_cinder`, `parsers_java`, `parsers_kafka` and `parsers_mult`.

use super::{ACCESS_TIME, BuiltIn, KEEP, RFC3339, SYSLOG_TIME, format, template};

const DAY_TIME: (&str, &str) = ("time_format", "%Y-%m-%d %H:%M:%S");
const DAY_TIME_MS: (&str, &str) = ("time_format", "%Y-%m-%d %H:%M:%S.%L");
const DAY_T_TIME: (&str, &str) = ("time_format", "%Y-%m-%dT%H:%M:%S");
const COMMA_MS: (&str, &str) = ("time_format", "%Y-%m-%d %H:%M:%S,%L");
const LOG_TIME: (&str, &str) = ("time_key", "log_time");
const TIMESTAMP: (&str, &str) = ("time_key", "timestamp");

/// The services of OpenStack write one format.
const OPENSTACK: &str = r"^{{log_time:[^ ][-.\d+:T]+ *[.:\d]*}}\s+{{pid:[^ ]\d+}}\s+{{severity:[^ ][.-_\w]+}}\s+{{component:[^ ][.-_\w]+}}\s+\[(?:-|{{req_id:[^ ][-\w]*}} {{req_user:[^ ][-\w]*}} {{req_project:[^ ][-\w]*}} {{req_domain:[^ ][-\w]*}} {{req_user_domain:[^ ][-\w]*}} {{req_project_domain:[^ ][-\w]*}})\]\s+{{message:rest}}$";

const fn openstack(name: &'static str) -> BuiltIn {
    template(name, OPENSTACK, &[DAY_TIME_MS, LOG_TIME])
}

pub(super) const PARSERS: &[BuiltIn] = &[
    template(
        "crowbar",
        r"^.*\[{{log_time:[^ ][-.\d+:]+T[:\d]*}}[^\]]*?\]\s+?{{severity:[^ ]\w+}}[\s-]*:?\s+{{message:rest}}",
        &[DAY_T_TIME, LOG_TIME],
    ),
    template(
        "chefclient",
        r"^\[{{log_time:[^ ][-.\d+:]+T[:\d]*}}[^\]]*?\]\s+{{severity:[^ ]\w+}}:\s+{{message:rest}}$",
        &[DAY_T_TIME, LOG_TIME],
    ),
    template(
        "mysql_error",
        r"^{{log_time:[^ +][-\d]+[ T]*[:\dZ]+}}\s*{{myid:[^ ]\d+}}\s+\[{{severity:[^ ]\w+}}\](?:\s+{{subsystem:[^ ]\w+}}:)?\s+{{message:rest}}$",
        &[DAY_TIME, LOG_TIME],
    ),
    template(
        "mysql_slow",
        r"^# User@Host:\s+{{user:[^@][\w\[\]]+}}[@\s]+{{dbhost:[^ ][-.\w]+}}\s+(?:\[{{dbhost_address:[.\d]+}}\])?\s+{{message:rest}}$",
        &[],
    ),
    template(
        "pacemaker",
        r"^\s*{{log_time:stamp}} \[{{pid:digits}}\] {{node:[-\w]*}}\s*{{component:\w*}}:\s+{{severity:name}}:\s+{{message:rest}}$",
        &[SYSLOG_TIME, LOG_TIME],
    ),
    template(
        "rabbitmq",
        r"^={{severity:[^ ]\w+}}\s+REPORT[=\s]*{{log_time:[^ =][-:.\d\w]+}}[\s=]+{{message:rest}}$",
        &[("time_format", "%d-%b-%Y::%H:%M:%S"), LOG_TIME],
    ),
    template(
        "http_statement",
        r#"^.*({{req_method:GET|POST|PUT|DELETE|CONNECT|OPTIONS|HEAD[^ ]\w+}}\s*{{req_path:[^ ][-._?=%&/[:alnum:]]*}}\s*{{req_protocol:[^ ][./\dHTFSP]+}}?)(?:['"\s]*)?(?:(?:\s*status:\s*{{req_status:[^ ]\d+}})?(?:\s*len: {{req_len:[^ ]\d+}})?(?:\s*time:\s*{{req_log_time:[^ ][.\d]+}})?(?:\s*microversion:\s*{{req_mver:[^ ][.\d]+}})?)?$"#,
        &[],
    ),
    template("universal", "^{{message:rest}}$", &[]),
    template(
        "uuid",
        r"{{uuid:\h{8}-\h{4}-[1-5]\h{3}-[89abAB]\h{3}-\h{12}}}",
        &[],
    ),
    template(
        "iptables",
        r"\[{{rule_chain:\w*}}-{{rule_name:\w*}}-{{accept_or_drop:\w*}}\]IN={{in_interface:[\w.]+}}? OUT={{out_interface:[\w.]+}}? MAC={{mac_address:[\w:]+}}? SRC={{source:(?:[0-9]{1,3}\.){3}[0-9]{1,3}}} DST={{dest:(?:[0-9]{1,3}\.){3}[0-9]{1,3}}} LEN={{pkt_len:digits}} TOS={{pkt_tos:name}} PREC={{pkt_prec:name}} TTL={{pkt_ttl:digits}} ID={{pkt_id:digits}}\s?{{pkg_frg:[A-Z\s].?}}\s?PROTO={{protocol:name}} (?:SPT={{source_port:rest}} DPT={{dest_port:rest}} (?:LEN={{proto_pkt_len:name}}?)?(?:WINDOW={{proto_window_size:digits}} RES={{pkt_res:name}}? {{pkt_type:name}}\s{{pkt_flag:name}}?\s?URGP={{pkg_urgency:\d}})? )?(?:TYPE={{pkt_icmp_type:digits}} CODE={{pkt_icmp_code:digits}} ID={{pkt_icmp_id:digits}} SEQ={{pkt_icmp_seq:digits}} )?$",
        // Fluent Bit's own file has types with commas, which it does not understand.
        &[],
    ),
    format(
        "couchbase_json_log_nanoseconds",
        "json",
        &[("time_format", "%Y-%m-%dT%H:%M:%S.%L"), TIMESTAMP, KEEP],
    ),
    format(
        "couchbase_rebalance_report",
        "json",
        &[("time_format", "%Y-%m-%dT%H:%M:%SZ"), TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_simple_log",
        r"^{{timestamp:\d+-\d+-\d+T\d+:\d+:\d+\.\d+[-+]\d+:\d+}}\s+\[{{level:name}}\]{{message:rest}}$",
        &[RFC3339, TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_simple_log_space_separated",
        r"^{{timestamp:\d+-\d+-\d+T\d+:\d+:\d+\.\d+[-+]\d+:\d+}}\s+{{level:name}}\s+{{message:rest}}$",
        &[RFC3339, TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_simple_log_utc",
        r"^{{timestamp:\d+-\d+-\d+T\d+:\d+:\d+\.\d+Z}}\s+{{level:name}}{{message:rest}}$",
        &[("time_format", "%Y-%m-%dT%H:%M:%S.%LZ"), TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_simple_log_mixed",
        r"^{{timestamp:\d+[-/]\d+[-/]\d+(?:T|\s+)\d+:\d+:\d+(?:\.\d+[-+]\d+:\d+)?}}\s+\[?{{level:name}}[\]:]{{message:rest}}$",
        &[TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_erlang_multiline",
        r"\[{{logger:name}}:{{level:name}},{{timestamp:\d+-\d+-\d+T\d+:\d+:\d+.\d+Z}},{{message:rest}}$",
        &[("time_format", "%Y-%m-%dT%H:%M:%S.%L"), TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_java_multiline",
        r"^{{timestamp:\d+-\d+-\d+T\d+:\d+:\d+\.\d+[-+]\d+:\d+}}\s+{{level:name}}\s+{{class:rest}}\s+\[{{thread:rest}}\]\s+{{message:rest}}$",
        &[RFC3339, TIMESTAMP, KEEP],
    ),
    template(
        "couchbase_http",
        r#"^{{host}} {{:word}} {{user}} \[{{timestamp:bracket}}\] "{{method:token}}(?: +{{path}} +\S*)?" {{code}} {{size}} - {{client:rest}}$"#,
        &[ACCESS_TIME, TIMESTAMP, KEEP],
    ),
    template(
        "ambassador",
        r#"^{{type:token}} \[{{time:bracket}}\] "{{method:token}}(?: +{{path:(?:[^"]|\\.)*?}}(?: +\S*)?) {{protocol:token}}?" {{response_code:token}} {{response_flags:token}} {{bytes_received:token}} {{bytes_sent:token}} {{duration:token}} {{x_envoy_upstream_service_time:token}} "{{x_forwarded_for:quoted}}" "{{user_agent:quoted}}" "{{x_request_id:quoted}}" "{{authority:quoted}}" "{{upstream_host:quoted}}""#,
        &[],
    ),
    template(
        "ceph",
        r"^{{log_time:[^ ][-.\d+:T]+ *[.:\d]*}}\s+{{message:rest}}$",
        &[DAY_TIME_MS, LOG_TIME],
    ),
    template(
        "java_multiline",
        r"^{{time:\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}:\d{1,2}}} \[{{thread:rest}}\] {{level:\S+}}{{message:rest}}",
        &[DAY_TIME],
    ),
    template(
        "confluent-schema-registry",
        r#"^\[{{time:\d{4}-\d{1,2}-\d{1,2} \d{2}:\d{2}:\d{2},\d{1,4}}}\] {{level:[A-Z]{1,8}}} {{src:[\d.]+}} - - \[{{date:rest}}\] "{{method:[A-Z]+}} {{path:/\S+|/}} {{http_version:HTTP/\d\.\d}}" {{code:\d{1,3}}} {{size:digits}} "-" "{{agent:rest}}" {{extra_info:rest}}"#,
        &[COMMA_MS],
    ),
    template(
        "confluent-schema-registry-prefixed",
        r#"^\[{{_sr_time:\d{4}-\d{1,2}-\d{1,2} \d{2}:\d{2}:\d{2},\d{1,4}}}\] {{_sr_level:[A-Z]{1,8}}} {{_sr_src:[\d.]+}} - - \[{{_sr_date:rest}}\] "{{_sr_method:[A-Z]+}} {{_sr_path:/\S+|/}} {{_sr_http_version:HTTP/\d\.\d}}" {{_sr_code:\d{1,3}}} {{_sr_size:digits}} "-" "{{_sr_agent:rest}}" {{_sr_extra_info:rest}}"#,
        &[COMMA_MS, ("time_key", "_sr_time")],
    ),
    template(
        "mult_first",
        r#"Started {{method:words}} "{{path:[^"]+}}" for {{host:words}} at {{time:[^ ]+ [^ ]+ [^ ]+}}"#,
        &[("time_format", "%Y-%m-%d %H:%M:%S %z")],
    ),
    template(
        "mult_1",
        r"Processing by {{controller:[^#]+}}#{{controller_method:words}} as {{format:[^ ]+?}}$",
        &[],
    ),
    template("mult_2", r"(?:  Parameters: {{parameters:words}})?", &[]),
    template(
        "mult_3",
        r"  Rendered {{template:words}} within {{layout:some}} \([\d.]+ms\)",
        &[],
    ),
    template(
        "mult_4",
        r"Completed {{code:words}} [^ ]+ in {{runtime:[\d.]+}}ms \(Views: {{view_runtime:[\d.]+}}ms \| ActiveRecord: {{ar_runtime:[\d.]+}}ms\)",
        &[],
    ),
    openstack("cinder"),
    openstack("glance"),
    openstack("heat"),
    openstack("keystone"),
    openstack("neutron"),
    openstack("nova"),
];
