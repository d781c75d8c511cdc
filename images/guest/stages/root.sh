#!/bin/bash
# Turns a base root into the guest's root file system, all but the guest programs.
# usage: root.sh <flavour> <base directory> <directory>; writes <directory>/{root,bzImage,initramfs.cpio.zst,ovmf.fd}
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
source "$here/image.env"
source "$here/stages/lib.sh"
flavour=$1 base=$2 out=$3
export LC_ALL=C TZ=UTC
umask 022

rm -rf "$out"
mkdir -p "$out"
step "root file system: copy"
cp -a --reflink=auto "$base/root" "$out/root"
root=$out/root

step "kernel modules"
modules=$(echo "$base"/kernel/usr/lib/modules/*)
version=${modules##*/}
cp "$base/kernel/boot/vmlinuz-$version" "$out/bzImage"
cp "$base/firmware/usr/share/ovmf/OVMF.fd" "$out/ovmf.fd"
[ -e "$base/kernel/lib" ] || ln -s usr/lib "$base/kernel/lib"
[ -s "$modules/modules.dep" ] || depmod -b "$base/kernel" "$version"
mkdir -p "$root/usr/lib/modules/$version"
"$here/stages/module-closure.sh" "$modules/modules.dep" "$here/modules.list" > "$out/modules"
(cd "$modules" && cpio --quiet -pdm "$root/usr/lib/modules/$version" < "$out/modules")
cp "$modules/modules.order" "$modules/modules.builtin" "$modules/modules.builtin.modinfo" "$root/usr/lib/modules/$version/"
find "$root/usr/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -n 50 -P 2 xz --decompress
depmod -b "$root" "$version"
rm "$out/modules"

step "initramfs"
"$here/stages/initramfs.sh" "$flavour" "$root" "$version" "$out/initramfs.cpio.zst"

step "node $NODE_VERSION"
"$here/stages/fetch-node.sh" "$(dirname "$base")/node" "$root/usr/bin/node"

step "remove what the $flavour flavour does not need"
units=$root/usr/lib/systemd/system
keep=$(mktemp -d)
trap 'rm -rf "$keep"' EXIT
while read -r unit; do cp -a "$units/$unit" "$keep/"; done < <(sed '/^#/d' "$here/units.list")
rm -rf "$units"
cp -a "$keep" "$units"
chmod 755 "$units"
ln -s multi-user.target "$units/default.target"

# Nothing in here outlives the build: package manager, its data and hooks, documentation, what other init
# systems or desktops would read.
(
  cd "$root"
  rm -rf boot/* dev/* run/* tmp/* var/cache/* var/log/* var/lib/{apt,dpkg,systemd,dbus,pam,ucf,containerd,docker} \
    var/backups usr/games usr/local/* usr/src srv/* media/* mnt/* root/.[a-z]* \
    etc/{apt,dpkg,cron.d,cron.daily,init.d,kernel,logrotate.d,opt,ppp,NetworkManager,xdg,update-motd.d} etc/rc?.d \
    etc/{apparmor.d,bash_completion.d,depmod.d,dhcp,gss,modules-load.d,network,networks,selinux,terminfo,wireguard} \
    etc/{.pwd.lock,passwd-,group-,shadow-,gshadow-,subuid-,subgid-,motd,issue.net,mtab,fstab,deluser.conf,adduser.conf} \
    etc/{debconf.conf,ucf.conf,e2scrub.conf,ld.so.cache,credstore,credstore.encrypted,default,docker} \
    etc/systemd/{system,user,network,*.conf} \
    usr/bin/{apt*,dpkg*,debconf*,perl*,deb-systemd*,sqv,ctr,containerd-shim,containerd-shim-runc-v1,ucf*,systemd-*} \
    usr/bin/{hostnamectl,localectl,loginctl,networkctl,timedatectl,busctl,bootctl,kernel-install,varlinkctl,run0} \
    usr/sbin/{dpkg-*,docker-proxy,invoke-rc.d,update-rc.d,update-ca-certificates,pam-*} \
    etc/tmpfiles.d etc/sysctl.d etc/binfmt.d etc/vconsole.conf etc/modules \
    usr/libexec/dpkg usr/lib/{apt,dpkg,NetworkManager,networkd-dispatcher,init,lsb,udev,mime,pcrlock.d,tmpfiles.d,sysusers.d,sysctl.d,environment.d} \
    usr/lib/systemd/{catalog,network,ntp-units.d,profile.d,ssh_config.d,system-generators,system-preset,user,user-preset} \
    usr/lib/systemd/{user-environment-generators,user-generators,user.conf.d,journald.conf.d,system.conf.d} \
    usr/lib/x86_64-linux-gnu/{gconv,perl-base,perl5,libapt-*,libdb-5.3.so,libdebconfclient*,systemd/libsystemd-networkd*} \
    usr/share/{apt,bash-completion,bug,common-licenses,dbus-1,debconf,debianutils,dict,doc,doc-base,docker.io,dpkg,fish,gdb} \
    usr/share/{info,initramfs-tools,keyrings,libc-bin,lintian,locale,man,menu,mime,misc,perl5,pixmaps,polkit-1,tabset,ucf,zsh} \
    usr/share/{zoneinfo,systemd,base-files,base-passwd,gcc,util-linux,pam,pam-configs}
  find usr/lib/systemd -maxdepth 1 -type f ! -name systemd ! -name systemd-executor ! -name systemd-journald \
    ! -name systemd-shutdown ! -name systemd-cgroups-agent -delete
  find usr/lib/modprobe.d etc/modprobe.d -type f -delete 2> /dev/null || true
  rm -f etc/localtime
  : > etc/machine-id
  : > etc/fstab
  : > etc/resolv.conf
  ln -sf /proc/self/mounts etc/mtab
  mkdir -p etc/default data var/lib/docker var/lib/containerd

  # One alternative each, without the indirection. The legacy tables start in half the time of the nft ones.
  for name in iptables iptables-restore iptables-save ip6tables ip6tables-restore ip6tables-save; do
    ln -sf xtables-legacy-multi "usr/sbin/$name"
  done
  ln -sf tini-static usr/bin/docker-init
)

if [ "$flavour" = prod ]; then
  (
    cd "$root"
    sed '/^#/d' "$here/programs.list" > "$keep/programs"
    find usr/bin usr/sbin -mindepth 1 -maxdepth 1 ! -name node -printf '%f\n' | sort -u |
      grep -vxFf "$keep/programs" | while read -r name; do rm -f "usr/bin/$name" "usr/sbin/$name"; done
    while read -r name; do
      [ -e "usr/bin/$name" ] || [ -L "usr/bin/$name" ] || [ -e "usr/sbin/$name" ] || [ -L "usr/sbin/$name" ] ||
        fail "programs.list names $name, which no package has"
    done < "$keep/programs"
    rm -rf etc/{alternatives,pam.d,pam.conf,security,profile,profile.d,bash.bashrc,skel,shells,login.defs,securetty} \
      etc/{issue,environment,ssh} usr/lib/pam.d usr/lib/x86_64-linux-gnu/security
    find . -type f -perm /6000 -exec chmod a-s {} +
    # No account has a password or a shell.
    sed -i -E 's#^([^:]*:[^:]*:.*:)[^:]*$#\1/usr/sbin/nologin#' etc/passwd
    sed -i -E 's#^([^:]*):[^:]*:[^:]*:#\1:*:1:#' etc/shadow
  )
else
  sed -i -E 's#^root:[^:]*:#root:*:#; s#^([^:]*:[^:]*):[^:]*:#\1:1:#' "$root/etc/shadow"
  rm -f "$root"/etc/ssh/ssh_host_*
fi

step "our own files"
cp -R --no-preserve=ownership,timestamps "$here/files/." "$root/"
wants=$units/multi-user.target.wants
mkdir -p "$wants" "$units/sockets.target.wants" "$units/basic.target.wants"
for unit in dstack-boot dstack-net dstack-power containerd chrony; do ln -s "../$unit.service" "$wants/"; done
for unit in systemd-journald systemd-journald-dev-log; do
  ln -s "../$unit.socket" "$units/sockets.target.wants/"
done
if [ "$flavour" = dev ]; then
  cp -R --no-preserve=ownership,timestamps "$here/files-dev/." "$root/"
  for unit in dev-console dev-ssh; do ln -s "../$unit.service" "$wants/"; done
else
  # A boot that fails leaves nothing running for the host to play with.
  mkdir -p "$units/dstack-boot.service.d"
  printf '[Unit]\nFailureAction=poweroff-force\n' > "$units/dstack-boot.service.d/production.conf"
fi
{
  echo "NAME=\"dstack guest\""
  echo "ID=dstack"
  echo "ID_LIKE=debian"
  echo "VERSION_ID=\"$IMAGE_VERSION\""
  echo "VARIANT_ID=$flavour"
  echo "PRETTY_NAME=\"dstack guest $IMAGE_VERSION ($flavour)\""
} > "$root/usr/lib/os-release"
find "$root" -xdev -xtype l -lname '/etc/alternatives/*' -delete
chroot "$root" /usr/sbin/ldconfig 2> /dev/null || ldconfig -r "$root"
rm -rf "$root/var/cache/ldconfig" "$root/etc/ld.so.conf.d/README"
