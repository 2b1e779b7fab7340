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

{{/* The chart makes certificates and tokens beside the aggregator alone. */}}
{{- define "kansoku.tlsSecret" -}}
{{- if not (or .Values.aggregator.enabled .Values.tls.existingSecret) }}{{ fail "tls.existingSecret must name the secret with the aggregator's ca.crt when aggregator.enabled is false" }}{{ end }}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "kansoku.name" .)) }}
{{- end }}

{{- define "kansoku.authSecret" -}}
{{- if not (or .Values.aggregator.enabled .Values.auth.existingSecret) }}{{ fail "auth.existingSecret must name the secret with the agent-token when aggregator.enabled is false" }}{{ end }}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "kansoku.name" .)) }}
{{- end }}

{{- define "kansoku.scheme" -}}
{{ if .Values.tls.enabled }}https{{ else }}http{{ end }}
{{- end }}

{{/* Where the agents find the token, the authority and their certificate. */}}
{{- define "kansoku.agentSecretMounts" -}}
{{- if .Values.auth.enabled }}
- {name: auth, mountPath: /etc/kansoku-auth, readOnly: true}
{{- end }}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/kansoku-tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "kansoku.agentSecretVolumes" -}}
{{- if .Values.auth.enabled }}
- name: auth
  secret:
    secretName: {{ include "kansoku.authSecret" . }}
    items: [{key: agent-token, path: agent-token}]
{{- end }}
{{- if .Values.tls.enabled }}
- name: tls
  projected:
    sources:
      - secret:
          name: {{ include "kansoku.tlsSecret" . }}
          items: [{key: ca.crt, path: ca.crt}]
      {{- if .Values.tls.clientCertificates.enabled }}
      - secret:
          {{- if .Values.tls.existingSecret }}
          name: {{ required "tls.clientCertificates.existingSecret must name the secret with the agents' tls.crt and tls.key when tls.existingSecret is set" .Values.tls.clientCertificates.existingSecret }}
          items: [{key: tls.crt, path: client.crt}, {key: tls.key, path: client.key}]
          {{- else if .Values.tls.clientCertificates.existingSecret }}
          name: {{ .Values.tls.clientCertificates.existingSecret }}
          items: [{key: tls.crt, path: client.crt}, {key: tls.key, path: client.key}]
          {{- else }}
          name: {{ include "kansoku.tlsSecret" . }}
          items: [{key: client.crt, path: client.crt}, {key: client.key, path: client.key}]
          {{- end }}
      {{- end }}
{{- end }}
{{- end }}

{{/* Grafana replaces variables of its environment: KANSOKU_TOKEN, KANSOKU_CA, and KANSOKU_CLIENT_CERT, KANSOKU_CLIENT_KEY. */}}
{{- define "kansoku.grafanaAccess" -}}
{{- if .Values.tls.enabled }}
tlsAuthWithCACert: true
{{- if .Values.tls.clientCertificates.enabled }}
tlsAuth: true
{{- end }}
{{- end }}
{{- if .Values.auth.enabled }}
httpHeaderName1: Authorization
{{- end }}
{{- end }}

{{- define "kansoku.grafanaSecrets" -}}
{{- if or .Values.tls.enabled .Values.auth.enabled }}
secureJsonData:
  {{- if .Values.tls.enabled }}
  tlsCACert: $KANSOKU_CA
  {{- if .Values.tls.clientCertificates.enabled }}
  tlsClientCert: $KANSOKU_CLIENT_CERT
  tlsClientKey: $KANSOKU_CLIENT_KEY
  {{- end }}
  {{- end }}
  {{- if .Values.auth.enabled }}
  httpHeaderValue1: Bearer $KANSOKU_TOKEN
  {{- end }}
{{- end }}
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
    {{- if .Values.auth.enabled }}
    bearer_token_file  /etc/kansoku-auth/agent-token
    {{- end }}
    {{- if and .Values.tls.clientCertificates.enabled (not .Values.tls.enabled) }}
    {{- fail "tls.clientCertificates.enabled needs tls.enabled" }}
    {{- end }}
    {{- if .Values.tls.enabled }}
    tls          on
    tls.ca_file  /etc/kansoku-tls/ca.crt
    {{- if .Values.tls.clientCertificates.enabled }}
    tls.crt_file  /etc/kansoku-tls/client.crt
    tls.key_file  /etc/kansoku-tls/client.key
    {{- end }}
    {{- end }}
{{- end }}

{{/* The namespaces of aggregator.dashboards.kubernetes, as words; ALL for all. */}}
{{- define "kansoku.dashboardNamespaces" -}}
{{- $names := .Values.aggregator.dashboards.kubernetes.namespaces | default (list .Release.Namespace) | uniq }}
{{- if and (has "ALL" $names) (gt (len $names) 1) }}
{{- fail "ALL in aggregator.dashboards.kubernetes.namespaces means all namespaces; remove the others" }}
{{- end }}
{{- join " " $names }}
{{- end }}

{{/* The aggregator's configuration file: aggregator.config, and what kubernetesRules and dashboards.kubernetes say. Empty when there is nothing. */}}
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
{{- with .Values.aggregator.dashboards.kubernetes }}
{{- if .enabled }}
{{- if $.Values.aggregator.dashboards.sidecar.enabled }}
{{- fail "aggregator.dashboards.kubernetes and .sidecar both read ConfigMaps with the label; enable one of them" }}
{{- end }}
{{- if hasKey $config "kubernetes_dashboards" }}
{{- fail "kubernetes_dashboards stands in aggregator.config and comes of aggregator.dashboards.kubernetes; remove one" }}
{{- end }}
{{- $section := dict "label" .label "label_value" .labelValue "folder_annotation" .folderAnnotation }}
{{- $_ := set $section "namespaces" (include "kansoku.dashboardNamespaces" $ | splitList " ") }}
{{- $_ := set $config "kubernetes_dashboards" $section }}
{{- end }}
{{- end }}
{{- if $config }}{{ toYaml $config }}{{ end }}
{{- end }}
