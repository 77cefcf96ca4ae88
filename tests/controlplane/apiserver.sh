#!/bin/sh
# Builds the kube-apiserver of another Kubernetes version, once, and prints its path. The tests use it if
# WRITGATE_KUBERNETES names that version. Everything else is as build.sh finds it.
#
# The sources come from the Go module proxy, and the Go checksum database verifies them, since go.mod pins one version
# only. The binary is in bin/vVERSION, which Git ignores.
set -eu

version=${1#v}
case $version in
1.[0-9]*.[0-9]*) ;;
*)
    echo "error: $1 is no version of Kubernetes, expected for example 1.34.2" >&2
    exit 1
    ;;
esac
# Modules of the staging repositories have the version v0.MINOR.PATCH.
staging=v0.${version#1.}
minor=${version#1.}
minor=${minor%%.*}

cd "$(dirname "$0")"
folder=$(pwd)/bin/v$version
if [ -x "$folder/kube-apiserver" ]; then
    echo "$folder/kube-apiserver"
    exit 0
fi
if ! command -v go >/dev/null 2>&1; then
    echo "error: kube-apiserver v$version must be built, but go is not installed; install Go 1.26 (https://go.dev/dl)" >&2
    exit 1
fi
go_directive=$(sed -n 's/^go //p' go.mod)
mkdir -p "$folder"
cd "$folder"
started=$(date +%s)
echo "building kube-apiserver v$version, once (3 to 8 minutes)" >&2

printf 'module writgate.dev/apiserver\n\ngo %s\n' "$go_directive" >go.mod
rm -f go.sum
go mod edit -require "k8s.io/kubernetes@v$version"
# k8s.io/kubernetes replaces each module of its staging repositories by a folder that the proxy does not have.
go mod download "k8s.io/kubernetes@v$version"
kubernetes=$(go env GOMODCACHE)/k8s.io/kubernetes@v$version
for module in $(sed -n 's,^[[:space:]]*\(k8s.io/[^ ]*\) => ./staging.*,\1,p' "$kubernetes/go.mod"); do
    go mod edit -replace "$module=$module@$staging"
done
printf '//go:build tools\n\npackage tools\n\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver/app"\n' >tools.go
go mod tidy >log 2>&1 || { tail -n 20 log >&2; exit 1; }
flags="-X k8s.io/component-base/version.gitVersion=v$version"
flags="$flags -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
if ! CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-s -w $flags" -o kube-apiserver.new \
    k8s.io/kubernetes/cmd/kube-apiserver >log 2>&1; then
    echo "error: kube-apiserver v$version did not compile:" >&2
    tail -n 20 log >&2
    exit 1
fi
mv kube-apiserver.new kube-apiserver
echo "built in $((($(date +%s) - started) / 60)) minutes, in $folder" >&2
echo "$folder/kube-apiserver"
