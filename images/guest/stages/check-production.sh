#!/bin/bash
# Fails unless a root file system is fit for production (G6): no login, no ssh, no shell that anybody is offered, no
# agent of the host's, no package manager, no simulated platform. usage: check-production.sh <root>
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
root=$1
cd "$root"
problems=()
bad() { problems+=("$*"); }

# Programs: only those on the list, besides our own.
allowed=$(sed '/^#/d' "$here/programs.list"; echo node; echo tdxctl)
while read -r name; do
  grep -qxF -- "$name" <<< "$allowed" || bad "the program $name is not in programs.list"
done < <(find usr/bin usr/sbin usr/local usr/games -mindepth 1 ! -type d -printf '%f\n' 2> /dev/null | sort -u)
for dir in bin sbin lib lib64; do [ ! -e $dir ] || [ -L $dir ] || bad "/$dir is not a link into /usr"; done

# The same by name, anywhere: what the list must never take in, and what packages keep outside the usual places.
for name in login su sudo sulogin agetty getty sshd sshd-session dropbear telnetd bash zsh apt apt-get dpkg perl \
  python3 gcc cc gdb strace tcpdump curl wget qemu-ga systemd-sulogin-shell debug-shell.service simulator.cjs simulator.cjs.cache \
  dstack-simulator.service 'getty@.service' 'serial-getty@.service' console-getty.service ssh.service ssh.socket \
  rescue.service emergency.service dev-console.service dev-ssh.service authorized_keys; do
  while read -r path; do bad "there is $path"; done < <(find . -name "$name")
done

# Units: the vendor's on their list, and ours.
units=$(sed '/^#/d' "$here/units.list"; cd "$here/files/usr/lib/systemd/system" && ls; echo default.target)
while read -r name; do
  grep -qxF -- "$name" <<< "$units" || bad "the unit $name is not in units.list"
done < <(find usr/lib/systemd/system etc/systemd/system run/systemd -maxdepth 1 \( -name '*.*' ! -type d \) -printf '%f\n' 2> /dev/null)
[ -z "$(ls -A usr/lib/systemd/system-generators etc/systemd/system-generators 2> /dev/null)" ] || bad "there are systemd generators"
grep -qs '^FailureAction=poweroff' usr/lib/systemd/system/dstack-boot.service.d/*.conf || bad "a failed boot does not end the machine"

# Accounts: no password and no shell; nothing that raises privileges.
while IFS=: read -r user password _; do
  [ "$password" = '*' ] || bad "the account $user has a password field other than *"
done < etc/shadow
while IFS=: read -r user _ _ _ _ _ shell; do
  [ "$shell" = /usr/sbin/nologin ] || bad "the account $user has the shell $shell"
done < etc/passwd
while read -r path; do bad "$path is setuid or setgid"; done < <(find . -type f -perm /6000)

[ ${#problems[@]} = 0 ] || {
  printf 'production image: %s\n' "${problems[@]}" >&2
  exit 1
}
