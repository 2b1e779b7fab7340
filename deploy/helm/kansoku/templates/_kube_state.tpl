{{- define "kansoku.kubeStateConfig" -}}
[SERVICE]
    HTTP_Server  on

[INPUT]
    Name   kube_state_metrics
    Tag    metrics.kube_state
    Scope  cluster

{{ include "kansoku.output" . }}
{{- end }}
