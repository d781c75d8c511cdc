#!/bin/bash
# Puts the pinned Node binary in place. usage: fetch-node.sh <cache directory> <destination>
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/image.env"
source "$here/stages/lib.sh"
cache=$1 destination=$2
mkdir -p "$cache"
tarball=$cache/$NODE_PACKAGE-$NODE_VERSION.tgz
integrity() { echo "sha512-$(openssl dgst -sha512 -binary "$1" | base64 -w 0)"; }
if [ ! -s "$tarball" ] || [ "$(integrity "$tarball")" != "$NODE_INTEGRITY" ]; then
  (cd "$cache" && npm pack --silent "$NODE_PACKAGE@$NODE_VERSION" > /dev/null) ||
    fail "could not fetch $NODE_PACKAGE@$NODE_VERSION from the npm registry"
fi
actual=$(integrity "$tarball")
[ "$actual" = "$NODE_INTEGRITY" ] || fail "$NODE_PACKAGE@$NODE_VERSION has integrity $actual, pinned is $NODE_INTEGRITY"
tar -xzOf "$tarball" package/bin/node > "$destination"
chmod 755 "$destination"
