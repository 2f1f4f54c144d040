"""Batches: how they are made and filled, and what is told of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.runs import ResultReply
from sojourn.control_plane.api.models.shape import PLAIN, NotYet, Query, Reply, Strict
from sojourn.control_plane.api.models.texts import MAX_NAME_CHARS, Key, KeyTTL, RunId, TaskId
from sojourn.control_plane.api.models.triggers import IdempotencyKeyOptions, RunOptions
from sojourn.control_plane.domain.allowance import MAX_BATCH_RUNS

#: Items of a batch for clients that do not say "large"; of one in a single body.
MAX_USUAL_BATCH, MAX_WHOLE_BATCH = 1_000, 500
_Runs = Annotated[int, Field(ge=1, le=MAX_BATCH_RUNS)]


class BatchBody(Strict):
    """A new batch: how many items it is to have. Its idempotency key leads to it for 30 days, or `idempotencyKeyTTL`."""

    runCount: _Runs = Field(description="1000 at most; with the header `x-sojourn-batch: large` 100000.")
    taskIdentifiers: Annotated[list[TaskId], Field(min_length=1, max_length=MAX_BATCH_RUNS)] | None = Field(
        default=None, description="Its items' tasks: named by whoever may not trigger all."
    )
    parentRunId: RunId | None = None
    resumeParentOnCompletion: NotYet = Field(
        default=None, description="`true` is refused: a run waits by calls of its own."
    )
    idempotencyKey: Key | None = None
    idempotencyKeyTTL: KeyTTL | None = None
    idempotencyKeyOptions: IdempotencyKeyOptions | None = None


class BatchItemBody(Strict):
    """A line of a batch's items. `payload` is any JSON value, or none."""

    index: Annotated[int, Field(ge=0, lt=MAX_BATCH_RUNS)]
    task: TaskId
    payload: Any = None
    options: RunOptions | None = None


class BatchItemName(BaseModel):
    """What has to be right in a line, so that its item can be stored as one that failed."""

    model_config = ConfigDict(extra="ignore", strict=True)

    index: Annotated[int, Field(ge=0, lt=MAX_BATCH_RUNS)]
    task: TaskId


class BatchedRun(Strict):
    """An item of a batch that is sent whole: its index is its place in the list."""

    task: TaskId
    payload: Any = None
    context: Any = Field(default=None, description="Accepted from older clients and not used.")
    options: RunOptions | None = None


_NamedItem = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "required": ["task"],
            "properties": {
                "task": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS, **patterns.TASK.json_schema_extra}
            },
        }
    ),
]


class WholeBatchBody(Strict):
    """A batch with its items. One that cannot be triggered becomes a run that failed."""

    items: Annotated[list[_NamedItem], Field(min_length=1, max_length=MAX_WHOLE_BATCH)] = Field(
        description="Each with `task`, and `payload` and `options` as a line of a batch has them."
    )
    parentRunId: RunId | None = None
    resumeParentOnCompletion: NotYet = Field(
        default=None, description="`true` is refused: a run waits by calls of its own."
    )
    dependentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")


class TaskBatchBody(Strict):
    """A batch of one task with its items."""

    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_WHOLE_BATCH)] = Field(
        description="Each with `payload` and `options` as a line of a batch has them."
    )
    dependentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")


class BatchResultsQuery(Query):
    """Where to go on."""

    after: Annotated[int, Field(ge=0, lt=MAX_BATCH_RUNS), PLAIN] | None = Field(
        default=None, description="The `next` of the answer before."
    )


class BatchQuery(BatchResultsQuery):
    """Which of its runs are told."""

    limit: Annotated[int, Field(ge=0, le=MAX_BATCH_RUNS)] | None = Field(
        default=None, description="So many runs, 10000 at most, which is the default; 0 for the counts alone."
    )


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
