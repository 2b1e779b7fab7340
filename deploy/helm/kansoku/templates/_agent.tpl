{{/* The agents' configuration. */}}
{{- define "kansoku.agentConfig" -}}
{{- $a := .Values.agent }}
{{- if $a.configOverride }}{{ $a.configOverride }}{{ else -}}
[SERVICE]
    Flush         {{ $a.flush }}
    Grace         5
    Log_Level     {{ $a.logLevel }}
    HTTP_Server   on
    HTTP_Listen   0.0.0.0
    HTTP_Port     {{ $a.httpPort }}
    Health_Check  on
    # Metrics exist nowhere else: while the aggregator is away they are kept here. Log files are their own buffer.
    storage.path  /var/lib/kansoku/storage
{{- if $a.logs.enabled }}

[INPUT]
    Name               tail
    Tag                kube.*
    Path               {{ $a.logs.path }}
    Exclude_Path       {{ prepend $a.logs.excludePaths (printf "/var/log/containers/*_%s_*.log" .Release.Namespace) | join "," }}
    DB                 /var/lib/kansoku/tail.db
    multiline.parser   docker, cri
    Read_from_Head     on
    Mem_Buf_Limit      {{ $a.logs.memBufLimit }}
{{- end }}
{{- if $a.nodeMetrics.enabled }}

[INPUT]
    Name             node_exporter_metrics
    Tag              metrics.node
    storage.type     filesystem
    Scrape_Interval  {{ $a.nodeMetrics.interval }}
    path.procfs      /host/proc
    path.sysfs       /host/sys
    path.rootfs      /host/root
{{- end }}
{{- if $a.containerMetrics.enabled }}

[INPUT]
    Name             container_metrics
    Tag              metrics.containers
    storage.type     filesystem
    Scrape_Interval  {{ $a.containerMetrics.interval }}
    path.procfs      /host/proc
    path.cgroup      /host/sys/fs/cgroup
{{- end }}
{{- if $a.ownMetrics.enabled }}

[INPUT]
    Name             fluentbit_metrics
    Tag              metrics.agent
    storage.type     filesystem
    Scrape_Interval  {{ $a.ownMetrics.interval }}
{{- end }}
{{- if $a.scrapeAnnotated.enabled }}

[INPUT]
    Name             prometheus_scrape
    Tag              metrics.pods
    kubernetes_pods  annotated
    storage.type     filesystem
    Scrape_Interval  {{ $a.scrapeAnnotated.interval }}
{{- end }}
{{- if $a.logs.enabled }}

[FILTER]
    Name                 kubernetes
    Match                kube.*
    Merge_Log            off
    Keep_Log             on
    {{- if $a.logs.podAnnotations }}
    K8S-Logging.Parser   on
    K8S-Logging.Exclude  on
    {{- end }}
{{- end }}
{{- with $a.extraConfig }}

{{ . | trim }}
{{- end }}

{{ include "kansoku.output" . }}
    storage.total_limit_size  {{ $a.storageLimit }}
{{- end }}
{{- end }}
