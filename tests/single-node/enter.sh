#!/bin/sh
# Runs a command, `enter.sh COMMAND…`, as root in namespaces of its own: network, mounts, processes, host name and IPC. The command
# can be a node of a cluster there. When this process ends, the kernel stops everything that the command started, and nothing of it
# remains on the machine: no rule, no link, no mount, no changed sysctl.
#
# WRITGATE_NODE_FOLDER is the command's folder for data and logs. It is removed at the end, unless the command fails or
# WRITGATE_KEEP is set.
set -eu

inside() {
    hostname "$NODE"
    mount --make-rprivate /
    mount --make-rshared / # the kubelet passes mounts on to containers
    mount -t tmpfs tmpfs /run
    mkdir /run/lock
    # These sysctls are not in a namespace. The kubelet finds the values that it wants, and writes nothing.
    for value in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
        file=/proc/sys/${value%=*}
        [ -e "$file" ] || continue
        copy=/run/sysctl-$(echo "${value%=*}" | tr / -)
        echo "${value#*=}" >"$copy"
        mount --bind "$copy" "$file"
    done

    # The API server advertises the address of the default route, so there must be one. Nothing is behind it.
    ip link set lo up
    ip link add node0 type veth peer name node0-peer
    ip address add "$WRITGATE_NODE_ADDRESS/24" dev node0
    ip link set node0 up
    ip link set node0-peer up
    ip route add default via "${WRITGATE_NODE_ADDRESS%.*}.254" dev node0
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
    # As process 1, a shell collects processes whose parents have ended.
    code=0
    "$@" || code=$?
    exit "$code"
}

# Every cgroup hierarchy that a kubelet uses. With cgroup v2 alone, the root is the only one.
hierarchies() {
    for name in . unified cpu cpuacct cpuset memory pids blkio devices freezer systemd; do
        if [ -e "/sys/fs/cgroup/$name/cgroup.procs" ]; then echo "/sys/fs/cgroup/$name"; fi
    done
}

leave() {
    code=$?
    # The kernel still ends processes for some milliseconds.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        remaining=0
        for hierarchy in $(hierarchies); do
            [ ! -d "$hierarchy/$NODE" ] || find "$hierarchy/$NODE" -depth -type d -exec rmdir {} + 2>/dev/null || remaining=1
        done
        [ "$remaining" = 1 ] || break
        sleep 0.3
    done
    if [ "$code" = 0 ] && [ -z "${WRITGATE_KEEP:-}" ]; then
        rm -rf "$WRITGATE_NODE_FOLDER"
    else
        echo "kept $WRITGATE_NODE_FOLDER" >&2
    fi
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
fi

NODE=writgate-node-$$
export NODE
export WRITGATE_NODE_ADDRESS=10.200.0.1
mkdir -p "$(dirname "$0")/../../target/tmp"
WRITGATE_NODE_FOLDER=$(mktemp -d "$(cd "$(dirname "$0")/../../target/tmp" && pwd)/node.XXXXXX")
export WRITGATE_NODE_FOLDER
trap leave EXIT
trap 'exit 130' INT TERM HUP
for hierarchy in $(hierarchies); do
    mkdir "$hierarchy/$NODE"
    for file in cpuset.cpus cpuset.mems; do # a new cpuset of cgroup v1 has no CPUs
        [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$NODE/$file"
    done
done
# If this shell is killed, the kernel kills unshare, and that kills process 1 of the namespaces and so all others.
setpriv --pdeathsig KILL \
    unshare --net --mount --pid --uts --ipc --fork --mount-proc --kill-child "$0" --inside "$@"
