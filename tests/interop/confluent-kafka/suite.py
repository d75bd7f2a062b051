"""confluent-kafka (librdkafka of today) against the broker."""

import sys
import time
import warnings
from pathlib import Path

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_common"))
from harness import DEADLINE_SECONDS, bootstrap_argument, expect, past_ms, run, unique, values, wait_for  # noqa: E402

ARGUMENTS = bootstrap_argument()
BOOTSTRAP = {"bootstrap.servers": ARGUMENTS.bootstrap}
ADMIN = AdminClient(BOOTSTRAP)
# Without an authorizer everything is allowed that makes sense for the subject.
TOPIC_OPERATIONS = {"READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"}
CLUSTER_OPERATIONS = {"CREATE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "IDEMPOTENT_WRITE"}
NO_UUID = "AAAAAAAAAAAAAAAAAAAAAA"


def finish(futures):
    """Results of an admin call that returns one future per subject."""
    return {subject: future.result(DEADLINE_SECONDS) for subject, future in futures.items()}


def error_of(future):
    try:
        future.result(DEADLINE_SECONDS)
    except KafkaException as error:
        return error.args[0].code()
    return KafkaError.NO_ERROR


def new_topic(prefix, partitions=1, **config):
    topic = unique(f"confluent-{prefix}")
    settings = {key.replace("_", "."): value for key, value in config.items()}
    finish(ADMIN.create_topics([NewTopic(topic, num_partitions=partitions, config=settings)]))
    # The controller has answered; a broker of Kafka's may hear of the topic a moment later.
    wait_for(lambda: leaders(topic) == partitions, f"{topic} in the metadata")
    return topic


def leaders(topic):
    listed = ADMIN.list_topics(timeout=DEADLINE_SECONDS).topics.get(topic)
    return sum(1 for partition in listed.partitions.values() if partition.leader >= 0) if listed else 0


class Sent:
    """Produces in order and keeps what the broker said about each record."""

    def __init__(self, **config):
        settings = {key.replace("_", "."): value for key, value in config.items()}
        self.producer = Producer({**BOOTSTRAP, "linger.ms": 20, "delivery.timeout.ms": DEADLINE_SECONDS * 1000, **settings})
        self.reports = []

    def send(self, topic, value=None, **options):
        self.producer.produce(topic, value, on_delivery=self._report, **options)

    def _report(self, error, message):
        self.reports.append((error, message))

    def flush(self):
        expect(self.producer.flush(DEADLINE_SECONDS), 0, "records still queued after flush")
        return self.reports

    def offsets(self):
        for error, _ in self.flush():
            if error is not None:
                raise AssertionError(f"delivery failed: {error}")
        return [message.offset() for _, message in self.reports]


def consumer(**config):
    settings = {key.replace("_", "."): value for key, value in config.items()}
    base = {"group.id": unique("confluent-none"), "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    return Consumer({**BOOTSTRAP, **base, **settings})


def take(reader, count):
    """The next `count` messages; an error message is an error."""
    taken = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(taken) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out with {len(taken)} of {count} records")
        for message in reader.consume(count - len(taken), timeout=0.2):
            if message.error():
                raise AssertionError(f"consumer: {message.error()}")
            taken.append(message)
    return taken


def read(topic, count, partition=0, offset=OFFSET_BEGINNING):
    reader = consumer()
    try:
        reader.assign([TopicPartition(topic, partition, offset)])
        return take(reader, count)
    finally:
        reader.close()


def produce_values(topic, payloads, **options):
    sent = Sent()
    for payload in payloads:
        sent.send(topic, payload, partition=0, **options)
    expect(sent.offsets(), list(range(len(payloads))), "offsets told to the producer")


# Producing and consuming


def produce_and_consume_from_earliest():
    topic = new_topic("basic", partitions=3)
    sent = Sent()
    for i, value in enumerate(values("basic", 300)):
        sent.send(topic, value, key=f"k{i}".encode(), partition=i % 3)
    sent.offsets()
    for partition in range(3):
        mine = [m for _, m in sent.reports if m.partition() == partition]
        expect([m.offset() for m in mine], list(range(100)), f"offsets told for partition {partition}")
        got = read(topic, 100, partition)
        expect(
            [(m.offset(), m.key(), m.value()) for m in got],
            [(m.offset(), m.key(), m.value()) for m in mine],
            f"records of partition {partition}",
        )


def consume_by_offset_and_watermarks():
    topic = new_topic("offset")
    payloads = values("offset", 50)
    produce_values(topic, payloads)
    got = read(topic, 13, offset=37)
    expect([(m.offset(), m.value()) for m in got], list(enumerate(payloads))[37:], "records from offset 37")
    reader = consumer()
    expect(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=DEADLINE_SECONDS), (0, 50), "watermarks")
    reader.close()


def offset_out_of_range_is_reported():
    topic = new_topic("range")
    produce_values(topic, values("range", 3))
    reader = consumer(auto_offset_reset="error")
    reader.assign([TopicPartition(topic, 0, 1000)])
    message = wait_for(lambda: reader.poll(0.2), "an error")
    expect(message.error() and message.error().code(), KafkaError._AUTO_OFFSET_RESET, "error")
    expect("out of range" in message.error().str().lower(), True, f"broker error in {message.error().str()!r}")
    reader.close()


def explicit_timestamps_and_offsets_for_times():
    topic = new_topic("time")
    start = past_ms()
    # One batch, and its largest timestamp is not its last: an answer by batch would be wrong.
    times = [start + step for step in (0, 100, 200, 300, 900, 500, 600)]
    sent = Sent(linger_ms=200)
    for i, timestamp in enumerate(times):
        sent.send(topic, f"v{i}".encode(), partition=0, timestamp=timestamp)
    sent.offsets()
    got = read(topic, len(times))
    expect([m.timestamp() for m in got], [(TIMESTAMP_CREATE_TIME, t) for t in times], "timestamps read")
    reader = consumer()
    asked = {start - 1: 0, start: 0, start + 1: 1, start + 200: 2, start + 250: 3, start + 301: 4, start + 900: 4, start + 901: -1}
    for timestamp, wanted in asked.items():
        [found] = reader.offsets_for_times([TopicPartition(topic, 0, timestamp)], timeout=DEADLINE_SECONDS)
        expect(found.error, None, "error of offsets_for_times")
        expect(found.offset, wanted, f"offset at start{timestamp - start:+d} ms")
    reader.close()
    specs = {"earliest": OffsetSpec.earliest(), "latest": OffsetSpec.latest(), "max timestamp": OffsetSpec.max_timestamp()}
    wanted = {"earliest": 0, "latest": 7, "max timestamp": 4}
    for name, spec in specs.items():
        [result] = finish(ADMIN.list_offsets({TopicPartition(topic, 0): spec})).values()
        expect(result.offset, wanted[name], f"ListOffsets {name}")
        if name == "max timestamp":
            expect(result.timestamp, start + 900, "max timestamp")


def log_append_time():
    topic = new_topic("append-time", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    sent = Sent()
    for value in values("append", 20):
        sent.send(topic, value, partition=0, timestamp=past_ms())
    sent.offsets()
    after = int(time.time() * 1000)
    # check.crcs: the broker changed the batch, so its checksum must have been computed again.
    reader = consumer(check_crcs=True)
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    for message in take(reader, 20):
        kind, timestamp = message.timestamp()
        expect(kind, TIMESTAMP_LOG_APPEND_TIME, "timestamp type")
        expect(before <= timestamp <= after, True, f"append time {timestamp} within [{before}, {after}]")
    reader.close()


def codec(name):
    def check():
        topic = new_topic(f"codec-{name}")
        payloads = values(name, 500)
        sent = Sent(compression_type=name, linger_ms=100)
        for i, payload in enumerate(payloads):
            sent.send(topic, payload, key=str(i).encode(), partition=0, headers=[("h", str(i).encode())])
        expect(sent.offsets(), list(range(500)), "offsets told")
        reader = consumer(check_crcs=True)
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        got = take(reader, 500)
        reader.close()
        expect(
            [(m.offset(), m.key(), m.value(), m.headers()) for m in got],
            [(i, str(i).encode(), p, [("h", str(i).encode())]) for i, p in enumerate(payloads)],
            f"records through {name}",
        )

    check.__name__ = f"codec_{name}"
    return check


def large_records():
    topic = new_topic("large")
    payloads = [bytes([65 + i]) * (900_000 + i) for i in range(4)]
    sent = Sent(message_max_bytes=1_000_000)
    for payload in payloads:
        sent.send(topic, payload, partition=0)
    expect(sent.offsets(), [0, 1, 2, 3], "offsets told")
    expect([m.value() for m in read(topic, 4)] == payloads, True, "large values equal")


def headers():
    topic = new_topic("headers")
    wanted = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b""), ("a", b"1"), ("bytes", bytes(range(256))), ("\u00e9", b"x")]
    sent = Sent()
    sent.send(topic, b"v", partition=0, headers=wanted)
    sent.send(topic, b"none", partition=0)
    sent.offsets()
    got = read(topic, 2)
    expect(got[0].headers(), wanted, "headers with duplicates, null and empty values, in order")
    expect(got[1].headers(), None, "headers of a record without any")


def tombstone_against_empty():
    topic = new_topic("null", cleanup_policy="compact")
    wanted = [(b"k", None), (b"k", b""), (b"", b"v"), (b"k", b"v")]
    sent = Sent()
    for key, value in wanted:
        sent.send(topic, value, key=key, partition=0)
    sent.offsets()
    # Null and empty are told apart; the log is not cleaned yet, its segment is the active one.
    expect([(m.key(), m.value()) for m in read(topic, 4)], wanted, "keys and values")
    plain = new_topic("null-key")
    produce_values(plain, [b"x"])
    expect([m.key() for m in read(plain, 1)], [None], "key of a record without one")


def idempotent_producer():
    topic = new_topic("idempotent")
    payloads = values("idempotent", 1000)
    sent = Sent(enable_idempotence=True, linger_ms=1, batch_num_messages=50)
    for payload in payloads:
        sent.send(topic, payload, partition=0)
    expect(sent.offsets(), list(range(1000)), "offsets told")
    expect([m.value() for m in read(topic, 1000)], payloads, "each value once, in order")


def acks_zero_and_one():
    for acks in (0, 1):
        topic = new_topic(f"acks{acks}")
        payloads = values(f"acks{acks}", 100)
        sent = Sent(acks=acks)
        for payload in payloads:
            sent.send(topic, payload, partition=0)
        sent.flush()
        expect([error for error, _ in sent.reports if error], [], "delivery errors")
        got = read(topic, 100)
        expect([(m.offset(), m.value()) for m in got], list(enumerate(payloads)), f"records sent with acks={acks}")


def oversized_batch_is_refused():
    topic = new_topic("oversized", max_message_bytes="20000")
    sent = Sent()
    sent.send(topic, bytes(50_000), partition=0)
    [(error, _)] = sent.flush()
    expect(error and error.code(), KafkaError.MSG_SIZE_TOO_LARGE, "error of a record above max.message.bytes")
    produce_values(topic, [b"small"])


def compacted_topic_refuses_keyless_records():
    topic = new_topic("keyless", cleanup_policy="compact")
    sent = Sent(linger_ms=200)
    for key in (b"a", None, None, b"d"):
        sent.send(topic, b"v", key=key, partition=0)
    codes = {(message.key(), error and error.code()) for error, message in sent.flush()}
    # The whole batch is refused; the response's record errors tell the bad records from their neighbours.
    neighbour = KafkaError._INVALID_DIFFERENT_RECORD
    expect(codes, {(b"a", neighbour), (None, KafkaError.INVALID_RECORD), (b"d", neighbour)}, "errors")
    reader = consumer()
    expect(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=DEADLINE_SECONDS), (0, 0), "watermarks")
    reader.close()


# Groups


def group_commits_and_restarts_there():
    topic, group = new_topic("group"), unique("confluent-group")
    payloads = values("group", 100)
    produce_values(topic, payloads)
    first = consumer(group_id=group)
    first.subscribe([topic])
    expect([m.value() for m in take(first, 100)], payloads, "records of the first run")
    stored = first.commit(offsets=[TopicPartition(topic, 0, 40, metadata="why 40")], asynchronous=False)
    expect([(p.offset, p.error) for p in stored], [(40, None)], "answer to the commit")
    [committed] = first.committed([TopicPartition(topic, 0)], timeout=DEADLINE_SECONDS)
    expect((committed.offset, committed.metadata), (40, "why 40"), "committed offset and metadata")
    first.close()
    second = consumer(group_id=group)
    second.subscribe([topic])
    got = take(second, 60)
    expect([(m.offset(), m.value()) for m in got], list(enumerate(payloads))[40:], "records after the restart")
    second.close()


def group_of_two_members(strategy):
    def check():
        topic, group = new_topic("pair", partitions=4), unique("confluent-pair")
        members = [
            consumer(group_id=group, partition_assignment_strategy=strategy, session_timeout_ms=10_000, heartbeat_interval_ms=500)
            for _ in range(2)
        ]

        def owned():
            for member in members:
                message = member.poll(0.05)
                if message is not None and message.error():
                    raise AssertionError(f"consumer: {message.error()}")
            return [sorted(p.partition for p in member.assignment()) for member in members]

        for member in members:
            member.subscribe([topic])

        def settled():
            parts = owned()
            return parts if [len(part) for part in parts] == [2, 2] else None

        parts = wait_for(settled, "two partitions for each member")
        expect(sorted(parts[0] + parts[1]), [0, 1, 2, 3], "partitions of both")
        members.pop().close()
        wait_for(lambda: owned() == [[0, 1, 2, 3]], "all partitions for the one that stayed")
        members.pop().close()

    check.__name__ = f"group_of_two_members_{strategy.replace('-', '_')}"
    return check


def static_member_keeps_its_assignment():
    topic, group = new_topic("static"), unique("confluent-static")
    options = {"group_id": group, "group_instance_id": "one", "session_timeout_ms": 20_000}
    produce_values(topic, [b"x"])
    first = consumer(**options)
    first.subscribe([topic])
    take(first, 1)
    before = describe_group(group)
    expect([m.group_instance_id for m in before.members], ["one"], "instance id of the member")
    first.close()
    # A static member does not leave: its place is kept until the session times out.
    kept = describe_group(group)
    expect((kept.state, len(kept.members)), (ConsumerGroupState.STABLE, 1), "group after the static member closed")
    again = consumer(**options)
    again.subscribe([topic])
    take(again, 1)
    after = describe_group(group)
    expect([m.group_instance_id for m in after.members], ["one"], "instance id after the return")
    expect(after.members[0].member_id != before.members[0].member_id, True, "a new member id after the return")
    again.close()


def describe_group(group):
    return finish(ADMIN.describe_consumer_groups([group]))[group]


def group_admin():
    topic, group = new_topic("group-admin"), unique("confluent-group-admin")
    produce_values(topic, values("admin", 5))
    member = consumer(group_id=group, client_id="interop-member", partition_assignment_strategy="range")
    member.subscribe([topic])
    take(member, 5)
    member.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    live = describe_group(group)
    expect((live.state, live.partition_assignor, live.is_simple_consumer_group), (ConsumerGroupState.STABLE, "range", False), "group")
    expect([m.client_id for m in live.members], ["interop-member"], "client id of the member")
    assigned = [(p.topic, p.partition) for p in live.members[0].assignment.topic_partitions]
    expect(assigned, [(topic, 0)], "assignment of the member")
    expect(listed_state(group), ConsumerGroupState.STABLE, "state of the live group in the list")
    expect(error_of(ADMIN.delete_consumer_groups([group])[group]), KafkaError.NON_EMPTY_GROUP, "deleting a live group")
    member.close()
    expect(describe_group(group).state, ConsumerGroupState.EMPTY, "state after the member left")
    move_offsets(group, topic)
    expect(finish(ADMIN.delete_consumer_groups([group])), {group: None}, "deleting the group")
    expect(listed_state(group), None, "the deleted group in the list")
    expect(error_of(ADMIN.delete_consumer_groups([group])[group]), KafkaError.GROUP_ID_NOT_FOUND, "deleting it again")


def listed_state(group):
    listing = ADMIN.list_consumer_groups(request_timeout=DEADLINE_SECONDS).result(DEADLINE_SECONDS)
    expect([str(error) for error in listing.errors], [], "errors of list_consumer_groups")
    return next((entry.state for entry in listing.valid if entry.group_id == group), None)


def move_offsets(group, topic):
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 2)])
    finish(ADMIN.alter_consumer_group_offsets([asked]))
    found = finish(ADMIN.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
    expect([(p.topic, p.partition, p.offset) for p in found.topic_partitions], [(topic, 0, 2)], "offsets after the move")


def offsets_of_unknown_group():
    topic, group = new_topic("unknown-group"), unique("confluent-unknown")
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
    found = finish(ADMIN.list_consumer_group_offsets([asked]))[group]
    expect([(p.offset, p.error) for p in found.topic_partitions], [(OFFSET_INVALID, None)], "offset of an unknown group")
    lonely = consumer(group_id=group)
    [committed] = lonely.committed([TopicPartition(topic, 0)], timeout=DEADLINE_SECONDS)
    expect((committed.offset, committed.error), (OFFSET_INVALID, None), "committed() of an unknown group")
    lonely.close()


# Topics


def create_describe_delete_topic():
    topic = new_topic("admin", partitions=3, retention_ms="86400000", max_message_bytes="123456")
    described = finish(ADMIN.describe_topics(TopicCollection([topic]), include_authorized_operations=True))[topic]
    expect([p.id for p in described.partitions], [0, 1, 2], "partitions")
    expect(all(p.leader is not None and p.leader.id >= 0 for p in described.partitions), True, "every partition has a leader")
    expect(str(described.topic_id) != NO_UUID, True, "a topic id")
    expect(described.is_internal, False, "internal")
    expect({operation.name for operation in described.authorized_operations}, TOPIC_OPERATIONS, "operations that are allowed")
    expect(topic in ADMIN.list_topics(timeout=DEADLINE_SECONDS).topics, True, "topic in the list")
    expect(error_of(ADMIN.create_topics([NewTopic(topic, 1)])[topic]), KafkaError.TOPIC_ALREADY_EXISTS, "creating it again")
    finish(ADMIN.delete_topics([topic]))
    gone = lambda: topic not in ADMIN.list_topics(timeout=DEADLINE_SECONDS).topics
    wait_for(gone, "the topic to leave the list")
    expect(error_of(ADMIN.delete_topics([topic])[topic]), KafkaError.UNKNOWN_TOPIC_OR_PART, "deleting it again")


def bad_topics_are_refused():
    good = unique("confluent-bad")
    asked = {
        "../etc": (NewTopic("../etc", 1), KafkaError.TOPIC_EXCEPTION),
        "a/b": (NewTopic("a/b", 1), KafkaError.TOPIC_EXCEPTION),
        "x" * 250: (NewTopic("x" * 250, 1), KafkaError.TOPIC_EXCEPTION),
        "caf\u00e9": (NewTopic("caf\u00e9", 1), KafkaError.TOPIC_EXCEPTION),
        good: (NewTopic(good, 1, config={"no.such.setting": "1"}), KafkaError.INVALID_CONFIG),
        good + "2": (NewTopic(good + "2", 1, config={"retention.ms": "many"}), KafkaError.INVALID_CONFIG),
    }
    futures = ADMIN.create_topics([topic for topic, _ in asked.values()])
    expect({name: error_of(f) for name, f in futures.items()}, {name: code for name, (_, code) in asked.items()}, "errors")
    assigned = error_of(ADMIN.create_topics([NewTopic(good + "3", 0)])[good + "3"])
    expect(assigned, KafkaError.INVALID_PARTITIONS, "zero partitions")
    checked = unique("confluent-validate")
    finish(ADMIN.create_topics([NewTopic(checked, 1)], validate_only=True))
    expect(checked in ADMIN.list_topics(timeout=DEADLINE_SECONDS).topics, False, "validate_only creates nothing")


def topic_configs():
    topic = new_topic("config", max_message_bytes="123456")
    resource = ConfigResource(ResourceType.TOPIC, topic)
    settings = describe(resource)
    expect((settings["max.message.bytes"].value, settings["max.message.bytes"].is_default), ("123456", False), "a set value")
    expect(settings["max.message.bytes"].source, ConfigSource.DYNAMIC_TOPIC_CONFIG.value, "its source")
    expect((settings["compression.type"].value, settings["compression.type"].is_default), ("producer", True), "a default")
    expect(settings["cleanup.policy"].value, "delete", "cleanup.policy")
    alter(resource, ("retention.ms", "3600000", AlterConfigOpType.SET), ("max.message.bytes", None, AlterConfigOpType.DELETE))
    settings = becomes(resource, "retention.ms", "3600000")
    expect(settings["retention.ms"].is_default, False, "a value after SET is a default")
    expect(settings["max.message.bytes"].is_default, True, "a value after DELETE is a default")
    expect(int(settings["max.message.bytes"].value) > 1_000_000, True, "the default came back")
    alter(resource, ("cleanup.policy", "compact", AlterConfigOpType.APPEND))
    becomes(resource, "cleanup.policy", "delete,compact")
    alter(resource, ("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT))
    becomes(resource, "cleanup.policy", "compact")
    resource.incremental_configs = [ConfigEntry("no.such.setting", "1", incremental_operation=AlterConfigOpType.SET)]
    expect(error_of(ADMIN.incremental_alter_configs([resource])[resource]), KafkaError.INVALID_CONFIG, "an unknown setting")
    missing = ConfigResource(ResourceType.TOPIC, unique("confluent-missing"))
    expect(error_of(ADMIN.describe_configs([missing])[missing]), KafkaError.UNKNOWN_TOPIC_OR_PART, "configs of no topic")


def describe(resource):
    return finish(ADMIN.describe_configs([resource]))[resource]


def becomes(resource, name, value):
    """All settings, once `name` is `value`: a broker of Kafka's may hear of a change a moment later."""
    wait_for(lambda: describe(resource)[name].value == value, f"{name}={value}")
    return describe(resource)


def alter(resource, *entries):
    resource.incremental_configs = [ConfigEntry(name, value, incremental_operation=kind) for name, value, kind in entries]
    finish(ADMIN.incremental_alter_configs([resource]))


def replace_configs():
    topic = new_topic("replace", max_message_bytes="123456")
    resource = ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.ms": "7200000"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        finish(ADMIN.alter_configs([resource]))
    settings = becomes(ConfigResource(ResourceType.TOPIC, topic), "retention.ms", "7200000")
    # The older call replaces everything: what it does not name falls back to its default.
    expect(settings["max.message.bytes"].is_default, True, "what the call left out")


def create_partitions():
    topic = new_topic("grow")
    produce_values(topic, [b"old"])
    finish(ADMIN.create_partitions([NewPartitions(topic, 3)]))
    grown = lambda: len(ADMIN.list_topics(topic, timeout=DEADLINE_SECONDS).topics[topic].partitions) == 3
    wait_for(grown, "three partitions")
    sent = Sent()
    sent.send(topic, b"new", partition=2)
    expect(sent.offsets(), [0], "offset in the new partition")
    expect([m.value() for m in read(topic, 1, 2)], [b"new"], "record of the new partition")
    expect([m.value() for m in read(topic, 1, 0)], [b"old"], "record of the old partition")
    expect(error_of(ADMIN.create_partitions([NewPartitions(topic, 2)])[topic]), KafkaError.INVALID_PARTITIONS, "shrinking")


def delete_records():
    topic = new_topic("delete-records")
    payloads = values("delete", 10)
    produce_values(topic, payloads)
    [result] = finish(ADMIN.delete_records([TopicPartition(topic, 0, 6)])).values()
    expect(result.low_watermark, 6, "low watermark told")
    reader = consumer()
    expect(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=DEADLINE_SECONDS), (6, 10), "watermarks")
    reader.close()
    expect([(m.offset(), m.value()) for m in read(topic, 4)], list(enumerate(payloads))[6:], "records from the beginning")
    [future] = ADMIN.delete_records([TopicPartition(topic, 0, 11)]).values()
    expect(error_of(future), KafkaError.OFFSET_OUT_OF_RANGE, "beyond the end")


def cluster_and_broker_configs():
    cluster = ADMIN.describe_cluster(include_authorized_operations=True).result(DEADLINE_SECONDS)
    expect({operation.name for operation in cluster.authorized_operations}, CLUSTER_OPERATIONS, "operations that are allowed")
    expect(bool(cluster.cluster_id), True, "a cluster id")
    expect(len(cluster.nodes), 1, "brokers")
    expect(cluster.controller is not None and cluster.controller.id == cluster.nodes[0].id, True, "the controller is the broker")
    settings = describe(ConfigResource(ResourceType.BROKER, str(cluster.nodes[0].id)))
    expect(int(settings["message.max.bytes"].value) > 0, True, "message.max.bytes of the broker")


def auto_created_topic():
    topic = unique("confluent-auto")
    produce_values(topic, [b"made"])
    expect([m.value() for m in read(topic, 1)], [b"made"], "record of the auto-created topic")
    reader = consumer()  # consumers do not create topics unless told
    missing = unique("confluent-absent")
    reader.subscribe([missing])
    message = wait_for(lambda: reader.poll(0.2), "an error")
    expect(message.error() and message.error().code(), KafkaError.UNKNOWN_TOPIC_OR_PART, "subscribing to a topic that is not there")
    expect(missing in ADMIN.list_topics(timeout=DEADLINE_SECONDS).topics, False, "the topic was created")
    reader.close()


CHECKS = [
    group_of_two_members("range"),
    group_of_two_members("roundrobin"),
    group_of_two_members("cooperative-sticky"),
    static_member_keeps_its_assignment,
    group_commits_and_restarts_there,
    group_admin,
    offsets_of_unknown_group,
    produce_and_consume_from_earliest,
    consume_by_offset_and_watermarks,
    offset_out_of_range_is_reported,
    explicit_timestamps_and_offsets_for_times,
    log_append_time,
    *[codec(name) for name in ("none", "gzip", "snappy", "lz4", "zstd")],
    large_records,
    headers,
    tombstone_against_empty,
    idempotent_producer,
    acks_zero_and_one,
    oversized_batch_is_refused,
    compacted_topic_refuses_keyless_records,
    create_describe_delete_topic,
    bad_topics_are_refused,
    topic_configs,
    replace_configs,
    create_partitions,
    delete_records,
    cluster_and_broker_configs,
    auto_created_topic,
]

if __name__ == "__main__":
    sys.exit(run([check for check in CHECKS if ARGUMENTS.check in (None, check.__name__)]))
