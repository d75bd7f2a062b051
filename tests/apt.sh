# Sourced by scripts that need Debian's packages.
# shellcheck shell=bash
apt_sudo=()
[ "$(id -u)" = 0 ] || apt_sudo=(sudo -n)
apt_updated=''

# Brings the lists of packages up to date, once.
apt_update() {
  command -v apt-get >/dev/null || { echo "$(basename "$0"): cannot get $* without apt-get: please install by hand" >&2; exit 1; }
  if [ -z "$apt_updated" ]; then
    "${apt_sudo[@]}" apt-get update -qq >&2
    apt_updated=yes
  fi
}

apt_install() {
  apt_update "$@"
  DEBIAN_FRONTEND=noninteractive "${apt_sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >&2
}
