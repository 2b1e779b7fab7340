#!/usr/bin/env bash
# Installs what building (build), testing (test), checking dependencies (deny) or fuzzing (fuzz) needs, if it is missing.
# Debian packages through apt-get; Rust and Node.js must be there, because distributions ship them too old.
set -euo pipefail

fail() { echo "setup: $*" >&2; exit 1; }
missing() { for command in "$@"; do command -v "$command" >/dev/null || return 0; done; return 1; }

apt_install() {
  command -v apt-get >/dev/null || fail "please install these packages by hand: $*"
  local sudo=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "please install as root: apt-get install $*"
    sudo=sudo
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What tests/tests/clients.rs drives: Python's in a virtual environment, Node's beside it.
clients() {
  missing python3 node npm && fail "python3, node and npm are missing: the clients of the tests need them"
  local sources folder
  sources=$(cd "$(dirname "$0")/../tests/clients" && pwd)
  folder=$sources/../../target/clients
  mkdir -p "$folder"
  if ! cmp -s "$sources/requirements.txt" "$folder/requirements.txt"; then
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q --disable-pip-version-check -r "$sources/requirements.txt"
    cp "$sources/requirements.txt" "$folder/"
  fi
  if ! cmp -s "$sources/package.json" "$folder/package.json"; then
    cp "$sources/package.json" "$folder/"
    npm install --prefix "$folder" --no-audit --no-fund --no-package-lock >/dev/null || { rm "$folder/package.json"; exit 1; }
  fi
}

case "${1:-}" in
  build)
    missing cargo && fail "Rust is missing: install it from https://rustup.rs (rust-toolchain.toml names the version)"
    missing node npm && fail "Node.js is missing: install version 20 or later from https://nodejs.org"
    if missing mold cc make; then apt_install mold gcc libc6-dev make; fi
    ;;
  test)
    if missing promtool prometheus-node-exporter prometheus-alertmanager amtool chromium zsh fish script; then
      apt_install prometheus prometheus-node-exporter prometheus-alertmanager chromium zsh fish bsdutils
    fi
    missing cargo-nextest && cargo install cargo-nextest --locked
    clients
    ;;
  deny)
    missing cargo-deny && cargo install cargo-deny --locked --debug
    ;;
  fuzz)
    cargo +nightly --version >/dev/null 2>&1 || fail "a nightly compiler is missing: rustup toolchain install nightly"
    missing cargo-fuzz && cargo install cargo-fuzz --locked
    ;;
  *) fail "usage: deploy/setup.sh build|test|deny|fuzz" ;;
esac
exit 0
