"""What Nomad tells of executors, read out of its JSON: allocations and evaluations as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sojourn.nomad_jobs.spec import GROUP, TASK, child_of

_ALIVE = ("pending", "running", "unknown")


@dataclass(frozen=True, slots=True)
class Allocation:
    """`status` is the client's: pending, running, complete, failed, lost, unknown. `desired`: run, stop or evict.

    `exit_code` is negative for a signal, None where the task's process did not end, or Nomad
    lost sight of it. `failure` is Nomad's own text.
    """

    id: str
    job: str
    executor: str
    namespace: str
    node: str
    node_name: str
    status: str
    desired: str
    has_started: bool = False
    exit_code: int | None = None
    out_of_memory: bool = False
    failure: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether something of it may run, now or later."""
        return self.status in _ALIVE

    @property
    def is_wanted(self) -> bool:
        """Whether Nomad means it to run."""
        return self.desired == "run"


@dataclass(frozen=True, slots=True)
class Unplaced:
    """An evaluation found no node. `is_full`: there are nodes, but none has room now. `reason` is Nomad's."""

    job: str
    executor: str
    namespace: str
    is_full: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Nomad does not know the executor's job, or has others of its allocations and not its own."""

    executor: str
    reason: str = "its job is no longer known to Nomad"


Fact = Allocation | Unplaced | Gone


def of_event(payload: Mapping[str, Any]) -> Fact | None:
    """The fact that an event of the stream holds; None for what is no executor's, or says nothing."""
    if "Allocation" in payload:
        return allocation(payload["Allocation"])
    if "Evaluation" in payload:
        return unplaced(payload["Evaluation"])
    return None


def allocation(told: Mapping[str, Any]) -> Allocation | None:
    """An allocation as Nomad's API or an event has it; None for another job's."""
    names = child_of(told.get("JobID") or "")
    if names is None:
        return None
    state = (told.get("TaskStates") or {}).get(TASK) or {}
    events = state.get("Events") or ()
    end: Mapping[str, Any] = next((each for each in reversed(list(events)) if each.get("Type") == "Terminated"), {})
    return Allocation(
        id=told["ID"],
        job=told["JobID"],
        executor=names[1],
        namespace=told.get("Namespace") or "default",
        node=told.get("NodeID") or "",
        node_name=told.get("NodeName") or "",
        status=told.get("ClientStatus") or "pending",
        desired=told.get("DesiredStatus") or "run",
        has_started=bool(state.get("StartedAt")) or any(each.get("Type") == "Started" for each in events),
        exit_code=_exit_code(end) if end else None,
        out_of_memory=(end.get("Details") or {}).get("oom_killed") == "true",
        failure=_failure(events, told.get("ClientDescription") or ""),
    )


def unplaced(told: Mapping[str, Any]) -> Unplaced | None:
    """What an evaluation says of an executor for which there was no node; None for any other."""
    names = child_of(told.get("JobID") or "")
    metric = (told.get("FailedTGAllocs") or {}).get(GROUP)
    if names is None or metric is None or told.get("Status") not in ("blocked", "complete", "failed"):
        return None
    is_full = bool(metric.get("NodesExhausted")) or bool(metric.get("QuotaExhausted"))
    return Unplaced(told["JobID"], names[1], told.get("Namespace") or "default", is_full, reason_of(metric))


def reason_of(metric: Mapping[str, Any]) -> str:
    """Nomad's account of a placement that failed, in the words of `nomad job status`."""
    if not metric.get("NodesEvaluated"):
        return "no nodes were eligible for evaluation"
    told = [f"constraint {name!r} filtered {_nodes(count)}" for name, count in _sorted(metric.get("ConstraintFiltered"))]
    told += [f"class {name!r} filtered {_nodes(count)}" for name, count in _sorted(metric.get("ClassFiltered"))]
    told += [
        f"dimension {name!r} exhausted on {_nodes(count)}" for name, count in _sorted(metric.get("DimensionExhausted"))
    ]
    told += [f"quota limit hit {each!r}" for each in metric.get("QuotaExhausted") or ()]
    return "; ".join(told) or f"none of {_nodes(metric['NodesEvaluated'])} fits"


def _exit_code(end: Mapping[str, Any]) -> int | None:
    """Negative for a signal. None where Nomad lost sight of the process: it says -1 then, and no signal."""
    details = end.get("Details") or {}
    signal, code = _number(details.get("signal")), _number(details.get("exit_code"))
    if signal:
        return -signal
    return code if code >= 0 else None


def _failure(events: Iterable[Mapping[str, Any]], description: str) -> str:
    """The event that failed the task, else what the client says of the allocation."""
    for event in reversed(list(events)):
        if event.get("Type") in ("Driver Failure", "Setup Failure", "Failed Validation", "Failed Artifact Download"):
            return _line(event.get("DisplayMessage") or event["Type"])
    return _line(description)


def _line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:500]


def _sorted(counts: Mapping[str, int] | None) -> list[tuple[str, int]]:
    return sorted((counts or {}).items())


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _number(text: Any) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        return 0
