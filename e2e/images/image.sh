# Sourced. What the images' scripts share: the registry, and a mark of what it holds.
# shellcheck shell=bash disable=SC2034
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/machine.sh"
images=$(dirname "$here")/images

# made NAME STATE: whether the image was pushed from these inputs.
made() { [ -f "$tools/marks/$1" ] && [ "$(cat "$tools/marks/$1")" = "$2" ]; }

# mark NAME STATE: remembers it.
mark() {
  mkdir -p "$tools/marks"
  printf '%s\n' "$2" >"$tools/marks/$1"
}

crane() { "$here/exec" crane --insecure "$@"; }

# wait_for_registry: it may have been started a moment ago.
wait_for_registry() { until_true 30 "the registry" "$here/exec" curl -sf "http://$registry/v2/"; }

# debian_root FILE PACKAGES: a Debian 12 root as a tar file, made once. Comes from the mirror that apt is set up with.
debian_root() {
  local file=$1 include=$2 mirror root
  [ ! -f "$file" ] || return 0
  # shellcheck disable=SC2016 # apt's own placeholders
  mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' | awk '$1 == "bookworm" { print $2; exit }')
  root=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$root'" EXIT
  debootstrap --variant=minbase --include="$include" bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >&2
  rm -rf "${root:?}"/usr/share/{doc,man,locale,info}/* "$root"/var/{cache,lib}/apt/* "$root"/var/log/* "${root:?}"/dev/*
  mkdir -p "$(dirname "$file")"
  tar -C "$root" --numeric-owner -cf "$file.part" .
  mv "$file.part" "$file"
  rm -rf "$root"
  trap - EXIT
}
