"""The bodies of answers as existing clients read them, written down apart from the server's own models.

A client drops what it does not know, and gives up at what it misses or finds of another type. An optional value may be
absent and must not be null, unless it says so here: clients take a null date for 1970, and a null text for an error.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: For what may be left out. It is no value of the field's type, so that a null is refused where it is not.
ABSENT: Any = None
Count = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Id(Shape):
    id: str


class Success(Shape):
    success: Literal[True]


class Message(Shape):
    message: str


class Triggered(Shape):
    id: Annotated[str, Field(pattern="^run_[a-z0-9]+$")]
    isCached: bool = ABSENT


RunStatus = Literal[
    "PENDING_VERSION", "DELAYED", "QUEUED", "DEQUEUED", "EXECUTING", "WAITING", "COMPLETED", "CANCELED", "FAILED",
    "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT",
]  # fmt: skip


class Common(Shape):
    id: str
    status: RunStatus
    taskIdentifier: str
    idempotencyKey: str = ABSENT
    version: str = ABSENT
    ttl: str = ABSENT
    isQueued: bool
    isExecuting: bool
    isWaiting: bool
    isCompleted: bool
    isSuccess: bool
    isFailed: bool
    isCancelled: bool
    isTest: bool
    createdAt: datetime
    updatedAt: datetime
    startedAt: datetime = ABSENT
    finishedAt: datetime = ABSENT
    delayedUntil: datetime = ABSENT
    expiredAt: datetime = ABSENT
    tags: list[str]
    costInCents: float
    baseCostInCents: float
    durationMs: float
    metadata: dict[str, Any] = ABSENT
    taskKind: str = ABSENT
    region: str = ABSENT


class Environment(Shape):
    id: str
    name: str
    user: str = ABSENT


class RunItem(Common):
    env: Environment


class Pagination(Shape):
    next: str = ABSENT
    previous: str = ABSENT


class Runs(Shape):
    data: list[RunItem]
    pagination: Pagination


class Related(Common):
    depth: int
    triggerFunction: Literal["trigger", "triggerAndWait", "batchTrigger", "batchTriggerAndWait"]
    batchId: str = ABSENT


class Relatives(Shape):
    root: Related = ABSENT
    parent: Related = ABSENT
    children: list[Related] = ABSENT


class FlatError(Shape):
    message: str
    name: str = ABSENT
    stackTrace: str = ABSENT


class Generator(Shape):
    type: Literal["CRON"]
    expression: str
    description: str


class ScheduleOfRun(Shape):
    id: str
    externalId: str = ABSENT
    deduplicationKey: str = ABSENT
    generator: Generator


class Run(Related):
    payload: Any = ABSENT
    payloadPresignedUrl: str = ABSENT
    output: Any = ABSENT
    outputPresignedUrl: str = ABSENT
    error: FlatError = ABSENT
    schedule: ScheduleOfRun = ABSENT
    relatedRuns: Relatives
    attemptCount: int


class Metadata(Shape):
    metadata: dict[str, Any]


class BuiltInError(Shape):
    type: Literal["BUILT_IN_ERROR"]
    name: str
    message: str
    stackTrace: str


class RawError(Shape):
    type: Literal["CUSTOM_ERROR", "STRING_ERROR"]
    raw: str


class InternalError(Shape):
    type: Literal["INTERNAL_ERROR"]
    code: str
    message: str = ABSENT
    stackTrace: str = ABSENT


class Usage(Shape):
    durationMs: float


class Succeeded(Shape):
    ok: Literal[True]
    id: str
    taskIdentifier: str = ABSENT
    output: str = ABSENT
    outputType: str
    usage: Usage = ABSENT


class Failed(Shape):
    ok: Literal[False]
    id: str
    taskIdentifier: str = ABSENT
    error: Annotated[BuiltInError | RawError | InternalError, Field(discriminator="type")]
    usage: Usage = ABSENT
    skippedRetrying: bool = ABSENT


class Batch202(Shape):
    id: Annotated[str, Field(pattern="^batch_[a-z0-9]+$")]
    runCount: int
    isCached: bool
    idempotencyKey: str = ABSENT


class Batch2(Shape):
    id: str
    runCount: int


class Batch1Run(Shape):
    id: str
    taskIdentifier: str
    isCached: bool
    idempotencyKey: str = ABSENT


class Batch1(Shape):
    id: str
    isCached: bool
    idempotencyKey: str = ABSENT
    runs: list[Batch1Run]


class Batch0(Shape):
    batchId: str
    runs: list[str]


class Items(Shape):
    id: str
    itemsAccepted: Count
    itemsDeduplicated: Count
    sealed: bool
    enqueuedCount: int = ABSENT
    expectedCount: int = ABSENT


class Flaw(Shape):
    index: int
    taskIdentifier: str
    error: str
    errorCode: str = ABSENT


class Processing(Shape):
    completedAt: datetime = ABSENT
    errors: list[Flaw]


class BatchHead(Shape):
    id: str
    status: Literal["PENDING", "PROCESSING", "COMPLETED", "PARTIAL_FAILED", "ABORTED"]
    idempotencyKey: str = ABSENT
    createdAt: datetime
    updatedAt: datetime
    runCount: int
    runs: list[str]


class BatchRead(BatchHead):
    processing: Processing


class BatchRead1(BatchHead):
    successfulRunCount: int = ABSENT
    failedRunCount: int = ABSENT
    errors: list[Flaw] = ABSENT


class BatchResults(Shape):
    id: str
    items: list[Annotated[Succeeded | Failed, Field(discriminator="ok")]]


class ScheduleEnvironment(Shape):
    id: str
    type: Literal["DEVELOPMENT", "STAGING", "PREVIEW", "PRODUCTION"]
    userName: str | None = ABSENT


class Schedule(Shape):
    id: Annotated[str, Field(pattern="^sched_")]
    type: Literal["DECLARATIVE", "IMPERATIVE"]
    task: str
    active: bool
    deduplicationKey: str | None = ABSENT
    externalId: str | None = ABSENT
    generator: Generator
    timezone: str
    window: str = ABSENT
    nextRun: datetime | None = ABSENT
    nextRunEffectiveAt: datetime | None = ABSENT
    environments: list[ScheduleEnvironment]


class NumberedPages(Shape):
    currentPage: int
    totalPages: int
    count: int


class Schedules(Shape):
    data: list[Schedule]
    pagination: NumberedPages


class Timezones(Shape):
    timezones: list[str]


class Concurrency(Shape):
    current: int | None
    base: int | None
    override: int | None
    overriddenAt: datetime | None
    overriddenBy: str | None


class Queue(Shape):
    id: Annotated[str, Field(pattern="^queue_")]
    name: str
    type: Literal["task", "custom"]
    running: int
    queued: int
    paused: bool
    concurrencyLimit: int | None
    concurrency: Concurrency = ABSENT


class Queues(Shape):
    data: list[Queue]
    pagination: NumberedPages


class TokenMade(Shape):
    id: Annotated[str, Field(pattern="^waitpoint_")]
    isCached: bool
    url: str


class TokenItem(Shape):
    id: str
    url: str
    status: Literal["WAITING", "COMPLETED", "TIMED_OUT"]
    completedAt: datetime = ABSENT
    completedAfter: datetime = ABSENT
    timeoutAt: datetime = ABSENT
    idempotencyKey: str = ABSENT
    idempotencyKeyExpiresAt: datetime = ABSENT
    tags: list[str]
    createdAt: datetime


class Token(TokenItem):
    output: str = ABSENT
    outputType: str = ABSENT
    outputIsError: bool = ABSENT


class Tokens(Shape):
    data: list[TokenItem]
    pagination: Pagination


class Deployment(Shape):
    id: str
    createdAt: datetime
    shortCode: str
    version: str
    runtime: str | None
    runtimeVersion: str | None
    status: Literal["PENDING", "BUILDING", "DEPLOYING", "DEPLOYED", "FAILED", "CANCELED", "TIMED_OUT"]
    deployedAt: datetime = ABSENT
    git: dict[str, Any] = ABSENT


class Refusal(Shape):
    """Clients read `error`; the rest is for people."""

    error: Annotated[str, Field(min_length=1)]
    code: str


class EventOfSpan(Shape):
    name: str
    time: datetime
    properties: dict[str, Any]


class Event(Shape):
    """The client does not check it; the field's names are the wire's."""

    spanId: str
    parentId: str | None
    runId: str | None
    message: str
    startTime: Annotated[str, Field(pattern="^[0-9]+$")]
    duration: float
    isError: bool
    isPartial: bool
    isCancelled: bool
    level: Literal["TRACE", "DEBUG", "LOG", "INFO", "WARN", "ERROR"]
    kind: str
    attemptNumber: int | None
    taskSlug: str
    events: list[EventOfSpan]
    style: dict[str, Any]


class Events(Shape):
    events: Annotated[list[Event], Field(min_length=1)]


class SpanData(Shape):
    message: str
    taskSlug: str = ABSENT
    taskPath: str = ABSENT
    events: list[EventOfSpan] = ABSENT
    startTime: datetime
    duration: float
    isError: bool
    isPartial: bool
    isCancelled: bool
    level: str
    workerVersion: str = ABSENT
    queueName: str = ABSENT
    machinePreset: str = ABSENT
    properties: dict[str, Any] = ABSENT
    output: Any = ABSENT


class Span(Shape):
    id: str
    parentId: str = ABSENT
    runId: str
    data: SpanData
    children: list[Span]


class TraceOfRun(Shape):
    traceId: str
    rootSpan: Span


class Trace(Shape):
    trace: TraceOfRun


class SpanDetail(Shape):
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
    properties: dict[str, Any] = ABSENT
    events: list[EventOfSpan] = ABSENT
    entityType: str = ABSENT


class Counts(Shape):
    total: Count
    success: Count
    failure: Count


class BulkAction(Shape):
    id: Annotated[str, Field(pattern="^bulk_")]
    name: str = ABSENT
    type: Literal["CANCEL", "REPLAY"]
    status: Literal["PENDING", "COMPLETED", "ABORTED"]
    counts: Counts
    createdAt: datetime
    completedAt: datetime = ABSENT


class BulkActions(Shape):
    data: list[BulkAction]
    pagination: Pagination


class Variable(Shape):
    name: str
    value: str
    isSecret: bool


class Resolved(Shape):
    variables: dict[str, str]


class DeploymentItems(Shape):
    data: list[Deployment]
    pagination: Pagination


class WorkerTask(Shape):
    id: str
    slug: str
    filePath: str
    exportName: str = ABSENT


class DeployedWorker(Shape):
    id: str
    version: str
    tasks: list[WorkerTask]


class DeploymentDetail(Shape):
    """Without `worker` the client takes the deployment for a failed one."""

    id: str
    status: str
    contentHash: str
    shortCode: str
    version: str
    imagePlatform: str
    imageReference: str = ABSENT
    worker: DeployedWorker


class Promoted(Shape):
    id: str
    version: str
    shortCode: str


class OpenedProject(Shape):
    ref: str
    name: str


class Opened(Shape):
    id: str
    slug: str
    type: Literal["DEVELOPMENT", "STAGING", "PRODUCTION", "PREVIEW"]
    project: OpenedProject


class Claims(Shape):
    sub: str
    pub: Literal[True]


class MadeToken(Shape):
    token: Annotated[str, Field(pattern=r"^[\w-]+\.[\w-]+\.[\w-]+$")]


class Upload(Shape):
    presignedUrl: str
    storagePath: str


class Download(Shape):
    presignedUrl: str


class Organization(Shape):
    id: str
    title: str
    slug: str
    createdAt: datetime


class Project(Shape):
    id: str
    externalRef: str
    name: str
    slug: str
    createdAt: datetime
    organization: Organization


class Who(Shape):
    userId: str
    email: Annotated[str, Field(pattern=".@.")]
    dashboardUrl: str


class KeyOfEnvironment(Shape):
    apiKey: str
    name: str
    apiUrl: str
    projectId: str
