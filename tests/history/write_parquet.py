"""Writes Parquet files such as are published, of records that a test has dumped: for tests of the readers.

    write_parquet.py DUMP FOLDER [--rows 2000]

A dump is one record after the other, each with its length before it (u32, lowest byte first) and encoded as
tests/src/events/digest.rs describes. Prints the paths of the files, one a line.
"""

import argparse
import pathlib
from struct import Struct

import pyarrow
import pyarrow.parquet

LENGTH = Struct("<I")
ROW = Struct("<iqqbiii")
HEADER = Struct("<ii")

SCHEMA = pyarrow.schema(
    [
        pyarrow.field("_partition", pyarrow.int32(), nullable=False),
        pyarrow.field("_offset", pyarrow.int64(), nullable=False),
        pyarrow.field("_timestamp", pyarrow.timestamp("ms", tz="UTC"), nullable=False),
        pyarrow.field("_timestamp_type", pyarrow.int8(), nullable=False),
        pyarrow.field("_key", pyarrow.binary()),
        pyarrow.field("_value", pyarrow.binary()),
        pyarrow.field(
            "_headers",
            pyarrow.list_(pyarrow.struct([pyarrow.field("key", pyarrow.string(), nullable=False), ("value", pyarrow.binary())])),
            nullable=False,
        ),
    ]
)


def decode(encoded):
    *fixed, key_length, value_length, header_count = ROW.unpack_from(encoded)
    at = ROW.size

    def take(length):
        nonlocal at
        if length < 0:
            return None
        at += length
        return encoded[at - length : at]

    key, value, headers = take(key_length), take(value_length), []
    for _ in range(header_count):
        lengths = HEADER.unpack_from(encoded, at)
        at += HEADER.size
        name, content = map(take, lengths)
        headers.append({"key": name.decode(), "value": content})
    assert at == len(encoded), "a record with bytes behind it"
    return (*fixed, key, value, headers)


def rows(dump):
    while length := dump.read(LENGTH.size):
        yield decode(dump.read(LENGTH.unpack(length)[0]))


def write(path, chunk):
    columns = [pyarrow.array(column, field.type) for column, field in zip(zip(*chunk), SCHEMA)]
    pyarrow.parquet.write_table(pyarrow.table(columns, SCHEMA), path, compression="zstd")
    print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=2_000, help="of a file")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chunk, number = [], 0
    with arguments.dump.open("rb") as dump:
        for row in rows(dump):
            chunk.append(row)
            if len(chunk) == arguments.rows:
                write(arguments.folder / f"part-{number:05}.parquet", chunk)
                chunk, number = [], number + 1
    if chunk:
        write(arguments.folder / f"part-{number:05}.parquet", chunk)


if __name__ == "__main__":
    main()
