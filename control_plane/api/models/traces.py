"""What happened in a run: events, spans."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sojourn.control_plane.api.models.shape import Reply


class SpanEvent(Reply):
    """Something that happened at a moment of a span."""

    name: str
    time: datetime
    properties: dict[str, Any]


class SpanStyle(Reply):
    """How a span is shown."""

    icon: str


class RunEvent(Reply):
    """A span of a run; times in ns. `parentId` and `attemptNumber` may be null."""

    spanId: str
    parentId: str | None
    runId: str
    message: str
    startTime: str
    duration: int
    isError: bool
    isPartial: bool
    isCancelled: bool
    level: str
    kind: str
    attemptNumber: int | None
    taskSlug: str
    events: list[SpanEvent]
    style: SpanStyle


class RunEventsReply(Reply):
    """A run, its attempts, waits, log lines and the runs below it, in the order of their beginning."""

    events: list[RunEvent]


class SpanData(Reply):
    """What a span tells; `duration` in ns, 0 while it goes on (`isPartial`)."""

    message: str
    taskSlug: str
    startTime: datetime
    duration: int
    isError: bool
    isPartial: bool
    isCancelled: bool
    level: str
    events: list[SpanEvent] | None = None
    workerVersion: str | None = None
    queueName: str | None = None
    machinePreset: str | None = None
    properties: dict[str, Any] | None = None


class TraceSpan(Reply):
    """A span with those inside it."""

    id: str
    parentId: str | None = None
    runId: str
    data: SpanData
    children: list[TraceSpan]


class RunTrace(Reply):
    """The same `traceId` for all runs below one root."""

    traceId: str
    rootSpan: TraceSpan


class TraceReply(Reply):
    """A run as a tree of spans."""

    trace: RunTrace


class TriggeredRun(Reply):
    """A run that was triggered in a span."""

    runId: str
    taskIdentifier: str
    status: str
    createdAt: datetime


class SpanReply(Reply):
    """A span by itself. `parentId` may be null; `entityType`: run, attempt, wait or log."""

    spanId: str
    parentId: str | None
    runId: str
    message: str
    isError: bool
    isPartial: bool
    isCancelled: bool
    level: str
    startTime: datetime
    durationMs: float
    entityType: str
    properties: dict[str, Any] | None = None
    events: list[SpanEvent] | None = None
    triggeredRuns: list[TriggeredRun] | None = None
