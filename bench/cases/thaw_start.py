"""From the completion of a frozen run's token to the first line after its wait: warm, cold, and by Nomad."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.support import nomad_agent
from tests.support.nomad_stack import NomadStack
from tests.support.stack import Stack

from bench.cases import frozen_runs, nomad
from bench.measure import TIMES, in_ms, row, sql, stack
from bench.nomad_starts import MHZ_PER_CPU, Jobs, Shims
from bench.thaws import BACK, FROZEN, OUT, PROJECT, Moments, Thaws, legs

_WARM = 2
#: An executor leaves so soon that each run, and each thaw, has a new one; seconds.
_AT_ONCE = "0.2"


def main() -> None:
    """Rows of each kind, and where the time goes, out of memory and back. SOJOURN_BENCH_PROBES: how many (30)."""
    if why := frozen_runs.missing():
        print(f"thaw_start: skipped, {why}", flush=True)
        return
    probes = int(os.environ.get("SOJOURN_BENCH_PROBES", 30))
    with ExitStack() as held:
        warm = _on(held, stack(2, **FROZEN), cold=False)
        cold = _on(held, stack(2, **{**FROZEN, "SOJOURN_IDLE_TIMEOUT_SECONDS": _AT_ONCE}), cold=True)
        found = _in_turns({"on a warm executor": warm.once, "on a cold one, local": cold.once}, probes)
    for name, thaws in found.items():
        _tell(name, thaws)
    if why := nomad.missing():
        print(f"thaw_start: not on Nomad, {why}", flush=True)
        return
    _on_nomad(probes)


def _on_nomad(probes: int) -> None:
    """Cold ones by a private Nomad, beside jobs of which nothing is Sojourn's, in turns."""
    with nomad_agent.agent() as agent, ExitStack() as held:
        bare, shims = Jobs(agent, "true", ["/bin/true"]), Shims(agent)
        settings = {
            **TIMES, **FROZEN,
            "SOJOURN_PLACEMENT_SECONDS": "60",
            "SOJOURN_IDLE_TIMEOUT_SECONDS": _AT_ONCE,
            "SOJOURN_NOMAD_SITES": json.dumps({"*": {"mhz_per_cpu": MHZ_PER_CPU, "python": sys.executable}}),
        }  # fmt: skip
        thaws = _on(held, _up(NomadStack(agent, **settings)), cold=True)
        ways: dict[str, Callable[[], Moments]] = {
            "bare /bin/true": bare.start, "shim's processes": shims.start, "by Nomad": thaws.once
        }  # fmt: skip
        found = _in_turns(ways, probes)
    for name, moment in (("bare /bin/true", "started"), ("shim's processes", "first line")):
        row(f"raw Nomad dispatch, {name} -> {moment}", **in_ms([each[moment] - each["asked"] for each in found[name]]))
    _tell("by Nomad", found["by Nomad"])


@contextmanager
def _up(made: NomadStack) -> Iterator[NomadStack]:
    made.up()
    try:
        yield made
    finally:
        made.down()


def _on(held: ExitStack, up: AbstractContextManager[Stack], *, cold: bool) -> Thaws:
    made = held.enter_context(up)
    made.deploy(PROJECT)
    return Thaws(made, held.enter_context(sql(made)), cold=cold)


def _in_turns(ways: dict[str, Callable[[], Moments]], count: int) -> dict[str, list[Moments]]:
    """One of each kind after another, again and again; the first few are not counted."""
    found: dict[str, list[Moments]] = {name: [] for name in ways}
    for n in range(_WARM + count):
        for name, way in ways.items():
            made = way()
            if n >= _WARM:
                found[name].append(made)
    return found


def _tell(name: str, thaws: list[Moments]) -> None:
    spent = {moment: [each[moment] - each["completed"] for each in thaws] for moment in ("first line", "result known")}
    row(f"thaw, {name}: token completed -> first line", **in_ms(spent["first line"]), load=os.getloadavg()[0])
    row(f"thaw, {name}: token completed -> result known", **in_ms(spent["result known"]))
    row("  its ms until (p50, from the one before)", **legs(thaws, BACK))
    row("  frozen before: ms until (BLOCK: its slots are free)", **legs(thaws, OUT))
