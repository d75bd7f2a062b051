"""kcat as Debian packages it (librdkafka 2.0.2, older than most clients in use) against the broker.

kcat cannot create topics: every check relies on the broker's automatic creation, with one partition.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python_common"))
from harness import DEADLINE_SECONDS, bootstrap_argument, expect, run, unique, values  # noqa: E402

ARGUMENTS = bootstrap_argument()


def kcat(*arguments, stdin=b"", succeeds=True):
    command = ["kcat", "-b", ARGUMENTS.bootstrap, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    if succeeds and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return done if not succeeds else done.stdout.decode()


def produce(topic, lines, *options):
    kcat("-P", "-t", topic, *options, stdin=b"".join(line + b"\n" for line in lines))


def consume(topic, *options, start="beginning"):
    """Records up to the end of the partition, as kcat's JSON has them."""
    out = kcat("-C", "-q", "-e", "-J", "-t", topic, "-p", "0", "-o", str(start), "-X", "check.crcs=true", *options)
    return [json.loads(line) for line in out.splitlines()]


def payloads(records):
    return [record["payload"].encode() for record in records]


def metadata():
    topic = unique("kcat-metadata")
    produce(topic, [b"x"])
    answer = json.loads(kcat("-L", "-J"))
    expect(len(answer["brokers"]), 1, "brokers")
    # The broker may tell another name of itself than the one it was found by.
    expect(answer["brokers"][0]["name"].rpartition(":")[2], ARGUMENTS.bootstrap.rpartition(":")[2], "port of the broker")
    [mine] = [t for t in answer["topics"] if t["topic"] == topic]
    expect([(p["partition"], p["leader"]) for p in mine["partitions"]], [(0, answer["brokers"][0]["id"])], "partitions")


def produce_and_consume_from_earliest():
    topic = unique("kcat-basic")
    lines = values("basic", 200)
    produce(topic, [b"k%d|%s" % (i, line) for i, line in enumerate(lines)], "-K", "|")
    wanted = [(i, f"k{i}", line.decode()) for i, line in enumerate(lines)]
    expect([(r["offset"], r["key"], r["payload"]) for r in consume(topic)], wanted, "records")


def consume_by_offset():
    topic = unique("kcat-offset")
    lines = values("offset", 50)
    produce(topic, lines)
    expect([(r["offset"]) for r in consume(topic, start=37)], list(range(37, 50)), "offsets from 37")
    expect(payloads(consume(topic, start=-5)), lines[45:], "the last five")
    expect(payloads(consume(topic, "-c", "3", start=10)), lines[10:13], "three from 10")
    expect(consume(topic, start="end"), [], "from the end")


def timestamps_and_offsets_for_times():
    topic = unique("kcat-time")
    before = int(time.time() * 1000)
    for line in (b"a", b"b", b"c"):
        produce(topic, [line])  # a run of kcat each, so that their times differ
    records = consume(topic)
    after = int(time.time() * 1000)
    expect([(r["payload"], r["tstype"]) for r in records], [("a", "create"), ("b", "create"), ("c", "create")], "records")
    times = [r["ts"] for r in records]
    expect(before <= times[0] < times[1] < times[2] <= after, True, f"times {times} rise within [{before}, {after}]")
    for asked, wanted in ((times[0], 0), (times[0] + 1, 1), (times[1], 1), (times[2], 2)):
        expect(kcat("-Q", "-t", f"{topic}:0:{asked}").strip(), f"{topic} [0] offset {wanted}", f"offset for {asked}")
    expect(payloads(consume(topic, start=f"s@{times[1]}")), [b"b", b"c"], "records from a time")
    expect(payloads(consume(topic, "-o", f"e@{times[2]}", start=f"s@{times[0]}")), [b"a", b"b"], "records between two times")


def codec(name):
    def check():
        topic = unique(f"kcat-codec-{name}")
        lines = values(name, 500)
        produce(topic, lines, "-z", name, "-X", "linger.ms=100")
        records = consume(topic)
        expect([r["offset"] for r in records], list(range(500)), "offsets")
        expect(payloads(records), lines, f"records through {name}")

    check.__name__ = f"codec_{name}"
    return check


def headers():
    topic = unique("kcat-headers")
    produce(topic, [b"v"], "-H", "a=1", "-H", "a=2", "-H", "empty=", "-H", "null", "-H", "a=1")
    produce(topic, [b"none"])
    first, second = consume(topic)
    expect(first["headers"], ["a", "1", "a", "2", "empty", "", "null", None, "a", "1"], "headers, in order")
    expect(second.get("headers"), None, "headers of a record without any")


def tombstone_against_empty():
    topic = unique("kcat-null")
    produce(topic, [b"k|"], "-K", "|", "-Z")
    produce(topic, [b"k|"], "-K", "|")
    produce(topic, [b"|v"], "-K", "|", "-Z")
    wanted = [("k", None), ("k", ""), (None, "v")]
    expect([(r["key"], r["payload"]) for r in consume(topic)], wanted, "keys and values")


def idempotent_producer():
    topic = unique("kcat-idempotent")
    lines = values("idempotent", 500)
    produce(topic, lines, "-X", "enable.idempotence=true", "-X", "batch.num.messages=20", "-X", "linger.ms=1")
    expect(payloads(consume(topic)), lines, "each record once, in order")


def acks_zero_and_one():
    for acks in (0, 1):
        topic = unique(f"kcat-acks{acks}")
        produce(topic, [b"made"], "-X", "acks=1")
        lines = values("acks", 100)
        produce(topic, lines, "-X", f"acks={acks}")
        expect(payloads(consume(topic)), [b"made", *lines], f"records sent with acks={acks}")


def group_commits_and_restarts_there():
    topic, group = unique("kcat-group"), unique("kcat-group")
    lines = values("group", 30)
    produce(topic, lines)
    for first, count in ((0, 12), (12, 18)):
        out = kcat("-G", group, "-q", "-J", "-c", str(count), "-X", "auto.offset.reset=earliest", topic)
        records = [json.loads(line) for line in out.splitlines()]
        wanted = [(n, lines[n].decode()) for n in range(first, first + count)]
        expect([(r["offset"], r["payload"]) for r in records], wanted, f"records of the run that starts at {first}")


def too_large_record_is_refused():
    topic = unique("kcat-large")
    produce(topic, [b"x"])
    big = bytes([66]) * 1_500_000
    done = kcat("-P", "-t", topic, "-X", "message.max.bytes=3000000", stdin=big + b"\n", succeeds=False)
    expect("Message size too large" in done.stderr.decode(), True, f"refusal in {done.stderr.decode()[-300:]!r}")
    expect(payloads(consume(topic)), [b"x"], "records")


CHECKS = [
    group_commits_and_restarts_there,
    metadata,
    produce_and_consume_from_earliest,
    consume_by_offset,
    timestamps_and_offsets_for_times,
    *[codec(name) for name in ("none", "gzip", "snappy", "lz4", "zstd")],
    headers,
    tombstone_against_empty,
    idempotent_producer,
    acks_zero_and_one,
    too_large_record_is_refused,
]

if __name__ == "__main__":
    sys.exit(run([check for check in CHECKS if ARGUMENTS.check in (None, check.__name__)]))
