"""Runs: what is asked of them, and what is told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.lists import Each, Listed, PageQuery, Pagination, Word
from sojourn.control_plane.api.models.shape import PLAIN, EnvironmentName, Query, QueueName, Reply, Strict
from sojourn.control_plane.api.models.texts import DurationOrDate, MachineName, Tag
from sojourn.control_plane.api.present.statuses import STATUS_WORDS


class RescheduleBody(Strict):
    """When the run is to start instead."""

    delay: DurationOrDate = Field(description='A duration from now ("1h30m") or an ISO date; a past date is at once.')


class TagsBody(Strict):
    """Tags to add."""

    tags: Tag | list[Tag] = Field(description="A run has at most 10; blank ones are dropped.")


_Statuses = (
    Annotated[Word, patterns.listed(STATUS_WORDS)]
    | Annotated[list[Annotated[Word, patterns.one_listed(STATUS_WORDS)]], Each]
)
_Machines = (
    Annotated[Word, patterns.listed(get_args(MachineName))]
    | Annotated[list[Annotated[Word, patterns.one_listed(get_args(MachineName))]], Each]
)


class RunsQuery(PageQuery):
    """Which runs: any of several values of one filter fits.

    Commas separate values; a parameter that is sent more than once has one value each time, whatever is in it.
    """

    status: _Statuses | None = Field(default=None, alias="filter[status]", description="Of either vocabulary.")
    task: Listed | None = Field(default=None, alias="filter[taskIdentifier]")
    version: Listed | None = Field(default=None, alias="filter[version]")
    tag: Listed | None = Field(default=None, alias="filter[tag]")
    queue: Listed | None = Field(default=None, alias="filter[queue]", description="A task's own queue is `task/<id>`.")
    machine: _Machines | None = Field(default=None, alias="filter[machine]")
    region: Listed | None = Field(default=None, alias="filter[region]")
    batch: Listed | None = Field(default=None, alias="filter[batch]")
    is_test: Literal["true", "false"] | None = Field(default=None, alias="filter[isTest]")
    hooks: Literal["true", "false"] | None = Field(
        default=None, alias="filter[hooks]", description="Runs that call hooks of others; else they are left out."
    )
    schedule: Listed | None = Field(default=None, alias="filter[schedule]")
    bulk_action: Listed | None = Field(
        default=None, alias="filter[bulkAction]", description="Runs that a bulk action has cancelled, or made."
    )
    error: Listed | None = Field(
        default=None, alias="filter[error]", description="Code, name or type of the error that a run ended with."
    )


class ProjectRunsQuery(RunsQuery):
    """Which runs, of which of the project's environments."""

    env: Listed | None = Field(default=None, alias="filter[env]", description="A slug; of several the first counts.")
    hooks: Literal["true", "false"] | None = Field(
        default=None, alias="filter[hooks]", description="Runs that call hooks of others; else they are left out."
    )


class ResultQuery(Query):
    """How long to wait."""

    wait: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = Field(
        default=0, description="Seconds to wait for the run to end."
    )


class LogsQuery(Query):
    """Where to go on."""

    after: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}$")] | None = Field(
        default=None, description="The `next` of the page before."
    )
    limit: Annotated[int, Field(ge=1, le=1000), PLAIN] = 500


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
    batchId: str | None = None


class RelatedRuns(Reply):
    """A run's relatives. `hook` calls the hooks of the run's end; `hookOf`: the run whose end this one tells."""

    root: RelatedRun | None = None
    parent: RelatedRun | None = None
    children: list[RelatedRun] | None = None
    hook: RelatedRun | None = None
    hookOf: RelatedRun | None = None


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


class WaitItem(Reply):
    """What a run waits for, or waited for: `kind` is date, token or run; `run`: the one that is waited for.

    `status`: WAITING, COMPLETED or TIMED_OUT; `until`: a date, or a token's time-out; `doneAt`: when it was over.
    """

    key: str = Field(description="The attempt, and the wait's number in it.")
    attempt: int
    kind: str
    waitpoint: str
    run: str | None = None
    status: str
    since: datetime
    until: datetime | None = None
    doneAt: datetime | None = None


class WaitingFor(Reply):
    """What a run needs to go on: `any` or `all` of its waits, of which 200 are shown."""

    need: str
    waits: list[WaitItem]


class ScheduleGenerator(Reply):
    """What names a schedule's ticks; `description` in words."""

    type: str
    expression: str
    description: str


class ScheduleOfRun(Reply):
    """The schedule that made a run, while there is one."""

    id: str
    externalId: str | None = None
    deduplicationKey: str | None = None
    generator: ScheduleGenerator


class RunReply(RunFields):
    """A run. `output` where it completed, `error` where it ended otherwise.

    `waitingFor`: while it stands still, in memory or frozen.

    `aliveReason`: why it waits in memory, where it would be frozen; `frozenMs`: how long it was frozen in all.
    """

    triggerFunction: str
    batchId: str | None = None
    queue: QueueName
    machine: str
    region: str
    relatedRuns: RelatedRuns
    attemptCount: int
    waitingFor: WaitingFor | None = None
    aliveReason: str | None = None
    frozenMs: int | None = None
    executor: ExecutorName | None = None
    schedule: ScheduleOfRun | None = None
    bulkActionIds: list[str] | None = Field(default=None, description="Bulk actions that have cancelled or made it.")
    payload: Any = None
    payloadPresignedUrl: str | None = Field(default=None, description="For an hour, in place of a large `payload`.")
    output: Any = None
    outputPresignedUrl: str | None = Field(default=None, description="For an hour, in place of a large `output`.")
    error: FlatError | None = None


class RunsReply(Reply):
    """A page of runs, newest first. Short or empty, it has a `next` as long as there may be more."""

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


class CheckpointItem(Reply):
    """A time that a run was frozen: its process's bytes, those in the object store, how long each step took."""

    id: str
    attempt: int
    snapshot: int
    nodeType: str
    imageBytes: int | None = None
    storedBytes: int | None = None
    freezeMs: int | None = None
    storeMs: int | None = None
    thawMs: int | None = None
    frozenAt: datetime
    thawedAt: datetime | None = None


class HookItem(Reply):
    """The run that calls the `on_end` hooks of a run that has ended."""

    id: str
    status: str
    attempts: int
    error: FlatError | None = None
    createdAt: datetime
    finishedAt: datetime | None = None


class TimelineReply(Reply):
    """A run's history, oldest first, its attempts, and the newest of its waits and freezes, 200 of each.

    `hook`: where its task has hooks of ends, and it has ended.
    """

    id: str
    snapshots: list[SnapshotItem]
    attempts: list[AttemptItem]
    checkpoints: list[CheckpointItem]
    waits: list[WaitItem]
    hook: HookItem | None = None


class CauseItem(Reply):
    """One thing that keeps a run.

    `reason`: PAUSED, LIMIT_REACHED, RATE_REACHED, NO_CAPACITY, STARTING, NO_VERSION, DELAYED, RETRY_LATER, WAITPOINTS,
    NOT_INDEXED.
    `scope`: whose pause, limit or rate: key, queue, environment or organization. `held`: slots in use, `heldBy`: up to 10
    of the environment's runs that use them. `ahead`: runs of its own line that go first. `waits`: up to 200 waits, of
    which it needs `need`.
    """

    reason: str
    message: str
    nextStep: str | None = Field(default=None, description="What to do, where waiting alone does not help.")
    scope: str | None = None
    limit: int | None = None
    held: int | None = None
    heldBy: list[str] | None = None
    until: datetime | None = None
    ahead: int | None = None
    need: str | None = None
    waits: list[WaitItem] | None = None


class WhyReply(Reply):
    """What keeps a run now; nothing for one that runs or is over."""

    id: str
    status: str
    isWaiting: bool
    reasons: list[CauseItem]


class MessageReply(Reply):
    """What was done, for people."""

    message: str
