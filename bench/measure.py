"""What every case shares: a stack of its own, timing, one printed row."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from tests.support.stack import Stack

PROJECT = Path(__file__).parent / "project"
#: Those of a production stack, in seconds.
TIMES = {
    "SOJOURN_LEASE_SECONDS": "60",
    "SOJOURN_SWEEP_SECONDS": "10",
    "SOJOURN_HEARTBEAT_SECONDS": "10",
    "SOJOURN_DISPATCH_SECONDS": "9",
}
#: A statement and its parameters to rows.
Ask = Callable[..., list[tuple[Any, ...]]]


def row(case: str, **figures: float | int | str) -> None:
    """Prints one case's figures."""
    told = "  ".join(f"{k}={v:.2f}" if isinstance(v, float) else f"{k}={v}" for k, v in figures.items())
    print(f"{case:<44} {told}", flush=True)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def in_ms(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in ms."""
    return {"p50_ms": statistics.median(seconds) * 1e3, "p99_ms": percentile(seconds, 0.99) * 1e3}


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    """How long each call took, called again and again for so long."""
    spent, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return spent


@contextmanager
def stack(places: int = 2, **settings: str) -> Iterator[Stack]:
    """A fresh stack with the times of a production one; ended afterwards."""
    made = Stack(**{"SOJOURN_PLACES": str(places), "SOJOURN_IDLE_TIMEOUT_SECONDS": "600", **TIMES, **settings})
    made.up()
    try:
        yield made
    finally:
        made.down()


@contextmanager
def sql(of: Stack) -> Iterator[Ask]:
    """A function that asks the stack's own PostgreSQL."""
    with closing(psycopg2.connect(of.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def ask(text: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            cursor.execute(text, parameters)
            return cursor.fetchall() if cursor.description else []

        yield ask


def in_threads(count: int, work: Callable[[], None]) -> float:
    """Runs `work` in so many threads at once; the seconds until the last was done."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def fill(of: Stack, task: str, count: int, environment: str = "dev") -> None:
    """Stores so many runs, from 8 clients."""
    left, lock = iter(range(count)), threading.Lock()

    def work() -> None:
        client = of.client(environment)
        while True:
            with lock:
                if next(left, None) is None:
                    return
            client.trigger(task, {"n": 1})

    in_threads(8, work)
