{{- define "kansoku.kubeStateConfig" -}}
[SERVICE]
    HTTP_Server  on

[INPUT]
    Name   kube_state_metrics
    Tag    metrics.kube_state
    Scope  cluster
    # The web page shows a pod's labels.
    Metric_Labels_Allowlist  pods=[*]
{{- if .Values.kubeState.events.enabled }}

[INPUT]
    Name  kubernetes_events
    Tag   events.kubernetes
    DB    /var/lib/kansoku/events.db
{{- end }}

{{ include "kansoku.output" . }}
{{- end }}
