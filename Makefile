# Every command that CI runs is a target of the same name here; .ci/run only puts them in order.
# `make` alone lists them.

TOOLS := .tools
HELM := $(TOOLS)/helm-$(shell sed -n 's,.*helm.sh/helm/v4 \(v[0-9.]*\).*,\1,p' tests/helm/go.mod)
DENY_VERSION := 0.20.2
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

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

.PHONY: clippy
clippy: ## lints, warnings denied
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: deny
deny: $(DENY) ## banned crates, licences and sources of the dependencies
	$(DENY)/bin/cargo-deny --all-features --locked check bans licenses sources

.PHONY: doc
doc: ## API documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

.PHONY: manifests-check
manifests-check: $(HELM) ## the chart lints, and manifests/ is what it renders
	$(HELM) lint --strict --quiet charts/writgate
	@rendered=$$(mktemp -d) && trap 'rm -rf "$$rendered"' EXIT && \
		$(MAKE) --no-print-directory manifests MANIFESTS="$$rendered" && \
		if ! diff -ru manifests "$$rendered"; then echo "manifests/ differs from the chart: run make manifests" >&2; exit 1; fi

.PHONY: demo
demo: check-tools controlplane ## see it work: kubectl, an API server, a denial, an approval, an admission
	@cargo test --locked --test demo --no-run
	@cargo test --locked --quiet --test demo

.PHONY: e2e
e2e: controlplane ## only the end-to-end tests
	cargo test --locked --test e2e

.PHONY: bypass
bypass: controlplane ## only the ways around the gate: tries each, and prints what came of it
	cargo test --locked --test bypass

.PHONY: test
test: tools manifests-check ## everything: unit, property, vectors, chart, and end to end on a real control plane
	cargo test --workspace --locked
	cargo test --locked --test demo

## For work

.PHONY: bench
bench: ## the webhook beside its floor, as ratios; options in ARGS, for example ARGS="--rounds 3"
	cargo bench --locked --bench gate -- $(ARGS)

.PHONY: model
model: tools ## 40 random histories against the model of the verdict; WRITGATE_MODEL_HISTORIES for another number
	WRITGATE_MODEL_HISTORIES=$${WRITGATE_MODEL_HISTORIES:-40} cargo test --locked --test model

.PHONY: hash-proof
hash-proof: tools ## 2,000 random manifests per kind: offline hash = hash at admission; WRITGATE_PROOF_CASES for another number
	WRITGATE_PROOF_CASES=$${WRITGATE_PROOF_CASES:-2000} cargo test --locked --test hash_proof

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

$(DENY): | $(TOOLS) check-tools
	@echo "building $(notdir $@), once (about 3 minutes)"
	cargo install cargo-deny --version $(DENY_VERSION) --locked --quiet --root $@

$(TOOLS):
	mkdir -p $@
