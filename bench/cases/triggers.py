"""What storing a run costs: rate and latency of triggers beside bare commits of the same server; whose CPU time it is."""

from __future__ import annotations

import threading

from tests.support.stack import Stack

from bench import cpu
from bench.measure import in_ms, in_threads, row, sql, stack, timed

_SECONDS = 5.0


def main() -> None:
    """One row for the bare server, one for each number of clients, with the CPU time of each part."""
    with stack() as made:
        bare_commits(made)
        for clients in (1, 8, 16):
            triggers(made, clients)


def bare_commits(of: Stack) -> None:
    """Insert and commit of one row, over one connection."""
    with sql(of) as ask:
        ask("CREATE TABLE bare (t text)")
        spent = timed(lambda: ask("INSERT INTO bare VALUES ('x')"), 2.0)
    row("bare PostgreSQL insert+commit", per_s=len(spent) / sum(spent), **in_ms(spent))


def triggers(of: Stack, clients: int) -> None:
    """Triggers of a task that no version has: what storing costs, with no executor in sight."""
    spent: list[float] = []
    lock = threading.Lock()

    def work() -> None:
        client = of.client()
        client.trigger("nothing", {"n": 0})
        mine = timed(lambda: client.trigger("nothing", {"n": 1}), _SECONDS)
        with lock:
            spent.extend(mine)

    before = cpu.by_part(of)
    took = in_threads(clients, work)
    row(f"trigger, {clients} client(s)", per_s=len(spent) / took, **in_ms(spent))
    cpu.show(f"  CPU ms a trigger, {clients} client(s)", before, cpu.by_part(of), len(spent))
