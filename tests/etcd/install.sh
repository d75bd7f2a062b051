#!/usr/bin/env bash
# Brings etcd and etcdctl, of Debian's packages; does nothing where they are there already.
#
# The packages are unpacked into ${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}/etcd, not installed: that would start an etcd as a
# service of the machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../apt.sh
. "$here/../apt.sh"

cache=${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}
folder=$cache/etcd
packages=(etcd-server etcd-client)

if [ -f "$folder/complete" ]; then exit; fi
if command -v etcd >/dev/null && command -v etcdctl >/dev/null; then exit; fi

apt_update "${packages[@]}"
rm -rf "$folder"
mkdir -p "$folder"
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT
# As who runs this: apt's own user may not write here, which it would warn about.
(cd "$downloads" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}" >&2)
for package in "$downloads"/*.deb; do dpkg-deb -x "$package" "$folder"; done
touch "$folder/complete"
