"""Reads published Parquet files with DuckDB's own reader and prints the tally of their records.

    read_with_duckdb.py [--files list.txt]    paths on standard input by default, one a line
"""

import duckdb

from digest import run

FETCH_ROWS = 16_384  # some megabytes at a time

# DuckDB makes TIMESTAMP WITH TIME ZONE of the column, which Python would get as a datetime of the session's zone, and not at
# all after the year 9999: so milliseconds are asked for. Folders named `a=b` are no columns.
QUERY = """
    SELECT _partition, _offset, epoch_ms(_timestamp), _timestamp_type, _key, _value, _headers
    FROM read_parquet(?, hive_partitioning = false)
"""


def read(files):
    # The order of rows does not matter, and keeping it takes memory.
    with duckdb.connect(config={"preserve_insertion_order": False}) as database:
        result = database.execute(QUERY, [files])
        while rows := result.fetchmany(FETCH_ROWS):
            yield tuple(zip(*rows))


if __name__ == "__main__":
    run(read, "The tally of Parquet files, read with DuckDB.")
