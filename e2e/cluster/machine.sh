# Sourced. "The machine" is one process, `pause`, as the first of its own network, mount and process
# namespaces: the whole cluster runs in them and goes away, with its mounts, when that process is killed.
# Nothing in it has a way to the host's network.
# shellcheck shell=bash disable=SC2034

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(dirname "$here")/.tools
state=$(dirname "$here")/.state
node=10.200.0.2
registry=$node:5000
export PATH=$tools/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH

# Kubernetes' pods are kept below this cgroup, so that `down` removes nothing of anybody else's.
cgroup=portcullis-e2e

# Outside of the state folder only because a path is fixed in a program: covered by a folder of the state folder.
covered=(/var/lib/cni /var/lib/kubelet /var/log/containers)

die() {
  echo "e2e/cluster: $*" >&2
  exit 1
}

# When a process of this number started: tells it from a later one with the same number.
started() { cut -d ' ' -f 22 "/proc/$1/stat" 2>/dev/null; }

# The machine's first process as the host numbers it, or nothing.
init() {
  local outer at
  read -r outer at 2>/dev/null <"$state/machine.pid" || return 0
  [ "$(started "$outer")" = "$at" ] || return 0
  tr -d " " <"/proc/$outer/task/$outer/children"
}

# inside CMD…: runs a command in the machine. Not `ip netns exec`: that mounts a new /sys and hides the cgroups.
inside() {
  local pid
  pid=$(init)
  [ -n "$pid" ] || die "the cluster is not up (e2e/cluster/up)"
  nsenter --target "$pid" --net --mount --pid -- "$@"
}

# daemon NAME CMD…: starts a process in the machine with its log and process number in the state folder.
daemon() {
  local name=$1
  shift
  # shellcheck disable=SC2016 # the inner shell's own variables
  inside setsid --fork bash -c 'echo $$ >"$1"; exec >>"$2" 2>&1 </dev/null; shift 2; exec "$@"' \
    "$name" "$state/$name.pid" "$state/logs/$name.log" "$@"
}

# until_true SECONDS WHAT CMD…: repeats a command until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "timed out waiting for $what (logs: $state/logs)"
    sleep 0.2
  done
}

# Inside only, once: mounts and network of the machine, then the process that keeps it.
machine() {
  mount --make-rshared /
  mount -t tmpfs -o mode=755 tmpfs /run
  local folder
  for folder in "${covered[@]}"; do
    mkdir -p "$state/covered$folder"
    mount --bind "$state/covered$folder" "$folder"
  done
  ip link set lo up
  # Not every kernel has the `dummy` device; a bridge is up only while it has a port.
  ip link add node0 type bridge
  ip link add port0 type veth peer name port1
  ip link set port0 master node0
  ip link set port0 up
  ip link set port1 up
  ip address add "$node/24" dev node0
  ip link set node0 up
  ip route add default via 10.200.0.1
  sysctl -qw net.ipv4.ip_forward=1
  touch "$state/machine.ready"
  exec "$tools/bin/pause"
}
