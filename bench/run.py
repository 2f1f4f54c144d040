"""What matters, measured on one machine, load generator included: `python bench/run.py [case ...]`. One row a case."""

from __future__ import annotations

import random
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.stack import Stack, until

PROJECT = Path(__file__).parent / "project"
SECONDS, DRAINED = 5.0, 5_000


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def row(case: str, **figures: float | int | str) -> None:
    told = "  ".join(f"{k}={v:.2f}" if isinstance(v, float) else f"{k}={v}" for k, v in figures.items())
    print(f"{case:<34} {told}", flush=True)


def fresh(places: str = "2", **settings: str) -> Stack:
    stack = Stack(
        SOJOURN_PLACES=places,
        SOJOURN_LEASE_SECONDS="60",
        SOJOURN_SWEEP_SECONDS="10",
        SOJOURN_HEARTBEAT_SECONDS="10",
        SOJOURN_DISPATCH_SECONDS="10",
        SOJOURN_IDLE_TIMEOUT_SECONDS="600",
        **settings,
    )
    stack.up()
    return stack


def bare_commits(stack: Stack) -> None:
    """Insert and commit of one row, over one connection to the same server."""
    url = f"postgresql://postgres@/sojourn?host={stack.data_dir}/run"
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("CREATE TABLE IF NOT EXISTS bare (t text)")
        spent = timed(lambda: cursor.execute("INSERT INTO bare VALUES ('x')"), 2.0)
    row("bare PostgreSQL insert+commit", per_s=len(spent) / sum(spent), p50_ms=percentile(spent, 0.5) * 1e3)


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    spent, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return spent


def triggers(stack: Stack, clients: int) -> None:
    """Triggers of a task with no executor in sight: what storing and queueing a run costs."""
    spent: list[float] = []
    lock = threading.Lock()

    def one() -> None:
        client = stack.client()
        client.trigger("unknown-task", {"n": 0})
        mine = timed(lambda: client.trigger("nothing", {"n": 1}), SECONDS)
        with lock:
            spent.extend(mine)

    threads = [threading.Thread(target=one) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    row(
        f"trigger, {clients} client(s)",
        per_s=len(spent) / took,
        p50_ms=percentile(spent, 0.5) * 1e3,
        p99_ms=percentile(spent, 0.99) * 1e3,
    )


def drain(stack: Stack) -> None:
    """Stored no-op runs, then executors: from the first to the last end, as the store has them."""
    ids = []
    lock = threading.Lock()
    left = iter(range(DRAINED))

    def fill() -> None:
        own = stack.client()
        while True:
            with lock:
                if next(left, None) is None:
                    return
            ids.append(own.trigger("nothing", {"n": 1})["id"])

    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    url = f"postgresql://postgres@/sojourn?host={stack.data_dir}/run"
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        stack.deploy(PROJECT)

        def done() -> bool:
            cursor.execute("SELECT count(*) FROM runs WHERE task = 'nothing' AND status = 'COMPLETED'")
            return int((cursor.fetchone() or (0,))[0]) >= DRAINED

        until(done, 120, "all are drained")
        cursor.execute(
            "SELECT count(*) / extract(epoch FROM max(finished_at) - min(executed_at)) FROM runs WHERE task = 'nothing'"
        )
        rate = float((cursor.fetchone() or (0,))[0])
    row(f"drain of {DRAINED}, 2 executors", per_s=rate)


def first_line(stack: Stack, count: int = 200) -> None:
    """From before the trigger to user code's own clock, and to the result at the caller; idle system, warm executor."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(10)
    port = receiver.getsockname()[1]
    client = stack.client()
    first, result = [], []
    for n in range(count + 20):
        begun = time.time()
        run = client.trigger("job", {"tag": str(n), "port": port})["id"]
        client.result(run, wait=10)
        ended = time.time()
        at = float(receiver.recv(200).decode().split()[1])
        if n >= 20:
            first.append(at - begun)
            result.append(ended - begun)
        time.sleep(random.uniform(0, 0.02))
    for name, values in (("first line, idle", first), ("result known, idle", result)):
        row(name, p50_ms=statistics.median(values) * 1e3, p99_ms=percentile(values, 0.99) * 1e3)


def main(wanted: list[str]) -> None:
    if not wanted or "trigger" in wanted:
        stack = fresh()
        try:
            bare_commits(stack)
            for clients in (1, 8, 16):
                triggers(stack, clients)
        finally:
            stack.down()
    if not wanted or "drain" in wanted:
        stack = fresh()
        try:
            drain(stack)
        finally:
            stack.down()
    if not wanted or "latency" in wanted:
        stack = fresh()
        try:
            stack.deploy(PROJECT)
            first_line(stack)
        finally:
            stack.down()


if __name__ == "__main__":
    main(sys.argv[1:])
