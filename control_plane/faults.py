"""Named fault points: no-ops unless switched on, so that tests can break the platform exactly where it hurts.

`SOJOURN_FAULTS="scheduler.after_pop=kill:1;claim.after_claim=raise:0.1;seed=7"`: actions are `kill` (the process ends
at once, as by kill -9), `raise`, and `delay` (milliseconds after the probability: `delay:1:200`). A trailing `once`
(`kill:1:once=/path`) acts the first time only, whichever process comes first; the file remembers.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass

#: Every point there is, with what has just happened there.
POINTS = {
    "trigger.after_store": "a run is stored, and not queued yet",
    "batch.after_store": "items of a batch and their runs are stored, and none is queued yet",
    "bulk.after_act": "a page of runs was cancelled, or a run replayed, for a bulk action, and it is not counted yet",
    "claim.after_dequeue": "a run left the queue, and is not claimed yet",
    "claim.after_claim": "a run is claimed, and its executor was not told",
    "attempt.after_settle": "an outcome is stored, and the queue does not know",
    "wait.after_make": "what a run waits for is stored, and the run is not tied to it",
    "wait.before_block": "a run's slots are free, since it has not what it needs, and it is not blocked yet",
    "wait.after_block": "a run is blocked, and nobody looked once more whether it has what it needs",
    "wait.after_complete": "a waitpoint is completed, and no run was told",
    "ticking.before_commit": "ticks became runs, and nothing of it is committed",
    "ticking.after_store": "runs of ticks are stored, and not queued yet",
    "endings.after_store": "runs that call hooks of ends are stored, and not queued yet",
    "courier.after_send": "a message was sent to a webhook, and nobody has noted it",
    "freezing.after_upload": "an image is in the object store, and the database does not know",
    "freezing.after_suspend": "a run is suspended, and whether its wait is over was not looked at again",
    "freezing.after_continue": "a thawed run may go on, and its executor was not told",
    "scheduler.after_pop": "the dispatcher took a run from the queue",
    "scheduler.after_claim": "the run is promised to an executor that does not exist yet",
    "scheduler.before_place": "as before, right before its executor is placed",
    "scheduler.after_place": "the executor was placed",
    "nomad.before_dispatch": "the executor is written down, and nothing was asked of Nomad",
    "nomad.after_dispatch": "Nomad has the executor's job, and its id is not stored",
    "recovery.half_rebuilt": "slots are rebuilt, waiting runs are not",
}


class InjectedFault(Exception):
    """A fault point was told to raise."""


@dataclass(frozen=True, slots=True)
class _Fault:
    action: str
    probability: float
    argument: str


class _Switch:
    faults: dict[str, _Fault] | None = None
    random = random.Random()  # noqa: S311 - chance, not secrecy


def switch_on(plan: str) -> None:
    """Switches points on as the plan says; "" switches all off. `ValueError` for an unknown point or action."""
    found: dict[str, _Fault] = {}
    for part in filter(None, (piece.strip() for piece in plan.split(";"))):
        name, _, told = part.partition("=")
        if name == "seed":
            _Switch.random.seed(int(told))
            continue
        action, _, rest = told.partition(":")
        probability, _, argument = rest.partition(":")
        if name not in POINTS or action not in ("kill", "raise", "delay"):
            raise ValueError(f"no such fault: {part!r}")
        found[name] = _Fault(action, float(probability or 1), argument)
    _Switch.faults = found or None


def point(name: str) -> None:
    """A place where a fault may be injected."""
    if _Switch.faults is None:
        return
    fault = _Switch.faults.get(name)
    if fault is None or _Switch.random.random() >= fault.probability or not _first(fault.argument):
        return
    if fault.action == "kill":
        os._exit(137)
    if fault.action == "raise":
        raise InjectedFault(name)
    time.sleep(float(fault.argument or 100) / 1000)


def _first(argument: str) -> bool:
    """For `once=<file>`: whether the file was not there yet; it is now."""
    if not argument.startswith("once="):
        return True
    try:
        os.close(os.open(argument.removeprefix("once="), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return True
    except FileExistsError:
        return False
