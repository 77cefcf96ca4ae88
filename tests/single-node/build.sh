#!/bin/sh
# Builds what the single-node cluster needs in addition to the control plane: kubelet, kube-proxy, kube-scheduler, and the image
# of the workloads.
#
# Prints one line per file, `NAME PATH`, on standard output. The Kubernetes programs come from the Go module in
# tests/controlplane, with the flags of its build, so that Go compiles each package once for both. That go.mod has the versions.
# The modules that only these programs import are added in a copy, and the Go checksum database verifies them. Everything is built
# once into bin/, which Git ignores.
set -eu

cd "$(dirname "$0")"
here=$(pwd)
mkdir -p bin
programs="kubelet kube-proxy kube-scheduler"

stamp="$(cat build.sh workload.go ../controlplane/go.mod ../controlplane/go.sum | cksum | tr -d ' ') $(go env GOVERSION GOOS GOARCH | tr '\n' ' ')"
if [ "$(cat bin/.stamp 2>/dev/null)" != "$stamp" ]; then
    rm -f bin/.stamp
    echo "building $programs, once (2 to 8 minutes)" >&2
    kubernetes=v$(sed -n 's,^[[:space:]]*k8s.io/kubernetes v\([^ ]*\).*,\1,p' ../controlplane/go.mod)
    cp ../controlplane/go.mod ../controlplane/go.sum bin/
    for program in $programs; do
        (cd ../controlplane && CGO_ENABLED=0 go build -mod=mod -modfile="$here/bin/go.mod" -trimpath \
            -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes" \
            -o "$here/bin/$program" "k8s.io/kubernetes/cmd/$program") >bin/log 2>&1 || { tail -n 20 bin/log >&2; exit 1; }
    done

    # An archive in the format of `docker save`, which containerd imports.
    work=$(mktemp -d bin/.image.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$work/workload" workload.go
    tar -C "$work" --owner=0 --group=0 -cf "$work/layer.tar" workload
    cat >"$work/config.json" <<EOF
{"architecture": "$(go env GOARCH)", "os": "linux", "config": {"User": "65532:65532", "Entrypoint": ["/workload"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)"]}}
EOF
    echo '[{"Config": "config.json", "RepoTags": ["registry.example/workload:1", "registry.example/replay:1"], "Layers": ["layer.tar"]}]' >"$work/manifest.json"
    tar -C "$work" -cf bin/workload.tar manifest.json config.json layer.tar
    echo "$stamp" >bin/.stamp
fi
for file in $programs workload.tar; do echo "$file $here/bin/$file"; done
