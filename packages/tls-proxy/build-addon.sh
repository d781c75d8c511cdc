#!/bin/sh
# Builds native/*.c into build/tls_proxy.node with the system's C compiler. Node itself resolves the napi_* symbols and
# those of OpenSSL, which is inside it; only headers are needed: those that came with Node, else the system's.
set -eu
cd "$(dirname "$0")"

CC=${CC:-cc}
if ! command -v "$CC" >/dev/null 2>&1; then
  echo "build-addon.sh: no C compiler ($CC): install gcc and libc6-dev, or set CC" >&2
  exit 1
fi
napi=$(node -p 'require("node-api-headers").include_dir')
openssl=$(node -p 'require("path").resolve(process.execPath, "../../include/node")')
if [ -e "$openssl/openssl/ssl.h" ]; then
  openssl=-isystem$openssl
elif echo '#include <openssl/ssl.h>' | "$CC" -E - >/dev/null 2>&1; then
  openssl=
else
  echo "build-addon.sh: no OpenSSL headers, neither $openssl/openssl nor the system's: install libssl-dev" >&2
  exit 1
fi

mkdir -p build
# shellcheck disable=SC2086 -- nothing, or one option
"$CC" -std=c11 -O2 -fPIC -shared -Wall -Wextra -Wconversion -Wshadow -Werror \
  -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection \
  -fvisibility=hidden -Wl,-z,relro,-z,now,-z,nodelete \
  -I"$napi" $openssl -o build/.tls_proxy.node.new $(ls native/*.c | grep -v /main.c)
mv build/.tls_proxy.node.new build/tls_proxy.node
