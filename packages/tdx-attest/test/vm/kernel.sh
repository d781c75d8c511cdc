#!/bin/bash
# Fetches Debian 12's newest 6.12 cloud kernel with the headers to build a module for it, and unpacks them; nothing is
# installed. What is there already is kept. usage: kernel.sh <directory>; makes <directory>/{release,boot,lib,usr}
set -euo pipefail
mkdir -p "$(dirname "$1")"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
repo=$(cd "$(dirname "$0")/../../../.." && pwd)
source "$repo/images/guest/stages/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

exec 9> "$out.lock"
flock -w 600 9 || fail "another process has been fetching the test kernel for ten minutes"
[ ! -e "$out/release" ] || exit 0

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -s "$keyring" ] || fail "$keyring is missing: run scripts/setup"
mirror=$(debian_security_mirror "$(debian_mirror)")
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT

# An apt of its own: another release's lists, and nothing of what this machine has installed.
mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d} "$work/debs"
echo "deb [signed-by=$keyring] $mirror bookworm-security main" > "$work/apt/sources.list"
cat > "$work/apt.conf" << CONF
APT::Architecture "amd64";
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$work/apt/state";
Dir::State::status "/dev/null";
Dir::Cache "$work/apt/cache";
Dir::Etc "$work/apt/etc";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
CONF
export APT_CONFIG=$work/apt.conf
step "kernel 6.12 for the device tests from $mirror"
apt-get update -q=2
image=$(apt-cache depends linux-image-6.12-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-6\.12\..*\)$/\1/p' | head -n 1)
[ -n "$image" ] || fail "$mirror has no linux-image-6.12-cloud-amd64"
release=${image#linux-image-}
version=${release%-cloud-amd64}
(cd "$work/debs" && apt-get -q=2 download "$image" "linux-headers-$release" "linux-headers-$version-common" \
  "linux-kbuild-$version")

# The packages stay laid out as they would be installed: the headers find each other by relative links, but for one.
mkdir "$work/new"
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/new"; done
sed -i "s|^include /usr/src/|include $out/usr/src/|" "$work/new/usr/src/linux-headers-$release/Makefile"
echo "$release" > "$work/new/release"
chmod -R u+w "$work/new"
rm -rf "$out"
mv "$work/new" "$out"
