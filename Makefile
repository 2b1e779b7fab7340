# The two commands of a newcomer: `make run` and `make test`. Each does all set-up itself.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c

RUN_DIR ?= run
LISTEN  ?= 127.0.0.1:9428
SECONDS ?= 60
TAG     ?= latest
PREFIX  ?= /usr/local

.PHONY: help setup setup-test ui build release install image run test lint deny fuzz clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## install what a build needs (linker, C compiler) and check the toolchains
	@deploy/setup.sh build

setup-test: setup ## also install what the tests compare with (Prometheus, node_exporter, Chromium)
	@deploy/setup.sh test

ui: aggregator/ui/dist/index.html ## build the web page

aggregator/ui/dist/index.html: aggregator/ui/package-lock.json aggregator/ui/index.html $(shell find aggregator/ui/src -type f 2>/dev/null)
	cd aggregator/ui
	npm ci --no-audit --no-fund
	npm run build
	touch dist/index.html

build: setup ui ## debug build of everything
	cargo build --workspace --bins

release: setup ui ## all programs, optimised: target/release/kansoku{-agent,-aggregator,}
	cargo build --release --bins

install: release ## the command line in PREFIX/bin (/usr/local), also as kubectl's plugin
	install -D target/release/kansoku "$(PREFIX)/bin/kansoku"
	ln -sf kansoku "$(PREFIX)/bin/kubectl-kansoku"
	install -m 755 deploy/kubectl_complete-kansoku "$(PREFIX)/bin/"

image: release ## container images kansoku and kansoku-node-exporter of the programs built here (docker, podman or buildah); TAG
	deploy/image.sh target/release target/image
	for tool in docker podman buildah; do $$tool info >/dev/null 2>&1 && break; done
	$$tool build --build-arg PROGRAMS=built -t kansoku:$(TAG) .
	$$tool build --build-arg PROGRAMS=built -t kansoku-node-exporter:$(TAG) --target node-exporter .

run: release ## watch this machine: http://127.0.0.1:9428/
	exec deploy/local/run.sh "$(RUN_DIR)" "$(LISTEN)"

test: setup-test ui ## all tests
	cargo build --workspace --bins
	cargo nextest run --workspace
	cargo test --workspace --doc --quiet
	cd aggregator/ui && npm test && cd ../..
	tests/browser/run.sh

lint: ui ## formatting and lints, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

deny: ## licences, sources and doubled versions of dependencies
	deploy/setup.sh deny
	cargo fetch --locked --quiet
	cargo deny --offline --workspace check bans licenses sources

fuzz: ui ## give every reader of outside bytes random ones: SECONDS per target, TARGETS (all)
	deploy/setup.sh fuzz
	fuzz/run.sh $(SECONDS) $(TARGETS)

clean: ## forget all that was built and the data of `make run`
	cargo clean
	rm -rf aggregator/ui/dist aggregator/ui/node_modules $(RUN_DIR)
