#!/usr/bin/env bash
# Watches this machine: starts the aggregator and an agent, says where to look, stops both on Ctrl-C.
# Usage: deploy/local/run.sh FOLDER LISTEN_ADDRESS. All state lies in FOLDER.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(cd "$here/../.." && pwd)/target/release
folder=$1 listen=$2
mkdir -p "$folder/logs"
folder=$(realpath "$folder")

"$bin/kansoku-aggregator" --web.listen-address="$listen" --storage.path="$folder/store" 2> >(tee "$folder/logs/aggregator.log" >&2) &
aggregator=$!
trap 'kill $aggregator ${agent:-} 2>/dev/null || true; wait' EXIT
trap 'exit 0' INT TERM
ready() { exec 3<>"/dev/tcp/${listen%:*}/${listen##*:}" && printf 'GET /-/ready HTTP/1.0\r\n\r\n' >&3 && head -1 <&3 | grep -q ' 200 '; }
for _ in $(seq 100); do
  kill -0 "$aggregator" 2>/dev/null || { echo "kansoku-aggregator did not start; its message stands above" >&2; exit 1; }
  (ready) 2>/dev/null && break
  sleep 0.1
done

export KANSOKU_FOLDER=$folder KANSOKU_HOST=${listen%:*} KANSOKU_PORT=${listen##*:}
"$bin/kansoku-agent" -c "$here/agent.conf" 2> >(tee "$folder/logs/agent.log" >&2) &
agent=$!
cat <<T

  kansoku watches this machine.
  Open     http://$listen/
  Agent    http://127.0.0.1:2020/metrics
  State    $folder
  Stop     Ctrl-C

T
wait -n "$aggregator" "$agent"
echo "one of the two programs ended; its last messages stand above" >&2
exit 1
