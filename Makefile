# The project's recipes, in one place. `make help` lists them.

CARGO ?= cargo
DEMO_ARGS ?=
BENCH_ARGS ?=
FUZZ_CASES ?= 200000
FUZZ_SECONDS ?= 60
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
TOOLS := $(CURDIR)/target/tools
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

export PATH := $(TOOLS)/bin:$(PATH):/usr/sbin

NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help demo demo-fleet build test test-full lint unit doc-tests deny audit bench bench-fleet bench-peers bench-idle bench-balance bench-instructions properties fuzz clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## three regions, two versions and a live table (DEMO_ARGS="--for 30s")
	$(RELEASE)/sluice demo $(DEMO_ARGS)

demo-fleet: build ## a control plane and six proxies in three regions, a shift, a killed control plane (DEMO_ARGS="--for 40s")
	$(RELEASE)/sluice demo --fleet $(DEMO_ARGS)

build: ## the release binary
	@.ci/packages build
	$(CARGO) build --release --locked --bin sluice

test: ## what every change must pass: format, lints, all tests
	@.ci/packages test
	@$(MAKE) --no-print-directory lint unit doc-tests

test-full: ## the same with the long suites
	@.ci/packages test
	@SLUICE_FULL=1 $(MAKE) --no-print-directory lint unit doc-tests

lint: ## format and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

ifeq ($(NEXTEST),yes)
unit:
	$(CARGO) nextest run --workspace --locked --no-fail-fast
else
unit:
	$(CARGO) test --workspace --lib --bins --tests --locked --no-fail-fast
endif

doc-tests:
	$(CARGO) test --workspace --doc --locked

deny: $(TOOLS)/deny-$(CARGO_DENY_VERSION) ## licences, banned crates and sources of all dependencies
	$(CARGO) deny --workspace check bans licenses sources

audit: $(TOOLS)/deny-$(CARGO_DENY_VERSION) ## known vulnerabilities of all dependencies (fetches the advisory database)
	$(CARGO) deny --workspace check advisories

# Kept under target/, so that nothing is installed outside the checkout.
$(TOOLS)/deny-$(CARGO_DENY_VERSION):
	$(CARGO) deny --version 2>/dev/null | grep -qF $(CARGO_DENY_VERSION) || \
	  CARGO_TARGET_DIR=$(TOOLS)/build $(CARGO) install --quiet --locked --version $(CARGO_DENY_VERSION) --root $(TOOLS) cargo-deny
	rm -rf $(TOOLS)/build
	mkdir -p $(TOOLS) && touch $@

bench: ## the core's calls, by criterion
	$(CARGO) bench --locked -p sluice-benches $(BENCH_ARGS)

bench-fleet: build ## a control plane and 100 proxies: shift to applied, sizes, starts (BENCH_ARGS="--only start")
	$(CARGO) run --release --locked -p sluice-benches --bin bench-fleet -- --sluice $(RELEASE)/sluice $(BENCH_ARGS)

bench-peers: build ## nginx, HAProxy and Sluice side by side (BENCH_ARGS="--connections 512")
	@.ci/packages bench
	python3 benches/peers/compare.py --sluice $(RELEASE)/sluice $(BENCH_ARGS)

bench-idle: build ## KiB held by a connection that waits, beside nginx and HAProxy
	@.ci/packages bench
	python3 benches/peers/idle.py --sluice $(RELEASE)/sluice $(BENCH_ARGS)

bench-balance: build ## latency of each balancer with endpoints in trouble, beside nginx's and HAProxy's (BENCH_ARGS="--only least")
	@.ci/packages bench
	$(CARGO) build --release --locked -p sluice-benches --bin bench-balance
	python3 benches/peers/balance.py --sluice $(RELEASE)/sluice --generator $(RELEASE)/bench-balance $(BENCH_ARGS)

bench-instructions: build ## instructions and system calls per request (BENCH_ARGS="--proxies nginx,haproxy,sluice")
	@.ci/packages instructions
	python3 benches/peers/instructions.py --sluice $(RELEASE)/sluice $(BENCH_ARGS)

properties: ## the property tests with many cases (FUZZ_CASES=200000)
	PROPTEST_CASES=$(FUZZ_CASES) $(CARGO) test --release --locked -p sluice-config -p sluice-proxy-core -p sluice-control-core
	MUTATIONS=$(FUZZ_CASES) $(CARGO) test --release --locked -p sluice-proxy --lib fuzz::

fuzz: $(TOOLS)/fuzz-$(CARGO_FUZZ_VERSION) ## every fuzz target for FUZZ_SECONDS (60); needs a nightly compiler
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { echo "fuzz: install a nightly compiler: rustup toolchain install nightly" >&2; exit 1; }
	@set -e; for manifest in $(wildcard */fuzz/Cargo.toml */*/fuzz/Cargo.toml); do \
	  folder=$$(dirname $$(dirname $$manifest)); \
	  for target in $$(cd $$folder && $(CARGO) +nightly fuzz list); do \
	    echo "== $$folder $$target"; \
	    (cd $$folder && $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS)); \
	  done; \
	done

$(TOOLS)/fuzz-$(CARGO_FUZZ_VERSION):
	$(CARGO) fuzz --version 2>/dev/null | grep -qF $(CARGO_FUZZ_VERSION) || \
	  CARGO_TARGET_DIR=$(TOOLS)/build $(CARGO) install --quiet --locked --version $(CARGO_FUZZ_VERSION) --root $(TOOLS) cargo-fuzz
	rm -rf $(TOOLS)/build
	mkdir -p $(TOOLS) && touch $@

clean: ## remove what was built
	$(CARGO) clean
