#!/bin/sh
# Finds the control plane for the tests and the demo, and builds the tools that are missing.
#
# Prints one line per tool, `NAME PATH`, on standard output. Progress goes to standard error. A tool from
# KUBEBUILDER_ASSETS or PATH is used only if it is exactly the pinned version, because the tests describe the behaviour
# of one version of the API server. Every other tool is built once from the Go module in this folder, into bin/, which
# Git ignores. bin/.stamp names the inputs of the build, so the next call finds the tools again.
set -eu

cd "$(dirname "$0")"

# The version of a module that go.mod requires.
version_in_go_mod() {
    sed -n "s,^[[:space:]]*$1 v\([^ ]*\).*,\1,p" go.mod
}

KUBERNETES=v$(version_in_go_mod k8s.io/kubernetes)
ETCD=$(version_in_go_mod go.etcd.io/etcd/server/v3)
here=$(pwd)
mkdir -p bin

# The version that a binary reports, or nothing.
version_of() {
    case $1 in
    etcd) "$2" --version 2>/dev/null | sed -n 's/^etcd Version: //p' ;;
    kubectl) "$2" version --client 2>/dev/null | sed -n 's/^Client Version: //p' ;;
    *) "$2" --version 2>/dev/null | sed -n 's/^Kubernetes //p' ;;
    esac
}

pinned() {
    case $1 in etcd) echo "$ETCD" ;; *) echo "$KUBERNETES" ;; esac
}

package_of() {
    case $1 in etcd) echo go.etcd.io/etcd/server/v3 ;; *) echo "k8s.io/kubernetes/cmd/$1" ;; esac
}

stamp() {
    sums=$(cat go.mod go.sum build.sh | cksum | tr -d ' ')
    # Without Go nothing can be rebuilt, so tools that were built from the same sources are used.
    if command -v go >/dev/null 2>&1; then
        echo "$sums $(go env GOVERSION GOOS GOARCH | tr '\n' ' ')"
    else
        echo "$sums $(sed -n 's/^[0-9a-f]* //p' bin/.stamp 2>/dev/null)"
    fi
}

# Prints the path of a tool that has the pinned version, if there is one.
find_tool() {
    for candidate in "${KUBEBUILDER_ASSETS:-}/$1" "$(command -v "$1" 2>/dev/null || true)"; do
        if [ -x "$candidate" ] && [ "$(version_of "$1" "$candidate")" = "$(pinned "$1")" ]; then
            echo "$candidate"
            return
        fi
    done
    if [ -x "bin/$1" ] && [ "$(cat bin/.stamp 2>/dev/null)" = "$wanted_stamp" ]; then
        echo "$here/bin/$1"
    fi
}

# Compiles all tools with the same flags, so that the shared build cache holds each package once. The build takes three
# minutes on four cores and eight on two, so it prints its progress every ten seconds.
build() {
    if ! command -v go >/dev/null 2>&1; then
        echo "error: the control plane must be built, but go is not installed" >&2
        echo "       Install Go 1.26 (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with etcd $ETCD" >&2
        echo "       and the binaries of Kubernetes $KUBERNETES" >&2
        exit 1
    fi
    work=$(mktemp -d "bin/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'kill "$compiler" 2>/dev/null; exit 130' INT TERM HUP
    started=$(date +%s)
    echo "building the test control plane, once:$1 (3 to 8 minutes)" >&2
    (
        for tool in $1; do
            echo "$tool" >"$work/current"
            CGO_ENABLED=0 go build -v -trimpath \
                -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$KUBERNETES" \
                -o "$work/$tool" "$(package_of "$tool")" 2>>"$work/log" || exit 1
        done
    ) &
    compiler=$!
    ticks=0
    while kill -0 "$compiler" 2>/dev/null; do
        sleep 1
        ticks=$((ticks + 1))
        if [ $((ticks % 10)) -eq 0 ]; then
            elapsed=$(($(date +%s) - started))
            printf '  %dm%02ds  %s, %d packages compiled\n' $((elapsed / 60)) $((elapsed % 60)) \
                "$(cat "$work/current" 2>/dev/null)" "$(grep -c . "$work/log" 2>/dev/null || true)" >&2
        fi
    done
    if ! wait "$compiler"; then
        echo "error: the control plane did not compile:" >&2
        tail -n 20 "$work/log" >&2
        exit 1
    fi
    # Tools of the old stamp must not be found under the new stamp.
    if [ "$(cat bin/.stamp 2>/dev/null)" != "$wanted_stamp" ]; then
        (cd bin && rm -f .stamp $tools)
    fi
    for tool in $1; do mv "$work/$tool" "bin/$tool"; done
    echo "$wanted_stamp" >bin/.stamp
    elapsed=$(($(date +%s) - started))
    printf 'built in %dm%02ds, in %s/bin\n' $((elapsed / 60)) $((elapsed % 60)) "$here" >&2
}

tools="etcd kube-apiserver kube-controller-manager kubectl"
wanted_stamp=$(stamp)
missing=""
for tool in $tools; do
    [ -n "$(find_tool "$tool")" ] || missing="$missing $tool"
done
[ -z "$missing" ] || build "$missing"
for tool in $tools; do echo "$tool $(find_tool "$tool")"; done
