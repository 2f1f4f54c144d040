"""A run as spans: itself, its attempts, its waits, its log lines and the runs below it. Pure; made of what the store has.

A span's id is a hash of what it stands for, so that it is the same whenever and wherever it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.present.results import flat_error
from sojourn.control_plane.api.present.statuses import status_word
from sojourn.control_plane.domain.lifecycle import Event, is_final
from sojourn.control_plane.store.records import Attempt, Run, Snapshot, Wait
from sojourn.control_plane.telemetry.logs import Line
from sojourn.sdk.protocol import RunStatus

#: Levels of a tree of spans.
MAX_LEVELS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN_CHARS, _TRACE_CHARS = 16, 32
_WAITS_FOR = {"date": "wait until a date", "token": "wait for a token", "run": "wait for a run"}
_ICONS = {"run": "task", "attempt": "attempt", "wait": "wait", "log": "log"}


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time, or, a log line, none. `kind`: run, attempt, wait or log; `end` is None while it goes on."""

    id: str
    parent: str | None
    run_id: str
    task: str
    kind: str
    message: str
    start: datetime
    end: datetime | None
    level: str = "TRACE"
    attempt: int | None = None
    is_error: bool = False
    is_cancelled: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()

    @property
    def nanoseconds(self) -> int:
        """How long it took; 0 while it goes on."""
        return 0 if self.end is None else max((self.end - self.start) // timedelta(microseconds=1), 0) * 1000


def trace_id(run: Run) -> str:
    """The same for all runs below one root."""
    return _hash(f"trace {run.root_run_id or run.id}")[:_TRACE_CHARS]


def run_span_id(run_id: str) -> str:
    """The span that stands for all of a run."""
    return _hash(f"run {run_id}")[:_SPAN_CHARS]


def spans_of(
    run: Run,
    version: str | None,
    history: Sequence[Snapshot],
    attempts: Sequence[Attempt],
    waits: Sequence[Wait],
    lines: Sequence[Line],
    below: Sequence[Run],
) -> list[Span]:
    """A run's spans, its own first, each after its parent. `below`: the runs that it has led to, each after its parent."""
    root = _of_run(run, version, run.parent_run_id and run_span_id(run.parent_run_id), history)
    tries = [_of_attempt(run, place, each, root.id) for place, each in enumerate(attempts)]
    by_number = {each.attempt: each.id for each in tries}
    spans = [root, *tries]
    spans += [_of_wait(run, each, by_number.get(each.attempt, root.id)) for each in waits]
    spans += [_of_line(run, each, by_number.get(each.attempt, root.id)) for each in lines]
    for each in below:
        assert each.parent_run_id
        parent = _at(tries, each.created_at) if each.parent_run_id == run.id else run_span_id(each.parent_run_id)
        spans.append(_of_run(each, None, parent or root.id, ()))
    return spans


def event(span: Span) -> dict[str, Any]:
    """A span as one of a run's events. Here null stands for what is not there, as clients expect it."""
    return {
        "spanId": span.id,
        "parentId": span.parent,
        "runId": span.run_id,
        "message": span.message,
        "startTime": str((span.start - _EPOCH) // timedelta(microseconds=1) * 1000),
        "duration": span.nanoseconds,
        "isError": span.is_error,
        "isPartial": span.end is None,
        "isCancelled": span.is_cancelled,
        "level": span.level,
        "kind": "LOG" if span.kind == "log" else "INTERNAL",
        "attemptNumber": span.attempt,
        "taskSlug": span.task,
        "events": list(span.events),
        "style": {"icon": _ICONS[span.kind]},
    }


def trace(run: Run, spans: Sequence[Span]) -> dict[str, Any]:
    """A run's spans as a tree, down to `MAX_LEVELS`: neither JSON's writers nor its readers go down without end."""
    nodes: dict[str, dict[str, Any]] = {}
    levels: dict[str, int] = {}
    for span in spans:
        level = levels.get(span.parent or "", 0) + 1
        if level > MAX_LEVELS:
            continue
        levels[span.id], node = level, _node(span)
        nodes[span.id] = node
        if span.parent in nodes:
            nodes[span.parent]["children"].append(node)
    return {"traceId": trace_id(run), "rootSpan": nodes[spans[0].id]}


def detail(span: Span, spans: Iterable[Span], below: Iterable[Run], current: bool) -> dict[str, Any]:
    """A span by itself, with the runs that were triggered in it. Here null stands for no parent."""
    inside = {each.run_id for each in spans if each.parent == span.id and each.kind == "run"}
    triggered = [
        {
            "runId": each.id,
            "taskIdentifier": each.task,
            "status": status_word(each.status, current),
            "createdAt": timestamp(each.created_at),
        }
        for each in below
        if each.id in inside
    ]
    wire: dict[str, Any] = {
        "spanId": span.id,
        "parentId": span.parent,
        "runId": span.run_id,
        "message": span.message,
        "isError": span.is_error,
        "isPartial": span.end is None,
        "isCancelled": span.is_cancelled,
        "level": span.level,
        "startTime": timestamp(span.start),
        "durationMs": span.nanoseconds / 1_000_000,
        "entityType": span.kind,
    }
    told = {"properties": dict(span.properties), "events": list(span.events), "triggeredRuns": triggered}
    return wire | {name: value for name, value in told.items() if value}


def _of_run(run: Run, version: str | None, parent: str | None, history: Sequence[Snapshot]) -> Span:
    over = is_final(run.status)
    told = {"version": version, "queue": run.queue, "machine": run.machine, "region": run.region, "status": run.status}
    return Span(
        id=run_span_id(run.id),
        parent=parent or None,
        run_id=run.id,
        task=run.task,
        kind="run",
        message=run.task,
        start=run.created_at,
        end=run.finished_at,
        is_error=over and run.status not in (RunStatus.COMPLETED, RunStatus.CANCELED),
        is_cancelled=run.status == RunStatus.CANCELED,
        properties=given(told),
        events=[_moved(row) for row in history],
    )


def _of_attempt(run: Run, place: int, attempt: Attempt, root: str) -> Span:
    end = attempt.ended_at or run.finished_at
    cancelled = attempt.outcome in (Event.CANCEL_ACKNOWLEDGED, None) and run.status == RunStatus.CANCELED
    told: dict[str, Any] = {"executor": attempt.executor_id, "warmStart": attempt.warm, "outcome": attempt.outcome}
    error = attempt.error and flat_error(attempt.error)
    return Span(
        id=_hash(f"attempt {run.id} {place}")[:_SPAN_CHARS],
        parent=root,
        run_id=run.id,
        task=run.task,
        kind="attempt",
        message=f"Attempt {attempt.number}",
        start=attempt.started_at,
        end=end,
        attempt=attempt.number,
        is_error=attempt.outcome in (Event.FAIL, Event.RETRY_NOW, Event.RETRY_LATER),
        is_cancelled=cancelled,
        properties=given(told | {"error": error}),
    )


def _of_wait(run: Run, wait: Wait, parent: str) -> Span:
    told = {"waitpoint": wait.id, "run": wait.run_id, "until": wait.due_at and timestamp(wait.due_at)}
    return Span(
        id=_hash(f"wait {run.id} {wait.key}")[:_SPAN_CHARS],
        parent=parent,
        run_id=run.id,
        task=run.task,
        kind="wait",
        message=_WAITS_FOR.get(wait.kind, f"wait for a {wait.kind}"),
        start=wait.created_at,
        # What was over when it was waited for took no time; what a run's end broke off ended with it.
        end=max(wait.completed_at, wait.created_at) if wait.completed_at else run.finished_at,
        attempt=wait.attempt,
        is_error=wait.kind == "token" and wait.is_error,
        is_cancelled=wait.completed_at is None and run.finished_at is not None,
        properties=given(told),
    )


def _of_line(run: Run, line: Line, parent: str) -> Span:
    return Span(
        id=_hash(f"line {run.id} {line.attempt} {line.n}")[:_SPAN_CHARS],
        parent=parent,
        run_id=run.id,
        task=run.task,
        kind="log",
        message=line.message,
        start=line.at,
        end=line.at,
        level=line.level,
        attempt=line.attempt,
        is_error=line.level == "ERROR",
        properties=line.properties or {},
    )


def _moved(row: Snapshot) -> dict[str, Any]:
    told = {"status": row.status, "description": row.description}
    return {
        "name": row.event,
        "time": timestamp(row.created_at),
        "properties": given(told),
    }


def _node(span: Span) -> dict[str, Any]:
    """A span of a tree. What has none has no `parentId`."""
    properties = dict(span.properties)
    data = {
        "message": span.message,
        "taskSlug": span.task,
        "startTime": timestamp(span.start),
        "duration": span.nanoseconds,
        "isError": span.is_error,
        "isPartial": span.end is None,
        "isCancelled": span.is_cancelled,
        "level": span.level,
        "events": list(span.events) or None,
        "workerVersion": properties.get("version") if span.kind == "run" else None,
        "queueName": properties.get("queue") if span.kind == "run" else None,
        "machinePreset": properties.get("machine") if span.kind == "run" else None,
        "properties": properties or None,
    }
    node: dict[str, Any] = {"id": span.id, "runId": span.run_id}
    if span.parent is not None:
        node["parentId"] = span.parent
    node["data"] = given(data)
    node["children"] = []
    return node


def _at(attempts: Sequence[Span], moment: datetime) -> str | None:
    """The attempt that a moment is in."""
    within = [each.id for each in attempts if each.start <= moment and (each.end is None or moment <= each.end)]
    return within[-1] if within else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
