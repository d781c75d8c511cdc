#!/bin/sh
# Builds native/*.c into build/tdx_attest.node with the system's C compiler. Node itself resolves the napi_* symbols.
# nodelete: a thread that a hanging device holds may come back after the worker that loaded the addon is gone.
set -eu
cd "$(dirname "$0")"

CC=${CC:-cc}
if ! command -v "$CC" >/dev/null 2>&1; then
  echo "build-addon.sh: no C compiler ($CC): install gcc and libc6-dev, or set CC" >&2
  exit 1
fi
headers=$(node -p 'require("node-api-headers").include_dir')

mkdir -p build
"$CC" -std=c11 -O2 -fPIC -shared -Wall -Wextra -Wconversion -Wshadow -Werror \
  -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -pthread -Wl,-z,relro,-z,now,-z,nodelete \
  -I"$headers" -o build/.tdx_attest.node.new native/*.c
mv build/.tdx_attest.node.new build/tdx_attest.node
