"""Holds digest.py to the vectors that the tests in Rust are held to. Needs no more than Python."""

import json
import pathlib

from digest import Tally

VECTORS = pathlib.Path(__file__).with_name("vectors.json")


def decoded(text):
    return None if text is None else bytes.fromhex(text)


def columns(row):
    headers = [{"key": key, "value": decoded(value)} for key, value in row["headers"]]
    plain = [row[name] for name in ("partition", "offset", "timestamp", "timestamp_type")]
    return [*plain, decoded(row["key"]), decoded(row["value"]), headers]


def main():
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    rows = [columns(row) for row in vectors["rows"]]
    for row, wanted in zip(rows, vectors["rows"]):
        one = Tally()
        one.add(*([field] for field in row))
        assert one.json()["digest"] == wanted["digest"], wanted
    everything = Tally()
    everything.add(*zip(*rows))
    assert everything.json() == vectors["tally"], everything.json()
    print(f"ok {len(rows)} vectors")


if __name__ == "__main__":
    main()
