"""What answers hold: models for the OpenAPI page and for the tests that hold answers against them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    """Fields that are absent are left out, never null."""

    model_config = ConfigDict(extra="forbid")


class Issue(Reply):
    """One thing that is wrong with a request."""

    field: str
    message: str


class Refusal(Reply):
    """Every answer that is no success."""

    error: str
    code: str = Field(description="Stable; docs/errors.md lists them.")
    field: str | None = Field(default=None, description="What in the request is meant.")
    nextStep: str | None = Field(default=None, description="What to do about it.")
    details: list[Issue] | None = None
    requestId: str | None = Field(default=None, description="Of an internal error: where the server's log has its cause.")


class TriggeredReply(Reply):
    """`isCached`: an idempotency key led to a run that was there before."""

    id: str
    isCached: bool


class IdReply(Reply):
    """An id."""

    id: str


class QueueName(Reply):
    """A queue."""

    name: str


class EnvironmentName(Reply):
    """An environment; `name` is its slug."""

    id: str
    name: str


class FlatError(Reply):
    """A run's error. An error of the platform's own begins with its code."""

    message: str
    name: str | None = None
    stackTrace: str | None = None


class RunFields(Reply):
    """What every view of a run has."""

    id: str
    status: str
    taskIdentifier: str
    idempotencyKey: str | None = None
    version: str | None = None
    ttl: str | None = None
    isQueued: bool
    isExecuting: bool
    isWaiting: bool
    isCompleted: bool = Field(description="It is over, whichever way; expired and timed out count.")
    isSuccess: bool
    isFailed: bool = Field(description="It is over and did not succeed.")
    isCancelled: bool
    isTest: bool
    createdAt: datetime
    updatedAt: datetime
    startedAt: datetime | None = None
    finishedAt: datetime | None = None
    delayedUntil: datetime | None = None
    expiredAt: datetime | None = None
    tags: list[str]
    costInCents: float
    baseCostInCents: float
    durationMs: int
    metadata: dict[str, Any] | None = None
    depth: int


class RunItem(RunFields):
    """A run in a list."""

    taskKind: str
    queue: QueueName
    machine: str
    region: str
    env: EnvironmentName


class RelatedRun(RunFields):
    """A run that another one is related to."""

    triggerFunction: str


class RelatedRuns(Reply):
    """A run's relatives."""

    root: RelatedRun | None = None
    parent: RelatedRun | None = None
    children: list[RelatedRun] | None = None


class ExecutorName(Reply):
    """The executor that a run was last given to; on a cluster, with what Nomad calls its job, allocation and node.

    `isolation`: sandbox, sandbox-host-network, exec or docker (the driver's own), none.
    """

    id: str
    cluster: str | None = None
    namespace: str | None = None
    jobId: str | None = None
    allocationId: str | None = None
    nodeId: str | None = None
    nodeName: str | None = None
    isolation: str | None = None


class RunReply(RunFields):
    """A run. `output` where it completed, `error` where it ended otherwise."""

    triggerFunction: str
    queue: QueueName
    machine: str
    region: str
    relatedRuns: RelatedRuns
    attemptCount: int
    executor: ExecutorName | None = None
    payload: Any = None
    output: Any = None
    error: FlatError | None = None


class Pagination(Reply):
    """Cursors to go on from; absent at the ends of the list."""

    next: str | None = None
    previous: str | None = None


class RunsReply(Reply):
    """A page of runs, newest first."""

    data: list[RunItem]
    pagination: Pagination


class Usage(Reply):
    """Time in attempts."""

    durationMs: int


class ResultReply(Reply):
    """How a run ended. `output` is the text of type `outputType`; `error` is as the executor gave it."""

    ok: bool
    id: str
    taskIdentifier: str
    output: str | None = None
    outputType: str | None = None
    error: dict[str, Any] | None = None
    usage: Usage


class LogLine(Reply):
    """A log line; `n` orders those of an attempt."""

    attempt: int
    n: int
    at: datetime
    stream: str
    level: str
    message: str
    properties: dict[str, Any] | None = None


class LogsReply(Reply):
    """Log lines; `next` goes on after the last of them and is absent where there were none."""

    lines: list[LogLine]
    next: str | None = None


class SnapshotItem(Reply):
    """One row of a run's history."""

    seq: int
    event: str
    status: str
    runStatus: str
    attempt: int
    executor: str | None = None
    warmStart: bool | None = None
    error: FlatError | None = None
    description: str | None = None
    createdAt: datetime


class AttemptItem(Reply):
    """One try of a run; `outcome` is the event that ended it."""

    number: int
    startedAt: datetime
    endedAt: datetime | None = None
    outcome: str | None = None
    error: FlatError | None = None
    executor: str | None = None
    warmStart: bool | None = None


class TimelineReply(Reply):
    """A run's history, oldest first, and its attempts."""

    id: str
    snapshots: list[SnapshotItem]
    attempts: list[AttemptItem]


class DeployedReply(Reply):
    """`isCached`: the same content was current already."""

    id: str
    version: str
    contentHash: str
    tasks: list[str]
    isCached: bool


class TaskItem(Reply):
    """A task of a version."""

    id: str
    file: str
    export: str
    description: str | None = None
    queue: QueueName
    machine: str
    retry: dict[str, Any]
    maxDuration: int | None = None
    ttl: int | None = None
    payloadSchema: dict[str, Any] | None = None


class DeploymentReply(Reply):
    """The current version."""

    id: str
    status: str
    version: str
    shortCode: str
    contentHash: str
    runtime: str
    runtimeVersion: str
    sdkVersion: str
    image: str | None = None
    createdAt: datetime
    deployedAt: datetime
    tasks: list[TaskItem]


class LiveReply(Reply):
    """The process answers."""

    status: str


class ReadyReply(Reply):
    """Each part: `ok` or `unavailable`."""

    status: str
    parts: dict[str, str]


class CompletionReply(Reply):
    """What became of the run: RUN_FINISHED, RUN_PENDING_CANCEL, RETRY_QUEUED, RETRY_IMMEDIATELY or STALE."""

    result: str
    snapshot: int | None = None
    retryAt: datetime | None = None
    retryInMs: int | None = None


class IdentityReply(Reply):
    """An executor's credential, and the settings of its shim by their names there."""

    credential: str
    settings: dict[str, Any]


class NextReply(Reply):
    """`work` or `leave`, or neither: ask again."""

    completion: CompletionReply | None = None
    work: dict[str, Any] | None = None
    leave: str | None = None


class WorkReply(Reply):
    """An attempt to carry out."""

    work: dict[str, Any]


class BeatReply(Reply):
    """`continue`, `cancel` (from `snapshot` on) or `stop`."""

    state: str
    snapshot: int | None = None


class EmptyReply(Reply):
    """Nothing."""
