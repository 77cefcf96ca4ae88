# CI runs only targets of this file; .ci/run has their order. `make` alone lists the targets.

TOOLS := .tools
HELM := $(TOOLS)/helm-$(shell sed -n 's,.*helm.sh/helm/v4 \(v[0-9.]*\).*,\1,p' tests/helm/go.mod)
PROMETHEUS := $(TOOLS)/prometheus-$(shell sed -n 's,.*github.com/prometheus/prometheus \(v[0-9.]*\).*,\1,p' tests/prometheus/go.mod)
FLUX := $(TOOLS)/flux-$(shell sed -n 's,.*github.com/fluxcd/kustomize-controller \(v[0-9.]*\).*,\1,p' tests/flux/go.mod)
DENY_VERSION := 0.20.2
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)
MUTANTS_VERSION := 27.1.0
MUTANTS := $(TOOLS)/cargo-mutants-$(MUTANTS_VERSION)
TYPOS_VERSION := 1.42.3
TYPOS := $(TOOLS)/typos-$(TYPOS_VERSION)
# Writes the list of crates into a program, and makes an SBOM of it.
AUDITABLE_VERSION := 0.7.7
AUDITABLE := $(TOOLS)/cargo-auditable-$(AUDITABLE_VERSION)
AUDITABLE2CDX_VERSION := 0.1.0
AUDITABLE2CDX := $(TOOLS)/auditable2cdx-$(AUDITABLE2CDX_VERSION)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

## Checks

.PHONY: check
check: ## run everything that CI runs
	@.ci/run

.PHONY: check-tools
check-tools: ## list the toolchains that are missing, and how to install them
	@.ci/check-tools

.PHONY: fmt-check
fmt-check: ## check the formatting
	cargo fmt --all -- --check

FIELDS := crates/core/src/kube/defaults/fields.rs
FIELDS_JSON := docs/spec/spec-hash-v1/fields.json
# These are the flags of the control plane's build, so that Go compiles k8s.io/api only once.
K8S_TABLES := cd tools/k8s-tables && export CGO_ENABLED=0 && go run -trimpath .

.PHONY: k8s-tables-check
k8s-tables-check: ## check that the field tables are what tools/k8s-tables prints, and run its tests
	@cd tools/k8s-tables && export CGO_ENABLED=0 && test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet -trimpath . && go test -trimpath .
	@fields=$$(mktemp -d) && trap 'rm -r "$$fields"' EXIT && ($(K8S_TABLES)) >"$$fields/rust" && ($(K8S_TABLES) json) >"$$fields/json" && \
		if ! diff -u $(FIELDS) "$$fields/rust" || ! diff -u $(FIELDS_JSON) "$$fields/json"; then \
		echo "$(FIELDS) or $(FIELDS_JSON) is not what tools/k8s-tables prints: run make k8s-tables" >&2; exit 1; fi

.PHONY: clippy
clippy: ## run the lints; a warning is an error
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: typos
typos: $(TYPOS)/bin/typos ## check the spelling of sources and documents (_typos.toml has the exceptions)
	$(TYPOS)/bin/typos

# In the workspace, Cargo unites the features of all crates. A crate may lack a feature and compile only for that reason.
.PHONY: crates
crates: ## compile each crate alone
	@for crate in writgate-core writgate-cluster writgate-cli writgate writgate-testing writgate-fuzz xtask; do \
		echo "cargo check --package $$crate"; cargo check --quiet --locked --package $$crate || exit 1; done

.PHONY: deny
deny: $(DENY)/bin/cargo-deny ## check the dependencies: banned crates, licences and sources
	$(DENY)/bin/cargo-deny --workspace --all-features --locked check bans licenses sources

.PHONY: doc
doc: ## build the API documentation; a warning is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: manifests-check
manifests-check: $(HELM) ## lint the chart, and check that manifests/ and kustomize/ have what it renders
	$(HELM) lint --strict --quiet charts/writgate
	$(HELM) lint --strict --quiet charts/writgate --set clientCA.configMapName=ca --set 'clientCA.names={kube-apiserver}' $(NETWORK_POLICY)
	@rendered=$$(mktemp -d) && trap 'rm -rf "$$rendered"' EXIT && \
		$(MAKE) --no-print-directory manifests MANIFESTS="$$rendered/manifests" OVERLAYS="$$rendered/kustomize" && \
		if ! diff -ru --exclude kustomization.yaml --exclude README.md manifests "$$rendered/manifests" || \
			! diff -u kustomize/cert-manager/certificates.yaml "$$rendered/kustomize/cert-manager/certificates.yaml"; then \
			echo "manifests/ or kustomize/ differs from the chart: run make manifests" >&2; exit 1; fi

.PHONY: monitoring-check
monitoring-check: $(PROMETHEUS)/promtool ## check the alerts, and run their unit tests
	$(PROMETHEUS)/promtool check rules --lint=all --lint-fatal charts/writgate/monitoring/alerts.yaml
	$(PROMETHEUS)/promtool test rules tests/prometheus/alerts.yaml

# Cargo and Go build at the same time, which shortens the first run.
.PHONY: demo
demo: check-tools ## run the tutorial on a local control plane with Flux: denials, approvals, admissions, and how many commands they took
	@$(MAKE) --no-print-directory -j2 controlplane $(FLUX)/kustomize-controller demo-programs
	@$${CARGO_TARGET_DIR:-target}/debug/examples/demo

.PHONY: demo-programs
demo-programs: | check-tools
	@cargo build --locked --package writgate --package writgate-cli --package writgate-testing --bins --example demo

.PHONY: e2e
e2e: controlplane ## run only the end-to-end tests
	cargo test --locked --test cluster e2e::

.PHONY: bypass
bypass: controlplane ## try each known way around the webhook, and print the outcomes
	cargo test --locked --test cluster bypass::

# Not part of CI: it requires root, and the build of the image takes longer than the tests.
.PHONY: e2e-cluster
e2e-cluster: node-tools image controlplane $(HELM) ## install the image on a real cluster of one node, and count the calls that fail during upgrades, drains and rotations; ARGS="workloads restart" selects parts, WRITGATE_CALLS is the least number of calls for each [10000]
	@tests/single-node/build.sh >/dev/null
	@cargo build --locked --package writgate-testing --example single_node
	@tests/single-node/enter.sh $${CARGO_TARGET_DIR:-target}/debug/examples/single_node $(ARGS)

.PHONY: e2e-cert-manager
e2e-cert-manager: node-tools image controlplane $(HELM) ## install the chart on the same cluster with cert-manager's certificates, show which workloads start, and count the calls that fail during a renewal
	@tests/single-node/build.sh >/dev/null
	@tests/cert-manager/build.sh >/dev/null
	@cargo build --locked --package writgate-testing --example single_node
	@tests/single-node/enter.sh $${CARGO_TARGET_DIR:-target}/debug/examples/single_node cert-manager

.PHONY: node-tools
node-tools: check-tools ## list what e2e-cluster needs in addition to the tools of the other tests
	@tests/single-node/check.sh

.PHONY: test
test: tools manifests-check monitoring-check ## run all tests: unit, property, vectors, chart, and end to end on a real control plane
	cargo test --workspace --locked
	$${CARGO_TARGET_DIR:-target}/debug/examples/demo

## Development

# Each benchmark writes its figures to target/figures. COMPARE is another binary of the webhook, which is measured in the same
# rounds as "before".
BENCH := cargo bench --locked --bench admission --
BENCH_CLI := cargo bench --locked --package writgate-cli --bench cli --
FIGURES := cargo run --quiet --locked --package writgate-testing --example figures --

.PHONY: bench
bench: ## compare the webhook with its floor; options in ARGS, for example ARGS="--rounds 3"; COMPARE=BINARY measures that webhook too
	$(BENCH) $(if $(COMPARE),--compare "$(COMPARE)") $(ARGS)

.PHONY: bench-cli
bench-cli: ## compare the command line with its floor; options in ARGS, for example ARGS="--only audit"
	$(BENCH_CLI) $(ARGS)

.PHONY: bench-e2e
bench-e2e: controlplane ## measure what the webhook adds to writes through a real API server; ARGS="--responses" compares responses
	$(BENCH) e2e $(ARGS)

.PHONY: bench-soak
bench-soak: ## send 1,000,000 mixed reviews, compare every verdict and watch the memory; ARGS="--reviews 10000" sends fewer
	$(BENCH) soak $(ARGS)

.PHONY: bench-scale
bench-scale: controlplane ## measure the webhook with 10,000 namespaces and 1,000 postures on a real API server; options in ARGS, for example ARGS="--namespaces 2000"
	@cargo build --locked --release --package writgate --package writgate-testing --bins --example scale
	@$${CARGO_TARGET_DIR:-target}/release/examples/scale $(ARGS)

.PHONY: bench-short
bench-short: ## compare creations with the floor in less than a minute, and print the difference from the baseline; the profile is `short`
	cargo bench --locked --profile short --bench admission -- --short $(ARGS)
	@$(FIGURES) compare --all --report-only short=admission

.PHONY: bench-check
bench-check: ## run bench and bench-cli, and fail if a figure is worse than the baseline by more than the noise
	$(BENCH) $(ARGS)
	$(BENCH_CLI)
	@$(FIGURES) compare admission cli

.PHONY: bench-record
bench-record: controlplane ## run every benchmark, and write benches/baseline.json and docs/benchmarks.md, on a quiet machine; COMPARE=BINARY as for bench
	$(BENCH) $(if $(COMPARE),--compare "$(COMPARE)")
	$(BENCH) stages
	$(BENCH_CLI)
	$(BENCH) e2e
	$(BENCH) soak
	@$(FIGURES) record admission stages cli e2e soak

.PHONY: bench-page
bench-page: ## write the figures of benches/baseline.json into docs/benchmarks.md
	@$(FIGURES) page

.PHONY: model
model: tools ## compare random histories with a model of the decision; WRITGATE_MODEL_HISTORIES sets their number [40]
	WRITGATE_MODEL_HISTORIES=$${WRITGATE_MODEL_HISTORIES:-40} cargo test --locked --test cluster model::

# Not part of CI: each of about 1,000 mutants is compiled. The target folder is one for all runs, so dependencies are built once.
.PHONY: mutants
mutants: $(MUTANTS)/bin/cargo-mutants ## change core's decision path in many small ways, and list what no test notices; options in ARGS, for example ARGS="--re decide/eligibility" or ARGS="--shard 0/20"
	CARGO_TARGET_DIR=$(abspath target/mutants) nice -n 19 $(MUTANTS)/bin/cargo-mutants mutants --package writgate-core --output target $(ARGS)

.PHONY: races
races: controlplane ## race for one use on three replicas; WRITGATE_RACES sets the number of races [10000]
	WRITGATE_RACES=$${WRITGATE_RACES:-10000} cargo test --locked --test cluster of_many_simultaneous_uses

.PHONY: hash-proof
hash-proof: tools ## compare offline hashes of random manifests with those at admission; WRITGATE_PROOF_CASES sets their number per kind [2000]; KUBERNETES=1.34.2 runs that API server
	WRITGATE_KUBERNETES=$(KUBERNETES) WRITGATE_PROOF_CASES=$${WRITGATE_PROOF_CASES:-2000} cargo test --locked --test cluster hash_proof::
	@if [ -n "$(KUBERNETES)" ]; then WRITGATE_KUBERNETES=$(KUBERNETES) cargo test --locked --test cluster manifests::; fi

.PHONY: k8s-tables
k8s-tables: ## write the tables of Kubernetes' fields; KUBERNETES=v1.38.0 pins that release first, for the tests as well
	@if [ -n "$(KUBERNETES)" ]; then tools/k8s-tables/pin "$(KUBERNETES)"; fi
	@fields=$$(mktemp -d) && trap 'rm -r "$$fields"' EXIT && ($(K8S_TABLES)) >"$$fields/rust" && ($(K8S_TABLES) json) >"$$fields/json" && \
		cat "$$fields/rust" >$(FIELDS) && cat "$$fields/json" >$(FIELDS_JSON)

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/seeds/*.txt)))
FUZZ_HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZER := target/fuzz/$(FUZZ_HOST)/fuzz/fuzz
# The flags of `cargo fuzz`, without the address sanitizer: it requires a nightly compiler and finds nothing in safe code.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: fuzz
fuzz: ## fuzz each parser of untrusted input for FUZZ_SECONDS [60]; FUZZ_TARGETS="review rule" selects parsers
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
man: ## write manual pages of the command line into target/man
	cargo run --quiet --locked --package writgate-cli --bin kubectl-writgate -- man target/man

.PHONY: krew
krew: ## print krew's manifest of a release: VERSION=v1.2.3 HOMEPAGE=URL BASE=URL-of-the-archives ARCHIVES=FOLDER
	@packaging/krew/fill "$(VERSION)" "$(HOMEPAGE)" "$(BASE)" "$(ARCHIVES)"

## Release (RELEASING.md)

XTASK := PATH="$(abspath $(AUDITABLE)/bin):$(abspath $(AUDITABLE2CDX)/bin):$$PATH" cargo run --quiet --locked --package xtask --

.PHONY: image
image: $(AUDITABLE)/bin/cargo-auditable ## build the webhook's image for this machine's architecture into target/image, an OCI image layout
	@$(XTASK) image

# Not part of CI: it compiles the webhook twice with all optimisations.
.PHONY: image-check
image-check: image ## build the image again in another folder, compare every byte, and start it with no other file of this machine
	@$(XTASK) reproduce
	cargo test --locked --package xtask --test image -- --ignored

.PHONY: release-check
release-check: ## check that Cargo.toml, the chart and the changelog agree; TAG=v1.2.3 checks a tag and the changelog's date too
	@$(XTASK) check $(if $(TAG),--tag "$(TAG)")

.PHONY: release-linux
release-linux: $(AUDITABLE)/bin/cargo-auditable $(AUDITABLE2CDX)/bin/auditable2cdx ## build the programs, SBOMs and archives of a release for this Linux machine into target/release-linux
	@$(XTASK) linux

.PHONY: release-dry-run
release-dry-run: $(AUDITABLE)/bin/cargo-auditable $(AUDITABLE2CDX)/bin/auditable2cdx $(HELM) ## run each step of a release that requires no other machine into target/release-dry-run, and list the others
	@$(XTASK) dry-run --helm $(HELM)

CHART := charts/writgate
OUTPUT := target/chart
.PHONY: chart
chart: $(HELM) ## package the folder CHART [charts/writgate] into OUTPUT [target/chart]
	$(HELM) package $(CHART) --destination $(OUTPUT)

.PHONY: helm-path
helm-path: $(HELM) ## print the path of Helm
	@echo $(HELM)

## Generated files

.PHONY: schemas
schemas: ## write the JSON Schemas of the documents into docs/schema
	WRITGATE_WRITE_SCHEMAS=1 cargo test --quiet --locked --package writgate-core --test core schema::

.PHONY: chart-readme
chart-readme: ## write the table of values into the chart's README
	WRITGATE_WRITE_CHART_README=1 cargo test --quiet --locked --test webhook chart_page::

.PHONY: fmt
fmt: ## format the sources
	cargo fmt --all

MANIFESTS := manifests
# Overlays of manifests/ for kustomize. It refuses a base that contains its overlays.
OVERLAYS := kustomize
# Addresses that are reserved for documentation (RFC 5737).
NETWORK_POLICY := --set networkPolicy.enabled=true --set 'networkPolicy.apiServers[0].ipBlock.cidr=192.0.2.0/28' \
	--set 'networkPolicy.metrics[0].namespaceSelector.matchLabels.kubernetes\.io/metadata\.name=monitoring'
# Files for API servers that reach the webhook on their own node. Users add their CA.
STATIC := --set staticManifests.render=true --set staticManifests.url=https://127.0.0.1:8443
TEMPLATE := $(HELM) template writgate charts/writgate --namespace writgate-system --skip-tests
# The label that would be false for objects that kubectl or kustomize applies.
MANAGED_BY := app.kubernetes.io\/managed-by: Helm

RENDERED = $(addprefix $(MANIFESTS)/,writgate.yaml example/posture.yaml example/network-policy.yaml static/webhooks/writgate.yaml \
	static/policies/writgate.yaml) $(OVERLAYS)/cert-manager/certificates.yaml

.PHONY: manifests
manifests: $(HELM) ## render the chart into manifests/ and kustomize/
	@mkdir -p $(MANIFESTS)/example $(OVERLAYS)/cert-manager
	$(TEMPLATE) --set createNamespace=true >$(MANIFESTS)/writgate.yaml
	$(TEMPLATE) --set examplePosture.enabled=true --show-only templates/example-posture.yaml >$(MANIFESTS)/example/posture.yaml
	$(TEMPLATE) --set certificates.mode=cert-manager --show-only templates/certificates.yaml >$(OVERLAYS)/cert-manager/certificates.yaml
	$(TEMPLATE) $(NETWORK_POLICY) --show-only templates/networkpolicy.yaml >$(MANIFESTS)/example/network-policy.yaml
	@mkdir -p $(MANIFESTS)/static/webhooks $(MANIFESTS)/static/policies
	$(TEMPLATE) $(STATIC) --show-only templates/webhook.yaml >$(MANIFESTS)/static/webhooks/writgate.yaml
	$(TEMPLATE) $(STATIC) --show-only templates/policies.yaml >$(MANIFESTS)/static/policies/writgate.yaml
	@sed -i.helm '/^ *$(MANAGED_BY)$$/d' $(RENDERED) && rm $(RENDERED:=.helm)

## Tools, built once from package registries into folders that Git ignores

.PHONY: tools
tools: check-tools controlplane $(HELM) $(PROMETHEUS)/promtool $(FLUX)/kustomize-controller ## build the tools of the tests that no toolchain includes

.PHONY: controlplane
controlplane: | check-tools ## build the Kubernetes binaries of the tests and the demo
	@tests/controlplane/build.sh >/dev/null

# The name contains the version, so Helm is built again for a new version, and not for a new time stamp of go.mod.
$(HELM): | $(TOOLS) check-tools
	@echo "building $(notdir $@), once (1 to 3 minutes)"
	cd tests/helm && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(abspath $@) helm.sh/helm/v4/cmd/helm

# Prometheus and promtool share almost all packages. The tag leaves out the cloud clients that discover targets.
$(PROMETHEUS)/promtool: | $(TOOLS) check-tools
	@echo "building $(notdir $(PROMETHEUS)), once (2 to 4 minutes)"
	cd tests/prometheus && CGO_ENABLED=0 go build -trimpath -tags remove_all_sd -ldflags "-s -w" -o $(abspath $(PROMETHEUS))/ \
		github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool

# The controllers share most packages. Their CRDs are in the sources of the modules, those of source-controller in a module of
# which the others require only the API. The first target is made last, since the tests look for its folder.
$(FLUX)/kustomize-controller: | $(TOOLS) check-tools
	@echo "building $(notdir $(FLUX)), once (2 to 4 minutes)"
	@mkdir -p $(FLUX)/crds
	cd tests/flux && for module in kustomize-controller helm-controller source-controller; do \
		version=$$(sed -n "s,^\sgithub.com/fluxcd/$$module\(/api\)\? \(v[0-9.]*\) .*,\2,p" go.mod | head -n 1) && \
		folder=$$(go mod download -json "github.com/fluxcd/$$module@$$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
		install -m 644 "$$folder"/config/crd/bases/*.yaml $(abspath $(FLUX))/crds/ || exit 1; done
	cd tests/flux && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(abspath $(FLUX))/ \
		github.com/fluxcd/kustomize-controller github.com/fluxcd/helm-controller

# The target is the program. Cargo creates the folder first, and an interrupted build would leave it behind.
$(DENY)/bin/cargo-deny: | $(TOOLS) check-tools
	@echo "building $(notdir $(DENY)), once (about 3 minutes)"
	cargo install cargo-deny --version $(DENY_VERSION) --locked --quiet --root $(DENY)

$(AUDITABLE)/bin/cargo-auditable: | $(TOOLS)
	@echo "building $(notdir $(AUDITABLE)), once (about 1 minute)"
	cargo install cargo-auditable --version $(AUDITABLE_VERSION) --locked --quiet --root $(AUDITABLE)

$(AUDITABLE2CDX)/bin/auditable2cdx: | $(TOOLS)
	@echo "building $(notdir $(AUDITABLE2CDX)), once (about 1 minute)"
	cargo install auditable2cdx --version $(AUDITABLE2CDX_VERSION) --locked --quiet --root $(AUDITABLE2CDX)

$(MUTANTS)/bin/cargo-mutants: | $(TOOLS) check-tools
	@echo "building $(notdir $(MUTANTS)), once (about 2 minutes)"
	cargo install cargo-mutants --version $(MUTANTS_VERSION) --locked --quiet --root $(MUTANTS)

$(TYPOS)/bin/typos: | $(TOOLS)
	@echo "building $(notdir $(TYPOS)), once (about 3 minutes)"
	cargo install typos-cli --version $(TYPOS_VERSION) --locked --quiet --root $(TYPOS)

$(TOOLS):
	mkdir -p $@
