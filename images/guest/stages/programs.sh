#!/bin/bash
# Builds the guest programs and collects them. usage: programs.sh <flavour> <directory>
set -euo pipefail
repo=$(cd "$(dirname "$0")/../../.." && pwd)
source "$repo/images/guest/stages/lib.sh"
flavour=$1 out=$2
for part in packages/tdx-attest apps/tdxctl apps/tappd; do
  (cd "$repo/$part" && npm run --silent build) >&2 || fail "building $part failed"
done
files=(apps/tdxctl/dist/tdxctl.mjs apps/tappd/dist/tappd.mjs packages/tdx-attest/build/tdx_attest.node)
[ "$flavour" = dev ] && files+=(apps/tdxctl/dist/simulator.mjs)
rm -rf "$out"
mkdir -p "$out"
for file in "${files[@]}"; do
  [ -s "$repo/$file" ] || fail "$file was not built"
  cp "$repo/$file" "$out/"
done
