#!/bin/bash
# Runs inside mmdebstrap, once the packages are installed.
# usage: fetch-extra.sh <chroot> <directory> <kernel metapackage> <firmware package>
set -euo pipefail
chroot=$1 out=$2 meta=$3 firmware=$4
export APT_CONFIG=${MMDEBSTRAP_APT_CONFIG:?runs inside mmdebstrap only}

kernel=$(apt-cache depends --important "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "$meta names no kernel package" >&2; exit 1; }
(cd "$out/debs" && apt-get -q=2 -o APT::Sandbox::User=root download "$kernel" "$firmware")

{
  # shellcheck disable=SC2016
  dpkg-query --root="$chroot" -W -f '${Package}=${Version}\n'
  for deb in "$out"/debs/*.deb; do dpkg-deb -W --showformat '${Package}=${Version}\n' "$deb"; done
} | LC_ALL=C sort -u > "$out/packages.installed"

# apt-cache answers in stanzas; the first one of each name=version is the one that was installed.
xargs apt-cache --no-all-versions show < "$out/packages.installed" |
  awk '/^Package: /{p=$2} /^Version: /{v=$2} /^SHA256: /{print p, v, $2}' |
  LC_ALL=C sort -u > "$out/packages.lock"
wanted=$(wc -l < "$out/packages.installed") got=$(wc -l < "$out/packages.lock")
[ "$wanted" = "$got" ] || { echo "hashes found for $got of $wanted packages" >&2; exit 1; }
rm "$out/packages.installed"
