#!/usr/bin/env bash
# Installs what reads the published Parquet files, and prints the Python that has it; does nothing where it is there already.
#
# pyarrow and duckdb come from PyPI at the versions of requirements.txt, into ${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}/history,
# never into the repository. The folder there carries a digest of the requirements, so a changed version makes a new one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../apt.sh
. "$here/../apt.sh"

cache=${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}/history
venv=$cache/python-$(sha256sum <"$here/requirements.txt" | cut -c1-12)

# Tests that begin at the same time must not install into the same folder at the same time.
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# `complete` is written last: an environment that was interrupted is made anew.
if [ ! -f "$venv/complete" ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  touch "$venv/complete"
fi
echo "$venv/bin/python"
