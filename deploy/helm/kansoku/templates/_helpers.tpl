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

{{/* The aggregator's configuration file: aggregator.config, and what aggregator.kubernetesRules says. Empty when there is nothing. */}}
{{- define "kansoku.aggregatorConfig" -}}
{{- $config := deepCopy .Values.aggregator.config }}
{{- with .Values.aggregator.kubernetesRules }}
{{- if .enabled }}
{{- if and .namespaces .ruleNamespaceSelector }}
{{- fail "aggregator.kubernetesRules.namespaces and ruleNamespaceSelector both choose namespaces; set one of them" }}
{{- end }}
{{- if hasKey $config "kubernetes_rules" }}
{{- fail "kubernetes_rules stands in aggregator.config and comes of aggregator.kubernetesRules; remove one" }}
{{- end }}
{{- $section := dict "rule_selector" .ruleSelector }}
{{- with .ruleNamespaceSelector }}{{ $_ := set $section "rule_namespace_selector" . }}{{ end }}
{{- with .namespaces }}{{ $_ := set $section "namespaces" . }}{{ end }}
{{- with .enforcedNamespaceLabel }}{{ $_ := set $section "enforced_namespace_label" . }}{{ end }}
{{- with .tenant }}{{ $_ := set $section "tenant" . }}{{ end }}
{{- $_ := set $config "kubernetes_rules" $section }}
{{- end }}
{{- end }}
{{- if $config }}{{ toYaml $config }}{{ end }}
{{- end }}
