#!/bin/bash
# Builds the guest programs. usage: programs.sh <flavour> <directory>
set -euo pipefail
repo=$(cd "$(dirname "$0")/../../.." && pwd)
source "$repo/images/guest/stages/lib.sh"
flavour=$1 out=$2
rm -rf "$out"
mkdir -p "$out"
(cd "$repo/packages/tdx-attest" && npm run --silent build) >&2 || fail "building packages/tdx-attest failed"
cp "$repo/packages/tdx-attest/build/tdx_attest.node" "$out/"
bundle() { node "$repo/scripts/bundle.mjs" "$repo/apps/$1" "$out/$2.cjs" >&2 || fail "bundling apps/$1 failed"; }
bundle tdxctl/src/main.ts tdxctl
bundle tappd/src/main.ts tappd
[ "$flavour" != dev ] || bundle tdxctl/src/simulator.ts simulator
