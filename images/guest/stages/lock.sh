#!/bin/bash
# The lock file: "name version sha256" for every package of the production flavour, and with a fourth word "dev"
# for those that only the development flavour adds.
# usage: lock.sh check|show|write <flavour> <packages used> <lock file>
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/stages/lib.sh"
what=$1 flavour=$2 used=$3 lock=$4
export LC_ALL=C

locked() { grep -v '^#' "$lock" | if [ "$flavour" = dev ]; then sed 's/ dev$//'; else grep -v ' dev$' || true; fi | sort -u; }

case $what in
  show) locked ;;
  check)
    diff -U0 --label packages.lock --label "suites today" <(locked) <(sort -u "$used") | grep '^[-+]' >&2 && exit 1
    exit 0
    ;;
  write)
    other=$(mktemp)
    trap 'rm -f "$other"' EXIT
    {
      echo "# Written by scripts/build-image --refresh-lock. name, version, SHA-256 of the package; dev: only in that flavour."
      if [ "$flavour" = prod ]; then
        sort -u "$used"
        # What the development flavour adds is kept as it was; refresh it on its own.
        grep ' dev$' "$lock" || true
      else
        # A package both flavours have must be the same in both: its production line follows what is there today.
        grep -v -e '^#' -e ' dev$' "$lock" | cut -d' ' -f1 | sort -u > "$other"
        awk 'NR==FNR { prod[$1]; next } { print $0 (($1 in prod) ? "" : " dev") }' "$other" <(sort -u "$used")
      fi
    } > "$lock.new"
    mv "$lock.new" "$lock"
    step "wrote $lock"
    ;;
esac
