"""kafka-python against the broker."""

import sys
import threading
import time
from pathlib import Path
from uuid import UUID

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import AlterConfigOp, ConfigResource, ConfigResourceType, OffsetSpec
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import (
    BrokerResponseError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidRecordError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import OffsetAndMetadata

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_common"))
from harness import DEADLINE_SECONDS, bootstrap_argument, expect, past_ms, run, unique, values, wait_for  # noqa: E402

ARGUMENTS = bootstrap_argument()
ADMIN_LOCK = threading.Lock()  # one admin client for all checks
ADMIN = KafkaAdminClient(bootstrap_servers=ARGUMENTS.bootstrap)


def admin(call, *arguments, **options):
    with ADMIN_LOCK:
        return getattr(ADMIN, call)(*arguments, **options)


def error_of(call, *arguments, **options):
    try:
        admin(call, *arguments, **options)
    except BrokerResponseError as error:
        return type(error)
    return None


def new_topic(prefix, partitions=1, **config):
    topic = unique(f"kafka-python-{prefix}")
    settings = {key.replace("_", "."): value for key, value in config.items()}
    admin("create_topics", {topic: {"num_partitions": partitions, "configs": settings}}, wait_for_metadata=True)
    return topic


def producer(**config):
    return KafkaProducer(bootstrap_servers=ARGUMENTS.bootstrap, **{"linger_ms": 20, **config})


def send_all(topic, records, **config):
    """Sends dictionaries of `send` options in order; returns what the broker said of each."""
    sender = producer(**config)
    try:
        futures = [sender.send(topic, **{"partition": 0, **record}) for record in records]
        return [future.get(DEADLINE_SECONDS) for future in futures]
    finally:
        sender.close(timeout=5)


def produce_values(topic, payloads):
    told = send_all(topic, [{"value": payload} for payload in payloads])
    expect([m.offset for m in told], list(range(len(payloads))), "offsets told to the producer")


def consumer(*topics, **config):
    base = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "check_crcs": True}
    return KafkaConsumer(*topics, bootstrap_servers=ARGUMENTS.bootstrap, **{**base, **config})


def take(reader, count):
    taken = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(taken) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out with {len(taken)} of {count} records")
        for batch in reader.poll(timeout_ms=200, max_records=count - len(taken)).values():
            taken.extend(batch)
    return taken


def read(topic, count, partition=0, offset=None):
    reader = consumer()
    try:
        place = TopicPartition(topic, partition)
        reader.assign([place])
        if offset is None:
            reader.seek_to_beginning(place)
        else:
            reader.seek(place, offset)
        return take(reader, count)
    finally:
        reader.close()


# Producing and consuming


def produce_and_consume_from_earliest():
    topic = new_topic("basic", partitions=3)
    payloads = values("basic", 300)
    told = send_all(topic, [{"value": p, "key": f"k{i}".encode(), "partition": i % 3} for i, p in enumerate(payloads)])
    for partition in range(3):
        expect([m.offset for m in told if m.partition == partition], list(range(100)), "offsets told")
        got = read(topic, 100, partition)
        wanted = [(n, f"k{i}".encode(), payloads[i]) for n, i in enumerate(range(partition, 300, 3))]
        expect([(m.offset, m.key, m.value) for m in got], wanted, f"records of partition {partition}")


def consume_by_offset():
    topic = new_topic("offset")
    payloads = values("offset", 50)
    produce_values(topic, payloads)
    got = read(topic, 13, offset=37)
    expect([(m.offset, m.value) for m in got], list(enumerate(payloads))[37:], "records from offset 37")
    place = TopicPartition(topic, 0)
    reader = consumer()
    expect((reader.beginning_offsets([place])[place], reader.end_offsets([place])[place]), (0, 50), "first and last offset")
    reader.close()


def offset_out_of_range_is_reported():
    topic = new_topic("range")
    produce_values(topic, values("range", 3))
    reader = consumer(auto_offset_reset="none")
    place = TopicPartition(topic, 0)
    reader.assign([place])
    reader.seek(place, 1000)
    try:
        wait_for(lambda: reader.poll(timeout_ms=200), "an error")
    except OffsetOutOfRangeError as error:
        expect(error.args[0], {place: 1000}, "partition and offset of the error")
    else:
        raise AssertionError("records beyond the end of the log")
    finally:
        reader.close()


def explicit_timestamps_and_offsets_for_times():
    topic = new_topic("time")
    place = TopicPartition(topic, 0)
    start = past_ms()
    # One batch, and its largest timestamp is not its last: an answer by batch would be wrong.
    times = [start + step for step in (0, 100, 200, 300, 900, 500, 600)]
    told = send_all(topic, [{"value": b"v", "timestamp_ms": t} for t in times], linger_ms=200)
    expect([m.timestamp for m in told], times, "timestamps told")
    expect([(m.timestamp, m.timestamp_type) for m in read(topic, 7)], [(t, 0) for t in times], "timestamps read")
    reader = consumer()
    for step, wanted in {-1: (0, 0), 0: (0, 0), 1: (1, 100), 250: (3, 300), 301: (4, 900), 900: (4, 900)}.items():
        found = reader.offsets_for_times({place: start + step})[place]
        expect((found.offset, found.timestamp - start), wanted, f"first record at or after start{step:+d} ms")
    expect(reader.offsets_for_times({place: start + 901})[place], None, "first record after the last time")
    reader.close()
    for spec, wanted in ((OffsetSpec.EARLIEST, 0), (OffsetSpec.LATEST, 7), (OffsetSpec.MAX_TIMESTAMP, 4)):
        found = admin("list_partition_offsets", {place: spec})[place]
        expect(found.offset, wanted, f"ListOffsets {spec}")
    expect(found.timestamp, start + 900, "max timestamp")


def log_append_time():
    topic = new_topic("append-time", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    told = send_all(topic, [{"value": v, "timestamp_ms": past_ms()} for v in values("append", 20)])
    after = int(time.time() * 1000)
    for message in read(topic, 20):
        expect(message.timestamp_type, 1, "timestamp type")
        expect(before <= message.timestamp <= after, True, f"append time {message.timestamp} within [{before}, {after}]")
        expect(told[message.offset].timestamp, message.timestamp, "append time told to the producer")


def codec(name):
    def check():
        topic = new_topic(f"codec-{name}")
        payloads = values(name, 500)
        kind = None if name == "none" else name
        records = [{"value": p, "key": str(i).encode(), "headers": [("h", str(i).encode())]} for i, p in enumerate(payloads)]
        told = send_all(topic, records, compression_type=kind, linger_ms=100)
        expect([m.offset for m in told], list(range(500)), "offsets told")
        wanted = [(i, r["key"], r["value"], r["headers"]) for i, r in enumerate(records)]
        expect([(m.offset, m.key, m.value, m.headers) for m in read(topic, 500)], wanted, f"records through {name}")

    check.__name__ = f"codec_{name}"
    return check


def headers():
    topic = new_topic("headers")
    wanted = [("a", b"1"), ("a", b"2"), ("empty", b""), ("a", b"1"), ("bytes", bytes(range(256))), ("\u00e9", b"x")]
    send_all(topic, [{"value": b"v", "headers": wanted}, {"value": b"none"}])
    expect([m.headers for m in read(topic, 2)], [wanted, []], "headers with duplicates and empty values, in order")


def tombstone_against_empty():
    topic = new_topic("null", cleanup_policy="compact")
    wanted = [(b"k", None), (b"k", b""), (b"", b"v"), (b"k", b"v")]
    send_all(topic, [{"key": key, "value": value} for key, value in wanted])
    expect([(m.key, m.value) for m in read(topic, 4)], wanted, "keys and values")


def idempotent_and_plain_producers():
    for idempotent in (True, False):
        topic = new_topic(f"idempotent-{str(idempotent).lower()}")
        payloads = values("idempotent", 500)
        told = send_all(topic, [{"value": p} for p in payloads], enable_idempotence=idempotent, linger_ms=1, batch_size=2000)
        expect([m.offset for m in told], list(range(500)), f"offsets told, idempotent={idempotent}")
        expect([m.value for m in read(topic, 500)], payloads, "each value once, in order")


def acks_zero_and_one():
    for acks in (0, 1):
        topic = new_topic(f"acks{acks}")
        payloads = values(f"acks{acks}", 100)
        send_all(topic, [{"value": p} for p in payloads], acks=acks, enable_idempotence=False)
        got = read(topic, 100)
        expect([(m.offset, m.value) for m in got], list(enumerate(payloads)), f"records sent with acks={acks}")


def refused(topic, wanted, **record):
    try:
        told = send_all(topic, [record])
    except BrokerResponseError as error:
        expect(type(error), wanted, "error")
    else:
        raise AssertionError(f"accepted at offset {told[0].offset}, want {wanted.__name__}")


def refused_records():
    refused(new_topic("oversized", max_message_bytes="20000"), MessageSizeTooLargeError, value=bytes(50_000))
    refused(new_topic("keyless", cleanup_policy="compact"), InvalidRecordError, value=b"v")


# Groups


def group_commits_and_restarts_there():
    topic, group = new_topic("group"), unique("kafka-python-group")
    place = TopicPartition(topic, 0)
    payloads = values("group", 100)
    produce_values(topic, payloads)
    first = consumer(topic, group_id=group)
    expect([m.value for m in take(first, 100)], payloads, "records of the first run")
    first.commit({place: OffsetAndMetadata(40, "why 40")})
    committed = first.committed(place, metadata=True)
    expect((committed.offset, committed.metadata), (40, "why 40"), "committed offset and metadata")
    first.close()
    second = consumer(topic, group_id=group)
    got = take(second, 60)
    expect([(m.offset, m.value) for m in got], list(enumerate(payloads))[40:], "records after the restart")
    second.close()


class Member:
    """A consumer that polls in its own thread: kafka-python joins groups inside poll()."""

    def __init__(self, topic, options):
        self.owned = []
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._poll, args=(topic, options), daemon=True)
        self._thread.start()

    def _poll(self, topic, options):
        reader = consumer(topic, **options)
        while not self._leaving.is_set():
            reader.poll(timeout_ms=100)
            self.owned = sorted(p.partition for p in reader.assignment())
        reader.close()

    def leave(self):
        self._leaving.set()
        self._thread.join(DEADLINE_SECONDS)


def group_of_two_members(assignor):
    def check():
        topic, group = new_topic("pair", partitions=4), unique("kafka-python-pair")
        options = {"group_id": group, "partition_assignment_strategy": [assignor], "heartbeat_interval_ms": 500, "session_timeout_ms": 10_000}
        members = [Member(topic, options) for _ in range(2)]
        try:
            wait_for(lambda: sorted(len(m.owned) for m in members) == [2, 2], "two partitions for each member")
            expect(sorted(members[0].owned + members[1].owned), [0, 1, 2, 3], "partitions of both")
            members.pop().leave()
            wait_for(lambda: members[0].owned == [0, 1, 2, 3], "all partitions for the one that stayed")
        finally:
            for member in members:
                member.leave()

    check.__name__ = f"group_of_two_members_{assignor.name}"
    return check


def group_admin():
    topic, group = new_topic("group-admin"), unique("kafka-python-group-admin")
    place = TopicPartition(topic, 0)
    produce_values(topic, values("admin", 5))
    member = consumer(topic, group_id=group, client_id="interop-member")
    take(member, 5)
    member.commit({place: OffsetAndMetadata(5, "")})
    live = admin("describe_groups", [group])[group]
    expect((live["group_state"], live["protocol_type"], live["protocol_data"]), ("Stable", "consumer", "range"), "live group")
    [described] = live["members"]
    expect(described["client_id"], "interop-member", "client id of the member")
    expect(described["member_assignment"]["assigned_partitions"], [{"topic": topic, "partitions": [0]}], "assignment")
    expect(listed(group), ("Stable", "consumer", "classic"), "the live group in the list")
    expect(admin("delete_groups", [group]), {group: "NonEmptyGroupError"}, "deleting a live group")
    member.close()
    expect(admin("describe_groups", [group])[group]["group_state"], "Empty", "state after the member left")
    [error] = admin("alter_group_offsets", group, {place: OffsetAndMetadata(2, "moved")}).values()
    expect(error.errno, 0, "moving the offset")
    found = admin("list_group_offsets", [group])[group]
    expect({p: (o.offset, o.metadata) for p, o in found.items()}, {place: (2, "moved")}, "offsets after the move")
    [error] = admin("delete_group_offsets", group, [place]).values()
    expect(error.errno, 0, "deleting the offset")
    expect(admin("list_group_offsets", [group])[group], {}, "offsets after the deletion")


def delete_group():
    topic, group = new_topic("group-delete"), unique("kafka-python-group-delete")
    place = TopicPartition(topic, 0)
    admin("alter_group_offsets", group, {place: OffsetAndMetadata(0, "")})
    expect(listed(group) is not None, True, "a group that only has offsets is in the list")
    expect(admin("delete_groups", [group]), {group: "OK"}, "deleting the group")
    expect(listed(group), None, "the deleted group in the list")
    expect(admin("delete_groups", [group]), {group: "GroupIdNotFoundError"}, "deleting it again")
    expect(admin("describe_groups", [group])[group]["group_state"], "Dead", "describing it")


def listed(group):
    found = [g for g in admin("list_groups") if g["group_id"] == group]
    return (found[0]["group_state"], found[0]["protocol_type"], found[0]["group_type"]) if found else None


def offsets_of_unknown_group():
    topic, group = new_topic("unknown-group"), unique("kafka-python-unknown")
    place = TopicPartition(topic, 0)
    found = admin("list_group_offsets", {group: [place]})[group]
    expect({p: o.offset for p, o in found.items()}, {place: -1}, "offset of an unknown group")
    lonely = consumer(group_id=group)
    expect(lonely.committed(place), None, "committed() of an unknown group")
    lonely.close()


# Topics


def create_describe_delete_topic():
    topic = new_topic("admin", partitions=3)
    [described] = admin("describe_topics", [topic])
    expect([p["partition_index"] for p in described["partitions"]], [0, 1, 2], "partitions")
    expect([p["leader_id"] >= 0 and p["error_code"] == 0 for p in described["partitions"]], [True] * 3, "leaders")
    topic_id = described["topic_id"]
    [by_id] = admin("describe_topics", [UUID(topic_id)])
    expect(by_id["name"], topic, "the topic described by its id")
    expect(error_of("create_topics", {topic: {"num_partitions": 1}}), TopicAlreadyExistsError, "creating it again")
    admin("delete_topics", [topic])
    wait_for(lambda: topic not in admin("list_topics"), "the topic to leave the list")
    expect(error_of("delete_topics", [topic]), UnknownTopicOrPartitionError, "deleting it again")
    admin("create_topics", {topic: {"num_partitions": 1}}, wait_for_metadata=True)
    [again] = admin("describe_topics", [topic])
    expect(again["topic_id"] != topic_id, True, "a new topic of the old name has a new id")
    produce_values(topic, [b"fresh"])
    expect([m.value for m in read(topic, 1)], [b"fresh"], "records of the new topic")


def bad_topics_are_refused():
    good = unique("kafka-python-bad")
    expect(error_of("create_topics", {"a/b": {}}), InvalidTopicError, "a slash in the name")
    expect(error_of("create_topics", {"..": {}}), InvalidTopicError, "two dots as name")
    expect(error_of("create_topics", {good: {"num_partitions": 0}}), InvalidPartitionsError, "zero partitions")
    unknown = {good: {"configs": {"no.such.setting": "1"}}}
    expect(error_of("create_topics", unknown), InvalidConfigurationError, "an unknown setting")
    admin("create_topics", {good: {}}, validate_only=True)
    expect(good in admin("list_topics"), False, "validate_only creates nothing")


def topic_configs():
    topic = new_topic("config", max_message_bytes="123456")
    expect(modified(topic), {"max.message.bytes": "123456"}, "settings that are not defaults")
    every = admin("describe_configs", [topic_resource(topic)], include_synonyms=True, config_filter="all")["topic"][topic]
    entry = every["max.message.bytes"]
    expect((entry["value"], entry["config_source"], entry["config_type"]), ("123456", "DYNAMIC_TOPIC_CONFIG", "INT"), "entry")
    synonyms = [(s["name"], s["source"]) for s in entry["synonyms"]]
    expect(synonyms[0], ("max.message.bytes", "DYNAMIC_TOPIC_CONFIG"), "first synonym")
    expect(("message.max.bytes", "DEFAULT_CONFIG") in synonyms, True, f"the broker's setting among {synonyms}")
    expect((every["cleanup.policy"]["value"], every["cleanup.policy"]["config_source"]), ("delete", "DEFAULT_CONFIG"), "a default")
    admin("alter_configs", [topic_resource(topic, {"retention.ms": (AlterConfigOp.SET, "3600000")})])
    wait_for(lambda: modified(topic) == {"max.message.bytes": "123456", "retention.ms": "3600000"}, "the change")
    admin("reset_configs", [topic_resource(topic, ["max.message.bytes"])])
    wait_for(lambda: modified(topic) == {"retention.ms": "3600000"}, "the reset")
    # The older call replaces all settings of the topic.
    admin("alter_configs", [topic_resource(topic, {"max.message.bytes": "2222"})], incremental=False)
    wait_for(lambda: modified(topic).get("max.message.bytes") == "2222", "the older call")


def topic_resource(topic, configs=None):
    return ConfigResource(ConfigResourceType.TOPIC, topic, configs)


def modified(topic):
    entries = admin("describe_configs", [topic_resource(topic)])["topic"][topic]
    return {name: entry["value"] for name, entry in entries.items() if entry["config_source"] == "DYNAMIC_TOPIC_CONFIG"}


def create_partitions():
    topic = new_topic("grow")
    produce_values(topic, [b"old"])
    admin("create_partitions", {topic: 3})
    wait_for(lambda: len(admin("describe_topics", [topic])[0]["partitions"]) == 3, "three partitions")
    wait_for(lambda: all(p["leader_id"] >= 0 for p in admin("describe_topics", [topic])[0]["partitions"]), "their leaders")
    [told] = send_all(topic, [{"value": b"new", "partition": 2}])
    expect(told.offset, 0, "offset in the new partition")
    expect([m.value for m in read(topic, 1, 2)], [b"new"], "record of the new partition")
    expect([m.value for m in read(topic, 1, 0)], [b"old"], "record of the old partition")
    expect(error_of("create_partitions", {topic: 2}), InvalidPartitionsError, "shrinking")


def delete_records():
    topic = new_topic("delete-records")
    place = TopicPartition(topic, 0)
    payloads = values("delete", 10)
    produce_values(topic, payloads)
    told = admin("delete_records", {place: 6})[place]
    expect((told["low_watermark"], told["error_code"]), (6, 0), "answer")
    expect([(m.offset, m.value) for m in read(topic, 4)], list(enumerate(payloads))[6:], "records from the beginning")
    expect(admin("list_partition_offsets", {place: OffsetSpec.EARLIEST})[place].offset, 6, "earliest offset")


def cluster_and_log_dirs():
    cluster = admin("describe_cluster")
    expect(bool(cluster["cluster_id"]), True, "a cluster id")
    [broker] = cluster["brokers"]
    expect(cluster["controller_id"], broker["broker_id"], "the controller is the broker")
    topic = new_topic("log-dirs")
    produce_values(topic, values("size", 100))
    [answer] = admin("describe_log_dirs", [topic])
    found = [p for d in answer["log_dirs"] for t in d["topics"] if t["name"] == topic for p in t["partitions"]]
    expect([p["partition_index"] for p in found], [0, 0, 0], "the partition in each of the log dirs")
    expect(sum(p["partition_size"] for p in found) > 0, True, "size of the partition")


CHECKS = [
    group_of_two_members(RangePartitionAssignor),
    group_of_two_members(RoundRobinPartitionAssignor),
    group_commits_and_restarts_there,
    group_admin,
    delete_group,
    offsets_of_unknown_group,
    produce_and_consume_from_earliest,
    consume_by_offset,
    offset_out_of_range_is_reported,
    explicit_timestamps_and_offsets_for_times,
    log_append_time,
    *[codec(name) for name in ("none", "gzip", "snappy", "lz4", "zstd")],
    headers,
    tombstone_against_empty,
    idempotent_and_plain_producers,
    acks_zero_and_one,
    refused_records,
    create_describe_delete_topic,
    bad_topics_are_refused,
    topic_configs,
    create_partitions,
    delete_records,
    cluster_and_log_dirs,
]

if __name__ == "__main__":
    code = run([check for check in CHECKS if ARGUMENTS.check in (None, check.__name__)])
    ADMIN.close()
    sys.exit(code)
