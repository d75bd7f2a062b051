"""Reads published Parquet files with pyarrow and prints the tally of their records.

    read_with_pyarrow.py [--files list.txt]    paths on standard input by default, one a line
"""

import pyarrow
import pyarrow.parquet

from digest import COLUMNS, run

BATCH_ROWS = 16_384  # some megabytes at a time


def read(files):
    for path in files:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=COLUMNS):
                yield tuple(map(values, (batch.column(name) for name in COLUMNS)))


def values(column):
    if pyarrow.types.is_timestamp(column.type):
        # Not by way of datetime, which ends in the year 9999. A cast that would lose digits fails.
        column = column.cast(pyarrow.timestamp("ms", tz=column.type.tz)).cast(pyarrow.int64())
    if pyarrow.types.is_list(column.type):
        return lists(column)
    return column.to_pylist()


def lists(column):
    """The same as to_pylist(), which takes most of the time where nearly all lists are empty."""
    items = column.flatten().to_pylist()
    found, at = [], 0
    for length in column.value_lengths().to_pylist():
        found.append(items[at : at + length] if length else None)
        at += length or 0
    return found


if __name__ == "__main__":
    run(read, "The tally of Parquet files, read with pyarrow.")
