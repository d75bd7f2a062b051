"""What the Python clients share: named checks, run side by side, one line of result each.

A check is a function that raises when the broker is wrong. It owns its topics and groups (names are unique per run),
so checks run at once: a group that waits for its rebalance holds nobody up, and the broker sees real concurrency.
"""

import argparse
import os
import sys
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor

WORKERS = 8  # checks at once: groups mostly wait, so that many overlap well on two cores
DEADLINE_SECONDS = 30  # of a single wait; a whole client is held to a minute by run.sh


def bootstrap_argument():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", default=os.environ.get("BOOTSTRAP"), help="HOST:PORT of the broker")
    parser.add_argument("--check", help="run this check only")
    arguments = parser.parse_args()
    if not arguments.bootstrap:
        parser.error("--bootstrap HOST:PORT is missing")
    return arguments


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def expect(actual, wanted, what):
    if actual != wanted:
        raise AssertionError(f"{what}: got {shorten(actual)}, want {shorten(wanted)}")


def shorten(value, limit=600):
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


def wait_for(condition, what, seconds=DEADLINE_SECONDS):
    """Calls `condition` until it returns something true, which is returned; each caller blocks on its own I/O."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds} s waiting for {what}")
        time.sleep(0.02)


def past_ms(minutes=60):
    """A whole second in the recent past: records need a time that retention does not reach and that is not `now`."""
    return (int(time.time()) - minutes * 60) * 1000


def values(prefix, count):
    """Compressible, all different, and of uneven length."""
    return [f"{prefix}-{i:05d}-".encode() + b"alluvium " * (i % 23) for i in range(count)]


class Outcome:
    def __init__(self):
        self.failed = False

    def ok(self, name):
        print(f"ok {name}", flush=True)

    def failure(self, name, error):
        self.failed = True
        if os.environ.get("INTEROP_TRACE"):
            traceback.print_exception(error, file=sys.stderr)
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"FAILED {name}: {why}", flush=True)


def run(checks):
    """Runs plain functions in threads; returns the exit code."""
    outcome = Outcome()

    def run_one(check):
        try:
            check()
        except BaseException as error:  # a client library may raise anything; it is this check's result
            outcome.failure(check.__name__, error)
        else:
            outcome.ok(check.__name__)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run_one, checks))
    return 1 if outcome.failed else 0
