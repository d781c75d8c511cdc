#!/bin/bash
# Boots the machine's own systemd over a copy-on-write view of its root: `boot-systemd.sh <directory>` (which stays
# writable), in new pid, mount, UTS, IPC and cgroup namespaces. Nothing it does is seen outside of that directory.
set -e
site=$1
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
root=/mnt/root
mount -t proc proc "$root/proc"
mount -o bind,ro "$root/proc/sys" "$root/proc/sys"
for dir in run tmp var/tmp; do mount -t tmpfs tmpfs "$root/$dir"; done
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mkdir -p "$root/run/lock" "$root$site"
mount --bind "$site" "$root$site"
# Of what the machine itself would start, nothing is: only what this test asks for.
export container=unshare
exec chroot "$root" /lib/systemd/systemd --system --unit=basic.target --log-target=console
