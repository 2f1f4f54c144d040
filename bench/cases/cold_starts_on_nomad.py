"""Not a case of its own: the part of `cold_starts` that needs a Nomad."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack

from tests.support import nomad_agent

from bench.measure import in_ms, row
from bench.nomad_starts import Jobs, Moments, sojourn


def compare(tasks: list[str], turns: int) -> None:
    """Rows of a raw dispatch and of each way and task; the aim is a first line within 2 times of a raw dispatch."""
    from bench.cases.cold_starts import PROJECT, WAYS

    with ExitStack() as held:
        agent = held.enter_context(nomad_agent.agent())
        starts: dict[str, Callable[[], Moments]] = {"raw dispatch": Jobs(agent, "true", ["/bin/true"]).start}
        for way, restored in WAYS.items():
            stack = held.enter_context(sojourn(agent, "auto", 4, PROJECT, SOJOURN_RESTORED_STARTS=restored))
            for task in tasks:
                starts[f"{task}, {way}"] = lambda stack=stack, task=task: stack.start(task)  # type: ignore[misc]
        found: dict[str, list[float]] = {name: [] for name in starts}
        for turn in range(turns + 3):
            for name, start in starts.items():
                moments = start()
                if turn > 2:
                    found[name].append(moments["first line" if "first line" in moments else "started"] - moments["asked"])
    for name, seconds in found.items():
        ratio = statistics.median(seconds) / statistics.median(found["raw dispatch"])
        row(f"Nomad, {name}", **in_ms(seconds), times_raw=ratio)
