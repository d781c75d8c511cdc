#!/bin/bash
# Makes the code caches of the guest programs (see files/usr/lib/dstack/start.cjs), with the image's own Node.
# usage: code-cache.sh <root>
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/stages/lib.sh"
root=$1
programs=$root/usr/lib/dstack
saver=save-code-cache.cjs
trap 'rm -f "$programs/$saver"' EXIT
cp "$here/stages/$saver" "$programs/"
rm -f "$programs"/*.cache
node() { chroot "$root" /usr/bin/node "$@" 2>&1; }
for file in "$programs"/*.cjs; do
  name=$(basename "$file" .cjs)
  case $name in start | save-code-cache) continue ;; esac
  # What is loaded before the command line is looked at goes into the cache. A fixed seed: the same program gives the
  # same bytes. The simulator knows no --version and ends with a complaint, which is all that is asked of it.
  node --random-seed=1 -r "/usr/lib/dstack/$saver" /usr/lib/dstack/start.cjs "$name" --version > /dev/null || true
  [ -s "$file.cache" ] || fail "no code cache was made for $name"
  ! node /usr/lib/dstack/start.cjs "$name" --version | grep start.cjs || fail "the code cache of $name is not accepted"
done
