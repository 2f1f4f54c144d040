"""What answers hold: models for the OpenAPI page and for the tests that hold answers against them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel


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
    param: str | None = Field(default=None, description="Of a scope that is missing: `access_token`.")
    type: str | None = Field(default=None, description="Of a scope that is missing: `authorization`; of 429: an address.")
    deniedScopes: list[str] | None = Field(default=None, description="Scopes that the caller's own key lacks.")
    title: str | None = None
    status: int | None = None
    detail: str | None = None
    reset: int | None = Field(default=None, description="Of 429: when a call is let in again, in ms since the epoch.")
    limit: int | None = Field(default=None, description="Of 429: how many calls are let in at once.")
    remaining: int | None = None
    secondsUntilReset: int | None = None


class TriggeredReply(Reply):
    """`isCached`: an idempotency key, or a debounce key, led to a run that was there before."""

    id: str
    isCached: bool


class AddressReply(Reply):
    """An address that proves itself, for an hour."""

    presignedUrl: str


class UploadReply(AddressReply):
    """Where to PUT the payload; `storagePath` is what to trigger with."""

    storagePath: str


class WrittenReply(Reply):
    """How much was stored."""

    bytes: int


class LogsTakenReply(Reply):
    """Why changes of metadata were not made."""

    refused: list[str] | None = None


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


class Pagination(Reply):
    """Cursors to go on from; absent at the ends of the list."""

    next: str | None = None
    previous: str | None = None


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


class TokenMadeReply(Reply):
    """`url`: a POST to it completes the token, without a key. `isCached`: an idempotency key led to one that was there."""

    id: str
    isCached: bool
    url: str


class TokenItem(Reply):
    """A token. `status`: WAITING, COMPLETED or TIMED_OUT; `timeoutAt`, also `completedAfter`: how long it is waited for."""

    id: str
    url: str = Field(description="A POST to it completes the token; empty for whoever may only read it.")
    status: str
    completedAt: datetime | None = None
    completedAfter: datetime | None = None
    timeoutAt: datetime | None = None
    idempotencyKey: str | None = None
    idempotencyKeyExpiresAt: datetime | None = None
    tags: list[str]
    createdAt: datetime


class TokenReply(TokenItem):
    """A token with the text, of that type, that it was completed with; `outputIsError`: it ran out of time."""

    output: str | None = None
    outputType: str | None = None
    outputIsError: bool | None = None


class TokensReply(Reply):
    """A page of tokens, newest first."""

    data: list[TokenItem]
    pagination: Pagination


class BatchMadeReply(Reply):
    """A batch. `isCached`: an idempotency key led to one that has all its items; else they are to be sent now."""

    id: str
    runCount: int
    isCached: bool
    idempotencyKey: str | None = None


class BatchTriggeredReply(Reply):
    """A batch whose items are all there."""

    id: str
    runCount: int


class BatchedRunItem(Reply):
    """A run of a batch. `isCached`: its idempotency key led to one that was there before."""

    id: str
    taskIdentifier: str
    isCached: bool
    idempotencyKey: str | None = None


class BatchOfRunsReply(Reply):
    """A batch with its runs, in the order of its items."""

    id: str
    isCached: bool
    idempotencyKey: str | None = None
    runs: list[BatchedRunItem]


class TaskBatchReply(Reply):
    """A batch with the ids of its runs, in the order of its items."""

    batchId: str
    runs: list[str]


class BatchFilledReply(Reply):
    """`sealed`: all items are there; else `enqueuedCount` of `expectedCount` are. Sending all again is safe."""

    id: str
    itemsAccepted: int
    itemsDeduplicated: int
    sealed: bool
    enqueuedCount: int | None = None
    expectedCount: int | None = None


class BatchFlaw(Reply):
    """An item that could not be triggered: its run failed with this error."""

    index: int
    taskIdentifier: str
    error: str
    errorCode: str


class BatchFields(Reply):
    """What every view of a batch has: `runs`, in the order of its items, and how many of all are over. `next`: there are
    more, see `after`.

    `status`: PENDING until all items are there, then PROCESSING, PARTIAL_FAILED if some could not be triggered, COMPLETED
    when every run is over; ABORTED if items were missing for too long, or none could be triggered.
    """

    id: str
    status: str
    idempotencyKey: str | None = None
    createdAt: datetime
    updatedAt: datetime
    completedAt: datetime | None = None
    runCount: int
    finishedRunCount: int
    runs: list[str]
    next: int | None = None


class BatchProcessing(Reply):
    """When the last item was there, and the first 1000 that could not be triggered."""

    completedAt: datetime | None = None
    errors: list[BatchFlaw]


class BatchReply(BatchFields):
    """A batch."""

    processing: BatchProcessing


class BatchCountedReply(BatchFields):
    """A batch: how many of its items could be triggered so far, and how many could not."""

    successfulRunCount: int
    failedRunCount: int
    errors: list[BatchFlaw] | None = None


class BatchResultsReply(Reply):
    """How runs ended, those that are over, in the order of the items. `next`: there are more, see `after`."""

    id: str
    items: list[ResultReply]
    next: int | None = None


class SuccessReply(Reply):
    """It is as was asked."""

    success: bool


class ImportedReply(SuccessReply):
    """What became of variables that were set together."""

    created: int
    updated: int = Field(description="They were there, and have the new value, be it the old one.")
    kept: list[str] = Field(description="Names that were there, and have kept their value without `override`.")


class ScheduleEnvironment(Reply):
    """Where a schedule's runs go."""

    id: str
    type: str


class ScheduleReply(Reply):
    """A schedule. `nextRun`: its next tick; `nextRunEffectiveAt`: when that fires, which a window makes later. It is absent
    where the tick waits for a run to be over.

    `lastRun`: the newest tick that became a run. `deduplicationKey`: only where it was given.
    """

    id: str
    type: str
    task: str
    active: bool
    deduplicationKey: str | None = None
    externalId: str | None = None
    generator: ScheduleGenerator
    timezone: str
    window: str | None = None
    overlap: str
    catchUp: str
    nextRun: datetime | None = None
    nextRunEffectiveAt: datetime | None = None
    lastRun: datetime | None = None
    environments: list[ScheduleEnvironment]


class NumberedPages(Reply):
    """Where a page is among others."""

    currentPage: int
    totalPages: int
    count: int


class SchedulesReply(Reply):
    """A page of schedules, newest first."""

    data: list[ScheduleReply]
    pagination: NumberedPages


class WebhookReply(Reply):
    """A webhook. `tasks`: absent for all. `failures`: attempts that failed in a row."""

    id: str
    url: str
    description: str | None = None
    events: list[str]
    tasks: list[str] | None = None
    enabled: bool
    disabledAt: datetime | None = None
    disabledReason: str | None = None
    failures: int
    failingSince: datetime | None = None
    previousSecretUntil: datetime | None = None
    createdAt: datetime
    updatedAt: datetime


class WebhookSecretReply(WebhookReply):
    """A webhook with its new secret, which is shown this once."""

    secret: str


class WebhooksReply(Reply):
    """A page of webhooks, newest first."""

    data: list[WebhookReply]
    pagination: NumberedPages


class DeliveryReply(Reply):
    """A message to a webhook. `responseStatus` and `error`: of its last attempt; `nextAttemptAt`: while it is PENDING."""

    id: str
    run: str | None = Field(default=None, description="Absent of a test message.")
    event: str
    status: str
    attempts: int
    responseStatus: int | None = None
    error: str | None = None
    createdAt: datetime
    attemptedAt: datetime | None = None
    deliveredAt: datetime | None = None
    nextAttemptAt: datetime | None = None


class DeliveriesReply(Reply):
    """A page of messages, newest first."""

    data: list[DeliveryReply]
    pagination: NumberedPages


class BackfilledReply(Reply):
    """How many ticks there are in that time, and for how many of them a run was made now; the others had theirs."""

    ticks: int
    created: int


class TimezonesReply(Reply):
    """IANA names, UTC first."""

    timezones: list[str]


class PageNumbers(Reply):
    """Where a page stands in a list that is counted."""

    currentPage: int
    totalPages: int
    count: int


class QueueConcurrency(Reply):
    """The limit that holds, the declared one and the one that is in its place; null is none of its own."""

    current: int | None
    base: int | None
    override: int | None
    overriddenAt: datetime | None
    overriddenBy: str | None = Field(description="Always null: a key says nothing of who holds it.")


class RateItem(Reply):
    """`limit` runs may start in each `period`, `burst` of them at once."""

    limit: int
    period: str
    burst: int


class QueueKeyItem(Reply):
    """A concurrency key with a limit or a rate of its own; null or absent: what each key of the queue has."""

    concurrencyKey: str
    concurrencyLimit: int | None
    concurrencyLimitOverridePercent: float | None = None
    overriddenAt: datetime | None = None
    rate: RateItem | None = None


class QueueReply(Reply):
    """A queue. `type`: `task` for a task's own, else `custom`; `name` without `task/`.

    `running`: runs that hold slots; `queued`: runs that wait for them. `concurrencyLimit` null: the environment's.
    `rate`, `keyRate`: how many runs of it, and of each concurrency key, may start; absent: as many as there are.
    `keys`: those with something of their own, by their names; absent where there are none, and in lists.
    """

    id: str
    name: str
    type: str
    running: int
    queued: int
    paused: bool
    concurrencyLimit: int | None
    concurrency: QueueConcurrency
    concurrencyLimitOverridePercent: float | None = None
    rate: RateItem | None = None
    keyRate: RateItem | None = None
    keys: list[QueueKeyItem] | None = None
    releaseConcurrencyOnWaitpoint: bool


class QueuesReply(Reply):
    """A page of queues, by their names."""

    data: list[QueueReply]
    pagination: PageNumbers


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


class MetadataReply(Reply):
    """A run's metadata; without any, an empty object."""

    metadata: dict[str, Any]


class MessageReply(Reply):
    """What was done, for people."""

    message: str


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
    freeze: bool | None = None
    schedule: dict[str, Any] | None = None


class DeploymentReply(Reply):
    """The current version."""

    id: str
    status: str
    version: str
    shortCode: str
    isCurrent: bool
    contentHash: str
    runtime: str
    runtimeVersion: str
    sdkVersion: str
    image: str | None = None
    externalId: str | None = None
    createdAt: datetime
    deployedAt: datetime
    tasks: list[TaskItem]


class DeploymentItem(Reply):
    """A version in a list."""

    id: str
    status: str
    version: str
    shortCode: str
    isCurrent: bool = Field(description="New runs start on it.")
    runtime: str
    runtimeVersion: str
    createdAt: datetime
    deployedAt: datetime


class DeploymentsReply(Reply):
    """A page of versions, newest first."""

    data: list[DeploymentItem]
    pagination: Pagination


class WorkerTask(Reply):
    """A task of a version."""

    id: str
    slug: str
    filePath: str
    exportName: str


class DeployedWorker(Reply):
    """What a version brought."""

    id: str
    version: str
    tasks: list[WorkerTask]


class DeploymentDetailReply(Reply):
    """A version by itself."""

    id: str
    status: str
    contentHash: str
    shortCode: str
    version: str
    imageReference: str | None = None
    imagePlatform: str
    worker: DeployedWorker


class PromotedReply(Reply):
    """The version that is current now."""

    id: str
    version: str
    shortCode: str


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


class BulkCounts(Reply):
    """Runs: all that there are to act on, 0 until they are counted; those that were acted on; those that could not be."""

    total: int
    success: int
    failure: int


class BulkActionReply(Reply):
    """How far a bulk action has come. `type`: CANCEL or REPLAY; `status`: PENDING, COMPLETED or ABORTED."""

    id: str
    name: str | None = None
    type: str
    status: str
    counts: BulkCounts
    createdAt: datetime
    completedAt: datetime | None = None


class BulkActionsReply(Reply):
    """A page of bulk actions, newest first."""

    data: list[BulkActionReply]
    pagination: Pagination


class VariableReply(Reply):
    """A variable; the value of a secret reads `<redacted>`."""

    name: str
    value: str
    isSecret: bool


class VariablesReply(RootModel[list[VariableReply]]):
    """Variables by their names."""


class ResolvedReply(Reply):
    """What a run is given: values by names."""

    variables: dict[str, str]


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


class CheckpointReply(Reply):
    """`key`: 32 bytes in base64, for this image alone; `context`: the associated data of its encryption."""

    checkpoint: str
    key: str
    context: str


class StoredReply(Reply):
    """How many bytes the object store has."""

    bytes: int


class SuspendedReply(Reply):
    """`suspended`: the process is to be ended."""

    state: str


class ThawedReply(Reply):
    """The attempt goes on, at `work`'s snapshot; `done`: what its waits came to, by their keys."""

    work: dict[str, Any]
    done: dict[str, Any]


class BeatReply(Reply):
    """`continue`, `cancel` (from `snapshot` on) or `stop`. `snapshot`: if it is newer than the one that was told.

    `blocked`: the run waits, or waits for its slots. `done`: of the pending waits those that are over, by their keys.
    """

    state: str
    snapshot: int | None = None
    blocked: bool | None = None
    done: dict[str, Any] | None = None


class WaitReply(Reply):
    """`blocked`: the run stands at `snapshot`; or `ready`: `done` has the pending waits that are over, by their keys."""

    state: str
    snapshot: int
    done: dict[str, Any]
