"""The digest of published records, as tests/src/events/digest.rs defines it, and what both readers share.

A reader yields batches of columns, as Python lists, and run() prints their tally as JSON:

    {"records": 3, "digest": "32 hexadecimal digits", "partitions": {"0": {"records": 3, "first": 0, "last": 2}}}
"""

import argparse
import json
import sys
from hashlib import blake2b
from struct import Struct

# Partition, offset, timestamp, timestamp type, length of the key, length of the value, number of headers.
ROW = Struct("<iqqbiii").pack
# Length of the key, length of the value.
HEADER = Struct("<ii").pack
NULL = -1  # as a length
MODULUS = 1 << 128

COLUMNS = ["_partition", "_offset", "_timestamp", "_timestamp_type", "_key", "_value", "_headers"]


def encode(partition, offset, timestamp, timestamp_type, key, value, headers):
    """The encoding of one record. Headers are dicts with `key` (text) and `value` (bytes or None), None if there are none."""
    head = ROW(
        partition,
        offset,
        timestamp,
        timestamp_type,
        NULL if key is None else len(key),
        NULL if value is None else len(value),
        len(headers) if headers else 0,
    )
    encoded = head + (key or b"") + (value or b"")
    if headers:
        for header in headers:
            name, content = header["key"].encode(), header["value"]
            encoded += HEADER(len(name), NULL if content is None else len(content)) + name + (content or b"")
    return encoded


class Tally:
    """How many records there are, of which offsets, and their digest."""

    def __init__(self):
        self.records = 0
        self.digest = 0
        self.partitions = {}

    def add(self, partitions, offsets, timestamps, timestamp_types, keys, values, headers):
        """Counts records that are given as columns of equal length. Millions come by here: nothing is done twice."""
        total = 0
        number = int.from_bytes
        for encoded in map(encode, partitions, offsets, timestamps, timestamp_types, keys, values, headers):
            total += number(blake2b(encoded, digest_size=16).digest(), "little")
        self.digest = (self.digest + total) % MODULUS
        self.records += len(partitions)
        for partition in set(partitions):
            # Nearly always all of them: files are of one partition each.
            mine = [offset for of, offset in zip(partitions, offsets) if of == partition]
            self._extend(partition, len(mine), min(mine), max(mine))

    def _extend(self, partition, records, first, last):
        span = self.partitions.setdefault(partition, {"records": 0, "first": first, "last": last})
        span["records"] += records
        span["first"] = min(span["first"], first)
        span["last"] = max(span["last"], last)

    def json(self):
        partitions = {str(partition): self.partitions[partition] for partition in sorted(self.partitions)}
        return {"records": self.records, "digest": f"{self.digest:032x}", "partitions": partitions}


def run(read, description):
    """A reader's main program: read(files) yields tuples of columns in the order of COLUMNS, timestamps in milliseconds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--files", help="a file with the paths of Parquet files, one a line; standard input by default")
    arguments = parser.parse_args()
    source = open(arguments.files, encoding="utf-8") if arguments.files else sys.stdin
    with source:
        files = [line.rstrip("\n") for line in source if line.strip()]
    if not files:
        parser.error("no Parquet file is named")
    tally = Tally()
    for columns in read(files):
        tally.add(*columns)
    print(json.dumps(tally.json()))
