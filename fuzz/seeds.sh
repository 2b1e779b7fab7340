#!/usr/bin/env bash
# Makes the first inputs of the fuzz targets from fixtures/, in fuzz/corpus/seeds/TARGET: each in the
# form that the target's first lines describe. Made anew at every run; never written to by the fuzzer.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=fuzz/corpus/seeds
rm -rf "$seeds"

# Copies files as they are: copied TARGET FILE...
copied() {
  mkdir -p "$seeds/$1"
  cp --backup=numbered "${@:2}" "$seeds/$1/"
}

# Writes each file behind each prefix, which printf reads: behind TARGET PREFIXES FILE...
behind() {
  mkdir -p "$seeds/$1"
  local prefix file n=0
  for prefix in $2; do
    for file in "${@:3}"; do
      n=$((n + 1))
      # shellcheck disable=SC2059 # the prefix is a format on purpose
      { printf "$prefix"; cat "$file"; } > "$seeds/$1/$n.$(basename "$file")"
    done
  done
}

# The configurations in files of cases, one file each: cases TARGET FILE...
cases() {
  mkdir -p "$seeds/$1"
  awk -v out="$seeds/$1" '
    /^##### / { n++; path = out "/" n "." (FILENAME ~ /yaml/ ? "yaml" : "conf"); next }
    /^=== expected/ { path = ""; next }
    path { print > path }' "${@:2}"
}

# A filter with its records, one file each: filter_cases FILE...
filter_cases() {
  mkdir -p "$seeds/filters"
  awk -v out="$seeds/filters" '
    /^=== / { n++; path = out "/" n; next }
    /^--- in/ { print "" > path; next }
    /^--- / { path = ""; next }
    /^\[/ { next }
    path { print > path }' "$@"
}

logs=(fixtures/parsers/*.log fixtures/multiline/*.log)
for target in config_classic config_yaml agent_config; do
  cases "$target" fixtures/config/*.case
done
for target in line_parsers cri_line kmsg multiline lua_records stdin_line; do
  copied "$target" "${logs[@]}"
done
printf '6,339,5140900,-,caller=T1;NET: Registered\n SUBSYSTEM=pci\n' > "$seeds/kmsg/record"
copied kernel fixtures/proc/{stat,meminfo,diskstats,loadavg,net/dev,1/mountinfo} fixtures/udev/*
copied loki_push fixtures/wire/loki_push.snappy
copied remote_read fixtures/wire/remote_read_request.snappy
copied remote_write fixtures/wire/remote_write_*.snappy
copied compressed fixtures/wire/*.snappy fixtures/journal/*.zst
copied prometheus_text fixtures/proc/expected.prom fixtures/cgroup/*/expected.prom
copied config_fluentd fixtures/fluentd/*/*.conf fixtures/fluentd/daemonset/kubernetes/*.conf
copied record_accessor fixtures/parsers/json.log
filter_cases fixtures/filters/*.cases
behind config_files '\000 \001 \004 \005' "$seeds"/config_classic/*.conf "$seeds"/config_yaml/*.yaml
behind kubernetes_filter '\n' "${logs[@]}"
behind http_input '\000 \002' fixtures/parsers/*.json
behind stream_inputs '\000\007\000 \001\003\000 \004\005\000 \005\002\001' \
  fixtures/parsers/syslog*.log fixtures/parsers/json.log
behind tail_lines '\000\001\100 \001\002\040 \002\001\020 \003\002\177 \004\003\100 \005\001\020 \006\002\040 \007\001\040 \013\003\020' \
  fixtures/parsers/{cri,docker,json,apache_error}.log fixtures/multiline/*.log
behind pods '{"items":[' fixtures/kubernetes/pod.json
for pod in "$seeds"/pods/*; do printf ']}' >> "$pod"; done
mkdir -p "$seeds/periodic"
for _ in 1 2; do
  for file in stat meminfo diskstats net/dev; do
    head -c 400 "fixtures/proc/$file"
    printf '\036'
  done
  printf '7 (crond) S 1 1 1 0 -1 1 1 1 1 1 5 6 7 8 20 0 1 0 1\036VmRSS:\t 10 kB\n'
done > "$seeds/periodic/all"

# The whole list, and every object of it as an event.
mkdir -p "$seeds/kube_state"
cp fixtures/kube_state/objects.json "$seeds/kube_state/"
n=0
grep '^{"apiVersion": "[^"]*", "kind": "[^L]' fixtures/kube_state/objects.json | while IFS= read -r object; do
  n=$((n + 1))
  printf '{"type":"ADDED","object":%s}' "${object%,}" > "$seeds/kube_state/$n"
done
printf '*/15 2-4 1,15 * sun' > "$seeds/kube_state/schedule"
printf '1.5Gi' > "$seeds/kube_state/quantity"
printf 'pods=[app,team*],nodes=[*]' > "$seeds/kube_state/keys"

mkdir -p "$seeds/kubernetes_event"
printf '%s' '{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"n","uid":"u","resourceVersion":"7","creationTimestamp":"2026-11-21T09:00:00Z"},"lastTimestamp":"2026-11-21T09:00:01Z","reason":"Started","message":"m","count":3,"involvedObject":{"kind":"Pod"}}' > "$seeds/kubernetes_event/event"

# A line each is a seed; printf reads it: lines TARGET
lines() {
  mkdir -p "$seeds/$1"
  local line n=0
  while IFS= read -r line; do
    n=$((n + 1))
    # shellcheck disable=SC2059 # the line is a format on purpose
    printf "$line" > "$seeds/$1/$n"
  done
}

behind exec_output '\001 \100' "${logs[@]}"
copied tls_files fixtures/tls/*.pem
cat fixtures/tls/*.pem > "$seeds/tls_files/two"
{ cat fixtures/tls/self-signed.pem; printf '\036'; cat fixtures/tls/jwt.key; } > "$seeds/tls_files/pair"
sed 's/CERTIFICATE/PRIVATE KEY/; 1s/^/\x1e/' fixtures/tls/other.pem > "$seeds/tls_files/key"
behind kubernetes_watch '{"type":"ADDED","object":' fixtures/kubernetes/pod.json
for pod in "$seeds"/kubernetes_watch/*; do
  tr -d '\n' < "$pod" > "$pod.line"
  printf '}\n{"type":"DELETED","object":{"metadata":{"uid":"u","name":"n","namespace":"s"}}}\n' >> "$pod.line"
  rm "$pod"
done
copied certificate fixtures/certificates/*
copied probe_config fixtures/blackbox/blackbox.yml fixtures/relabel/cases.yaml
# A name and its address, and one that is not there.
lines dns_answer <<'ANSWERS'
\000\007\201\200\000\001\000\001\000\000\000\000\001a\002bc\000\000\001\000\001\300\014\000\001\000\001\000\000\000\074\000\004\177\000\000\001
\000\007\201\203\000\001\000\000\000\000\000\000\001a\002bc\000\000\001\000\001
a.example.com
ANSWERS
# A gauge of 1.
lines prometheus_protobuf <<'PAGES'
\022\012\001m\030\001\042\013\022\011\011\000\000\000\000\000\000\360\077
PAGES
lines statsd <<'DATAGRAMS'
a.b:2|c|@0.1|#t:1,u:2\nbad\ng:-3.5|g\ng:7|g\nt:320|ms|@0.5\nu:765|s\nn:x|c\n
g:+3|g|#x:y\nu:5|s\nt:1e3|ms
DATAGRAMS
lines elasticsearch_input <<'BODIES'
{"index":{"_index":"i"}}\n{"log":"x","app":"a"}\n{"create":{}}\n{"log":"y"}\n{"delete":{"_id":"1"}}\n{"update":{"_id":"1"}}\n{"doc":{}}\n{"other":{}}\n
BODIES
lines grpc_request <<'REQUESTS'
\000\000\000\000\000\002ab
\001\001\000\000\000\003abc
REQUESTS
# A sandbox of a pod, its image, a container with its image, and its size.
lines runtime_answers <<'ANSWERS'
\012\033\012\002s1\022\025\012\005web-1\022\005uid-1\032\004shop\377\022\032\012\004info\022\022{"image":"pause:3"}\377\012\043\012\002c1\022\002s1\032\005\012\003web\042\022\012\004sha2\222\001\011shop/web:\377\012\017\012\004\012\002c1\042\007\032\005\010\200\200\200\001
ANSWERS
lines bearer_token <<'TOKENS'
{"keys":[{"kty":"RSA","use":"sig","kid":"k","n":"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq","e":"AQAB"},{"kty":"EC","kid":"e"}]}\036{"alg":"RS256","kid":"k","typ":"JWT"}\036{"exp":1e9,"nbf":5,"iss":"i","aud":["a"],"azp":"c"}\036sig
TOKENS
lines proxy_answer <<'ANSWERS'
HTTP/1.1 200 Connection established\r\n\r\nrest
HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n
ANSWERS
lines checklist <<'LISTS'
\000# comment\n10.0.0.1\r\nBad (x)\n\n10.0.0.1\nbad (x)\n# comment
\003# comment\n10.0.0.1\r\nBad (x)\n\nfrom 10.0.0.12\nso BAD (x)!\n
LISTS
lines ec2_metadata <<'SERVICE'
\000token\036eu-west-1a\036i-1\036m5.large\03610.0.0.1\0360e:00\036vpc-1\036ami-1\036{"accountId":"1"}\036host\036Name\nOwner\036web\036me
\001!HTTP/1.0 404 Not Found\r\n\r\n\036!HTTP/1.1 200\r\n\r\n\036!no answer
SERVICE
# One network: 1.0.0.0/8 is in XX.
mkdir -p "$seeds/geoip2"
{
  for depth in 1 2 3 4 5 6 7; do printf "\\000\\000\\00$depth\\000\\000\\010"; done
  printf '\000\000\010\000\000\030\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000'
  printf '\342Gcountry\341Hiso_codeBXXCasn\301\007\253\315\357MaxMind.com\351Jnode_count\301\010Krecord_size\241\030'
  printf 'Jip_version\241\004[binary_format_major_version\241\002[binary_format_minor_version\241\000Mdatabase_typeDTest'
  printf 'Kbuild_epoch\001\002\001Ilanguages\000\004Kdescription\340'
} > "$seeds/geoip2/network"
lines sql_query <<'QUERIES'
SELECT * FROM STREAM;\n\n{"a":1}
SELECT a AS b, c.d FROM STREAM:x WHERE a > 1 AND NOT c = "x";\n\n{"a":2,"c":{"d":1}}
a = 1 OR (b IS NULL AND @record.contains(a))\n\n{"a":1}\n{"b":"x"}\n{"a":2.5,"b":true}
a >= -1.5 AND b = "t" OR c IS NOT NULL\n\n{"a":1,"b":"t"}\n{"c":1}
QUERIES
lines route_conditions <<'ROUTES'
logs:\n  - name: e\n    condition:\n      op: or\n      rules:\n        - field: "$level"\n          op: eq\n          value: error\n        - field: "$n"\n          op: gt\n          value: 1\n    to:\n      outputs: [a]\n  - name: d\n    condition:\n      default: true\n    to: [b, {name: z, fallback: c}]\n\n{"level":"error","n":1}\n{"n":2}\n{"n":0}
any:\n  - name: r\n    condition:\n      rules:\n        - field: "$x['y']"\n          op: regex\n          value: "^(?!a)"\n          context: body\n        - {field: $n, op: not_in, value: [1, x]}\n    to: c\n\n{"x":{"y":"b"},"n":2}
ROUTES
mkdir -p "$seeds/rules"
{
  printf '\000'
  cat deploy/helm/kansoku/rules/kansoku.yaml
} > "$seeds/rules/chart"
printf '\001groups:\n- name: g\n  rules:\n  - {record: a, expr: "sum(rate({app=\\"x\\"} | json [5m]))"}\n' > "$seeds/rules/logql"
printf '\002{"groups":[{"name":"g","limit":1,"rules":[{"alert":"A","expr":"up","labels":{"a":"{{ .Value }}"}}]}]}' > "$seeds/rules/object"
{
  printf '\003groups:\n- name: g\n  rules:\n  - {record: b, expr: sum(a)}\n  - alert: A\n    expr: b > 1\n    for: 1m\n'
  printf '    annotations:\n      x: '"'"'{{ range query "a" }}{{ .Labels.c | title }} {{ .Value | humanize }}{{ end }}{{ $value | humanizeTimestamp }}{{ reReplaceAll "a" "b" $labels.c }}'"'"'\n\000'
  printf 'tests:\n- interval: 1m\n  input_series: [{series: "a{c=\\"d\\"}", values: 1+1x9}]\n  alert_rule_test:\n  - {eval_time: 5m, alertname: A, exp_alerts: [{exp_labels: {a: b}}]}\n'
  printf '  promql_expr_test: [{expr: b, eval_time: 3m, exp_samples: [{labels: b, value: 4}]}]\n'
} > "$seeds/rules/tests"
mkdir -p "$seeds/agent_api"
for path in / /metrics /api/v1/health /api/v1/metrics /api/v1/plugins /api/v1/storage /api/v2/metrics /api/v2/metrics/prometheus /nope; do
  printf 'GET %s HTTP/1.1\r\nHost: n\r\nAccept-Encoding: gzip\r\n\r\n' "$path" > "$seeds/agent_api/${path//\//_}"
done
printf 'POST /api/v2/reload HTTP/1.1\r\nHost: n\r\nContent-Length: 2\r\n\r\n{}' > "$seeds/agent_api/reload"
printf 'PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHEAD /api/v1/uptime HTTP/1.0\r\n\r\n' > "$seeds/agent_api/two"

# Answers: the output, then for each answer its status, its header and its body.
mkdir -p "$seeds/destination_answers"
n=0
while IFS= read -r answer; do
  n=$((n + 1))
  # shellcheck disable=SC2059 # the line is a format on purpose
  printf "$answer" > "$seeds/destination_answers/$n"
done <<'ANSWERS'
\000\000\377{"took":1,"errors":true,"items":[{"create":{"status":201}},{"create":{"status":429,"error":{"type":"busy"}}},{"create":{"status":409}},{"create":{"status":400,"error":{"type":"mapper"}}}]}
\001\000\377{"errors":true,"items":[{"update":{"status":404}},{"update":{"status":200}},{"update":{"status":503}},{"update":{"status":200}}]}
\002\014\377too large
\003\006\377{"__type":"ResourceNotFoundException"}\036\000\377{}\036\000\377{}\036\000\377{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":1,"tooNewLogEventStartIndex":3}}
\004\000\377{"FailedRecordCount":1,"Records":[{},{"ErrorCode":"E","ErrorMessage":"m"},{},{}]}
\005\000\377{"FailedPutCount":1,"RequestResponses":[{},{"ErrorCode":"E"},{},{}]}
\006\015\00030
\007\017\000Fri, 31 Dec 2027 23:59:59 GMT
\011\000\377{"access_token":"t","token_type":"bearer","expires_in":1}\036\000\377ok
\012\000\0028
\013\006\377out of order
\377\000\377<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>\036\000\005"e"\036\000\005"f"\036\000\377<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>
ANSWERS
