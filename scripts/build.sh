#!/usr/bin/env bash
# Sets up an installation in the current directory, for an operator: `mkdir build; cd build; ../scripts/build.sh`.
# The first run writes ../build-config.sh; the next ones build programs and guest image, and write certificates,
# configurations and the WireGuard interface for it. Keys, certificates and configurations that were edited stay.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
dir=$PWD
config=$(dirname "$dir")/build-config.sh

say() { printf 'build: %s\n' "$*"; }
die() { printf 'build: %s\n' "$*" >&2; exit "${2:-1}"; }

force=()
case "$#${1-}" in
  0) ;;
  1--force) force=(--force) ;;
  1-h | 1--help)
    echo "usage: build.sh [--force]    in an empty directory, or in one of an earlier run"
    echo "Settings: ../build-config.sh, written by the first run. A configuration (*.toml) that was edited stays, and the"
    echo "new one is put beside it as *.toml.new; with --force it takes the edited one's place, which is then *.toml.old."
    exit 0
    ;;
  *) die "it takes no argument but --force; settings are in $config" 2 ;;
esac
[ "$dir" != "$repo" ] || die "run it in a directory of its own: mkdir build && cd build && ../scripts/build.sh" 2

case $dir$repo in *[[:space:]\|\&\\\"\%]*) die "the paths of build directory and checkout must have no spaces or special characters" 2 ;; esac

example=$repo/scripts/build-config.example.sh
if [ ! -e "$config" ]; then
  # The Cloudflare token will stand in it.
  (umask 077 && cat "$example" >"$config")
  echo "Config file ../$(basename "$config") created, please edit it to configure the build"
  exit 0
fi

# A config of an earlier version lacks what was added since.
missing=()
set -a
# shellcheck source=/dev/null
source "$config"
set +a
while IFS= read -r line; do
  name=${line%%=*}
  [ -n "${!name+set}" ] || missing+=("$line")
done < <(grep -E '^[A-Z][A-Z_]*=' "$example")
if [ "${#missing[@]}" -gt 0 ]; then
  printf 'build: %s lacks these; add them, with your values:\n' "$config" >&2
  printf '  %s\n' "${missing[@]}" >&2
  exit 2
fi

"$repo/scripts/setup"
dstack() { node -- "$repo/apps/dstack/dist/dstack.mjs" "$@"; }
dstack configure check || exit 2

if [ "$(id -u)" -eq 0 ]; then as_root=(); else as_root=(sudo --preserve-env=DSTACK_DEBIAN_MIRROR env "PATH=$PATH"); fi
flavour=--prod
[ "$SIMULATED_TDX" = no ] || flavour=--dev
say "building the guest image ($flavour)"
mkdir -p images
image=$("${as_root[@]}" "$repo/scripts/build-image" "$flavour" --out "$dir/images" | tail -n 1)
image=$(basename "$image")
[ -f "images/$image/metadata.json" ] || die "the image build left no image in $dir/images"

say "certificates and configurations"
todo=$(dstack configure write "${force[@]}" "$dir" "$image")

# With Node by its path: root's PATH under sudo may lead to another one, or to none.
node=$(command -v node)
program() { # name, bundle, further words of its command line
  local name=$1
  shift
  printf '#!/bin/sh\nexec %q%s "$@"\n' "$node" "$(printf ' %q' "$@")" >"$name"
  chmod 755 "$name"
}
for name in kms tproxy teepod certbot dstack; do program "$name" "$repo/apps/$name/dist/$name.mjs"; done
program ct_monitor "$repo/apps/ct-monitor/dist/ct_monitor.mjs"
install -m 755 "$repo/scripts/kms-allow-upgrade.sh" .
if [ "$SIMULATED_TDX" = yes ]; then
  program simulated-pcs "$repo/apps/dstack/dist/dstack.mjs" simulated-pcs --seed "$dir/certs/simulator.seed" --port 9081
fi

"$repo/scripts/units" "$dir"

# tproxy takes the interface over, and makes it anew when it is gone: after a reboot nothing has to be done.
if ! ip link show dev "$TPROXY_WG_INTERFACE" >/dev/null 2>&1; then
  say "setting up the WireGuard interface $TPROXY_WG_INTERFACE"
  "${as_root[@]}" ip link add dev "$TPROXY_WG_INTERFACE" type wireguard 2>/dev/null ||
    "${as_root[@]}" wireguard-go "$TPROXY_WG_INTERFACE" >/dev/null 2>&1 ||
    die "cannot make a WireGuard interface: neither the kernel nor wireguard-go would"
  "${as_root[@]}" ip address add "$TPROXY_WG_IP/${TPROXY_WG_CLIENT_IP_RANGE#*/}" dev "$TPROXY_WG_INTERFACE"
  "${as_root[@]}" ip link set dev "$TPROXY_WG_INTERFACE" mtu 1420 up
fi

say "done: $(echo *)"
[ -z "$todo" ] || while IFS= read -r line; do say "note: $line"; done <<<"$todo"
[ "$SIMULATED_TDX" = no ] || say "without TDX: ./simulated-pcs has to run, too"
say "now run ./kms, sudo ./tproxy and ./teepod, each in a terminal of its own, and open http://localhost:$TEEPOD_RPC_LISTEN_PORT;"
say "its token is in certs/teepod.token. tproxy's dashboard: http://localhost:$TPROXY_ADMIN_LISTEN_PORT, certs/tproxy.token."
say "Under systemd instead: sudo systemctl link $dir/systemd/*.service, then"
say "sudo systemctl enable --now dstack-kms dstack-tproxy dstack-teepod"
