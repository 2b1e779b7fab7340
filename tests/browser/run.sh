#!/usr/bin/env bash
# The page in headless Chromium: on synthetic data, then on a real aggregator that a real agent feeds.
# Needs debug builds of both programs (cargo build --workspace --bins) and the built page.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/target/debug
cd "$here"
npm ci --no-audit --no-fund >/dev/null
node --test

state=$(mktemp -d)
aggregator='' agent=''
trap 'kill $agent $aggregator 2>/dev/null || true; wait; rm -rf "$state"' EXIT
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
"$bin/kansoku-aggregator" --web.listen-address="127.0.0.1:$port" --storage.path="$state/store" 2>"$state/aggregator.log" &
aggregator=$!
printf 'first line of the host\nlevel=error second line\n' >"$state/host.log"
"$bin/kansoku-agent" -q -f 0.2 \
  -i node_exporter_metrics -t node -p scrape_interval=1 \
  -i container_metrics -t containers -p scrape_interval=1 \
  -i tail -t host -p path="$state/host.log" -p read_from_head=on \
  -o kansoku -m '*' -p host=127.0.0.1 -p port="$port" 2>"$state/agent.log" &
agent=$!
base=http://127.0.0.1:$port
# Two scrapes make a rate.
for _ in $(seq 300); do
  count=$(curl -fsG "$base/api/v1/query" --data-urlencode 'query=count(rate(node_cpu_seconds_total[1m]))' 2>/dev/null || true)
  case $count in *'"value":['*) break ;; esac
  sleep 0.1
done
KANSOKU_URL=$base node --test || { cat "$state"/*.log >&2; exit 1; }
