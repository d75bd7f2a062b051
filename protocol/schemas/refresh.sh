#!/bin/sh
# Replaces the schemas in this folder by those of another Apache Kafka: refresh.sh 4.4.0
# Needs mvn and unzip, which resolve and unpack the published artifact.
set -eu

version=${1:?usage: refresh.sh VERSION, for instance 4.4.0}
folder=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mvn -q -B dependency:copy -Dartifact="org.apache.kafka:kafka-clients:$version" -DoutputDirectory="$work"
unzip -q "$work/kafka-clients-$version.jar" 'common/message/*.json' -d "$work"
rm -f "$folder"/*.json
cp "$work"/common/message/*.json "$folder"/
sed -i "s/kafka-clients:[0-9][0-9.]*/kafka-clients:$version/" "$folder/README.md"
echo "$(ls "$folder"/*.json | wc -l) schemas of Apache Kafka $version"
