"""Kafka's own command-line tools against the broker, each as its own process, from the jars that tests/kafka fetches."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python_common"))
from harness import DEADLINE_SECONDS, bootstrap_argument, expect, run, unique, values, wait_for  # noqa: E402

ARGUMENTS = bootstrap_argument()
KAFKA = HERE.parent.parent / "kafka" / "kafka.sh"


def run_tool(name, *arguments, stdin="", archive=False):
    command = [str(KAFKA), *(["archive"] if archive else []), name, *arguments, "--bootstrap-server", ARGUMENTS.bootstrap]
    return subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=2 * DEADLINE_SECONDS, check=False)


def tool(name, *arguments, **options):
    """Standard output of a tool that must succeed."""
    done = run_tool(name, *arguments, **options)
    if done.returncode != 0 or "Error while executing" in done.stdout:
        raise AssertionError(f"{name} {' '.join(arguments)} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-600:]}")
    return done.stdout


def refused(wanted, name, *arguments):
    done = run_tool(name, *arguments)
    said = done.stdout + done.stderr
    expect((done.returncode != 0, wanted in said), (True, True), f"{name} is refused with {wanted!r}, said {said[-400:]!r}")


def new_topic(prefix, *options):
    topic = unique(f"tools-{prefix}")
    tool("kafka-topics", "--create", "--topic", topic, *options)
    return topic


def produce(topic, lines, *options):
    tool("kafka-console-producer", "--topic", topic, *options, stdin="".join(f"{line}\n" for line in lines))


def consume(topic, count, *options, place=("--partition", "0", "--offset", "earliest")):
    out = tool("kafka-console-consumer", "--topic", topic, "--max-messages", str(count), "--timeout-ms", "20000", *place, *options)
    return out.splitlines()


def topics_lifecycle():
    topic = new_topic("life", "--partitions", "2", "--config", "max.message.bytes=123456")
    refused("already exists", "kafka-topics", "--create", "--topic", topic)
    head, *partitions = described(topic)
    expect("PartitionCount: 2" in head and "max.message.bytes=123456" in head, True, f"description {head!r}")
    expect([re.search(r"Partition: (\d+)\s+Leader: (\d+)", p) is not None for p in partitions], [True, True], f"{partitions}")
    tool("kafka-topics", "--alter", "--topic", topic, "--partitions", "4")
    wait_for(lambda: len(described(topic)) == 5, "four partitions")
    tool("kafka-topics", "--delete", "--topic", topic)
    wait_for(lambda: topic not in tool("kafka-topics", "--list").split(), "the topic to leave the list")


def described(topic):
    return [line for line in tool("kafka-topics", "--describe", "--topic", topic).splitlines() if line.strip()]


def bad_topics_are_refused():
    refused("InvalidTopicException", "kafka-topics", "--create", "--topic", "a/b")
    refused("InvalidConfigurationException", "kafka-topics", "--create", "--topic", unique("tools-bad"), "--config", "no.such.setting=1")


def console_round_trip():
    topic = new_topic("console")
    lines = values("console", 100)
    produce(topic, [f"h1:a,h1:b|k{i}~{line.decode()}" for i, line in enumerate(lines)],
            "--reader-property", "parse.key=true", "--reader-property", "key.separator=~",
            "--reader-property", "parse.headers=true", "--reader-property", "headers.delimiter=|")
    show = [f"--formatter-property=print.{what}=true" for what in ("offset", "key", "headers")]
    got = consume(topic, 100, *show, "--formatter-property=key.separator=~")
    wanted = [f"Offset:{i}~h1:a,h1:b~k{i}~{line.decode()}" for i, line in enumerate(lines)]
    expect(got, wanted, "records")


def console_null_against_empty():
    topic = new_topic("console-null", "--config", "cleanup.policy=compact")
    parse = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=~", "--reader-property", "null.marker=NIL"]
    produce(topic, ["k~NIL", "k~", "~v"], *parse)
    show = ["--formatter-property=print.key=true", "--formatter-property=key.separator=~", "--formatter-property=null.literal=NULL"]
    expect(consume(topic, 3, *show), ["k~NULL", "k~", "~v"], "keys and values")


def console_codecs():
    topic = new_topic("console-codecs")
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    for codec in codecs:
        produce(topic, [f"{codec}-{'alluvium ' * 50}"], "--compression-codec", codec)
    expect(consume(topic, 5), [f"{codec}-{'alluvium ' * 50}" for codec in codecs], "records of each codec")


def groups():
    topic, group = new_topic("groups"), unique("tools-group")
    lines = [line.decode() for line in values("groups", 20)]
    produce(topic, lines)
    joined = ("--group", group, "--from-beginning")
    expect(consume(topic, 20, place=joined), lines, "records of the first run")
    expect(group in tool("kafka-consumer-groups", "--list").split(), True, "the group in the list")
    expect(offsets(group, topic), ("20", "20", "0"), "offset, end and lag")
    moved = tool("kafka-consumer-groups", "--group", group, "--topic", topic, "--reset-offsets", "--to-offset", "15", "--execute")
    expect(re.search(rf"{group}\s+{topic}\s+0\s+15", moved) is not None, True, f"answer of reset-offsets {moved!r}")
    expect(offsets(group, topic), ("15", "20", "5"), "offset, end and lag after the reset")
    expect(consume(topic, 5, place=joined), lines[15:], "records after the reset")
    state = tool("kafka-consumer-groups", "--describe", "--group", group, "--state")
    expect(re.search(rf"{group}\s.*\sEmpty\s+0", state) is not None, True, f"state {state!r}")
    tool("kafka-consumer-groups", "--delete", "--group", group)
    expect(group in tool("kafka-groups", "--list"), False, "the deleted group in the list of kafka-groups")


def offsets(group, topic):
    out = tool("kafka-consumer-groups", "--describe", "--group", group)
    found = re.search(rf"{group}\s+{topic}\s+0\s+(?:\S+\s+)??(\d+)\s+(\d+)\s+(\d+)\s", out)
    return found.groups() if found else out


def configs():
    topic = new_topic("configs")
    about = ("--entity-type", "topics", "--entity-name", topic)
    tool("kafka-configs", *about, "--alter", "--add-config", "retention.ms=3600000,cleanup.policy=[compact,delete]")
    changed = lambda: tool("kafka-configs", *about, "--describe")
    out = wait_for(lambda: (text := changed()) and "retention.ms=3600000" in text and text, "the change")
    expect("cleanup.policy=compact,delete" in out and "DYNAMIC_TOPIC_CONFIG:retention.ms=3600000" in out, True, f"settings {out!r}")
    tool("kafka-configs", *about, "--alter", "--delete-config", "retention.ms")
    wait_for(lambda: "retention.ms=3600000" not in changed(), "the deletion")
    every = tool("kafka-configs", *about, "--describe", "--all")
    expect("max.message.bytes=" in every and "DEFAULT_CONFIG:message.max.bytes=" in every, True, f"all settings {every!r}")
    refused("InvalidConfigurationException", "kafka-configs", *about, "--alter", "--add-config", "no.such.setting=1")


def offsets_and_delete_records():
    topic = new_topic("offsets")
    produce(topic, [f"v{i}" for i in range(9)])
    produce(topic, ["v9"])  # a run of its own, so that its time is the largest
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]}, file)
        file.flush()
        out = tool("kafka-delete-records", "--offset-json-file", file.name)
    expect(f"{topic}-0\tlow_watermark: 6" in out, True, f"answer {out!r}")
    for when, wanted in (("earliest", 6), ("latest", 10), ("max-timestamp", 9)):
        expect(tool("kafka-get-offsets", "--topic", topic, "--time", when).split(), [f"{topic}:0:{wanted}"], when)
    expect(consume(topic, 4), ["v6", "v7", "v8", "v9"], "records left")


def cluster():
    expect(re.search(r"Cluster ID: \S+", tool("kafka-cluster", "cluster-id")) is not None, True, "cluster id")
    versions = tool("kafka-broker-api-versions")
    listed = dict(re.findall(r"^\s+(\w+)\(\d+\): (?:\d+ to )?(\d+)", versions, re.MULTILINE))
    expect({api: api in listed for api in NEEDED_APIS}, dict.fromkeys(NEEDED_APIS, True), f"APIs in {versions!r}")
    topic = new_topic("log-dirs")
    produce(topic, ["x"])
    out = tool("kafka-log-dirs", "--describe", "--topic-list", topic)
    found = json.loads(out[out.index("{"):])
    parts = [p for broker in found["brokers"] for d in broker["logDirs"] for p in d["partitions"]]
    expect([p["partition"] for p in parts], [f"{topic}-0"] * 3, "the partition in each of the log dirs")
    expect(sum(p["size"] for p in parts) > 0, True, "size of the partition")
    [tables] = {d["logDir"] for d in found["brokers"][0]["logDirs"] if d["logDir"].endswith("/tables")}
    moved = {"topic": topic, "partition": 0, "replicas": [found["brokers"][0]["broker"]], "log_dirs": [tables]}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
        json.dump({"version": 1, "partitions": [moved]}, plan)
        plan.flush()
        out = tool("kafka-reassign-partitions", "--reassignment-json-file", plan.name, "--execute")
    expect(f"started moving log directory to {tables} for replica {topic}-0" in out, True, f"moved to the tables: {out!r}")


NEEDED_APIS = (
    "Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup SyncGroup "
    "DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords InitProducerId OffsetForLeaderEpoch "
    "DescribeConfigs AlterConfigs AlterReplicaLogDirs DescribeLogDirs CreatePartitions DeleteGroups IncrementalAlterConfigs OffsetDelete "
    "DescribeCluster DescribeTopicPartitions"
).split()


def perf_tools():
    topic = new_topic("perf", "--partitions", "3")
    sent = tool("kafka-producer-perf-test", "--topic", topic, "--num-records", "5000", "--record-size", "200", "--throughput", "-1")
    expect("5000 records sent" in sent, True, f"producer said {sent!r}")
    ends = tool("kafka-get-offsets", "--topic", topic).split()
    expect(sum(int(line.rsplit(":", 1)[1]) for line in ends), 5000, "sum of the end offsets")
    read = tool("kafka-consumer-perf-test", "--topic", topic, "--num-records", "5000", "--timeout", "20000")
    expect(re.search(r", 5000, ", read) is not None, True, f"consumer said {read!r}")


def verifiable_tools():
    topic = new_topic("verifiable")
    sent = tool("kafka-verifiable-producer", "--topic", topic, "--max-messages", "100", "--acks", "-1")
    acked = [json.loads(line) for line in sent.splitlines() if '"producer_send_success"' in line]
    expect(sorted(a["offset"] for a in acked), list(range(100)), "offsets acknowledged")
    read = tool("kafka-verifiable-consumer", "--topic", topic, "--group-id", unique("tools-verifiable"), "--max-messages", "100", "--verbose",
                "--reset-policy", "earliest")
    seen = [json.loads(line) for line in read.splitlines() if '"record_data"' in line]
    wanted = [(i, a["value"]) for i, a in enumerate(sorted(acked, key=lambda a: a["offset"]))]
    expect([(s["offset"], s["value"]) for s in seen], wanted, "records read")


CHECKS = [
    groups,
    verifiable_tools,
    perf_tools,
    topics_lifecycle,
    configs,
    console_codecs,
    console_round_trip,
    console_null_against_empty,
    offsets_and_delete_records,
    cluster,
    bad_topics_are_refused,
]


def leave_class_archive():
    """One tool runs first and leaves its loaded classes behind; the many after it start in half the time."""
    home = subprocess.run([str(KAFKA), "fetch"], capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.exists(f"{home}/tools.jsa"):
        tool("kafka-topics", "--describe", archive=True)


if __name__ == "__main__":
    leave_class_archive()
    sys.exit(run([check for check in CHECKS if ARGUMENTS.check in (None, check.__name__)]))
