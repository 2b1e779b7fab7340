//! The parsers of Fluent Bit's `parsers.conf`.

use super::{ACCESS_TIME, BuiltIn, KEEP, RFC3339, SYSLOG_TIME, format, template};

pub(super) const PARSERS: &[BuiltIn] = &[
    template(
        "apache",
        r#"^{{host}} {{:word}} {{user}} \[{{time:bracket}}\] "%REQUEST%" {{code}} {{size}}(?: "{{referer:quoted}}" "{{agent:quoted}}")?$"#,
        &[ACCESS_TIME],
    ),
    template(
        "apache2",
        r#"^{{host}} {{:word}} {{user}} \[{{time:bracket}}\] "{{method:token}}(?: +{{path}} +\S*)?" {{code}} {{size}}(?: "{{referer:quoted}}" "{{agent:rest}}")?$"#,
        &[ACCESS_TIME],
    ),
    template(
        "apache_error",
        r"^\[{{:word}} {{time:bracket}}\] \[{{level:bracket}}\](?: \[pid {{pid:bracket}}\])?(?: \[client {{client:bracket}}\])? {{message:rest}}$",
        &[],
    ),
    template(
        "nginx",
        r#"^{{remote}} {{host}} {{user}} \[{{time:bracket}}\] "%REQUEST%" {{code}} {{size}} "{{referer:quoted}}" "{{agent:quoted}}""#,
        &[ACCESS_TIME],
    ),
    template(
        "k8s-nginx-ingress",
        r#"^{{host}} - {{user}} \[{{time:bracket}}\] "%REQUEST%" {{code}} {{size}} "{{referer:quoted}}" "{{agent:quoted}}" {{request_length}} {{request_time}} \[{{proxy_upstream_name}}\] (?:\[{{proxy_alternative_upstream_name}}\] )?{{upstream_addr}} {{upstream_response_length}} {{upstream_response_time}} {{upstream_status}} {{reg_id}}.*$"#,
        &[ACCESS_TIME],
    ),
    format("json", "json", &[ACCESS_TIME]),
    format("logfmt", "logfmt", &[]),
    format(
        "docker",
        "json",
        &[("time_format", "%Y-%m-%dT%H:%M:%S.%L"), KEEP],
    ),
    template(
        "docker-daemon",
        r#"time="{{time}}" level={{level}} msg="{{msg:[^ ].*}}""#,
        &[("time_format", "%Y-%m-%dT%H:%M:%S.%L"), KEEP],
    ),
    template(
        "syslog-rfc5424",
        r"^<{{pri:[0-9]{1,5}}}>1 {{time:words}} {{host:words}} {{ident:words}} {{pid:[-0-9]+}} {{msgid:words}} {{extradata:(?:-|\[.*?\])}} {{message:some}}$",
        &[RFC3339, KEEP],
    ),
    template(
        "syslog-rfc3164-local",
        r"^<{{pri:digits}}>{{time:stamp}} {{ident:program}}(?:\[{{pid:digits}}\])?(?:[^:]*:)? *{{message:rest}}$",
        &[SYSLOG_TIME, KEEP],
    ),
    template(
        "syslog-rfc3164",
        r"^<{{pri:digits}}>{{time:stamp}} {{host}} {{ident:program}}(?:\[{{pid:digits}}\])?(?:[^:]*:)? *{{message:rest}}$",
        &[SYSLOG_TIME, KEEP],
    ),
    template(
        "mongodb",
        r"^{{time}}\s+{{severity:\w}}\s+{{component:words}}\s+\[{{context:[^\]]+}}\]\s+{{message:.*?}} *{{ms:digits}}?(?::?ms)?$",
        &[("time_format", "%Y-%m-%dT%H:%M:%S.%L"), KEEP],
    ),
    template(
        "envoy",
        r#"^\[{{start_time:bracket}}\] "%REQUEST% {{protocol:token}}" {{code}} {{response_flags}} {{bytes_received}} {{bytes_sent}} {{duration}} {{x_envoy_upstream_service_time}} "{{x_forwarded_for}}" "{{user_agent:quoted}}" "{{request_id:quoted}}" "{{authority}}" "{{upstream_host}}""#,
        &[RFC3339, KEEP, ("time_key", "start_time")],
    ),
    template(
        "istio-envoy-proxy",
        r#"^\[{{start_time:bracket}}\] "%REQUEST% {{protocol:token}}" {{response_code}} {{response_flags}} {{response_code_details}} {{connection_termination_details}} "{{upstream_transport_failure_reason}}" {{bytes_received}} {{bytes_sent}} {{duration}} {{x_envoy_upstream_service_time}} "{{x_forwarded_for}}" "{{user_agent:quoted}}" "{{x_request_id:quoted}}" "{{authority}}" "{{upstream_host}}" {{upstream_cluster}} {{upstream_local_address}} {{downstream_local_address}} {{downstream_remote_address}} {{requested_server_name}} {{route_name}}$"#,
        &[RFC3339, KEEP, ("time_key", "start_time")],
    ),
    template(
        "cri",
        r"^{{time:words}} {{stream:stdout|stderr}} {{logtag}} {{message:rest}}$",
        &[RFC3339, KEEP],
    ),
    template(
        "kube-custom",
        r"{{tag:[^.]+}}?\.?{{pod_name:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*}}_{{namespace_name:[^_]+}}_{{container_name:some}}-{{docker_id:[a-z0-9]{64}}}\.log$",
        &[],
    ),
    template(
        "kmsg-netfilter-log",
        r"^<{{pri:[0-9]{1,5}}}>1 {{time:words}} {{host:words}} kernel - - - \[[0-9.]*\] {{logprefix}}\s?IN={{in}} OUT={{out}} MAC={{macsrc:mac}}:{{macdst:mac}}:{{ethtype:[0-9a-f]{2}:[0-9a-f]{2}}} SRC={{saddr}} DST={{daddr}} LEN={{len}} TOS={{tos}} PREC={{prec}} TTL={{ttl}} ID={{id}} D*F*\s*PROTO={{proto}}\s?(?:SPT=)?{{sport:[0-9]*}}\s?(?:DPT=)?{{dport:[0-9]*}}\s?(?:LEN=)?{{protolen:[0-9]*}}\s?(?:WINDOW=)?{{window:[0-9]*}}\s?(?:RES=)?{{res:0?x?[0-9]*}}\s?{{flag}}\s?(?:URGP=)?{{urgp:[0-9]*}}",
        &[RFC3339],
    ),
];
