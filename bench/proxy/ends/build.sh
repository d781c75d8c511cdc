#!/bin/sh
# Builds the load generator and the app of the benchmark: build.sh <output file>
set -eu
exec "${CC:-cc}" -std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Werror -D_GNU_SOURCE \
  -o "$1" "$(dirname "$0")"/*.c -lssl -lcrypto
