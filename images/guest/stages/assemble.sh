#!/bin/bash
# Puts the guest programs into a finished root and makes the image directory.
# usage: assemble.sh <flavour> <root directory> <programs directory> <packages.lock> <image name> <output directory>
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/image.env"
source "$here/stages/lib.sh"
flavour=$1 stage=$2 programs=$3 packages=$4 name=$5 out=$6
umask 022
unset SOURCE_DATE_EPOCH # mksquashfs refuses it beside the options below

for file in "$stage"/root/usr/lib/dstack/*; do
  case ${file##*/} in start.cjs | dhcp-script | watch-tunnel) ;; *) rm "$file" ;; esac
done
install -m 644 "$programs"/* "$stage/root/usr/lib/dstack/"
"$here/stages/code-cache.sh" "$stage/root"
[ "$flavour" != prod ] || "$here/stages/check-production.sh" "$stage/root"
rm -rf "$out"
mkdir -p "$out"
cp --reflink=auto "$stage/bzImage" "$stage/initramfs.cpio.zst" "$stage/ovmf.fd" "$out/"
cp "$packages" "$out/packages.txt"

compression=(-comp lz4)
[ "$flavour" = prod ] && compression+=(-Xhc)
step "squashfs (${compression[*]})"
mksquashfs "$stage/root" "$out/rootfs.img" "${compression[@]}" -b 128K -reproducible -no-xattrs -no-exports \
  -mkfs-time "$EPOCH" -all-time "$EPOCH" -noappend -no-progress -quiet > /dev/null

step "dm-verity tree"
size=$(stat -c %s "$out/rootfs.img")
[ $((size % 4096)) = 0 ] || fail "squashfs size $size is not a multiple of 4096"
hash=$(node "$here/stages/verity-tree.mjs" "$out/rootfs.img" "$(verity_hash "$flavour")" "$VERITY_SALT")
[ ${#hash} = 64 ] || fail "no root hash"

# panic=1: a guest that cannot go on ends itself. The last two words name the only root it will start.
cmdline="console=ttyS0 panic=1 oops=panic net.ifnames=0 random.trust_cpu=on loglevel=5"
# Emulated machines start faster without these; the development flavour is measured on its own anyway.
[ "$flavour" = dev ] && cmdline+=" mitigations=off nokaslr audit=0 apparmor=0"
cmdline+=" dstack.rootfs_hash=$hash dstack.rootfs_size=$size"

sum() { sha256sum "$out/$1" | cut -d' ' -f1; }
cat > "$out/metadata.json" <<JSON
{
  "name": "$name",
  "version": "$IMAGE_VERSION",
  "is_dev": $([ "$flavour" = dev ] && echo true || echo false),
  "cmdline": "$cmdline",
  "rootfs_hash": "$hash",
  "rootfs_size": $size,
  "kernel": "bzImage",
  "initrd": "initramfs.cpio.zst",
  "rootfs": "rootfs.img",
  "bios": "ovmf.fd",
  "sha256": {
    "bzImage": "$(sum bzImage)",
    "initramfs.cpio.zst": "$(sum initramfs.cpio.zst)",
    "ovmf.fd": "$(sum ovmf.fd)",
    "rootfs.img": "$(sum rootfs.img)"
  }
}
JSON
(cd "$out" && sha256sum bzImage initramfs.cpio.zst metadata.json ovmf.fd packages.txt rootfs.img > sha256sum.txt)
