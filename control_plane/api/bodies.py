"""What requests hold: Pydantic models, which also make the OpenAPI page. Unknown fields are refused."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from sojourn.control_plane.api import patterns, present
from sojourn.control_plane.domain import names
from sojourn.control_plane.domain.allowance import MAX_BATCH_RUNS
from sojourn.sdk.protocol import (
    MAX_ATTEMPTS,
    MAX_CONCURRENCY_KEY_CHARS,
    MAX_DEBOUNCE_KEY_CHARS,
    MAX_IDEMPOTENCY_KEY_CHARS,
    MAX_METADATA_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_QUEUE_LIMIT,
    MAX_RATE,
    MAX_TAG_CHARS,
    MAX_WAITS,
    NO_MAX_DURATION,
)
from sojourn.sdk.sizes import ESCAPED

MAX_NAME_CHARS = 256
#: A reference to a container image: registry and path, then a tag, a digest or both.
IMAGE = (
    r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$"
)
#: Items of a batch for clients that do not say "large"; of one in a single body.
MAX_USUAL_BATCH, MAX_WHOLE_BATCH = 1_000, 500
#: Runs that a bulk action names by their ids.
MAX_BULK_RUNS = 500
#: Bytes of a body that has one payload: the value's own limit, were every letter escaped. And of a trigger, or an item.
MAX_VALUE_BYTES = ESCAPED * MAX_PAYLOAD_BYTES + 1024
MAX_TRIGGER_BYTES = ESCAPED * (MAX_PAYLOAD_BYTES + MAX_METADATA_BYTES) + 512 * 1024
#: Seconds of head start, either way.
MAX_PRIORITY = 31_536_000


def identifier(text: str) -> str:
    """A text that can be stored and shown: valid Unicode without NUL."""
    if "\x00" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise ValueError("must be valid Unicode without NUL")
    return text


def indexable(text: str) -> str:
    """A key is held in an index, which counts bytes."""
    if not text.isascii() and len(text.encode()) > MAX_IDEMPOTENCY_KEY_CHARS:
        raise ValueError(f"has more than {MAX_IDEMPOTENCY_KEY_CHARS} bytes in UTF-8")
    return text


def task_name(text: str) -> str:
    """A task's id, as an address can name it, too."""
    return _unless(names.task_flaw(text), text)


def queue_name(text: str) -> str:
    """A queue's name, as an address can name it, too."""
    return _unless(names.queue_flaw(text), text)


def _unless(flaw: str | None, text: str) -> str:
    if flaw is not None:
        raise ValueError(flaw)
    return text


def key_text(key: str | float) -> str:
    """A concurrency key as text: 7 and 7.0 are the same key, as they are in JSON."""
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return str(key)


#: An annotation of texts: what `identifier` takes.
IDENTIFIER = patterns.Checked(identifier, r"^[^\u0000]*$")
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), IDENTIFIER]
Tag = Annotated[str, StringConstraints(max_length=MAX_TAG_CHARS), IDENTIFIER]
Key = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_IDEMPOTENCY_KEY_CHARS),
    IDENTIFIER,
    AfterValidator(indexable),
]
KeyTTL = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}[smhd]$")]
ConcurrencyKey = Annotated[str, StringConstraints(max_length=MAX_CONCURRENCY_KEY_CHARS), IDENTIFIER]
Time = Annotated[str, StringConstraints(min_length=1, max_length=100)]
TaskId = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(task_name), patterns.TASK
]
Duration = Annotated[Time, patterns.DURATION]
Date = Annotated[Time, patterns.DATE]
Moment = Annotated[Time, patterns.MOMENT]
DurationOrDate = Annotated[Time, patterns.DURATION_OR_DATE]
RunId = Annotated[Name, patterns.RUN_ID]
#: What clients send to other servers, and this release does not take.
_Unsupported = WithJsonSchema({"type": "null"})
_NotYet = Annotated[bool | None, WithJsonSchema({"enum": [False, None]})]
QueueText = Annotated[
    str, StringConstraints(pattern=r"^(task/.{1,256}|[A-Za-z0-9_\-/]{1,128})$"), AfterValidator(queue_name)
]
_Number = (
    Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
)
ExternalId = Annotated[str, StringConstraints(max_length=128), IDENTIFIER]
MachineName = Literal["micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x"]


class Strict(BaseModel):
    """Takes its fields and no others, each of its own JSON type."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)


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
    concurrencyKey: ConcurrencyKey | _Number | None = Field(
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
    resumeParentOnCompletion: _NotYet = Field(default=None, description="`true` is not in this release.")
    parentBatch: Annotated[Name | None, _Unsupported] = Field(default=None, description="Not in this release.")
    bulkActionId: Any = Field(default=None, description="Accepted from older clients and not used.")
    dependentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")
    parentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")
    dependentBatch: Any = Field(default=None, description="Accepted from older clients and not used.")


class TriggerBody(Strict):
    """A trigger. `payload` is any JSON value, or none."""

    payload: Any = None
    context: Any = Field(default=None, description="Accepted from older clients and not used.")
    options: TriggerOptions | None = None


_Runs = Annotated[int, Field(ge=1, le=MAX_BATCH_RUNS)]


class BatchBody(Strict):
    """A new batch: how many items it is to have. Its idempotency key leads to it for 30 days, or `idempotencyKeyTTL`."""

    runCount: _Runs = Field(description="1000 at most; with the header `x-sojourn-batch: large` 100000.")
    taskIdentifiers: Annotated[list[TaskId], Field(min_length=1, max_length=MAX_BATCH_RUNS)] | None = Field(
        default=None, description="Its items' tasks: named by whoever may not trigger all."
    )
    parentRunId: RunId | None = None
    resumeParentOnCompletion: _NotYet = Field(default=None, description="`true` is not in this release.")
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
    resumeParentOnCompletion: _NotYet = Field(default=None, description="`true` is not in this release.")
    dependentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")


class TaskBatchBody(Strict):
    """A batch of one task with its items."""

    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_WHOLE_BATCH)] = Field(
        description="Each with `payload` and `options` as a line of a batch has them."
    )
    dependentAttempt: Any = Field(default=None, description="Accepted from older clients and not used.")


class Nothing(Strict):
    """No input, or none that is needed: an empty body, or an empty object."""


class ReplayBody(Nothing):
    """Where the new run is to go, if not where the old one did."""

    region: Name | None = Field(default=None, description="Another region than the run's.")


class DeployBody(Strict):
    """A version: what indexing found, and the files as a base64 zip whose tree has the hash `contentHash`."""

    manifest: dict[str, Any]
    contentHash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    archive: Annotated[str, patterns.BASE64]
    image: Annotated[str, StringConstraints(pattern=IMAGE, max_length=MAX_NAME_CHARS)] | None = Field(
        default=None, description="A container image: where executors run by docker, it wins over the site's."
    )
    externalId: ExternalId | None = Field(
        default=None, description="A name for the version, such as a commit, that triggers may ask for; blank is none."
    )


class TokenBody(Strict):
    """A new token. Its idempotency key leads to it always, unless `idempotencyKeyTTL` says how long."""

    idempotencyKey: Key | None = None
    idempotencyKeyTTL: KeyTTL | None = None
    timeout: DurationOrDate | None = Field(
        default=None, description='How long it is waited for: a duration ("1h30m") or an ISO date. Absent: for ever.'
    )
    tags: Tag | list[Tag] | None = Field(default=None, description="At most 10; blank ones are dropped.")


class CompleteBody(Strict):
    """What a token is completed with: any JSON value, or none."""

    data: Any = None


_Cron = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(identifier), patterns.CRON]
_Zone = Annotated[str, StringConstraints(min_length=1, max_length=64), IDENTIFIER]
_Window = Annotated[str, StringConstraints(min_length=1, max_length=10), AfterValidator(identifier), patterns.WINDOW]


class ScheduleBody(Strict):
    """What a schedule is to be; what is absent takes its default, also where the schedule is there already."""

    task: TaskId
    cron: _Cron = Field(
        description="Minute, hour, day of month, month, day of week; `L` is the last day, `5L` the last Friday."
    )
    timezone: _Zone | None = Field(default=None, description="An IANA name; UTC if absent.")
    externalId: Key | None = Field(default=None, description="Given to each run, for whoever the schedule is of.")
    window: _Window | None = Field(default=None, description="Over how long ticks are spread: `30m`, `2h`, or `25%`.")
    overlap: Literal["allow", "skip", "queue", "replace"] | None = Field(
        default=None, description="What a tick does while a run of the schedule is not over; `allow` if absent."
    )
    catchUp: Literal["none", "last", "all"] | None = Field(
        default=None, description="Which ticks that nobody fired in time are made up for; `last` if absent."
    )


class NewScheduleBody(ScheduleBody):
    """A new schedule, or another one for the key."""

    deduplicationKey: Key


class BackfillBody(Strict):
    """A time that is past, its ends included; at most 1,000 ticks."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)

    begin: Date = Field(alias="from", description="An ISO date.")
    end: Date = Field(alias="to", description="An ISO date.")


_Url = Annotated[str, StringConstraints(min_length=1, max_length=2_048), AfterValidator(identifier), patterns.URL]
_Event = Literal[
    "run.completed", "run.failed", "run.crashed", "run.canceled", "run.expired", "run.timed_out", "run.system_failure"
]  # fmt: skip


class WebhookBody(Strict):
    """What a webhook is to be; what is absent takes its default, also where the webhook is there already."""

    url: _Url = Field(description="Where messages are posted to: http:// or https://.")
    events: Annotated[list[_Event], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="What to be told of; every end if absent."
    )
    tasks: Annotated[list[TaskId], Field(max_length=100)] | None = Field(
        default=None, description="Of whose runs; all tasks' if absent or empty."
    )
    description: Annotated[str, StringConstraints(max_length=256), IDENTIFIER] | None = None


QueueType = Literal["id", "task", "custom"]
OneKey = Annotated[ConcurrencyKey, StringConstraints(min_length=1)] | _Number


class QueueBody(Strict):
    """How the address names the queue: by its id, as a task's own by the task's id, or by a name of its own."""

    type: QueueType = "id"


class PauseBody(QueueBody):
    """Whether runs of the queue are held back."""

    action: Literal["pause", "resume"]


class LimitResetBody(QueueBody):
    """Whose limit it is: each concurrency key's, or that of one."""

    concurrencyKey: OneKey | None = Field(default=None, description="Absent: what each key of the queue has.")


class LimitBody(LimitResetBody):
    """A limit in place of the declared one: a number, or a part of the environment's."""

    model_config = ConfigDict(json_schema_extra=patterns.one_of("concurrencyLimit", "percent"))

    concurrencyLimit: Annotated[int, Field(ge=0, le=MAX_QUEUE_LIMIT)] | None = None
    percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = Field(
        default=None, description="Of the environment's limit, whatever that is at the time; 1 run at least."
    )

    @model_validator(mode="after")
    def _says_it_one_way(self) -> LimitBody:
        if (self.concurrencyLimit is None) == (self.percent is None):
            raise ValueError("needs either concurrencyLimit or percent")
        return self


class RateResetBody(QueueBody):
    """Which rate: of all the queue, of each concurrency key, or of one."""

    model_config = ConfigDict(json_schema_extra=patterns.not_both("perKey", "concurrencyKey"))

    perKey: bool = False
    concurrencyKey: OneKey | None = Field(default=None, description="This key's, in place of what each key has.")

    @model_validator(mode="after")
    def _is_of_one_thing(self) -> RateResetBody:
        if self.perKey and self.concurrencyKey is not None:
            raise ValueError("takes either perKey or concurrencyKey")
        return self


class RateBody(RateResetBody):
    """How many runs may start in each period: spread evenly, but for a burst of so many at once."""

    limit: Annotated[int, Field(ge=1, le=MAX_RATE)]
    period: Duration = Field(description='A duration ("1s", "5m", "1d") of 400 days at most.')
    burst: Annotated[int, Field(ge=1, le=MAX_RATE)] | None = Field(
        default=None, description="At most `limit`; absent: as many as a second's worth, 1 at least."
    )


class KeyResetBody(Strict):
    """Whose key it is."""

    taskIdentifier: TaskId


class RescheduleBody(Strict):
    """When the run is to start instead."""

    delay: DurationOrDate = Field(description='A duration from now ("1h30m") or an ISO date; a past date is at once.')


_Field = Annotated[str, StringConstraints(min_length=1, max_length=1_000), IDENTIFIER]


class SetField(Strict):
    """The field has the value, or has it appended to, or removed from, its list."""

    type: Literal["set", "append", "remove"]
    key: _Field = Field(description="A field's name, or a path like `$.steps.load[0]`.")
    value: Any


class DeleteField(Strict):
    """The field goes."""

    type: Literal["delete"]
    key: _Field


class IncrementField(Strict):
    """The field's number grows by the value."""

    type: Literal["increment"]
    key: _Field
    value: _Number


class UpdateAll(Strict):
    """The value takes the place of all of it."""

    type: Literal["update"]
    value: dict[str, Any]


AnOperation = Annotated[SetField | DeleteField | IncrementField | UpdateAll, Field(discriminator="type")]
Operations = Annotated[list[AnOperation], Field(max_length=1_000)]


class MetadataBody(Strict):
    """What becomes of metadata, all or nothing: replaced, then changed, in this order."""

    metadata: dict[str, Any] | None = None
    metadataType: Literal["application/json"] | None = None
    operations: Operations = Field(default_factory=list)
    parentOperations: Operations = Field(default_factory=list, description="For the parent; without one, for the run.")
    rootOperations: Operations = Field(default_factory=list, description="For the root; without one, for the run.")


class TagsBody(Strict):
    """Tags to add."""

    tags: Tag | list[Tag] = Field(description="A run has at most 10; blank ones are dropped.")


class VariableBody(Strict):
    """A variable. A secret is shown to nobody but runs, and stays one."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    value: str = Field(description="65536 bytes at most.")
    isSecret: bool | None = None


class ValueBody(Strict):
    """Another value for a variable."""

    value: str = Field(description="65536 bytes at most.")


class ImportBody(Strict):
    """Variables that are set together, all or none."""

    variables: dict[str, str] = Field(description="Values by names; in a form: the text of a dotenv file.")
    override: bool | None = Field(default=None, description="`true`: those that are there get the new value.")
    isSecret: bool | None = None
    parentVariables: dict[str, str] | None = Field(default=None, description="Accepted from clients and not used.")
    source: dict[str, Any] | None = Field(default=None, description="Accepted from clients and not used.")


_Words = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS), IDENTIFIER]],
    Field(min_length=1, max_length=100),
]
_OneOrMore = Name | _Words
_StatusWord = Annotated[Name, patterns.any_of(present.STATUS_WORDS)]
_MomentOrNumber = Moment | Annotated[int, Field(ge=0, le=10**15, json_schema_extra=dict(patterns.MILLISECONDS))]


class BulkQueue(Strict):
    """A queue: a task's own, by the task's id, or one by its name."""

    type: Literal["task", "custom"]
    name: Name


class BulkFilter(Strict):
    """Which runs: all that is named has to fit, and of several values any. `{}` is every run."""

    status: _StatusWord | Annotated[list[_StatusWord], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Of either vocabulary. To cancel: those that are not over."
    )
    taskIdentifier: _OneOrMore | None = None
    version: _OneOrMore | None = None
    since: _MomentOrNumber | None = Field(default=None, alias="from", description="A date or ms since the epoch.")
    until: _MomentOrNumber | None = Field(default=None, alias="to", description="A date or ms since the epoch.")
    period: Duration | None = Field(default=None, description="The last so long, like 7d.")
    bulkAction: _OneOrMore | None = None
    tag: _OneOrMore | None = None
    schedule: _OneOrMore | None = None
    isTest: bool | None = None
    batch: _OneOrMore | None = None
    queue: BulkQueue | Annotated[list[BulkQueue], Field(min_length=1, max_length=100)] | None = None
    machine: MachineName | Annotated[list[MachineName], Field(min_length=1, max_length=100)] | None = None
    region: _OneOrMore | None = None
    error: _OneOrMore | None = Field(
        default=None, description="Code, name or type of the error that it ended with. Not to cancel."
    )

    @model_validator(mode="after")
    def _narrows_if_it_names_something(self) -> BulkFilter:
        if self.model_fields_set and all(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("what it names has no value; {} is every run")
        return self


class BulkActionBody(Strict):
    """What is to be done, and to which runs: those that a filter finds among all that there are now, or these."""

    model_config = ConfigDict(json_schema_extra=patterns.one_of("filter", "runIds"))

    action: Literal["cancel", "replay"]
    filter: BulkFilter | None = None
    runIds: Annotated[list[RunId], Field(min_length=1, max_length=MAX_BULK_RUNS)] | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=255), IDENTIFIER] | None = None
    targetRegion: Name | None = Field(default=None, description="Where replays go, if not where the runs went.")

    @model_validator(mode="after")
    def _says_it_one_way(self) -> BulkActionBody:
        if (self.filter is None) == (self.runIds is None):
            raise ValueError("needs either filter or runIds")
        return self


def plain(value: Any) -> Any:
    """A whole number as a query has it: digits alone, where Python reads `1_0` and ` 1`, too."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


_DIGITS = re.compile("-?[0-9]{1,20}")
_PLAIN = BeforeValidator(plain)


class Query(BaseModel):
    """Query parameters: texts that are read as their types; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


_Word = Annotated[str, StringConstraints(min_length=1, max_length=4_000), IDENTIFIER]
#: Several values: one parameter with commas between them, or a parameter for each.
_Each = Field(max_length=patterns.MAX_VALUES)
_Listed = _Word | Annotated[list[_Word], _Each]
_Statuses = (
    Annotated[_Word, patterns.listed(present.STATUS_WORDS)]
    | Annotated[list[Annotated[_Word, patterns.one_listed(present.STATUS_WORDS)]], _Each]
)
_Machines = (
    Annotated[_Word, patterns.listed(get_args(MachineName))]
    | Annotated[list[Annotated[_Word, patterns.one_listed(get_args(MachineName))]], _Each]
)


class ListQuery(Query):
    """A page of a list, newest first."""

    size: Annotated[int, Field(ge=1, le=100), _PLAIN] = Field(default=25, alias="page[size]")
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(default=None, alias="page[after]")
    before: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, alias="page[before]"
    )


class PageQuery(ListQuery):
    """A page of a list, newest first, of a span of time."""

    created_from: Moment | None = Field(
        default=None, alias="filter[createdAt][from]", description="A date or ms since the epoch."
    )
    created_to: Moment | None = Field(
        default=None, alias="filter[createdAt][to]", description="A date or ms since the epoch."
    )
    period: Duration | None = Field(
        default=None, alias="filter[createdAt][period]", description="The last so long, like 7d."
    )


class RunsQuery(PageQuery):
    """Which runs: any of several values of one filter fits.

    Commas separate values; a parameter that is sent more than once has one value each time, whatever is in it.
    """

    status: _Statuses | None = Field(default=None, alias="filter[status]", description="Of either vocabulary.")
    task: _Listed | None = Field(default=None, alias="filter[taskIdentifier]")
    version: _Listed | None = Field(default=None, alias="filter[version]")
    tag: _Listed | None = Field(default=None, alias="filter[tag]")
    queue: _Listed | None = Field(default=None, alias="filter[queue]", description="A task's own queue is `task/<id>`.")
    machine: _Machines | None = Field(default=None, alias="filter[machine]")
    region: _Listed | None = Field(default=None, alias="filter[region]")
    batch: _Listed | None = Field(default=None, alias="filter[batch]")
    is_test: Literal["true", "false"] | None = Field(default=None, alias="filter[isTest]")
    hooks: Literal["true", "false"] | None = Field(
        default=None, alias="filter[hooks]", description="Runs that call hooks of others; else they are left out."
    )
    schedule: _Listed | None = Field(default=None, alias="filter[schedule]")
    bulk_action: _Listed | None = Field(
        default=None, alias="filter[bulkAction]", description="Runs that a bulk action has cancelled, or made."
    )
    error: _Listed | None = Field(
        default=None, alias="filter[error]", description="Code, name or type of the error that a run ended with."
    )


class ProjectRunsQuery(RunsQuery):
    """Which runs, of which of the project's environments."""

    env: _Listed | None = Field(default=None, alias="filter[env]", description="A slug; of several the first counts.")
    hooks: Literal["true", "false"] | None = Field(
        default=None, alias="filter[hooks]", description="Runs that call hooks of others; else they are left out."
    )


TOKEN_STATUSES = ("WAITING", "COMPLETED", "TIMED_OUT")
_TokenStatuses = (
    Annotated[_Word, patterns.listed(TOKEN_STATUSES)]
    | Annotated[list[Annotated[_Word, patterns.one_listed(TOKEN_STATUSES)]], _Each]
)


class TokensQuery(PageQuery):
    """Which tokens: any of several values of one filter fits.

    Commas separate values; a parameter that is sent more than once has one value each time, whatever is in it.
    """

    status: _TokenStatuses | None = Field(
        default=None, alias="filter[status]", description="WAITING, COMPLETED, TIMED_OUT."
    )
    tags: _Listed | None = Field(default=None, alias="filter[tags]")
    idempotency_key: Key | None = Field(default=None, alias="filter[idempotencyKey]")


class NumberedPageQuery(Query):
    """A page by its number."""

    page: Annotated[int, Field(ge=1, le=1_000_000), _PLAIN] = 1
    per_page: Annotated[int, Field(ge=1), _PLAIN] = Field(
        default=25, alias="perPage", description="More than 100 counts as 100."
    )


class DeliveriesQuery(NumberedPageQuery):
    """A page of messages to a webhook."""

    status: Literal["PENDING", "DELIVERED", "FAILED"] | None = Field(default=None, alias="filter[status]")


class TimezonesQuery(Query):
    """Which zones."""

    excludeUtc: Literal["true", "false"] | None = None


class BatchResultsQuery(Query):
    """Where to go on."""

    after: Annotated[int, Field(ge=0, lt=MAX_BATCH_RUNS), _PLAIN] | None = Field(
        default=None, description="The `next` of the answer before."
    )


class BatchQuery(BatchResultsQuery):
    """Which of its runs are told."""

    limit: Annotated[int, Field(ge=0, le=MAX_BATCH_RUNS)] | None = Field(
        default=None, description="So many runs, 10000 at most, which is the default; 0 for the counts alone."
    )


class DeploymentsQuery(Query):
    """Which versions, newest first."""

    status: _Listed | None = Field(default=None, description="Statuses, with commas between; all there are is DEPLOYED.")
    period: Duration | None = Field(default=None, description="The last so long, like 7d.")
    since: Moment | None = Field(default=None, alias="from", description="A date or ms since the epoch.")
    until: Moment | None = Field(default=None, alias="to", description="A date or ms since the epoch.")
    size: Annotated[int, Field(ge=1, le=100), _PLAIN] = Field(default=20, alias="page[size]")
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(default=None, alias="page[after]")


class PromoteQuery(Query):
    """Whether it may be an older version than the current one."""

    allowRollbacks: Literal["true", "false"] | None = None


class QueueQuery(Query):
    """How the address names the queue."""

    type: QueueType = Field(default="id", description="By its id, by a task's id, or by a name of its own.")


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
    limit: Annotated[int, Field(ge=1, le=1000), _PLAIN] = 500


# --- executors: fields that a newer shim may add are passed over


class Loose(BaseModel):
    """Takes its fields and passes over others."""

    model_config = ConfigDict(extra="ignore")


_Snapshot = Annotated[int, Field(ge=1, le=2_147_483_647)]
_Wait = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
_Token = Annotated[str, StringConstraints(max_length=200)]
_NodeType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_Count = Annotated[float, Field(ge=0, le=2**53, allow_inf_nan=False)]


class Retry(Loose):
    """When the executor wishes to try again."""

    delay: Annotated[float, Field(ge=0, le=31_536_000_000, allow_inf_nan=False)]


class OutcomeBody(Loose):
    """How an attempt ended."""

    ok: bool
    output: str | None = None
    outputType: Annotated[str, StringConstraints(max_length=100)] | None = None
    error: dict[str, Any] | None = None
    retry: Retry | None = None
    skippedRetrying: bool | None = None
    handBack: bool | None = None


class CompletionBody(Loose):
    """An attempt that is over. Log lines and changes that make no sense are passed over; they never cost a result."""

    run: Name
    snapshot: _Snapshot
    token: _Token
    attempt: Annotated[int, Field(ge=0, le=2_147_483_647)]
    outcome: OutcomeBody
    usageMs: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] = 0
    logs: list[Any] = Field(default_factory=list)
    changes: list[Any] = Field(default_factory=list)


class NextBody(Loose):
    """The last attempt's end, if there was one, and whether another run is wanted (`wait` null: none)."""

    wait: _Wait | None = None
    served: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0
    again: bool = False
    completion: CompletionBody | None = None
    nodeType: _NodeType | None = Field(
        default=None, description="What its node is, told with each request by executors that can thaw frozen runs."
    )
    isolation: Literal["sandbox", "sandbox-host-network", "exec", "docker", "none"] | None = Field(
        default=None, description="What runs are kept in there: told with the first request, by executors on clusters."
    )


class IdentityBody(Loose):
    """The executor that an allocation was placed to be."""

    executor: Name


_WaitKey = Annotated[str, StringConstraints(min_length=1, max_length=64), IDENTIFIER]
_Keys = Annotated[list[_WaitKey], Field(max_length=MAX_WAITS)]


class HeldBody(Loose):
    """The run that an executor has."""

    run: Name
    snapshot: _Snapshot
    token: _Token


class HeartbeatBody(HeldBody):
    """A beat; answered when `wait` seconds are over or something happened."""

    wait: _Wait = 0
    pending: _Keys = Field(default_factory=list)


class WaitWish(Loose):
    """One wait that a process begins: for a date (`at`), a token (`waitpoint`) or a run (`awaited`)."""

    key: _WaitKey
    kind: Literal["date", "token", "run"]
    at: Time | None = None
    waitpoint: Name | None = None
    awaited: Name | None = None
    idempotencyKey: Key | None = None
    idempotencyKeyTTL: Annotated[float, Field(ge=0, le=10**9)] | None = None

    @model_validator(mode="after")
    def _names_what_it_waits_for(self) -> WaitWish:
        needed = {"date": "at", "token": "waitpoint", "run": "awaited"}[self.kind]
        if getattr(self, needed) is None:
            raise ValueError(f"a wait of kind {self.kind} needs {needed}")
        return self


class WaitBody(HeldBody):
    """`waits` are new; `pending`: every key that the process was not given yet; `block`: it can do nothing else.

    `hold`: why the process cannot be frozen, if that is so. `call`: a number that grows with each call about the run; one
    that was overtaken does nothing, a repetition has the same.
    """

    call: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    waits: Annotated[list[WaitWish], Field(max_length=MAX_WAITS)] = Field(default_factory=list)
    pending: _Keys = Field(default_factory=list)
    block: Literal["any", "all"] | None = None
    hold: Annotated[str, StringConstraints(max_length=500), IDENTIFIER] | None = None


class CheckpointBody(HeldBody):
    """A blocked run whose process is to be frozen, on a node of that type."""

    nodeType: _NodeType


class CheckpointQuery(Query):
    """Whose image it is."""

    run: Name


class SuspendBody(CheckpointBody):
    """An image that is stored: its bytes in the object store and before, what it took in ms."""

    checkpoint: Name
    sealedBytes: Annotated[int, Field(ge=0, le=2**53)]
    imageBytes: _Count = 0
    freezeMs: _Count = 0
    storeMs: _Count = 0


class ThawedBody(HeldBody):
    """A run whose process is restored, and stopped."""

    thawMs: _Count = 0


class LogsBody(HeldBody):
    """Log lines of the run, and changes of metadata, `{n, whose: run|parent|root, operation}`, made once for each `n`."""

    lines: list[Any]
    changes: list[Any] = Field(default_factory=list)
