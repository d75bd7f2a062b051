#!/usr/bin/env bash
# Runs real clients against a broker and prints a table of their results.
#
#   run.sh --bootstrap HOST:PORT [CLIENT...]     all clients by default; install.sh names them and must have run
#
# Every client prints `ok NAME` or `FAILED NAME: why` per check. The exit code is 0 only if all passed. JOBS (default 3) clients
# run at once: much of their time is Kafka's rebalance delay. A client that takes longer than CLIENT_SECONDS (default 180) fails.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

[ $# -ge 2 ] && [ "$1" = --bootstrap ] || die "usage: run.sh --bootstrap HOST:PORT [CLIENT...]"
bootstrap=$2
shift 2
clients=$(chosen_clients "$@")
read -r -a clients <<<"$clients"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command_of() {
  case $1 in
    confluent-kafka | kafka-python | aiokafka) echo "$(python_environment)/bin/python $here/$1/suite.py" ;;
    kcat | kafka-tools) echo "python3 $here/$1/suite.py" ;;
    kafkajs) echo "node $here/kafkajs/suite.js" ;;
    franz-go) franz_go_program ;;
    java)
      echo "java -Xmx256M -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=$here/../kafka/log4j2-tools.properties" \
        "-cp $("$here/../kafka/kafka.sh" classpath):$(java_classes) Suite" ;;
  esac
}

# Leaves NAME.out, NAME.err, NAME.seconds; a client that ends badly without a failed check gets a failed check of its own.
run_client() {
  local client=$1 start=$SECONDS code=0 command
  read -r -a command <<<"$(command_of "$client")"
  NODE_PATH=$(kafkajs_folder)/node_modules PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    timeout --kill-after=5 "${CLIENT_SECONDS:-180}" "${command[@]}" --bootstrap "$bootstrap" \
    </dev/null >"$work/$client.out" 2>"$work/$client.err" || code=$?
  if [ "$code" = 124 ]; then
    echo "FAILED in_time: did not end within ${CLIENT_SECONDS:-180} s" >>"$work/$client.out"
  elif ! grep -q '^FAILED ' "$work/$client.out" && { [ "$code" != 0 ] || ! grep -q '^ok ' "$work/$client.out"; }; then
    echo "FAILED ends_well: ended with $code: $(tail -n 3 "$work/$client.err" | tr '\n' ' ')" >>"$work/$client.out"
  fi
  echo $((SECONDS - start)) >"$work/$client.seconds"
}

count() { grep -c "^$1 " "$work/$2.out" || true; }

running=0
for client in "${clients[@]}"; do
  if [ "$running" -ge "${JOBS:-3}" ]; then
    wait -n
    running=$((running - 1))
  fi
  run_client "$client" &
  running=$((running + 1))
done
wait

passed=0 failed=0
printf '%-18s %7s %7s %8s\n' client passed failed seconds
for client in "${clients[@]}"; do
  good=$(count ok "$client") bad=$(count FAILED "$client")
  printf '%-18s %7d %7d %8d\n' "$client" "$good" "$bad" "$(cat "$work/$client.seconds")"
  passed=$((passed + good)) failed=$((failed + bad))
done
for client in "${clients[@]}"; do
  grep '^FAILED ' "$work/$client.out" | sed "s/^FAILED /FAILED $client: /" || true
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
