#!/usr/bin/env bash
# The chart on a real cluster, from its installation to the alert that arrives: each step is checked, times are told.
#   IMAGE=ghcr.io/kansoku/kansoku:0.1.0 BUSYBOX=busybox:1.37 KANSOKU=target/debug/kansoku tests/cluster/run.sh
# Needs helm 3.8 or later (HELM), kubectl and its KUBECONFIG with all rights, jq, and the command line kansoku (KANSOKU). The
# namespaces kansoku, shop and monitoring are taken, and stay. More, when it is set:
#   API=ADDRESS:PORT          of the API server, for a cluster whose services and names lead nowhere; pods are named by addresses then
#   ALERTMANAGER=ADDRESS:PORT one that pods reach, for the test of alerts
#   PULL=Never                imagePullPolicy of both images
# This machine has to reach the pods' addresses.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
helm=${HELM:-helm} image=${IMAGE:?} busybox=${BUSYBOX:?} kansoku=${KANSOKU:?} pull=${PULL:-IfNotPresent}
for program in "$helm" kubectl jq curl "$kansoku"; do
  command -v "$program" >/dev/null || { echo "run.sh: $program is missing" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
now_ms() { date +%s%3N; }
say() { printf '%-58s %s\n' "$1" "${2:-ok}"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
# until_true SECONDS WHAT COMMAND...: asks again until the command succeeds.
until_true() {
  local deadline=$(($(date +%s) + $1)) what=$2
  shift 2
  until "$@" >"$work/last" 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || fail "$what: $(tail -5 "$work/last")"
    sleep 0.2
  done
}

# --- The installation ---
sets=(--set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --set "image.pullPolicy=$pull")
if [ -n "${API:-}" ]; then
  for part in aggregator agent kubeState; do
    sets+=(--set "$part.extraEnv[0].name=KUBERNETES_SERVICE_HOST" --set-string "$part.extraEnv[0].value=${API%:*}"
      --set "$part.extraEnv[1].name=KUBERNETES_SERVICE_PORT" --set-string "$part.extraEnv[1].value=${API##*:}")
  done
fi
kubectl apply -f "$here/prometheusrule-crd.yaml" >/dev/null
until_true 60 'custom objects are not served' kubectl get prometheusrules -A
for name in kansoku monitoring shop; do kubectl create namespace $name --dry-run=client -o yaml | kubectl apply -f - >/dev/null 2>&1; done
kubectl -n kansoku create configmap kansoku-boards --from-file="$here/board.json" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
# The objects of these kinds (1), or all others (0).
parts() { awk -v kinds="$1" -v wanted="$2" 'BEGIN { RS = "---\n"; ORS = "---\n" } ($0 ~ "\nkind: (" kinds ")\n") == wanted' "$work/chart.yaml"; }
# Certificates and tokens of a release that is there already stay, as Helm itself would find them.
"$helm" template kansoku "$here/../../deploy/helm/kansoku" -n kansoku -f "$here/values.yaml" "${sets[@]}" >"$work/chart.yaml"
if kubectl -n kansoku get secret kansoku-auth kansoku-tls >/dev/null 2>&1; then
  parts Secret 0 >"$work/without" && mv "$work/without" "$work/chart.yaml"
fi
: >"$work/agents.yaml"
if [ -n "${API:-}" ]; then
  # The agents come when the aggregator has an address.
  parts 'DaemonSet|Deployment' 1 >"$work/agents.yaml"
  parts 'DaemonSet|Deployment' 0 >"$work/rest.yaml" && mv "$work/rest.yaml" "$work/chart.yaml"
fi
start_ms=$(now_ms)
kubectl apply -f "$work/chart.yaml" >/dev/null
pod_address() { kubectl -n kansoku get pod kansoku-aggregator-0 -o jsonpath='{.status.podIP}' | grep .; }
until_true 120 'the aggregator has no address' pod_address
if [ -n "${API:-}" ]; then
  alias="hostAliases: [{ip: $(pod_address), hostnames: [kansoku-aggregator.kansoku.svc]}]"
  sed -i "s/^      containers:\$/      $alias\n&/" "$work/agents.yaml"
  kubectl apply -f "$work/agents.yaml" >/dev/null
fi
kubectl -n kansoku get secret kansoku-tls -o jsonpath='{.data.ca\.crt}' | base64 -d >"$work/ca.crt"
token=$(kubectl -n kansoku get secret kansoku-auth -o jsonpath='{.data.admin-token}' | base64 -d)
base=https://kansoku-aggregator.kansoku.svc:9428
ask() { # PATH [CURL_OPTION...]
  curl -fsS --cacert "$work/ca.crt" --resolve "kansoku-aggregator.kansoku.svc:9428:$(pod_address)" -H "Authorization: Bearer $token" "$base$1" "${@:2}"
}
value() { ask /api/v1/query -G --data-urlencode "query=$1" | jq -er '.data.result[0].value[1]'; }
lines() { ask /loki/api/v1/query_range -G --data-urlencode "query=$1" --data-urlencode since=1h | jq -er '.data.result[0].values[0][1]'; }
until_true 120 'the aggregator is not ready' ask /-/ready
say 'kubectl apply to a ready aggregator' "$(($(now_ms) - start_ms)) ms"
until_true 120 'no rate of a node' value 'sum(rate(node_cpu_seconds_total{mode!="idle"}[1m]))'
say 'kubectl apply to the first chart of a node' "$(($(now_ms) - start_ms)) ms"
until_true 120 'no rate of a container' value 'sum(rate(container_cpu_usage_seconds_total{pod!=""}[1m]))'
say 'kubectl apply to the first chart of a pod' "$(($(now_ms) - start_ms)) ms"
until_true 120 'no objects' value 'count(kube_pod_info)'
say 'kubectl apply to the state of objects' "$(($(now_ms) - start_ms)) ms"

# --- Access ---
code() { curl -s -o /dev/null -w '%{http_code}' --cacert "$work/ca.crt" --resolve "kansoku-aggregator.kansoku.svc:9428:$(pod_address)" "$base$1" "${@:2}"; }
[ "$(code /api/v1/query?query=up)" = 401 ] || fail 'a question without a token is answered'
viewer=$(kubectl -n kansoku get secret kansoku-auth -o jsonpath='{.data.viewer-token}' | base64 -d)
[ "$(code /api/v1/query?query=up -H "Authorization: Bearer $viewer")" = 200 ] || fail 'the viewer may not ask'
[ "$(code /-/reload -X POST -H "Authorization: Bearer $viewer")" = 403 ] || fail 'the viewer may change something'
say 'TLS; 401 without a token, 403 for a viewer that changes'

# --- Workloads ---
start_ms=$(now_ms)
sed "s#BUSYBOX#$busybox#; s#imagePullPolicy: IfNotPresent#imagePullPolicy: $pull#" "$here/workloads.yaml" | kubectl apply -f - >/dev/null
until_true 120 'no line of a pod' lines '{namespace="shop"}'
say 'kubectl apply of workloads to their first line' "$(($(now_ms) - start_ms)) ms"
cli() { "$kansoku" --config "$work/config.yaml" "$@"; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
kubectl -n kansoku port-forward kansoku-aggregator-0 "$port:9428" >"$work/forward" 2>&1 &
forward=$!
trap 'kill $forward 2>/dev/null; rm -rf "$work"' EXIT
printf %s "$token" >"$work/token" && chmod 600 "$work/token"
cli config set-context here --server "https://127.0.0.1:$port" --ca "$work/ca.crt" --token-file "$work/token" >/dev/null
until_true 30 'kubectl port-forward' cli query 'count(kube_pod_info)'

migrated() { cli logs -n shop migration | grep -q 'migration complete'; }
until_true 120 'the migration wrote nothing' migrated
kubectl -n shop delete pod migration --wait=true >/dev/null
[ "$(cli logs -n shop migration | wc -l)" = 26 ] || fail "a deleted pod's log: $(cli logs -n shop migration | wc -l) of 26 lines"
say "logs of a deleted pod" '26 of 26 lines'

ledger=$(kubectl -n shop get pods -l app.kubernetes.io/name=ledger -o jsonpath='{.items[0].metadata.name}')
crashed() { [ "$(kubectl -n shop get pod "$ledger" -o jsonpath='{.status.containerStatuses[0].restartCount}')" -ge 2 ]; }
until_true 180 'the ledger does not crash' crashed
previous() { [ "$(cli logs -n shop --previous "$ledger" | tail -1)" = 'level=fatal msg="cannot reach db.shop.svc:5432: connection refused"' ]; }
until_true 30 'logs --previous' previous
[ "$(cli logs -n shop --previous "$ledger" | wc -l)" = 3 ] || fail "logs --previous: $(cli logs -n shop --previous "$ledger")"
say 'logs --previous of a crash-looping pod' '3 of 3 lines'

[ "$(cli logs -n shop -l app.kubernetes.io/name=checkout --tail 3 | wc -l)" = 6 ] || fail 'logs -l --tail 3 of two pods'
say 'logs -l of two pods'
followed() { timeout 20 "$kansoku" --config "$work/config.yaml" logs -n shop -f --tail 0 clock | head -3 | grep -c '^tick [0-9]*$' | grep -qx 3; }
until_true 60 'logs -f' followed
say 'logs -f'
top_pods() { cli top pods -n shop --no-headers | awk '$2 == "0m" && $1 ~ /checkout/ { bad = 1 } END { exit NR < 8 || bad }'; }
until_true 60 'top pods' top_pods
[ "$(cli top nodes --no-headers | wc -l)" -ge 1 ] || fail 'top nodes'
cli agents | grep -q . || fail agents
say 'top nodes, top pods, agents'

throttled() { value 'max by (pod) (rate(container_cpu_cfs_throttled_periods_total{namespace="shop", pod=~"recommender.*"}[1m]) / rate(container_cpu_cfs_periods_total{namespace="shop", pod=~"recommender.*"}[1m])) > 0.5'; }
until_true 90 'the recommender is not throttled' throttled
say 'a throttled pod' "$(value 'round(100 * max(rate(container_cpu_cfs_throttled_periods_total{namespace="shop", pod=~"recommender.*"}[1m]) / rate(container_cpu_cfs_periods_total{namespace="shop", pod=~"recommender.*"}[1m])))') % of periods"
killed() { value 'kube_pod_container_status_last_terminated_reason{namespace="shop", pod=~"thumbnails.*", reason="OOMKilled"} == 1'; }
until_true 180 'nobody was killed for memory' killed
say 'an OOM-killed pod'
event() { lines '{tag=~".*event.*"} | reason="BackOff" | involvedObject=~".*'"$ledger"'.*"'; }
until_true 120 'no event of the crash loop' event
say 'events of the crash-looping pod'
ask /api/v1/dashboards | grep -q '"provisioned.kansoku-boards-board"' || fail 'the dashboard of the ConfigMap is not listed'
say 'a dashboard from a mounted ConfigMap'
start_ms=$(now_ms)
kubectl -n shop delete configmap shop-boards --ignore-not-found >/dev/null
kubectl -n shop create configmap shop-boards --from-file="$here/board.json" --from-literal=wrong.json='{' --dry-run=client -o json |
  jq '.metadata += {labels: {grafana_dashboard: "1"}, annotations: {grafana_folder: "Shop"}}' | kubectl apply -f - >/dev/null
board() { ask /api/v1/dashboards | jq -e "[.data[] | select($1)] | length == $2" >/dev/null; }
until_true 30 'a labelled ConfigMap is not followed' board '.id == "provisioned.shop-shop-boards-board" and .folder == "Shop" and .problem == null' 1
say 'a dashboard of a labelled ConfigMap, without a sidecar' "$(($(now_ms) - start_ms)) ms"
board '.source == "ConfigMap shop/shop-boards/wrong.json" and (.problem | startswith("not JSON"))' 1 || fail 'a wrong key of a ConfigMap is not listed with the reason'
kubectl -n shop delete configmap shop-boards >/dev/null
until_true 30 'a deleted ConfigMap stays' board '.source | startswith("ConfigMap shop/")' 0
say 'a wrong key is listed with the reason, a deleted ConfigMap goes'

# --- Rules ---
rule() { ask /api/v1/rules | jq -e --arg name "$1" '[.data.groups[].rules[] | select(.name == $name)] | length > 0' >/dev/null; }
no_rule() { ! rule "$1"; }
kubectl -n shop delete prometheusrule --all >/dev/null
until_true 60 'the chart has no rules' rule KansokuAgentLags
say "the chart's own PrometheusRule"
start_ms=$(now_ms)
kubectl apply -f "$here/rules.yaml" >/dev/null
until_true 60 'a created rule does not come' rule ShopContainerRestarts
say 'a created PrometheusRule' "$(($(now_ms) - start_ms)) ms"
until_true 60 'a recorded series does not come' value 'count(shop:cpu:rate1m) > 5'
say 'its recorded series'
start_ms=$(now_ms)
sed 's/ShopContainerRestarts/ShopContainerStartsAgain/' "$here/rules.yaml" | kubectl apply -f - >/dev/null
until_true 60 'a changed rule does not come' rule ShopContainerStartsAgain
no_rule ShopContainerRestarts || fail 'the rule from before the change stays'
say 'a changed PrometheusRule' "$(($(now_ms) - start_ms)) ms"
sed 's/sum by (pod) (rate/sum by (pod ((rate/' "$here/rules.yaml" | kubectl apply -f - >/dev/null
rejected() { ask /metrics | grep -q '^kansoku_rule_object_rejected{.*name="shop".*} 1'; }
until_true 60 'a wrong rule is not told' rejected
rule ShopContainerStartsAgain || fail 'a wrong change took the right rules away'
kubectl -n kansoku logs kansoku-aggregator-0 | grep 'shop' | grep -m1 -i 'parse error' | cut -c1-200
say 'a wrong PrometheusRule is told and changes nothing'
kubectl apply -f "$here/rules.yaml" >/dev/null
until_true 60 'a mended rule does not come' rule ShopContainerRestarts
not_rejected() { ! rejected; }
until_true 60 'a mended rule counts as wrong' not_rejected
say 'a mended one'
if [ -n "${ALERTMANAGER:-}" ]; then
  sed "s/ADDRESS/${ALERTMANAGER%:*}/; s/PORT/${ALERTMANAGER##*:}/" "$here/alertmanager.yaml" | kubectl apply -f - >/dev/null
  found() { ask /api/v1/alertmanagers | jq -e '.data.activeAlertmanagers | length == 1' >/dev/null; }
  until_true 60 'the Alertmanager is not found' found
  say 'an Alertmanager found by its service'
  arrived() { curl -fsS "http://$ALERTMANAGER/api/v2/alerts" | jq -e --arg pod "$ledger" '[.[] | select(.labels.alertname == "ShopContainerRestarts" and .labels.pod == $pod)] | length == 1' >/dev/null; }
  # An Alertmanager that is found later is told with the next repetition, a minute after the first.
  until_true 120 'the alert does not arrive' arrived
  say 'an alert arrived' "$(curl -fsS "http://$ALERTMANAGER/api/v2/alerts" | jq -r --arg pod "$ledger" '.[] | select(.labels.pod == $pod) | .annotations.summary')"
fi
kubectl -n shop delete prometheusrule shop >/dev/null
until_true 60 'a deleted rule stays' no_rule ShopContainerRestarts
say 'a deleted PrometheusRule'
echo "the aggregator: https://$(pod_address):9428"
