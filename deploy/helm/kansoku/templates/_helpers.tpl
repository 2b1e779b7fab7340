{{- define "kansoku.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels of an object: (dict "root" $ "component" "agent") */}}
{{- define "kansoku.labels" -}}
{{ include "kansoku.selector" . }}
app.kubernetes.io/part-of: kansoku
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kansoku.selector" -}}
app.kubernetes.io/name: kansoku-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "kansoku.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Host of the aggregator, for the agents. */}}
{{- define "kansoku.host" -}}
{{- if .Values.agent.aggregator.host }}{{ .Values.agent.aggregator.host }}
{{- else if .Values.aggregator.enabled }}{{ include "kansoku.name" . }}-aggregator.{{ .Release.Namespace }}.svc
{{- else }}{{ fail "agent.aggregator.host must name the aggregator when aggregator.enabled is false" }}
{{- end }}
{{- end }}

{{- define "kansoku.port" -}}
{{- if .Values.agent.aggregator.host }}{{ .Values.agent.aggregator.port }}{{ else }}{{ .Values.aggregator.service.port }}{{ end }}
{{- end }}

{{- define "kansoku.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}

{{/* The output of the agents and of the one that tells the state of objects. */}}
{{- define "kansoku.output" -}}
[OUTPUT]
    Name   kansoku
    Match  *
    Host   {{ include "kansoku.host" . }}
    Port   {{ include "kansoku.port" . }}
    {{- with .Values.agent.aggregator.tenantId }}
    tenant_id  {{ . }}
    {{- end }}
{{- end }}
