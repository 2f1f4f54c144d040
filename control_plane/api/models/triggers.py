"""Triggers of runs: their bodies, and what they are answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sojourn.control_plane.api.models.shape import Nothing, NotYet, Reply, Strict, Unsupported
from sojourn.control_plane.api.models.texts import (
    IDENTIFIER,
    ConcurrencyKey,
    Duration,
    DurationOrDate,
    ExternalId,
    Key,
    KeyTTL,
    MachineName,
    Name,
    QueueText,
    RunId,
    Tag,
    TaskId,
)
from sojourn.sdk.protocol import (
    MAX_ATTEMPTS,
    MAX_DEBOUNCE_KEY_CHARS,
    MAX_METADATA_BYTES,
    MAX_PAYLOAD_BYTES,
    NO_MAX_DURATION,
)
from sojourn.sdk.sizes import ESCAPED

#: Bytes of a body that has one payload: the value's own limit, were every letter escaped. And of a trigger, or an item.
MAX_VALUE_BYTES = ESCAPED * MAX_PAYLOAD_BYTES + 1024
MAX_TRIGGER_BYTES = ESCAPED * (MAX_PAYLOAD_BYTES + MAX_METADATA_BYTES) + 512 * 1024
#: Seconds of head start, either way.
MAX_PRIORITY = 31_536_000
Number = (
    Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
)


class QueueOption(Strict):
    """The queue a run goes to."""

    name: QueueText
    concurrencyLimit: int | None = Field(default=None, description="Accepted from older clients and not used.")


class IdempotencyKeyOptions(Strict):
    """The key as its user wrote it; shown again in reads."""

    key: Key
    scope: Literal["run", "attempt", "global"]


class DebounceOption(Strict):
    """One run for all triggers of the task with the key, for as long as they follow each other within the delay."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=MAX_DEBOUNCE_KEY_CHARS), IDENTIFIER]
    delay: Duration = Field(description='How long after the last trigger it starts: a duration ("30s"), 1 second at least.')
    mode: Literal["leading", "trailing"] = Field(
        default="leading",
        description="Whose payload the run has: the first trigger's, or the last one's, with its metadata, tags, machine,"
        " maxAttempts and maxDuration.",
    )
    maxDelay: Duration | None = Field(
        default=None, description="How long after the first trigger the run starts at the latest; more than `delay`."
    )


class RunOptions(Strict):
    """How a run is to be carried out; what is absent is as the task has it."""

    queue: QueueOption | None = None
    concurrencyKey: ConcurrencyKey | Number | None = Field(
        default=None, description="Splits the queue, each key by itself."
    )
    delay: DurationOrDate | None = Field(
        default=None, description='A duration ("1h30m") or an ISO date; a past date is no delay.'
    )
    ttl: Duration | Annotated[int, Field(ge=0, le=NO_MAX_DURATION)] | None = Field(
        default=None, description="How long the run may wait to be started: a duration, or seconds. 0 is for ever."
    )
    idempotencyKey: Key | None = None
    idempotencyKeyTTL: KeyTTL | None = None
    idempotencyKeyOptions: IdempotencyKeyOptions | None = None
    tags: Tag | list[Tag] | None = Field(default=None, description="At most 10; blank ones are dropped.")
    metadata: Any = Field(default=None, description="An object, or its JSON as a text; 262144 bytes of UTF-8 at most.")
    metadataType: Literal["application/json"] | None = None
    payloadType: Annotated[str, StringConstraints(max_length=100)] | None = None
    payloadSize: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Accepted from clients and not used.")
    machine: MachineName | None = None
    maxAttempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None
    maxDuration: Annotated[float, Field(gt=0, le=NO_MAX_DURATION, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds; less than 5 counts as 5, 2147483647 is no limit."
    )
    priority: Annotated[float, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds of head start over runs that were triggered earlier."
    )
    test: bool | None = None
    lockToVersion: Annotated[str, StringConstraints(pattern=r"^[0-9]{8}\.[0-9]{1,9}$")] | None = None
    region: Name | None = Field(default=None, description="Where it runs: `default`, or a region of SOJOURN_REGIONS.")
    externalDeploymentId: ExternalId | None = Field(
        default=None,
        description="The version that was deployed under this name; while there is none the run waits for it, an hour at"
        " most. Ignored in development, beside `lockToVersion`, and blank.",
    )
    debounce: DebounceOption | None = None


class TriggerOptions(RunOptions):
    """How a run that is triggered by itself is to be carried out."""

    parentRunId: RunId | None = None
    resumeParentOnCompletion: NotYet = Field(
        default=None, description="`true` is refused: a run waits by calls of its own."
    )
    parentBatch: Annotated[Name | None, Unsupported] = Field(default=None, description="Not taken.")
    bulkActionId: Any = Field(default=None, description="Accepted from older clients and not used.")
    dependentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")
    parentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")
    dependentBatch: Any = Field(default=None, description="Accepted from older clients and not used.")


class TriggerBody(Strict):
    """A trigger. `payload` is any JSON value, or none."""

    payload: Any = None
    context: Any = Field(default=None, description="Accepted from older clients and not used.")
    options: TriggerOptions | None = None


class ReplayBody(Nothing):
    """Where the new run is to go, if not where the old one did."""

    region: Name | None = Field(default=None, description="Another region than the run's.")


class KeyResetBody(Strict):
    """Whose key it is."""

    taskIdentifier: TaskId


class TriggeredReply(Reply):
    """`isCached`: an idempotency key, or a debounce key, led to a run that was there before."""

    id: str
    isCached: bool
