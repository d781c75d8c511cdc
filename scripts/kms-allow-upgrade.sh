#!/bin/sh
# Lets an app run another compose document under its old keys: records the permission where the KMS looks for it.
set -eu
umask 077

usage() {
  cat >&2 <<'TEXT'
usage: kms-allow-upgrade.sh [-c kms.toml] <app_id> <upgraded_app_id>

Both ids are 40 lower-case hex digits. The registry is, first match:
  -c FILE                 upgrade_registry_dir of this kms.toml
  $KMS_UPGRADE_REGISTRY   the directory itself
  ./kms.toml              upgrade_registry_dir
  $DSTACK_HOME/kms.toml   upgrade_registry_dir (DSTACK_HOME is ~/.dstack unless set)
TEXT
  exit 2
}

fail() {
  printf 'kms-allow-upgrade: %s\n' "$1" >&2
  exit "${2:-1}"
}

# Exactly 40 hex digits: the ids become path components.
check_id() {
  case $2 in
    *[!0-9a-f]* | '') fail "$1 must be 40 lower-case hex digits" 2 ;;
  esac
  [ "${#2}" -eq 40 ] || fail "$1 must be 40 lower-case hex digits" 2
}

# The value of core.upgrade_registry_dir; a basic or a literal TOML string on one line.
registry_of() {
  [ -r "$1" ] || fail "cannot read $1"
  found=$(awk '
    /^[ \t]*\[/ { core = ($0 ~ /^[ \t]*\[[ \t]*core[ \t]*\][ \t]*(#.*)?$/) }
    core && /^[ \t]*upgrade_registry_dir[ \t]*=/ {
      sub(/^[^=]*=[ \t]*/, "")
      quote = substr($0, 1, 1)
      if (quote != "\"" && quote != "\047") exit
      rest = substr($0, 2)
      end = index(rest, quote)
      if (end == 0) exit
      print substr(rest, 1, end - 1)
      exit
    }' "$1")
  [ -n "$found" ] || fail "$1 has no upgrade_registry_dir under [core]"
  case $found in
    *\\*) fail "upgrade_registry_dir in $1 has escapes; set KMS_UPGRADE_REGISTRY instead" ;;
  esac
  printf '%s\n' "$found"
}

config=
while getopts c:h option; do
  case $option in
    c) config=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ $# -eq 2 ] || usage
check_id app_id "$1"
check_id upgraded_app_id "$2"

home_config=${DSTACK_HOME:-${HOME:-/nonexistent}/.dstack}/kms.toml
if [ -n "$config" ]; then
  registry=$(registry_of "$config")
elif [ -n "${KMS_UPGRADE_REGISTRY:-}" ]; then
  registry=$KMS_UPGRADE_REGISTRY
elif [ -e kms.toml ]; then
  registry=$(registry_of kms.toml)
elif [ -e "$home_config" ]; then
  registry=$(registry_of "$home_config")
else
  fail "no registry: give -c kms.toml or set KMS_UPGRADE_REGISTRY"
fi

# A registry that is not there is a typing error more often than a new one; the KMS makes it when it starts.
[ -d "$registry" ] || fail "registry $registry is not a directory; has the KMS been started with it?"
# Who runs this may be another user than the KMS: it needs to see that the file is there, no more.
dir=$registry/$1
[ -d "$dir" ] || mkdir -m 755 -- "$dir"
temporary=$(mktemp "$dir/.allow.XXXXXX")
trap 'rm -f -- "$temporary"' EXIT
printf 'allowed %s by %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(id -un)" >"$temporary"
mv -f -- "$temporary" "$dir/$2"
trap - EXIT
printf 'app %s may now run as %s\n' "$1" "$2"
