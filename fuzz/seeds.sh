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
copied remote_write fixtures/wire/remote_write_*.snappy
copied compressed fixtures/wire/*.snappy fixtures/journal/*.zst
copied prometheus_text fixtures/proc/expected.prom fixtures/cgroup/*/expected.prom
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

mkdir -p "$seeds/kubernetes_event"
printf '%s' '{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"n","uid":"u","resourceVersion":"7","creationTimestamp":"2026-11-21T09:00:00Z"},"lastTimestamp":"2026-11-21T09:00:01Z","reason":"Started","message":"m","count":3,"involvedObject":{"kind":"Pod"}}' > "$seeds/kubernetes_event/event"

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
