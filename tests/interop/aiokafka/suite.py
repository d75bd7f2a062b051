"""aiokafka against the broker. It speaks older versions of the protocol than the other clients."""

import asyncio
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_common"))
from harness import DEADLINE_SECONDS, WORKERS, Outcome, bootstrap_argument, expect, past_ms, unique, values  # noqa: E402

ARGUMENTS = bootstrap_argument()
TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC, INVALID_TOPIC, INVALID_PARTITIONS, INVALID_CONFIG = 36, 3, 17, 37, 40
MESSAGE_TOO_LARGE, UNKNOWN_TO_CLIENT = 10, -1  # aiokafka does not know 87, INVALID_RECORD


class Admin:
    """The client leaves error codes to its caller; here each is looked at."""

    client = None

    async def codes(self, call, *arguments, **options):
        response = await getattr(self.client, call)(*arguments, **options)
        results = getattr(response, "topic_errors", None) or getattr(response, "topic_error_codes", None)
        return [result[1] for result in results]

    async def __call__(self, call, *arguments, **options):
        return await getattr(self.client, call)(*arguments, **options)


ADMIN = Admin()


async def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (result := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {what}")
        await asyncio.sleep(0.05)
    return result


async def new_topic(prefix, partitions=1, **config):
    topic = unique(f"aiokafka-{prefix}")
    settings = {key.replace("_", "."): value for key, value in config.items()}
    expect(await ADMIN.codes("create_topics", [NewTopic(topic, partitions, 1, topic_configs=settings)]), [0], "create_topics")
    await wait_for(lambda: has_leaders(topic, partitions), f"leaders of {topic}")
    return topic


async def has_leaders(topic, partitions):
    [described] = await ADMIN("describe_topics", [topic])
    return [p["leader"] >= 0 for p in described["partitions"]] == [True] * partitions


async def send_all(topic, records, **config):
    producer = AIOKafkaProducer(bootstrap_servers=ARGUMENTS.bootstrap, **{"linger_ms": 20, **config})
    await producer.start()
    try:
        futures = [await producer.send(topic, **{"partition": 0, **record}) for record in records]
        return [await asyncio.wait_for(future, DEADLINE_SECONDS) for future in futures]
    finally:
        await producer.stop()


async def produce_values(topic, payloads):
    told = await send_all(topic, [{"value": payload} for payload in payloads])
    expect([m.offset for m in told], list(range(len(payloads))), "offsets told to the producer")


async def consumer(*topics, **config):
    base = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "check_crcs": True}
    reader = AIOKafkaConsumer(*topics, bootstrap_servers=ARGUMENTS.bootstrap, **{**base, **config})
    await reader.start()
    return reader


async def take(reader, count):
    return [await asyncio.wait_for(reader.getone(), DEADLINE_SECONDS) for _ in range(count)]


async def read(topic, count, partition=0, offset=None):
    place = TopicPartition(topic, partition)
    reader = await consumer()
    try:
        reader.assign([place])
        if offset is None:
            await reader.seek_to_beginning(place)
        else:
            reader.seek(place, offset)
        return await take(reader, count)
    finally:
        await reader.stop()


# Producing and consuming


async def produce_and_consume_from_earliest():
    topic = await new_topic("basic", partitions=3)
    payloads = values("basic", 300)
    told = await send_all(topic, [{"value": p, "key": f"k{i}".encode(), "partition": i % 3} for i, p in enumerate(payloads)])
    for partition in range(3):
        expect([m.offset for m in told if m.partition == partition], list(range(100)), "offsets told")
        got = await read(topic, 100, partition)
        wanted = [(n, f"k{i}".encode(), payloads[i]) for n, i in enumerate(range(partition, 300, 3))]
        expect([(m.offset, m.key, m.value) for m in got], wanted, f"records of partition {partition}")


async def consume_by_offset():
    topic = await new_topic("offset")
    payloads = values("offset", 50)
    await produce_values(topic, payloads)
    got = await read(topic, 13, offset=37)
    expect([(m.offset, m.value) for m in got], list(enumerate(payloads))[37:], "records from offset 37")
    place = TopicPartition(topic, 0)
    reader = await consumer()
    first, last = await reader.beginning_offsets([place]), await reader.end_offsets([place])
    await reader.stop()
    expect((first[place], last[place]), (0, 50), "first and last offset")


async def offset_out_of_range_is_reported():
    topic = await new_topic("range")
    await produce_values(topic, values("range", 3))
    place = TopicPartition(topic, 0)
    reader = await consumer(auto_offset_reset="none")
    reader.assign([place])
    reader.seek(place, 1000)
    try:
        await take(reader, 1)
    except OffsetOutOfRangeError as error:
        expect(error.args[0], {place: 1000}, "partition and offset of the error")
    else:
        raise AssertionError("a record beyond the end of the log")
    finally:
        await reader.stop()


async def explicit_timestamps_and_offsets_for_times():
    topic = await new_topic("time")
    place = TopicPartition(topic, 0)
    start = past_ms()
    # One batch, and its largest timestamp is not its last: an answer by batch would be wrong.
    times = [start + step for step in (0, 100, 200, 300, 900, 500, 600)]
    told = await send_all(topic, [{"value": b"v", "timestamp_ms": t} for t in times], linger_ms=200)
    # aiokafka tells the batch's first timestamp for each of its records.
    expect([(m.offset, m.timestamp_type) for m in told], [(i, 0) for i in range(7)], "offsets and timestamp types told")
    expect([(m.timestamp, m.timestamp_type) for m in await read(topic, 7)], [(t, 0) for t in times], "timestamps read")
    reader = await consumer()
    for step, wanted in {-1: (0, 0), 0: (0, 0), 1: (1, 100), 250: (3, 300), 301: (4, 900), 900: (4, 900)}.items():
        found = (await reader.offsets_for_times({place: start + step}))[place]
        expect((found.offset, found.timestamp - start), wanted, f"first record at or after start{step:+d} ms")
    expect((await reader.offsets_for_times({place: start + 901}))[place], None, "first record after the last time")
    await reader.stop()


async def log_append_time():
    topic = await new_topic("append-time", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    told = await send_all(topic, [{"value": v, "timestamp_ms": past_ms()} for v in values("append", 20)])
    after = int(time.time() * 1000)
    expect({m.timestamp_type for m in told}, {1}, "timestamp type told to the producer")
    for message in await read(topic, 20):
        expect(message.timestamp_type, 1, "timestamp type")
        expect(before <= message.timestamp <= after, True, f"append time {message.timestamp} within [{before}, {after}]")


def codec(name):
    async def check():
        topic = await new_topic(f"codec-{name}")
        payloads = values(name, 500)
        records = [{"value": p, "key": str(i).encode(), "headers": [("h", str(i).encode())]} for i, p in enumerate(payloads)]
        told = await send_all(topic, records, compression_type=None if name == "none" else name, linger_ms=100)
        expect([m.offset for m in told], list(range(500)), "offsets told")
        got = [(m.offset, m.key, m.value, list(m.headers)) for m in await read(topic, 500)]
        wanted = [(i, r["key"], r["value"], r["headers"]) for i, r in enumerate(records)]
        expect(got, wanted, f"records through {name}")

    check.__name__ = f"codec_{name}"
    return check


async def headers():
    topic = await new_topic("headers")
    wanted = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b""), ("a", b"1"), ("\u00e9", bytes(range(256)))]
    await send_all(topic, [{"value": b"v", "headers": wanted}, {"value": b"none"}])
    expect([list(m.headers) for m in await read(topic, 2)], [wanted, []], "headers with duplicates, null and empty values")


async def tombstone_against_empty():
    topic = await new_topic("null", cleanup_policy="compact")
    wanted = [(b"k", None), (b"k", b""), (b"", b"v"), (b"k", b"v")]
    await send_all(topic, [{"key": key, "value": value} for key, value in wanted])
    expect([(m.key, m.value) for m in await read(topic, 4)], wanted, "keys and values")


async def idempotent_producer():
    topic = await new_topic("idempotent")
    payloads = values("idempotent", 500)
    records = [{"value": p} for p in payloads]
    told = await send_all(topic, records, enable_idempotence=True, linger_ms=1, max_batch_size=2000)
    expect([m.offset for m in told], list(range(500)), "offsets told")
    expect([m.value for m in await read(topic, 500)], payloads, "each value once, in order")


async def acks_zero_and_one():
    for acks in (0, 1):
        topic = await new_topic(f"acks{acks}")
        payloads = values(f"acks{acks}", 100)
        await send_all(topic, [{"value": p} for p in payloads], acks=acks)
        got = await read(topic, 100)
        expect([(m.offset, m.value) for m in got], list(enumerate(payloads)), f"records sent with acks={acks}")


async def refused_records():
    asked = [
        (await new_topic("oversized", max_message_bytes="20000"), MESSAGE_TOO_LARGE, {"value": bytes(50_000)}),
        (await new_topic("keyless", cleanup_policy="compact"), UNKNOWN_TO_CLIENT, {"value": b"v"}),
    ]
    for topic, wanted, record in asked:
        try:
            await send_all(topic, [record], max_batch_size=100_000)
        except KafkaError as error:
            expect(error.errno, wanted, "error code")
        else:
            raise AssertionError(f"accepted, want error {wanted}")


# Groups


async def group_commits_and_restarts_there():
    topic, group = await new_topic("group"), unique("aiokafka-group")
    place = TopicPartition(topic, 0)
    payloads = values("group", 100)
    await produce_values(topic, payloads)
    first = await consumer(topic, group_id=group)
    expect([m.value for m in await take(first, 100)], payloads, "records of the first run")
    await first.commit({place: (40, "why 40")})
    expect(await first.committed(place), 40, "committed offset")
    await first.stop()
    found = (await ADMIN("list_consumer_group_offsets", group))[place]
    expect((found.offset, found.metadata), (40, "why 40"), "committed offset and metadata")
    second = await consumer(topic, group_id=group)
    got = await take(second, 60)
    await second.stop()
    expect([(m.offset, m.value) for m in got], list(enumerate(payloads))[40:], "records after the restart")


def group_of_two_members(assignor):
    async def check():
        topic, group = await new_topic("pair", partitions=4), unique("aiokafka-pair")
        options = {"group_id": group, "partition_assignment_strategy": [assignor], "heartbeat_interval_ms": 500}
        members = await asyncio.gather(*[consumer(topic, **options) for _ in range(2)])

        async def owned():
            return [sorted(p.partition for p in member.assignment()) for member in members]

        async def settled():
            parts = await owned()
            return parts if [len(part) for part in parts] == [2, 2] else None

        parts = await wait_for(settled, "two partitions for each member")
        expect(sorted(parts[0] + parts[1]), [0, 1, 2, 3], "partitions of both")
        await members.pop().stop()

        async def alone():
            return await owned() == [[0, 1, 2, 3]]

        await wait_for(alone, "all partitions for the one that stayed")
        await members.pop().stop()

    check.__name__ = f"group_of_two_members_{assignor.name}"
    return check


async def group_admin():
    topic, group = await new_topic("group-admin"), unique("aiokafka-group-admin")
    await produce_values(topic, values("admin", 5))
    member = await consumer(topic, group_id=group, client_id="interop-member")
    await take(member, 5)
    code, name, state, kind, protocol, members = (await described(group))[:6]
    expect((code, name, state, kind, protocol), (0, group, "Stable", "consumer", "roundrobin"), "live group")
    expect([m[1] for m in members], ["interop-member"], "client id of the member")
    expect((group, "consumer") in await ADMIN("list_consumer_groups"), True, "the group in the list")
    await member.stop()
    expect((await described(group))[2], "Empty", "state after the member left")
    expect((await described(unique("aiokafka-nobody")))[2], "Dead", "state of an unknown group")


async def described(group):
    [response] = await ADMIN("describe_consumer_groups", [group])
    return response.groups[0]


async def offsets_of_unknown_group():
    topic, group = await new_topic("unknown-group"), unique("aiokafka-unknown")
    place = TopicPartition(topic, 0)
    found = await ADMIN("list_consumer_group_offsets", group, partitions=[place])
    expect({p: o.offset for p, o in found.items()}, {place: -1}, "offset of an unknown group")
    lonely = await consumer(group_id=group)
    lonely.assign([place])
    committed = await lonely.committed(place)
    await lonely.stop()
    expect(committed, None, "committed() of an unknown group")


# Topics


async def create_describe_delete_topic():
    topic = await new_topic("admin", partitions=3)
    [described_topic] = await ADMIN("describe_topics", [topic])
    expect(described_topic["error_code"], 0, "error of the topic")
    expect(sorted(p["partition"] for p in described_topic["partitions"]), [0, 1, 2], "partitions")
    expect(await ADMIN.codes("create_topics", [NewTopic(topic, 1, 1)]), [TOPIC_ALREADY_EXISTS], "creating it again")
    expect(await ADMIN.codes("delete_topics", [topic]), [0], "deleting it")

    async def gone():
        return topic not in await ADMIN("list_topics")

    await wait_for(gone, "the topic to leave the list")
    expect(await ADMIN.codes("delete_topics", [topic]), [UNKNOWN_TOPIC], "deleting it again")


async def bad_topics_are_refused():
    good = unique("aiokafka-bad")
    asked = [
        (NewTopic("a/b", 1, 1), INVALID_TOPIC),
        (NewTopic("x" * 250, 1, 1), INVALID_TOPIC),
        (NewTopic(good, 0, 1), INVALID_PARTITIONS),
        (NewTopic(good, 1, 1, topic_configs={"no.such.setting": "1"}), INVALID_CONFIG),
    ]
    for topic, wanted in asked:
        expect(await ADMIN.codes("create_topics", [topic]), [wanted], f"creating {topic.name[:20]}")


async def topic_configs():
    topic = await new_topic("config", max_message_bytes="123456")
    every = await settings_of(topic)
    expect(every["max.message.bytes"], ("123456", 1), "value and source of a set value")
    expect(every["cleanup.policy"], ("delete", 5), "value and source of a default")
    [response] = await ADMIN("alter_configs", [ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "3600000"})])
    expect([r[0] for r in response.resources], [0], "alter_configs")

    async def changed():
        return (await settings_of(topic))["retention.ms"] == ("3600000", 1)

    await wait_for(changed, "the change")
    # This older call replaces everything: what it does not name falls back to its default.
    expect((await settings_of(topic))["max.message.bytes"][1] != 1, True, "what the call left out is a default")


async def settings_of(topic):
    [response] = await ADMIN("describe_configs", [ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(code, _, _, _, entries)] = response.resources
    expect(code, 0, "describe_configs")
    return {entry[0]: (entry[1], entry[3]) for entry in entries}


async def create_partitions():
    topic = await new_topic("grow")
    await produce_values(topic, [b"old"])
    expect(await ADMIN.codes("create_partitions", {topic: NewPartitions(3)}), [0], "create_partitions")
    await wait_for(lambda: has_leaders(topic, 3), "leaders of three partitions")
    [told] = await send_all(topic, [{"value": b"new", "partition": 2}])
    expect(told.offset, 0, "offset in the new partition")
    expect([m.value for m in await read(topic, 1, 2)], [b"new"], "record of the new partition")
    try:
        await ADMIN("create_partitions", {topic: NewPartitions(2)})
    except KafkaError as error:
        expect(error.errno, INVALID_PARTITIONS, "shrinking")
    else:
        raise AssertionError("shrinking was accepted")


async def delete_records():
    topic = await new_topic("delete-records")
    place = TopicPartition(topic, 0)
    payloads = values("delete", 10)
    await produce_values(topic, payloads)
    expect(await ADMIN("delete_records", {place: RecordsToDelete(before_offset=6)}), {place: 6}, "low watermark told")
    expect([(m.offset, m.value) for m in await read(topic, 4)], list(enumerate(payloads))[6:], "records from the beginning")


async def cluster():
    answer = await ADMIN("describe_cluster")
    expect(bool(answer["cluster_id"]), True, "a cluster id")
    expect([b["node_id"] for b in answer["brokers"]], [answer["controller_id"]], "the controller is the broker")


CHECKS = [
    group_of_two_members(RangePartitionAssignor),
    group_of_two_members(RoundRobinPartitionAssignor),
    group_commits_and_restarts_there,
    group_admin,
    offsets_of_unknown_group,
    produce_and_consume_from_earliest,
    consume_by_offset,
    offset_out_of_range_is_reported,
    explicit_timestamps_and_offsets_for_times,
    log_append_time,
    *[codec(name) for name in ("none", "gzip", "snappy", "lz4", "zstd")],
    headers,
    tombstone_against_empty,
    idempotent_producer,
    acks_zero_and_one,
    refused_records,
    create_describe_delete_topic,
    bad_topics_are_refused,
    topic_configs,
    create_partitions,
    delete_records,
    cluster,
]


async def main():
    outcome, turn = Outcome(), asyncio.Semaphore(WORKERS)
    ADMIN.client = AIOKafkaAdminClient(bootstrap_servers=ARGUMENTS.bootstrap)
    await ADMIN.client.start()

    async def run_one(check):
        async with turn:
            try:
                await check()
            except Exception as error:
                outcome.failure(check.__name__, error)
            else:
                outcome.ok(check.__name__)

    await asyncio.gather(*[run_one(c) for c in CHECKS if ARGUMENTS.check in (None, c.__name__)])
    await ADMIN.client.close()
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
