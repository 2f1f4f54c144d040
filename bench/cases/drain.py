"""Stored no-op runs, then executors: from the first attempt's start to the last end, as the store has them."""

from __future__ import annotations

from tests.support.stack import until

from bench import cpu
from bench.measure import PROJECT, fill, row, sql, stack

_RUNS = 5_000


def main() -> None:
    """The rate, and whose CPU time it is. The runs wait for a version; its deployment lets them go."""
    with stack() as made, sql(made) as ask:
        fill(made, "nothing", _RUNS)
        before = cpu.by_part(made)
        made.deploy(PROJECT)
        # Asked by the index of runs that are not over: counting would take CPU time from what is measured.
        until(lambda: not ask("SELECT 1 FROM runs WHERE snapshot_status <> 'FINISHED' LIMIT 1"), 120, "all are drained")
        after = cpu.by_part(made)
        [(count, seconds)] = ask(
            "SELECT count(*), extract(epoch FROM max(finished_at) - min(executed_at)) FROM runs WHERE status = 'COMPLETED'"
        )
    row(f"drain of {count}, 2 executors", per_s=count / float(seconds))
    cpu.show("  CPU ms a run, version released and drained", before, after, count)
