#!/usr/bin/env bash
# Runs every fuzz target in turn, or those named: fuzz/run.sh SECONDS [TARGET...]
# Stops at the first finding; libFuzzer prints the input and where it was written.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir fuzz)

# Files are written at every input; in memory that is a hundred times as many inputs.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm

# Words that lead a target behind its first bytes. The options' names come from their own table.
words() {
  case "$1" in
    destination_answers) echo fuzz/dictionaries/destination_answers.dict ;;
    agent_config | config_* | filters | command_line | parser_section | route_conditions) echo fuzz/corpus/options.dict ;;
    http_input | lua_records | stream_inputs | tail_lines | pods | kube_state | kubernetes_filter | record_accessor | \
      kubernetes_watch | elasticsearch_input | cli_answers)
      echo fuzz/dictionaries/json.dict ;;
  esac
}

fuzz/seeds.sh
grep -oE '`[a-z_.0-9]{2,40}`' docs/options.md | tr -d '\140' | sort -u | sed 's/.*/"&"/' > fuzz/corpus/options.dict

# No sanitizer: the code is safe Rust, and without one it runs twice as fast. The bounds are the
# point: an input that takes ten seconds or two gigabytes is a finding.
cargo +nightly fuzz build -s none --fuzz-dir fuzz
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  folders=("fuzz/corpus/$target")
  [ ! -d "fuzz/corpus/seeds/$target" ] || folders+=("fuzz/corpus/seeds/$target")
  mkdir -p "${folders[0]}"
  options=(-max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1)
  dictionary=$(words "$target")
  # What commands print is not looked at.
  [ "$target" != cli_answers ] || options+=(-close_fd_mask=3)
  [ -z "$dictionary" ] || options+=(-dict="$dictionary")
  cargo +nightly fuzz run -s none --fuzz-dir fuzz "$target" "${folders[@]}" -- "${options[@]}"
done
