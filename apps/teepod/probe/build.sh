#!/bin/sh
# Assembles payload.S and prints the boot sector as hex.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
as --64 -o "$work/payload.o" payload.S
ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -o "$work/payload.bin" "$work/payload.o"
od -An -v -tx1 "$work/payload.bin" | tr -d ' \n'
echo
