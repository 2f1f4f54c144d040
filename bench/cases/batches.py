"""A batch through the SDK until all of its runs are queued, beside a COPY of as many rows into the same PostgreSQL."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from tests.support.stack import Stack

from bench import cpu
from bench.measure import PROJECT, row, sql, stack
from sojourn.sdk.tasks import tasks

_ROUNDS = 3


def main() -> None:
    """One row for the bare server, one for each batch; nothing takes runs meanwhile."""
    items = int(os.environ.get("SOJOURN_BENCH_ITEMS", 10_000))
    with stack() as made:
        made.deploy(PROJECT)
        with nothing_placed(made):
            bare_copy(made, items)
            for _ in range(_ROUNDS):
                batch(made, items)


def bare_copy(of: Stack, rows: int) -> None:
    """As many rows of an id and a payload, with a primary key, in one statement."""
    text = "".join(f'run_{n:026}\t{{"n": {n}}}\n' for n in range(rows))
    with closing(psycopg2.connect(of.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare_rows (id text PRIMARY KEY, payload text)")
        connection.commit()
        begun = time.perf_counter()
        cursor.copy_expert("COPY bare_rows FROM STDIN", io.StringIO(text))
        connection.commit()
        took = time.perf_counter() - begun
    row(f"bare PostgreSQL COPY of {rows} rows", s=took, per_s=rows / took)


def batch(of: Stack, items: int) -> None:
    """From the call to its return: then every run is stored and queued."""
    client = of.client()
    before = cpu.by_part(of)
    begun = time.perf_counter()
    handle = tasks.batch_trigger("nothing", [{"n": n} for n in range(items)], client=client)
    took = time.perf_counter() - begun
    with sql(of) as ask:
        asked = "SELECT count(*) FROM runs WHERE batch_id = %s AND snapshot_status = 'QUEUED'"
        queued = int(ask(asked, [handle.id])[0][0])
    assert queued == items, f"{queued} of {items} are queued"
    row(f"batch of {items} through the SDK, queued", s=took, per_s=items / took)
    cpu.show("  CPU ms an item", before, cpu.by_part(of), items)


@contextmanager
def nothing_placed(of: Stack) -> Iterator[None]:
    """The scheduler is stopped, so that no executor shares the machine."""
    scheduler = of.services()["scheduler"]
    os.kill(scheduler, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(scheduler, signal.SIGCONT)
