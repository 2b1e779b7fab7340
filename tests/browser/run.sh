#!/usr/bin/env bash
# The page in headless Chromium: on an aggregator that a real agent feeds and that knows a made-up
# cluster besides, on an empty one, and on one that asks who is there.
# Needs debug builds of both programs (cargo build --workspace --bins) with the page built before them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/target/debug
cd "$here"
npm ci --no-audit --no-fund >/dev/null

state=$(mktemp -d)
mkdir "$state/boards"
aggregator='' empty='' agent='' cluster='' locked='' provider=''
trap 'kill $cluster $agent $aggregator $empty $locked $provider 2>/dev/null || true; wait; rm -rf "$state"' EXIT
free_port() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }
port=$(free_port)
# A test does not wait a minute for the rules of its objective.
echo 'global: {evaluation_interval: 1s}' >"$state/config.yaml"
"$bin/kansoku-aggregator" --web.listen-address="127.0.0.1:$port" --storage.path="$state/store" --config.file="$state/config.yaml" \
  --dashboards.path="$state/boards" 2>"$state/aggregator.log" &
aggregator=$!
empty_port=$(free_port)
"$bin/kansoku-aggregator" --web.listen-address="127.0.0.1:$empty_port" --storage.path="$state/empty" 2>"$state/empty.log" &
empty=$!
node provider.mjs >"$state/provider" 2>"$state/provider.log" &
provider=$!
until [ -s "$state/provider" ]; do
  kill -0 $provider || exit 1
  sleep 0.1
done
issuer=$(cat "$state/provider")
# "secret", at a cost that a test can wait for.
hash='$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW'
cat >"$state/access.yaml" <<END
users:
  admin: {password: $hash, role: admin}
  viewer: {password: $hash, role: viewer}
  shop: {password: $hash, role: viewer, namespaces: [shop]}
oidc:
  test:
    label: Sign in with Test
    issuer: $issuer
    client_id: kansoku
    client_secret: of the browser's test
    rules: [{claim: groups, values: [staff], role: viewer}]
  gone:
    label: Sign in at a provider that is gone
    issuer: http://localhost:$(free_port)
    client_id: kansoku
    rules: [{role: viewer}]
END
locked_port=$(free_port)
"$bin/kansoku-aggregator" --web.listen-address="127.0.0.1:$locked_port" --storage.path="$state/locked" \
  --access.file="$state/access.yaml" 2>"$state/locked.log" &
locked=$!
printf 'first line of the host\nlevel=error second line\n' >"$state/host.log"
"$bin/kansoku-agent" -q -f 0.2 \
  -i node_exporter_metrics -t node -p scrape_interval=1 \
  -i container_metrics -t containers -p scrape_interval=1 \
  -i fluentbit_metrics -t self -p scrape_interval=1 \
  -i tail -t host -p path="$state/host.log" -p read_from_head=on \
  -o kansoku -m '*' -p host=127.0.0.1 -p port="$port" 2>"$state/agent.log" &
agent=$!
base=http://127.0.0.1:$port
# Two scrapes make a rate; the agent's own metrics come last.
for _ in $(seq 300); do
  count=$(curl -fsG "$base/api/v1/query" --data-urlencode 'query=count(rate(node_cpu_seconds_total[1m])) + count(fluentbit_build_info)' 2>/dev/null || true)
  case $count in *'"value":['*) break ;; esac
  sleep 0.1
done
# What is made up goes on as a cluster does: the last hour, then more of it.
KANSOKU_URL=$base FOLLOW=1 node seed.mjs >"$state/seed" &
cluster=$!
until [ -s "$state/seed" ]; do
  kill -0 $cluster || exit 1
  sleep 0.1
done
export KANSOKU_LOCKED_URL=http://127.0.0.1:$locked_port KANSOKU_PROVIDER_URL=$issuer
KANSOKU_URL=$base KANSOKU_EMPTY_URL=http://127.0.0.1:$empty_port KANSOKU_BOARDS=$state/boards npm test || { cat "$state"/*.log >&2; exit 1; }
