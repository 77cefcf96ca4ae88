#!/bin/sh
# Lists the requirements of the single-node cluster that the machine lacks, and how to install them.
set -u

missing=0
lacks() { # WHAT, how to get it
    printf 'missing: %s\n         %s\n' "$1" "$2" >&2
    missing=1
}
require() { # PROGRAM, PACKAGE
    command -v "$1" >/dev/null 2>&1 || lacks "$1" "apt-get install --no-install-recommends $2, or your system's package"
}

PATH=$PATH:/usr/sbin:/sbin
require go "golang, or Go 1.26 from https://go.dev/dl"
require containerd containerd
require ctr containerd
require runc runc
require iptables iptables
require ip iproute2
require unshare util-linux
require setpriv util-linux
[ -x /usr/lib/cni/bridge ] || lacks "the CNI plugins in /usr/lib/cni" "apt-get install containernetworking-plugins"
if [ "$(id -u)" != 0 ]; then
    lacks "root, for namespaces, mounts and containers" "run it as root, on a machine that you can reinstall"
elif ! unshare --net --mount --pid --uts --ipc --fork true 2>/dev/null; then
    lacks "the right to create namespaces" "run it outside a container, or in a privileged one"
fi
grep -qw overlay /proc/filesystems || lacks "the file system overlay" "modprobe overlay"
[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || lacks "bridge netfilter" "modprobe br_netfilter"

exit "$missing"
