# Sourced by install.sh and run.sh: the clients, and where what they need is kept.
# shellcheck shell=bash
cache=${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}/interop
all_clients=(kafka-tools java kafkajs confluent-kafka franz-go kafka-python aiokafka kcat) # the slowest first
python_clients=(confluent-kafka kafka-python aiokafka)

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

chosen_clients() {
  if [ $# -eq 0 ]; then set -- "${all_clients[@]}"; fi
  local client
  for client in "$@"; do
    [[ " ${all_clients[*]} " == *" $client "* ]] || die "unknown client $client; there are: ${all_clients[*]}"
  done
  echo "$@"
}

digest() { cat "$@" | sha256sum | cut -c1-12; }
python_environment() { echo "$cache/python-$(cd "$here" && digest "${python_clients[@]/%//requirements.txt}")"; }
kafkajs_folder() { echo "$cache/kafkajs-$(digest "$here/kafkajs/package-lock.json")"; }
java_classes() { echo "$cache/java-$(digest "$here"/java/*.java "$here/../kafka/pom.xml")"; }
franz_go_program() { echo "$cache/franz-go-$(digest "$here"/franz-go/*.go "$here/franz-go/go.sum")/suite"; }
