#!/usr/bin/env bash
# The chart under Helm: every set of values renders what is wanted, wrong values are refused by name, and the manifests of
# kustomize say the same. With a cluster (KUBECONFIG) its API server takes every rendered object, too (a dry run).
# Needs helm 3.8 or later (HELM names it), kubectl, jq and promtool.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=${HELM:-helm} chart=deploy/helm/kansoku
for program in "$helm" kubectl jq promtool; do
  command -v "$program" >/dev/null || { echo "run.sh: $program is missing" >&2; exit 1; }
done
work=$(mktemp -d) namespace=kansoku-dry-run
trap 'rm -rf "$work"; [ -z "${KUBECONFIG:-}" ] || kubectl delete namespace $namespace --wait=false >/dev/null' EXIT
[ -z "${KUBECONFIG:-}" ] || kubectl create namespace $namespace >/dev/null
n_failed=0 n_cases=0
failed() {
  echo "FAILED: $*" >&2
  n_failed=$((n_failed + 1))
}
# The API server's word on what lies in a file; a kind or another namespace that it does not have is no mistake of the manifests.
dry_run() {
  [ -n "${KUBECONFIG:-}" ] || return 0
  sed -E "s/^( *namespace: )kansoku$/\1$namespace/" "$1" >"$work/dry-run.yaml"
  kubectl apply --dry-run=server -f "$work/dry-run.yaml" 2>&1 >/dev/null | grep -v -e 'namespaces "[a-z-]*" not found' -e 'ensure CRDs are installed first' -e 'no matches for kind' -e '^Warning: ' || true
}

# renders NAME VALUES WORDS...: with these values each of the words is in the manifests, and with "!" before it is not.
renders() {
  local name=$1 values=$2 word wrong
  n_cases=$((n_cases + 1))
  if ! "$helm" template kansoku "$chart" -n kansoku -f <(echo "$values") >"$work/out.yaml" 2>"$work/error"; then
    failed "$name: $(cat "$work/error")"
    return
  fi
  for word in "${@:3}"; do
    if [ "${word#!}" != "$word" ]; then
      ! grep -qF -- "${word#!}" "$work/out.yaml" || failed "$name: '${word#!}' is there"
    else
      grep -qF -- "$word" "$work/out.yaml" || failed "$name: '$word' is missing"
    fi
  done
  "$helm" lint --strict "$chart" -f <(echo "$values") >"$work/lint" 2>&1 || failed "$name: $(cat "$work/lint")"
  wrong=$(dry_run "$work/out.yaml")
  [ -z "$wrong" ] || failed "$name: $wrong"
}
# refuses VALUES WORDS: Helm does not take these values, and says why.
refuses() {
  n_cases=$((n_cases + 1))
  if "$helm" template kansoku "$chart" -f <(echo "$1") >/dev/null 2>"$work/error"; then
    failed "taken: $1"
  elif ! grep -qF -- "$2" "$work/error"; then
    failed "$1: '$2' is not in: $(cat "$work/error")"
  fi
}

renders defaults '{}' 'kind: DaemonSet' 'kind: StatefulSet' 'kind: Deployment' kubernetes_events 'resources: [events]' '!kind: Ingress' \
  '!kind: NetworkPolicy' '!monitoring.coreos.com' '!--access.file' 'automountServiceAccountToken: false'
renders tls '{tls: {enabled: true, names: [k.example.org]}}' 'tls.crt: ' 'scheme: HTTPS' '--web.config.file' 'tls.ca_file' \
  'prometheus.io/scheme: https' '!client_ca_file'
renders 'own certificates' '{tls: {enabled: true, existingSecret: mine}}' 'name: mine' '!kind: Secret'
renders 'client certificates' '{tls: {enabled: true, clientCertificates: {enabled: true}}}' RequireAndVerifyClientCert 'tls.crt_file' \
  'tcpSocket: {port: http}' 'client.key: '
renders tokens '{auth: {enabled: true}}' 'access.yaml: ' 'agent-token: ' '--access.file' bearer_token_file
renders 'own tokens' '{auth: {enabled: true, existingSecret: mine}}' 'secretName: mine' '!kind: Secret'
renders 'everything at once' '{tls: {enabled: true, clientCertificates: {enabled: true}}, auth: {enabled: true}, serviceMonitor: {enabled: true},
  prometheusRule: {enabled: true}, grafana: {datasources: {enabled: true}}, aggregator: {kubernetesRules: {enabled: true},
  dashboards: {configMaps: [a, b], sidecar: {enabled: true}}, podDisruptionBudget: {enabled: true},
  ingress: {enabled: true, className: nginx, hosts: [{host: k.example.org}], tls: [{hosts: [k.example.org], secretName: k}]},
  networkPolicy: {enabled: true, nodeCidrs: [10.0.0.0/16], from: [{namespaceSelector: {matchLabels: {name: grafana}}}]}},
  agent: {scrapeAnnotated: {enabled: true}}}' 'kind: ServiceMonitor' 'kind: PodMonitor' 'kind: PrometheusRule' 'key: viewer-token' \
  'secure' 'kind: PodDisruptionBudget' 'kind: NetworkPolicy' 'host: "k.example.org"' 'cidr: "10.0.0.0/16"' 'kubernetes_pods  annotated'
renders dashboards '{aggregator: {dashboards: {configMaps: [a, b]}}}' '--dashboards.path=/dashboards' 'mountPath: /dashboards/a' \
  'mountPath: /dashboards/b' 'configMap: {name: b}' '!k8s-sidecar'
renders sidecar '{aggregator: {dashboards: {sidecar: {enabled: true}}}}' k8s-sidecar 'automountServiceAccountToken: true' \
  'mountPath: /dashboards/cluster' 'kind: ClusterRole' 'value: ALL'
renders 'sidecar of one namespace' '{aggregator: {dashboards: {configMaps: [a], sidecar: {enabled: true, allNamespaces: false, label: board}}}}' \
  'name: kansoku-aggregator-dashboards' 'kind: RoleBinding' 'value: "board"' 'value: kansoku}' '!value: ALL'
renders 'dashboards by the API' '{aggregator: {dashboards: {kubernetes: {enabled: true}}}}' 'kubernetes_dashboards:' 'label_value: "1"' '- kansoku' \
  'kind: Role' 'name: kansoku-aggregator-dashboards' '{apiGroups: [""], resources: [configmaps], verbs: [list, watch]}' \
  'automountServiceAccountToken: true' '!--dashboards.path' '!k8s-sidecar'
renders 'dashboards of all namespaces' '{aggregator: {dashboards: {kubernetes: {enabled: true, namespaces: [ALL], label: board, labelValue: ""}}}}' \
  '- ALL' 'kind: ClusterRoleBinding' 'label: board' 'label_value: ""'
renders 'dashboards of two namespaces' '{aggregator: {dashboards: {kubernetes: {enabled: true, namespaces: [a, b]}}}}' 'namespace: a' 'namespace: b'
renders 'rules of objects' '{aggregator: {kubernetesRules: {enabled: true, ruleSelector: {matchLabels: {a: b}}, ruleNamespaceSelector: {matchLabels: {c: d}}}}}' \
  'kubernetes_rules:' 'prometheusrules' 'rule_namespace_selector' '- namespaces' '--config.file'
renders 'rules of namespaces' '{aggregator: {kubernetesRules: {enabled: true, namespaces: [a, b], enforcedNamespaceLabel: ns, tenant: t}}}' \
  'namespace: a' 'namespace: b' 'kind: Role' 'enforced_namespace_label: ns' 'tenant: t'
renders alertmanagers '{aggregator: {alertmanagerNamespaces: [monitoring], config: {alerting: {alertmanagers: [{kubernetes_sd_configs: [{role: endpoints}]}]}}}}' \
  'name: kansoku-aggregator-discovery' 'namespace: monitoring' 'automountServiceAccountToken: true' 'role: endpoints'
renders retention '{aggregator: {retention: {time: 30d, size: 85GiB}, memoryLimit: 1GiB, persistence: {size: 100Gi, storageClass: fast}, extraArgs: [--tenants.enabled]},
  agent: {aggregator: {tenantId: team-a}}}' '--storage.retention.time=30d' '--storage.retention.size=85GiB' 'storage: 100Gi' 'storageClassName: "fast"' \
  '"--tenants.enabled"' 'tenant_id  team-a'
renders 'no volume' '{aggregator: {persistence: {enabled: false}}}' 'emptyDir: {}' '!volumeClaimTemplates'
renders 'agents alone' '{aggregator: {enabled: false}, agent: {aggregator: {host: far.example.org, port: 443}}, tls: {enabled: true, existingSecret: a},
  auth: {enabled: true, existingSecret: b}}' '!kind: StatefulSet' 'Host   far.example.org' 'Port   443'
renders 'aggregator alone' '{agent: {enabled: false}, kubeState: {enabled: false}}' '!kind: DaemonSet' '!kind: Deployment'
renders 'environment' '{aggregator: {extraEnv: [{name: A, value: b}]}}' 'name: A'
renders 'no events' '{kubeState: {events: {enabled: false}}}' '!kubernetes_events' '!events.db' '!resources: [events]'
renders 'metrics alone' '{agent: {logs: {enabled: false}}}' '!multiline.parser' '!Name                 kubernetes' container_metrics
renders 'further inputs' '{agent: {extraConfig: "[INPUT]\n    Name systemd\n    Tag host.*\n"}}' 'Name systemd'
renders "Grafana's dashboards" '{grafana: {dashboards: {enabled: true, label: board, labelValue: "yes", namespace: grafana, folder: ours}}}' \
  'name: kansoku-grafana-dashboards' 'namespace: grafana' 'board: "yes"' 'grafana_folder: "ours"' 'kansoku-pod.json: |'
n_cases=$((n_cases + 1))
json=$(sed -n '/^  kansoku-node.json: |/,/^  kansoku-pod.json: |/p' "$work/out.yaml" | sed '1d;$d')
[ "$(jq -r .uid <<<"$json")" = kansoku-node ] || failed "Grafana's dashboards: no JSON in the ConfigMap"
for uid in $(jq -r '.. | .datasource? | .uid? // empty' deploy/helm/kansoku/dashboards/*.json | sort -u); do
  n_cases=$((n_cases + 1))
  grep -qxF "    uid: $uid" deploy/grafana/datasources.yaml || failed "deploy/grafana/datasources.yaml: uid $uid is missing"
done
renders 'a configuration of its own' '{agent: {configOverride: "[SERVICE]\n    Flush 2\n"}}' 'Flush 2' '!multiline.parser'

refuses '{aggregator: {retentoin: {time: 1d}}}' 'Additional property retentoin is not allowed'
refuses '{aggregator: {retention: {time: a week}}}' aggregator.retention.time
refuses '{aggregator: {retention: {size: much}}}' aggregator.retention.size
refuses '{aggregator: {memoryLimit: lots}}' aggregator.memoryLimit
refuses '{aggregator: {extraArgs: [tenants.enabled]}}' aggregator.extraArgs
refuses '{aggregator: {service: {type: Public}}}' aggregator.service.type
refuses '{aggregator: {service: {port: 70000}}}' aggregator.service.port
refuses '{aggregator: {dashboards: {kubernetes: {enabled: true, namespaces: [ALL, a]}}}}' 'remove the others'
refuses '{aggregator: {dashboards: {kubernetes: {enabled: true}, sidecar: {enabled: true}}}}' 'enable one of them'
refuses '{aggregator: {config: {kubernetes_dashboards: {}}, dashboards: {kubernetes: {enabled: true}}}}' 'remove one'
refuses '{image: {pullPolicy: Sometimes}}' image.pullPolicy
refuses '{agent: {logLevel: loud}}' agent.logLevel
refuses '{agent: {nodeMetrics: {interval: 0}}}' agent.nodeMetrics.interval
refuses '{tls: {enabled: "yes"}}' tls.enabled
refuses '{aggregator: {enabled: false}}' 'agent.aggregator.host must name the aggregator'
refuses '{grafana: {dashboards: {uid: a}}}' 'Additional property uid is not allowed'
refuses '{aggregator: {networkPolicy: {enabled: true}}}' 'networkPolicy.nodeCidrs must hold the addresses'
refuses '{aggregator: {networkPolicy: {enabled: true, nodeCidrs: [10.0.0.1]}}}' nodeCidrs
refuses '{aggregator: {kubernetesRules: {enabled: true, namespaces: [a], ruleNamespaceSelector: {matchLabels: {a: b}}}}}' 'both choose namespaces'
refuses '{aggregator: {kubernetesRules: {enabled: true}, config: {kubernetes_rules: {}}}}' 'remove one'
refuses '{tls: {enabled: true, existingSecret: a, clientCertificates: {enabled: true}}}' 'tls.clientCertificates.existingSecret must name'
refuses '{tls: {clientCertificates: {enabled: true}}}' 'tls.enabled'
refuses '{aggregator: {enabled: false}, agent: {aggregator: {host: a}}, auth: {enabled: true}}' 'auth.existingSecret must name'
refuses '{aggregator: {enabled: false}, agent: {aggregator: {host: a}}, tls: {enabled: true}}' 'tls.existingSecret must name'

# The manifests, plain and with deploy/secured. A kustomization may not lie below what it takes up.
kubectl kustomize . >"$work/plain.yaml"
mkdir "$work/mine"
printf 'resources: [%s]\ncomponents: [%s/deploy/secured]\n' "$(realpath --relative-to="$work/mine" .)" \
  "$(realpath --relative-to="$work/mine" .)" >"$work/mine/kustomization.yaml"
kubectl kustomize "$work/mine" >"$work/secured.yaml"
deploy/secured/secrets.sh kansoku k.example.org >"$work/secrets.yaml"
for word in bearer_token_file --access.file --web.config.file 'scheme: HTTPS' 'mountPath: /etc/kansoku-tls'; do
  n_cases=$((n_cases + 1))
  grep -qF -- "$word" "$work/secured.yaml" || failed "deploy/secured: '$word' is missing"
  ! grep -qF -- "$word" "$work/plain.yaml" || failed "kustomization.yaml: '$word' is there"
done
# The scrape configuration for those who keep Prometheus; Debian's promtool knows no kubernetes_sd_configs.
n_cases=$((n_cases + 1))
sed 's/kubernetes_sd_configs: .*/static_configs: [{targets: [a]}]/' deploy/prometheus/scrape.yaml >"$work/scrape.yaml"
wrong=$(promtool check config "$work/scrape.yaml" 2>&1) || failed "deploy/prometheus/scrape.yaml: $wrong"
for name in $(sed -n 's/.*regex: \(kansoku-[a-z-]*\);http.*/\1/p' deploy/prometheus/scrape.yaml | sort -u); do
  n_cases=$((n_cases + 1))
  grep -qF "app.kubernetes.io/name: $name" "$work/plain.yaml" || failed "deploy/prometheus/scrape.yaml: no pod has the name $name"
done
for file in plain secured secrets; do
  n_cases=$((n_cases + 1))
  wrong=$(dry_run "$work/$file.yaml")
  [ -z "$wrong" ] || failed "$file: $wrong"
done

echo "$n_cases cases, $n_failed failed"
[ "$n_failed" = 0 ]
