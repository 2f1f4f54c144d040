"""A batch through the SDK until all of its runs are queued, beside a COPY of as many rows into the same PostgreSQL; what
memory that takes, and how long it is until the batch is read again.
"""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from tests.support.memory import memory
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
    before, held = cpu.by_part(of), _held(of)
    begun = time.perf_counter()
    handle = tasks.batch_trigger("nothing", [{"n": n} for n in range(items)], client=client)
    took = time.perf_counter() - begun
    with sql(of) as ask:
        asked = "SELECT count(*) FROM runs WHERE batch_id = %s AND snapshot_status = 'QUEUED'"
        queued = int(ask(asked, [handle.id])[0][0])
    assert queued == items, f"{queued} of {items} are queued"
    row(f"batch of {items} through the SDK, queued", s=took, per_s=items / took)
    cpu.show("  CPU ms an item", before, cpu.by_part(of), items)
    grown = {name: (memory(pid, "VmHWM") - at) / 2**20 for (name, pid), at in held.items()}
    row("  most memory above what was held before, MB", **grown)
    begun = time.perf_counter()
    assert len(handle.retrieve().runs) == items
    all_of_it = time.perf_counter() - begun
    begun = time.perf_counter()
    handle.retrieve(runs=False)
    row("  retrieved, with its runs and without", s=all_of_it, without_ms=(time.perf_counter() - begun) * 1e3)


def _held(of: Stack) -> dict[tuple[str, int], int]:
    """What this process and the workers of the control plane hold now; from here on their most is counted anew."""
    server = of.services()["control-plane"]
    workers = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    pids = [("client", os.getpid()), *((f"worker_{n}", int(pid)) for n, pid in enumerate(workers))]
    for _, pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return {(name, pid): memory(pid, "VmRSS") for name, pid in pids}


@contextmanager
def nothing_placed(of: Stack) -> Iterator[None]:
    """The scheduler is stopped, so that no executor shares the machine."""
    scheduler = of.services()["scheduler"]
    os.kill(scheduler, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(scheduler, signal.SIGCONT)
