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
{{- if .Values.agent.ownMetrics.enabled }}

[INPUT]
    Name             fluentbit_metrics
    Tag              metrics.agent
    Scrape_Interval  {{ .Values.agent.ownMetrics.interval }}
    # The web page lists it by this name beside the agent of its node.
    Add_Label        job    kansoku-kube-state
    Add_Label        agent  kube-state
{{- end }}

{{ include "kansoku.output" . }}
{{- end }}
