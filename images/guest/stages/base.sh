#!/bin/bash
# Makes the base root: Debian packages as they are, plus the kernel and firmware packages unpacked beside it.
# usage: base.sh <flavour> <directory>; writes <directory>/{root,kernel,firmware,packages.lock}
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/image.env"
source "$here/stages/lib.sh"
flavour=$1 out=$2

mirror=$(debian_mirror)
security=$(debian_security_mirror "$mirror")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -s "$keyring" ] || fail "$keyring is missing: apt-get install debian-archive-keyring"
step "packages of $SUITE from $mirror"

lists=("$here/packages.list")
[ "$flavour" = dev ] && lists+=("$here/packages-dev.list")
include=$(sed -e 's/#.*//' "${lists[@]}" | xargs | tr ' ' ',')

rm -rf "$out"
mkdir -p "$out/debs" "$out/kernel" "$out/firmware"
export SOURCE_DATE_EPOCH=$EPOCH LC_ALL=C TZ=UTC
# The first hook runs while the package lists are still there: it fetches what is only unpacked, and notes for
# every package the hash that the signed list gives for it.
mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 --include="$include" \
  --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/lintian/*' --dpkgopt='path-exclude=/usr/share/bash-completion/*' \
  --customize-hook="'$here/stages/fetch-extra.sh' \"\$1\" '$out' '$KERNEL_METAPACKAGE' '$FIRMWARE_PACKAGE'" \
  "$SUITE" "$out/root" - <<SOURCES
deb [signed-by=$keyring] $mirror $SUITE main
deb [signed-by=$keyring] $mirror $SUITE-updates main
deb [signed-by=$keyring] $security $SUITE-security main
SOURCES

step "kernel and firmware packages"
for deb in "$out"/debs/linux-image-*.deb; do dpkg-deb -x "$deb" "$out/kernel"; done
for deb in "$out"/debs/"$FIRMWARE_PACKAGE"_*.deb; do dpkg-deb -x "$deb" "$out/firmware"; done
rm -rf "$out/debs"
