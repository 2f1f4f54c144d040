"""Cold starts on a private Nomad: a bare job, a job with a shim's processes, Sojourn; in turns, then many at once."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

from tests.support import nomad_agent

from bench.measure import in_ms, row
from bench.nomad_starts import MOMENTS, Jobs, Moments, Shims, Sojourn, sojourn
from sojourn.control_plane.embedded.nomad import NomadAgent, find_binary

_PROBES, _WARM = 30, 2
#: So many at once, each of which stays long enough for the last to have started (seconds); so many times.
_AT_ONCE, _STAY, _WAVES = 20, 7.0, 5
_SANDBOXES = ("off", "auto")
_T = TypeVar("_T")
_BARE, _SHIM = "bare /bin/true", "shim's processes"


def main() -> None:
    """Rows of each kind, their ratios, and a table of where a start's time goes. Needs Nomad's program, and root."""
    if why := missing():
        print(f"nomad: skipped, {why}", flush=True)
        return
    with nomad_agent.agent() as agent, _stacks(agent) as sojourns:
        bare, shims, staying = Jobs(agent, "true", ["/bin/true"]), Shims(agent), Shims(agent, _STAY)
        alone: dict[str, Callable[[], Moments]] = {_BARE: bare.start, _SHIM: shims.start}
        at_once: dict[str, Callable[[], list[Moments]]] = {
            _BARE: partial(bare.start_many, _AT_ONCE),
            _SHIM: partial(staying.start_many, _AT_ONCE),
        }
        for name, stack in sojourns.items():
            alone[name], at_once[name] = stack.start, partial(stack.start_many, _AT_ONCE, _STAY)
        _latencies(_in_turns(alone, _WARM, _PROBES))
        _rates(_in_turns(at_once, 1, _WAVES))


def missing() -> str:
    """What keeps a private Nomad from being started here; empty: nothing."""
    if find_binary() is None:
        return "there is no nomad program: `make nomad` builds it"
    return "only root can start a private Nomad" if os.geteuid() != 0 else ""


@contextmanager
def _stacks(agent: NomadAgent) -> Iterator[dict[str, Sojourn]]:
    """A stack for each way of isolation, all of them up for all of the time."""
    with ExitStack() as held:
        yield {f"Sojourn, sandbox {mode}": held.enter_context(sojourn(agent, mode, _AT_ONCE + 4)) for mode in _SANDBOXES}


def _in_turns(ways: dict[str, Callable[[], _T]], warm: int, count: int) -> dict[str, list[_T]]:
    """One of each kind after another, again and again; the first few are not counted."""
    found: dict[str, list[_T]] = {name: [] for name in ways}
    for n in range(warm + count):
        for name, way in ways.items():
            made = way()
            if n >= warm:
                found[name].append(made)
    return found


def _latencies(found: dict[str, list[Moments]]) -> None:
    for name, starts in found.items():
        for moment in ("started", "first line", "result known"):
            if moment in starts[0]:
                row(f"{name}: asked -> {moment}", **in_ms(_since_asked(starts, moment)))
    floor = statistics.median(_since_asked(found[_SHIM], "first line"))
    for name in list(found)[2:]:
        ratio = statistics.median(_since_asked(found[name], "first line")) / floor
        row(f"{name}: first line, by {_SHIM}", times=ratio, aim="at most 1.5")
    _show(found)


def _rates(found: dict[str, list[list[Moments]]]) -> None:
    """Medians of the waves' rates, and of what they are of the shims' in the same turn.

    A rate counts from the first request to the last first line; of /bin/true, to its start.
    """
    floor = [_rate(wave, "first line") for wave in found[_SHIM]]
    for name, waves in found.items():
        moment = "started" if name == _BARE else "first line"
        rates = [_rate(wave, moment) for wave in waves]
        told: dict[str, float | str] = {}
        if name not in (_BARE, _SHIM):
            ratios = [rate / beside for rate, beside in zip(rates, floor, strict=True)]
            told = {"times_shims": statistics.median(ratios), "aim": "at least 0.7"}
        cold = sum("started" in each for wave in waves for each in wave)
        row(
            f"{name}: {_AT_ONCE} at once -> {moment}",
            per_s=statistics.median(rates),
            least=min(rates),
            most=max(rates),
            cold=f"{cold}/{_AT_ONCE * len(waves)}",
            **told,
        )


def _rate(wave: list[Moments], moment: str) -> float:
    return len(wave) / (max(each[moment] for each in wave) - min(each["asked"] for each in wave))


def _since_asked(starts: list[Moments], moment: str) -> list[float]:
    return [each[moment] - each["asked"] for each in starts]


def _show(found: dict[str, list[Moments]]) -> None:
    """The medians, in ms, from the moment before that a kind of start has."""
    print(f"{'  ms until (p50, from the moment above)':<42}" + "".join(f"{name:>24}" for name in found), flush=True)
    for moment in MOMENTS[1:]:
        cells = "".join(f"{_leg(starts, moment):>24}" for starts in found.values())
        print(f"  {moment:<40}{cells}", flush=True)


def _leg(starts: list[Moments], moment: str) -> str:
    if moment not in starts[0]:
        return ""
    before = [each for each in MOMENTS[: MOMENTS.index(moment)] if each in starts[0]][-1]
    return f"{statistics.median(each[moment] - each[before] for each in starts) * 1e3:.1f}"
