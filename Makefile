# Every command that CI runs is a target of the same name here; .ci/run only puts them in order.
# `make` alone lists them.

TOOLS := .tools
HELM := $(TOOLS)/helm-$(shell sed -n 's,.*helm.sh/helm/v4 \(v[0-9.]*\).*,\1,p' tests/helm/go.mod)
DENY_VERSION := 0.20.2
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)
TYPOS_VERSION := 1.42.3
TYPOS := $(TOOLS)/typos-$(TYPOS_VERSION)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

## What a landing must pass

.PHONY: check
check: ## all that CI checks, as CI does it
	@.ci/run

.PHONY: check-tools
check-tools: ## name the toolchains that are missing, and what to do
	@.ci/check-tools

.PHONY: fmt-check
fmt-check: ## formatting
	cargo fmt --all -- --check

FIELDS := crates/core/src/kube/defaults/fields.rs
FIELDS_JSON := docs/spec/spec-hash-v1/fields.json
# The flags are those of the control plane's build, so that Go compiles k8s.io/api once.
K8S_TABLES := cd tools/k8s-tables && export CGO_ENABLED=0 && go run -trimpath .

.PHONY: k8s-tables-check
k8s-tables-check: ## the field tables are what tools/k8s-tables prints, and its tests pass
	@cd tools/k8s-tables && export CGO_ENABLED=0 && test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet -trimpath . && go test -trimpath .
	@fields=$$(mktemp -d) && trap 'rm -r "$$fields"' EXIT && ($(K8S_TABLES)) >"$$fields/rust" && ($(K8S_TABLES) json) >"$$fields/json" && \
		if ! diff -u $(FIELDS) "$$fields/rust" || ! diff -u $(FIELDS_JSON) "$$fields/json"; then \
		echo "$(FIELDS) or $(FIELDS_JSON) is not what tools/k8s-tables prints: run make k8s-tables" >&2; exit 1; fi

.PHONY: clippy
clippy: ## lints, warnings denied
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: typos
typos: $(TYPOS)/bin/typos ## spelling, in sources and documents (_typos.toml has the exceptions)
	$(TYPOS)/bin/typos

# A crate that compiles only with features that another crate turns on would fail for whoever takes it alone.
.PHONY: crates
crates: ## each crate compiles alone
	@for crate in writgate-core writgate-cluster writgate-cli writgate writgate-testing writgate-fuzz; do \
		echo "cargo check --package $$crate"; cargo check --quiet --locked --package $$crate || exit 1; done

.PHONY: deny
deny: $(DENY)/bin/cargo-deny ## banned crates, licences and sources of the dependencies
	$(DENY)/bin/cargo-deny --workspace --all-features --locked check bans licenses sources

.PHONY: doc
doc: ## API documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: manifests-check
manifests-check: $(HELM) ## the chart lints, and manifests/ is what it renders
	$(HELM) lint --strict --quiet charts/writgate
	@rendered=$$(mktemp -d) && trap 'rm -rf "$$rendered"' EXIT && \
		$(MAKE) --no-print-directory manifests MANIFESTS="$$rendered" && \
		if ! diff -ru manifests "$$rendered"; then echo "manifests/ differs from the chart: run make manifests" >&2; exit 1; fi

# Cargo and Go share the machine. With both at work from the start, the first demo takes less time.
.PHONY: demo
demo: check-tools ## see it work: kubectl, an API server, a denial, an approval, an admission
	@$(MAKE) --no-print-directory -j2 controlplane demo-programs
	@$${CARGO_TARGET_DIR:-target}/debug/examples/demo

.PHONY: demo-programs
demo-programs: | check-tools
	@cargo build --locked --package writgate --package writgate-cli --package writgate-testing --bins --example demo

.PHONY: e2e
e2e: controlplane ## only the end-to-end tests
	cargo test --locked --test cluster e2e::

.PHONY: bypass
bypass: controlplane ## only the ways around the gate: tries each, and prints what came of it
	cargo test --locked --test cluster bypass::

.PHONY: test
test: tools manifests-check ## everything: unit, property, vectors, chart, and end to end on a real control plane
	cargo test --workspace --locked
	$${CARGO_TARGET_DIR:-target}/debug/examples/demo

## For work

.PHONY: bench
bench: ## the webhook beside its floor, as ratios; options in ARGS, for example ARGS="--rounds 3"
	cargo bench --locked --bench gate -- $(ARGS)

.PHONY: bench-cli
bench-cli: ## the command line beside the least it could do; options in ARGS, for example ARGS="--only audit"
	cargo bench --locked --package writgate-cli --bench cli -- $(ARGS)

.PHONY: model
model: tools ## 40 random histories against the model of the verdict; WRITGATE_MODEL_HISTORIES for another number
	WRITGATE_MODEL_HISTORIES=$${WRITGATE_MODEL_HISTORIES:-40} cargo test --locked --test cluster model::

.PHONY: races
races: controlplane ## 10,000 races for one use over three replicas, each to admit exactly one; WRITGATE_RACES for another number
	WRITGATE_RACES=$${WRITGATE_RACES:-10000} cargo test --locked --test cluster of_many_who_ask

.PHONY: hash-proof
hash-proof: tools ## 2,000 random manifests per kind: offline hash = hash at admission; WRITGATE_PROOF_CASES for another number
	WRITGATE_PROOF_CASES=$${WRITGATE_PROOF_CASES:-2000} cargo test --locked --test cluster hash_proof::

.PHONY: k8s-tables
k8s-tables: ## write the tables of Kubernetes' fields; KUBERNETES=v1.38.0 first pins another release, for the tests too
	@if [ -n "$(KUBERNETES)" ]; then tools/k8s-tables/pin "$(KUBERNETES)"; fi
	@fields=$$(mktemp -d) && trap 'rm -r "$$fields"' EXIT && ($(K8S_TABLES)) >"$$fields/rust" && ($(K8S_TABLES) json) >"$$fields/json" && \
		cat "$$fields/rust" >$(FIELDS) && cat "$$fields/json" >$(FIELDS_JSON)

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/seeds/*.txt)))
FUZZ_HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZER := target/fuzz/$(FUZZ_HOST)/fuzz/fuzz
# What `cargo fuzz` passes, but for the address sanitizer, which needs a nightly compiler and has nothing to find in safe code.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: fuzz
fuzz: ## throw bytes at each parser of what strangers write, FUZZ_SECONDS (60) each; FUZZ_TARGETS="review rule" for some
	@command -v c++ >/dev/null || { echo "missing: c++ (libFuzzer); apt-get install g++, or your system's C++ compiler" >&2; exit 1; }
	cargo test --release --locked --package writgate-fuzz --test worst_case -- --nocapture
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --locked --package writgate-fuzz --features libfuzzer --bin fuzz \
		--profile fuzz --target $(FUZZ_HOST) --target-dir target/fuzz
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; mkdir -p target/fuzz/corpus/$$target; \
		FUZZ_TARGET=$$target $(FUZZER) -max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=1024 -max_len=32768 \
			-verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- \
			target/fuzz/corpus/$$target fuzz/seeds/$$target || exit 1; \
	done

.PHONY: man
man: ## manual pages of the command line into target/man
	cargo run --quiet --locked --package writgate-cli --bin kubectl-writgate -- man target/man

.PHONY: krew
krew: ## krew's manifest of a release: VERSION=v1.2.3 HOMEPAGE=URL BASE=URL-of-the-archives ARCHIVES=FOLDER
	@packaging/krew/fill "$(VERSION)" "$(HOMEPAGE)" "$(BASE)" "$(ARCHIVES)"

.PHONY: fmt
fmt: ## format the sources
	cargo fmt --all

MANIFESTS := manifests
TEMPLATE := $(HELM) template writgate charts/writgate --namespace writgate-system

.PHONY: manifests
manifests: $(HELM) ## render the chart into manifests/
	@mkdir -p $(MANIFESTS)/example
	$(TEMPLATE) --set createNamespace=true >$(MANIFESTS)/writgate.yaml
	$(TEMPLATE) --set examplePosture.enabled=true --show-only templates/example-posture.yaml >$(MANIFESTS)/example/posture.yaml

## Tools, built once into ignored folders from what package registries serve

.PHONY: tools
tools: check-tools controlplane $(HELM) ## build what tests need and toolchains don't bring

.PHONY: controlplane
controlplane: | check-tools ## the Kubernetes binaries of the tests and the demo
	@tests/controlplane/build.sh >/dev/null

# The version is in the name, so that a newer checkout of go.mod does not rebuild and another version does.
$(HELM): | $(TOOLS) check-tools
	@echo "building $(notdir $@), once (1 to 3 minutes)"
	cd tests/helm && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(abspath $@) helm.sh/helm/v4/cmd/helm

# The target is the program. Cargo creates the folder first, and an interrupted build would leave it behind.
$(DENY)/bin/cargo-deny: | $(TOOLS) check-tools
	@echo "building $(notdir $(DENY)), once (about 3 minutes)"
	cargo install cargo-deny --version $(DENY_VERSION) --locked --quiet --root $(DENY)

$(TYPOS)/bin/typos: | $(TOOLS)
	@echo "building $(notdir $(TYPOS)), once (about 3 minutes)"
	cargo install typos-cli --version $(TYPOS_VERSION) --locked --quiet --root $(TYPOS)

$(TOOLS):
	mkdir -p $@
