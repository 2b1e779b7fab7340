#!/usr/bin/env bash
# helm upgrade, rollback, and uninstall with a new installation, on a real cluster, while a pod writes numbered lines: each line is
# there once, metrics miss no more than an agent's restart, what was stored before stays.
#   IMAGE=ghcr.io/kansoku/kansoku:0.1.0 IMAGE2=ghcr.io/kansoku/kansoku:0.1.1 BUSYBOX=busybox:1.37 KANSOKU=target/debug/kansoku tests/cluster/upgrade.sh
# Needs helm 3.8 or later (HELM), kubectl and its KUBECONFIG with all rights, jq, the command line kansoku (KANSOKU), a cluster whose
# services and names work, and a StorageClass (STORAGE_CLASS; the cluster's default when empty). The namespace kansoku is taken, with
# the release kansoku in it, which stays; so does the namespace shop, in which the writer runs.
#   VALUES=FILE   further values
#   PULL=Never    imagePullPolicy of all images
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
helm=${HELM:-helm} image=${IMAGE:?} image2=${IMAGE2:?} busybox=${BUSYBOX:?} kansoku=${KANSOKU:?} pull=${PULL:-IfNotPresent}
for program in "$helm" kubectl jq curl "$kansoku"; do
  command -v "$program" >/dev/null || { echo "upgrade.sh: $program is missing" >&2; exit 1; }
done
work=$(mktemp -d)
background=()
trap 'for p in "${background[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT
say() { printf '%-58s %s\n' "$1" "${2:-ok}"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
until_true() { # SECONDS WHAT COMMAND...
  local deadline=$(($(date +%s) + $1)) what=$2
  shift 2
  until "$@" >"$work/last" 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || fail "$what: $(tail -5 "$work/last")"
    sleep 0.5
  done
}
# The interval of the metrics whose gaps are looked for.
interval=5
sets=(--set "image.pullPolicy=$pull" --set "image.repository=${image%:*}" --set tls.enabled=true --set auth.enabled=true
  --set "agent.nodeMetrics.interval=$interval" --set "agent.containerMetrics.interval=$interval" --set "agent.ownMetrics.interval=$interval"
  --set "aggregator.persistence.storageClass=${STORAGE_CLASS:-}")
[ -z "${VALUES:-}" ] || sets=(-f "$VALUES" "${sets[@]}")
release() { "$helm" "$@" "$here/../../deploy/helm/kansoku" -n kansoku "${sets[@]}" --wait --timeout 5m >"$work/helm" 2>&1 || fail "helm $1: $(tail -5 "$work/helm")"; }
pod_address() { kubectl -n kansoku get pod kansoku-aggregator-0 -o jsonpath='{.status.podIP}' | grep .; }
token() { kubectl -n kansoku get secret kansoku-auth -o jsonpath='{.data.admin-token}' | base64 -d; }
ask() { # PATH [CURL_OPTION...]
  kubectl -n kansoku get secret kansoku-tls -o jsonpath='{.data.ca\.crt}' | base64 -d >"$work/ca.crt"
  curl -fsS --cacert "$work/ca.crt" --resolve "kansoku-aggregator.kansoku.svc:9428:$(pod_address)" -H "Authorization: Bearer $(token)" \
    "https://kansoku-aggregator.kansoku.svc:9428$1" "${@:2}"
}
value() { ask /api/v1/query -G --data-urlencode "query=$1" | jq -er '.data.result[0].value[1]'; }
logs_value() { ask /loki/api/v1/query -G --data-urlencode "query=$1" | jq -er '.data.result[0].value[1]'; }
# The versions of the pods, by uid: whether all were replaced.
pods() { kubectl -n kansoku get pods -o json | jq -r '.items[] | select(.metadata.deletionTimestamp == null) | .metadata.name + " " + .metadata.uid' | sort; }
image_of() { kubectl -n kansoku get pods -o jsonpath='{range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sort -u; }
ask_cli() {
  "$kansoku" --config "$work/config.yaml" "$@"
}

kubectl create namespace kansoku --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl create namespace shop --dry-run=client -o yaml | kubectl apply -f - >/dev/null
release upgrade --install kansoku --set "image.tag=${image##*:}"
until_true 60 'no metrics of a node' value 'count(node_load1)'
say 'helm install'

# --- A pod writes numbered lines, until it is told to stop ---
# Another pod each time: the lines of the last run are still there.
kubectl -n shop delete pod -l app.kubernetes.io/name=counter --wait=true >/dev/null
writer=counter-$(date +%s)
kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $writer, namespace: shop, labels: {app.kubernetes.io/name: counter}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: counter
      image: $busybox
      imagePullPolicy: $pull
      command: [/bin/sh, -c, 'i=0; while [ ! -e /tmp/stop ]; do i=\$((i + 1)); echo "line \$i of the counter"; usleep 10000; done; echo "\$i" >/tmp/last; sleep 1000000']
YAML
counter="{namespace=\"shop\", pod=\"$writer\"}"
until_true 60 'no line of the counter' logs_value "sum(count_over_time($counter[1h]))"

# How long a node was without a ready agent at most, since this was begun.
watch_agents() {
  : >"$work/downtime"
  while sleep 0.2; do
    ready=$(kubectl -n kansoku get pods -l app.kubernetes.io/name=kansoku-agent -o json 2>/dev/null |
      jq '[.items[] | select(.metadata.deletionTimestamp == null) | select(.status.conditions[]? | .type == "Ready" and .status == "True")] | length') || continue
    date "+%s.%N $ready" >>"$work/downtime"
  done
}
downtime() { awk 'NF == 2 && $2 == 0 { if (!since) since = last ? last : $1 } NF == 2 && $2 > 0 { if (since && $1 - since > most) most = $1 - since; since = 0; last = $1 } END { printf "%.1f\n", most }' "$work/downtime"; }
# Whether a metric's gap is explained by the restart of its agent: all of its samples, read as they were stored.
gap() { # METRIC SINCE
  local window=$(($(date +%s) - $2))
  ask /api/v1/query -G --data-urlencode "query=$1[${window}s]" |
    jq -er '[.data.result[].values[][0]] | unique | [range(1; length) as $i | .[$i] - .[$i - 1]] | max'
}
step() { # WHAT COMMAND...: an upgrade after which every pod is another
  local what=$1 before began down metric most
  shift
  before=$(pods) began=$(date +%s)
  watch_agents & local watcher=$!
  background+=($watcher)
  "$@"
  for old in $before; do case $old in *-*-*-*-*) ! pods | grep -qF "$old" || fail "$what: the pod $old was not replaced" ;; esac; done
  until_true 120 "$what: no metrics again" value "node_load1 and on() (time() - max(timestamp(node_load1)) < 2 * $interval)"
  # Another sample behind the gap.
  sleep $((2 * interval))
  kill $watcher
  wait $watcher 2>/dev/null || true
  down=$(downtime)
  for metric in node_load1 'container_memory_working_set_bytes{container="counter"}' 'fluentbit_uptime{agent=""}'; do
    most=$(gap "$metric" $((began - 2 * interval)))
    awk -v gap="$most" -v down="$down" -v interval=$interval 'BEGIN { exit gap > down + 3 * interval }' || fail "$what: a gap of $most s in $metric, and the agent was away for $down s"
    say "$what: longest gap of ${metric%%\{*}" "$most s (no ready agent for $down s)"
  done
}
rolled() { [ "$(image_of)" = "$1" ] || fail "not all pods run $1: $(image_of)"; }

began=$(date +%s)
upgrade() { release upgrade kansoku --set "image.tag=${image2##*:}" --set image.repository="${image2%:*}" --set agent.flush=2 --set aggregator.memoryLimit=300MiB --set aggregator.config.own_metrics.interval=5s; }
step 'helm upgrade' upgrade
rolled "$image2"
say 'helm upgrade of image and values: every pod is another'
back() { "$helm" rollback kansoku -n kansoku --wait --timeout 5m >"$work/helm" 2>&1 || fail "helm rollback: $(tail -5 "$work/helm")"; }
step 'helm rollback' back
rolled "$image"
say 'helm rollback: every pod is another'

# --- The aggregator is away for a minute ---
since=$(date +%s)
kubectl -n kansoku scale statefulset kansoku-aggregator --replicas=0 >/dev/null
sleep 60
kubectl -n kansoku scale statefulset kansoku-aggregator --replicas=1 >/dev/null
until_true 120 'the aggregator is not ready again' ask /-/ready
# Agents wait up to a minute between two tries.
until_true 120 'no metrics again' value "node_load1 and on() (time() - max(timestamp(node_load1)) < 2 * $interval)"
for metric in node_load1 'container_memory_working_set_bytes{container="counter"}' 'fluentbit_uptime{agent=""}'; do
  most=$(gap "$metric" $((since - 2 * interval)))
  awk -v gap="$most" -v interval=$interval 'BEGIN { exit gap > 3 * interval }' || fail "a gap of $most s in $metric while only the aggregator was away"
  say "no aggregator for a minute: longest gap of ${metric%%\{*}" "$most s"
done

before=$(token)
"$helm" uninstall kansoku -n kansoku >/dev/null
none() { [ "$(kubectl -n kansoku get pods -o name | wc -l)" = 0 ]; }
until_true 180 'pods stay' none
kubectl -n kansoku get pvc data-kansoku-aggregator-0 >/dev/null || fail 'the volume is gone with the release'
release install kansoku --set "image.tag=${image##*:}"
[ "$before" = "$(token)" ] || fail 'the tokens are others'
say 'helm uninstall and install: volume, tokens and certificates stay'

# --- What there has to be ---
kubectl -n shop exec "$writer" -- touch /tmp/stop
until_true 30 'the counter does not stop' kubectl -n shop exec "$writer" -- test -s /tmp/last
n=$(kubectl -n shop exec "$writer" -- cat /tmp/last)
complete() { [ "$(logs_value "sum(count_over_time($counter[2h]))")" -ge "$n" ]; }
until_true 120 "lines are missing of $n" complete
[ "$(logs_value "sum(count_over_time($counter[2h]))")" = "$n" ] || fail "$(logs_value "sum(count_over_time($counter[2h]))") lines of $n"
numbers="$counter | pattern \"line <n> of the counter\" | unwrap n [2h]"
for check in "min(min_over_time($numbers))=1" "max(max_over_time($numbers))=$n" "sum(sum_over_time($numbers))=$((n * (n + 1) / 2))"; do
  found=$(logs_value "${check%=*}")
  [ "$(printf %.0f "$found")" = "${check##*=}" ] || fail "${check%=*}: $found instead of ${check##*=}"
done
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
kubectl -n kansoku port-forward kansoku-aggregator-0 "$port:9428" >"$work/forward" 2>&1 &
background+=($!)
(umask 077 && token >"$work/token")
ask /-/ready >/dev/null # leaves the authority's certificate
ask_cli config set-context here --server "https://127.0.0.1:$port" --ca "$work/ca.crt" --token-file "$work/token" >/dev/null
until_true 30 'kubectl port-forward' ask_cli query 'count(node_load1)'
ask_cli logs -n shop "$writer" --since 2h >"$work/lines"
seq -f 'line %.0f of the counter' 1 "$n" | cmp - "$work/lines" || fail 'the lines are others, or in another order'
say 'every line once and in order, over all of it' "$n lines in $(($(date +%s) - began)) s"

# --- A replaced pod of the state of objects ---
events='{tag="events.kubernetes"}'
# Each state of an event has a version of its own.
doubled() {
  ask /loki/api/v1/query_range -G --data-urlencode "query=$events" --data-urlencode since=2h --data-urlencode limit=5000 |
    jq -r '.data.result[] | (.stream.metadata | fromjson | .uid + " " + .resourceVersion) as $version | .values[] | $version' | sort | uniq -d | wc -l
}
sent() { value 'sum(fluentbit_input_records_total{agent="kube-state", name=~"kubernetes_events.*"}) > 0'; }
until_true 60 'no events' sent
held=$(logs_value "sum(count_over_time($events[2h]))")
old=$(kubectl -n kansoku get pods -l app.kubernetes.io/name=kansoku-kube-state -o jsonpath='{.items[0].metadata.name}')
kubectl -n kansoku delete pod "$old" --wait=true >/dev/null
again() { value "sum(fluentbit_output_proc_records_total{agent=\"kube-state\", pod!=\"$old\"}) > 0" && value "sum(fluentbit_input_records_total{agent=\"kube-state\", name=~\"kubernetes_events.*\", pod!=\"$old\"}) > 0"; }
until_true 120 'the new pod sends no events' again
[ "$(doubled)" = 0 ] || fail "$(doubled) events are there twice"
say 'a replaced kube-state pod sends its events again: each is there once' "$held and $(logs_value "sum(count_over_time($events[2h]))") events"
