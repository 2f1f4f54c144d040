"""Many small tenants on a private Nomad: shares, and what it costs the cluster. A tenant's turn is a job of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import nomad_agent
from tests.support.memory import memory
from tests.support.nomad_stack import NomadStack

from bench import tenants
from bench.cases.nomad import missing
from bench.measure import TIMES, row, sql
from sojourn.control_plane.embedded.nomad import NomadAgent

#: 2,000 runs of 20 organizations; four executors, each of one organization at a time.
_LOADS = [100] * 20
_EXECUTORS = 4
_LOOK = 0.5


def main() -> None:
    """Needs Nomad's program, and root."""
    if why := missing():
        print(f"nomad_tenants: skipped, {why}", flush=True)
        return
    with nomad_agent.agent() as agent:
        settings = {
            **TIMES,
            "SOJOURN_NOMAD_PLACES": str(_EXECUTORS),
            "SOJOURN_PLACEMENT_SECONDS": "60",
            "SOJOURN_IDLE_TIMEOUT_SECONDS": "60",
            "SOJOURN_NOMAD_SITES": json.dumps({"*": {"mhz_per_cpu": 20}}),
            "SOJOURN_SANDBOX": "auto",
        }
        stack = NomadStack(agent, **settings)
        stack.up()
        try:
            with sql(stack) as ask, _watched(agent, stack):
                tenants.serve(ask, tenants.fill(stack, _LOADS), 600, f"fair shares of {len(_LOADS)} organizations, Nomad")
            row("  jobs of this stack that Nomad has", dispatched=len(stack.children()))
        finally:
            stack.down()


@contextmanager
def _watched(agent: NomadAgent, stack: NomadStack) -> Iterator[None]:
    """Prints the most that Nomad's two processes held, and the most evaluations that waited at once."""
    over, backlog, before = threading.Event(), [0], _megabytes(agent)
    most = dict(before)

    def look() -> None:
        while not over.wait(_LOOK):
            for name, megabytes in _megabytes(agent).items():
                most[name] = max(most[name], megabytes)
            backlog.append(len(stack.ask("evaluations", filter='Status == "pending" or Status == "blocked"')))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    for name in most:
        row(f"  Nomad's {name}, resident", mb_before=before[name], mb_most=most[name])
    row("  evaluations that wait", looks=len(backlog) - 1, most=max(backlog), mean=sum(backlog) / len(backlog))


def _megabytes(agent: NomadAgent) -> dict[str, int]:
    return {name: memory(child.pid, "VmRSS") >> 20 for name, child in agent.children.items()}
