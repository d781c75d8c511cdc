#!/bin/bash
# usage: initramfs.sh <flavour> <root with modules> <kernel version> <output>
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/image.env"
source "$here/stages/lib.sh"
flavour=$1 root=$2 version=$3 out=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,dev,proc,sys,lower,upper,root,modules,usr/lib,lib64}
cp "$root/usr/bin/busybox" "$root/usr/sbin/dmsetup" "$work/bin/"
ln -s usr/lib "$work/lib"
chroot "$root" /lib64/ld-linux-x86-64.so.2 --list /usr/sbin/dmsetup | sed -n 's/.*[ \t]\(\/[^ ]*\) (0x.*/\1/p' |
  while read -r library; do
    mkdir -p "$work/$(dirname "$library")"
    cp -L "$root$library" "$work$library"
  done
modules=$root/usr/lib/modules/$version
initramfs_modules() {
  [ "$(verity_hash "$flavour")" != blake2b-256 ] || echo blake2b_generic
  cat "$here/modules-initramfs.list"
}
while read -r module; do
  cp "$modules/$module" "$work/modules/"
  basename "$module" >> "$work/modules/order"
done < <("$here/stages/module-closure.sh" "$modules/modules.dep" <(initramfs_modules) in-order)
echo "$(verity_hash "$flavour") $VERITY_SALT" > "$work/verity"
cp "$here/initramfs/init" "$work/init"
find "$work" -exec touch -h -d "@$EPOCH" {} +
(cd "$work" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort | cpio --quiet -o -H newc --reproducible -R 0:0) |
  zstd -q -f -19 -T1 -o "$out"
