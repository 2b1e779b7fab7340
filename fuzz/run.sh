#!/usr/bin/env bash
# Runs every fuzz target in turn, or those named: fuzz/run.sh SECONDS [TARGET...]
# Stops at the first finding; libFuzzer prints the input and where it was written.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list --fuzz-dir fuzz)

# The store writes files at every input; in memory that is a hundred times as many inputs.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm

# Folders of real inputs that fit a target as they are; they are read, never written.
seeds() {
  case "$1" in
    config_classic | config_yaml) echo fixtures/config ;;
    kernel) echo fixtures/proc fixtures/udev fixtures/cgroup ;;
    loki_push | remote_write) echo fixtures/wire ;;
  esac
}

# No sanitizer: the code is safe Rust, and without one it runs twice as fast. The bounds are the
# point: an input that takes ten seconds or two gigabytes is a finding.
cargo +nightly fuzz build -s none --fuzz-dir fuzz
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  mkdir -p "fuzz/corpus/$target"
  # shellcheck disable=SC2046 # the folders are words
  cargo +nightly fuzz run -s none --fuzz-dir fuzz "$target" "fuzz/corpus/$target" $(seeds "$target") -- \
    -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1
done
