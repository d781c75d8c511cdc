# Shared by the build scripts. Sourced, never run.

fail() { printf 'build-image: %s\n' "$*" >&2; exit 1; }

# Seconds since scripts/build-image started, in every script it calls.
: "${BUILD_STARTED:=$(date +%s)}"
export BUILD_STARTED
step() { printf '[%4ds] %s\n' "$(($(date +%s) - BUILD_STARTED))" "$*" >&2; }

# The address of the first package list on this machine with the given label, without a slash at the end.
configured_mirror() {
  apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    sed -n "s/^$1|\(http.*[^/]\)\/*\$/\1/p" | head -n 1
}

# Where neither the operator nor apt names one (on Ubuntu): the public mirror that mmdebstrap itself defaults to.
default_mirror() { grep -om1 'http://[a-z.]*/debian\b' "$(command -v mmdebstrap)" || true; }

debian_mirror() {
  local mirror=${DSTACK_DEBIAN_MIRROR:-$(configured_mirror Debian)}
  mirror=${mirror:-$(default_mirror)}
  [ -n "$mirror" ] || fail "no Debian mirror is known: set DSTACK_DEBIAN_MIRROR to one"
  echo "${mirror%/}"
}

# Security updates live beside the archive; an operator's own mirror is taken to be laid out the same way.
debian_security_mirror() {
  local mirror=${DSTACK_DEBIAN_SECURITY_MIRROR:-}
  [ -n "$mirror" ] || [ -n "${DSTACK_DEBIAN_MIRROR:-}" ] || mirror=$(configured_mirror Debian-Security)
  mirror=${mirror:-${1%/debian}/debian-security}
  echo "${mirror%/}"
}

# The hash of the dm-verity tree. Processors that run confidential VMs have instructions for SHA-256; an emulated one
# spends about a quarter of a boot on it, so the development flavour takes a hash that is cheap without.
verity_hash() { if [ "$1" = dev ]; then echo blake2b-256; else echo sha256; fi; }
