"""Writes golden vectors with kio, a Kafka protocol implementation in Python that is not ours.

    pip install kio==0.6.5
    python protocol/oracle/kio_vectors.py > protocol/oracle/kio.golden

A line is a message's name, a version and the body in hex. Values are drawn from a fixed seed. The test
`golden` decodes every line and encodes it again to the same bytes. Controller-only messages and
unreleased versions are left out.
"""

import dataclasses
import datetime
import io
import random
import types
import typing
import uuid

from kio.schema.errors import ErrorCode
from kio.schema.index import api_key_map, schema_name_map
from kio.index import load_entity_schema
from kio.serial import entity_writer
from kio.static.constants import EntityType

BYTES_MAX = 480  # for one vector: keeps the golden file small
CONTROLLER_ONLY = {
    "allocate_producer_ids", "alter_partition", "assign_replicas_to_dirs", "begin_quorum_epoch",
    "broker_heartbeat", "broker_registration", "controller_registration", "end_quorum_epoch", "envelope",
    "fetch_snapshot", "update_raft_voter", "vote",
}  # fmt: skip

UNSTABLE = {("init_producer_id", 6)}  # versions that Kafka has not released

rng = random.Random(20_261_120)


def integer(bits):
    """Small and large numbers alike, negative ones too."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randrange(0, 10)
    if kind == 1:
        return -1
    return rng.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1))


def text(width):
    if width > 1 and rng.random() < 0.05:
        return "text of more than 127 bytes " * 5
    return "".join(rng.choice("abcxyz-._0189é") for _ in range(rng.randrange(0, 9)))


def primitive(kafka_type, width):
    match kafka_type:
        case "bool":
            return rng.random() < 0.5
        case "int8":
            return integer(8)
        case "int16":
            return integer(16)
        case "int32":
            return integer(32)
        case "int64":
            return integer(64)
        case "uint16":
            return rng.randrange(0, 2**16)
        case "float64":
            return rng.random() * 1e6
        case "string":
            return text(width)
        case "bytes" | "records":
            return rng.randbytes(rng.randrange(0, 24))
        case "uuid":
            return uuid.UUID(bytes=rng.randbytes(16))
        case "error_code":
            return rng.choice(list(ErrorCode))
        case "timedelta_i32":
            return datetime.timedelta(milliseconds=rng.randrange(-1, 2**31))
        case "timedelta_i64":
            return datetime.timedelta(milliseconds=rng.randrange(-1, 2**40))
        case "datetime_i64":
            return datetime.datetime.fromtimestamp(rng.randrange(0, 2**33), tz=datetime.UTC)
    raise ValueError(kafka_type)


def value(annotation, field, width):
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if rng.random() < 0.3:
            return None
        [annotation] = [arg for arg in args if arg is not types.NoneType]
        return value(annotation, field, width)
    if origin is tuple:
        return tuple(value(args[0], field, width) for _ in range(rng.randrange(0, width + 1)))
    if dataclasses.is_dataclass(annotation):
        return entity(annotation, width)
    return primitive(field.metadata["kafka_type"], width)


def entity(cls, width):
    """Fields that have a default keep it half of the time."""
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING and rng.random() < 0.5:
            continue
        values[field.name] = value(hints[field.name], field, width)
    return cls(**values)


def vector(cls, width):
    """The encoding of a message whose arrays have at most `width` elements, if it is short enough."""
    for attempt in range(30):
        buffer = io.BytesIO()
        entity_writer(cls)(buffer, entity(cls, width if attempt < 20 else 1))
        if len(buffer.getvalue()) <= BYTES_MAX:
            return buffer.getvalue()
    return None


def main():
    apis = sorted((name, kind) for name in api_key_map.values() if name not in CONTROLLER_ONLY
                  for kind in ("request", "response"))
    others = [("request_header", "header"), ("response_header", "header"),
              ("consumer_protocol_subscription", "data"), ("consumer_protocol_assignment", "data")]
    for name, kind in apis + others:
        for version in sorted(schema_name_map[name]):
            if (name, version) in UNSTABLE:
                continue
            cls = load_entity_schema(name, version, EntityType[kind])
            for body in sorted({vector(cls, width) for width in (1, 2, 3)} - {None}):
                print(cls.__name__, version, body.hex())


main()
