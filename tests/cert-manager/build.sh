#!/bin/sh
# Builds the controllers of cert-manager for the single-node cluster, once, into bin/, which Git ignores. Prints `cert-manager PATH`,
# and `crds PATH`, the folder with its CustomResourceDefinitions.
set -eu

cd "$(dirname "$0")"
here=$(pwd)
mkdir -p bin

stamp="$(cat build.sh main.go go.mod go.sum | cksum | tr -d ' ') $(go env GOVERSION GOOS GOARCH | tr '\n' ' ')"
if [ "$(cat bin/.stamp 2>/dev/null)" != "$stamp" ]; then
    rm -f bin/.stamp
    echo "building the controllers of cert-manager, once (2 to 8 minutes)" >&2
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/cert-manager . >bin/log 2>&1 || { tail -n 20 bin/log >&2; exit 1; }
    crds=$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)/deploy/crds
    rm -rf bin/crds
    mkdir bin/crds
    cp "$crds"/cert-manager.io_*.yaml bin/crds/
    chmod -R u+w bin/crds # files of Go's module cache are read-only
    echo "$stamp" >bin/.stamp
fi
echo "cert-manager $here/bin/cert-manager"
echo "crds $here/bin/crds"
