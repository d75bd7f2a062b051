#!/usr/bin/env bash
# Apache Kafka from its Maven artifacts: the reference that the interop suite and the benchmarks compare with.
#
#   kafka.sh fetch                      copy the jars into the test cache (needs mvn); print the folder
#   kafka.sh classpath                  print the class path (fetches first if need be)
#   kafka.sh serve OPTIONS              format if new and run one combined KRaft node, in the foreground
#     --listen HOST:PORT                  Kafka listener (default 127.0.0.1:9092)
#     --controller HOST:PORT              controller listener (default 127.0.0.1:9093)
#     --data DIR                          data folder (required)
#     --property KEY=VALUE                one more line of server.properties, repeatable (e.g. flush.messages, as log.flush.interval.messages=1)
#     --heap SIZE                         JVM heap (default 1G, as Kafka's own start script)
#   kafka.sh TOOL ARGS...               run a command-line tool by the name of its script, e.g. kafka-topics --list ...
#   kafka.sh archive TOOL ARGS...       the same, and leave a class archive that halves the start-up time of later tools
#   kafka.sh run MAIN_CLASS ARGS...     run any class of the jars
#
# The cache is ${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}/kafka-VERSION; VERSION stands in pom.xml.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
cache=${ALLUVIUM_TEST_CACHE:-$HOME/.cache/alluvium}
home=$cache/kafka-$version

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
fail() { echo "kafka.sh: $*" >&2; exit 1; }

# Copies into a folder of its own and renames it, so that a broken download or two runs at once never leave half a cache.
fetch() {
  if cmp -s "$here/pom.xml" "$home/pom.xml"; then return; fi
  command -v mvn >/dev/null || fail "mvn is missing: tests/interop/install.sh java installs it"
  mkdir -p "$cache"
  local partial
  partial=$(mktemp -d "$cache/kafka-$version.partial.XXXXXX")
  mvn --batch-mode --quiet -f "$here/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$partial/libs" >&2 || { rm -rf "$partial"; fail "mvn could not fetch the jars"; }
  cp "$here/pom.xml" "$partial/pom.xml"
  rm -rf "$home"
  mv -T "$partial" "$home" 2>/dev/null || { rm -rf "$partial"; [ -f "$home/pom.xml" ] || fail "could not create $home"; }
}

java_of_tools() {
  fetch
  # A tool lives for a second, most of it loading and compiling classes.
  local archive=()
  if [ -n "${archive_to:-}" ]; then archive=(-XX:ArchiveClassesAtExit="$archive_to" -Xlog:cds=off -Xlog:cds+dynamic=off);
  elif [ -f "$home/tools.jsa" ]; then archive=(-XX:SharedArchiveFile="$home/tools.jsa" -Xlog:cds=off); fi
  exec java -Xmx256M -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto ${archive[@]+"${archive[@]}"} \
    -Dlog4j2.configurationFile="$here/log4j2-tools.properties" -cp "$home/libs/*" "$@"
}

main_class_of() {
  case $1 in
    kafka-acls) echo org.apache.kafka.tools.AclCommand ;;
    kafka-broker-api-versions) echo org.apache.kafka.tools.BrokerApiVersionsCommand ;;
    kafka-client-metrics) echo org.apache.kafka.tools.ClientMetricsCommand ;;
    kafka-cluster) echo org.apache.kafka.tools.ClusterTool ;;
    kafka-configs) echo kafka.admin.ConfigCommand ;;
    kafka-console-consumer) echo org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    kafka-console-producer) echo org.apache.kafka.tools.ConsoleProducer ;;
    kafka-consumer-groups) echo org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    kafka-consumer-perf-test) echo org.apache.kafka.tools.ConsumerPerformance ;;
    kafka-delegation-tokens) echo org.apache.kafka.tools.DelegationTokenCommand ;;
    kafka-delete-records) echo org.apache.kafka.tools.DeleteRecordsCommand ;;
    kafka-dump-log) echo org.apache.kafka.tools.DumpLogSegments ;;
    kafka-e2e-latency) echo org.apache.kafka.tools.EndToEndLatency ;;
    kafka-features) echo org.apache.kafka.tools.FeatureCommand ;;
    kafka-get-offsets) echo org.apache.kafka.tools.GetOffsetShell ;;
    kafka-groups) echo org.apache.kafka.tools.GroupsCommand ;;
    kafka-leader-election) echo org.apache.kafka.tools.LeaderElectionCommand ;;
    kafka-log-dirs) echo org.apache.kafka.tools.LogDirsCommand ;;
    kafka-metadata-quorum) echo org.apache.kafka.tools.MetadataQuorumCommand ;;
    kafka-producer-perf-test) echo org.apache.kafka.tools.ProducerPerformance ;;
    kafka-reassign-partitions) echo org.apache.kafka.tools.reassign.ReassignPartitionsCommand ;;
    kafka-share-groups) echo org.apache.kafka.tools.consumer.group.ShareGroupCommand ;;
    kafka-storage) echo kafka.tools.StorageTool ;;
    kafka-streams-groups) echo org.apache.kafka.tools.streams.StreamsGroupCommand ;;
    kafka-topics) echo org.apache.kafka.tools.TopicCommand ;;
    kafka-transactions) echo org.apache.kafka.tools.TransactionsCommand ;;
    kafka-verifiable-consumer) echo org.apache.kafka.tools.VerifiableConsumer ;;
    kafka-verifiable-producer) echo org.apache.kafka.tools.VerifiableProducer ;;
    *) return 1 ;;
  esac
}

# One node that is broker and controller. Only what a cluster of one cannot do without differs from Kafka's defaults.
write_properties() {
  local data=$1 listen=$2 controller=$3
  shift 3
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$controller
listeners=PLAINTEXT://$listen,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$listen
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$data/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES
  printf '%s\n' "$@"
}

serve() {
  local listen=127.0.0.1:9092 controller=127.0.0.1:9093 data='' heap=1G properties=()
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
      --listen) listen=$2 ;;
      --controller) controller=$2 ;;
      --data) data=$2 ;;
      --property) properties+=("$2") ;;
      --heap) heap=$2 ;;
      *) usage ;;
    esac
    shift 2
  done
  [ -n "$data" ] || usage
  fetch
  mkdir -p "$data"
  data=$(cd "$data" && pwd)
  write_properties "$data" "$listen" "$controller" ${properties[@]+"${properties[@]}"} >"$data/server.properties"
  if [ ! -f "$data/log/meta.properties" ]; then
    # Any 16 bytes will do as cluster id; this one is the same in each run, so that logs are easy to compare.
    (java_of_tools kafka.tools.StorageTool format --cluster-id AAAAAAAAQACAAAAAAAAAAQ --config "$data/server.properties" >&2)
  fi
  # The JVM options are those of Kafka's own start script.
  exec java -Xmx"$heap" -Xms"$heap" -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
    -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$here/log4j2-server.properties" -Dkafka.logs.dir="$data" \
    -cp "$home/libs/*" kafka.Kafka "$data/server.properties"
}

[ $# -ge 1 ] || usage
command=$1
shift
case $command in
  fetch) fetch; echo "$home" ;;
  classpath) fetch; echo "$home/libs/*" ;;
  serve) serve "$@" ;;
  archive)
    [ $# -ge 1 ] || usage
    fetch
    archive_to=$(mktemp -u "$home/tools.jsa.XXXXXX")
    class=$(main_class_of "$1") || fail "unknown tool: $1"
    shift
    (java_of_tools "$class" "$@")
    mv -f "$archive_to" "$home/tools.jsa"
    ;;
  run) [ $# -ge 1 ] || usage; java_of_tools "$@" ;;
  -h | --help) usage ;;
  *) class=$(main_class_of "$command") || fail "unknown command or tool: $command"; java_of_tools "$class" "$@" ;;
esac
