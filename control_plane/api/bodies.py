"""Request bodies as models. Unknown fields are refused; OpenAPI is drawn from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from sojourn.sdk.protocol import (
    MACHINES,
    MAX_ATTEMPTS,
    MAX_CONCURRENCY_KEY_CHARS,
    MAX_IDEMPOTENCY_KEY_CHARS,
    MAX_QUEUE_NAME_CHARS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    NO_MAX_DURATION,
)


def _storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must not contain NUL or half a surrogate pair")
    return text


def _tags(value: Any) -> Any:
    tags = [value] if isinstance(value, str) else value
    return [tag for tag in tags if not isinstance(tag, str) or tag.strip()] if isinstance(tags, list) else tags


def _text_of_number(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _machine(name: str) -> str:
    if name not in MACHINES:
        raise ValueError(f"must be one of {', '.join(MACHINES)}")
    return name


Text = Annotated[str, AfterValidator(_storable)]
Short = Annotated[Text, Field(max_length=256)]
Tag = Annotated[Text, Field(min_length=1, max_length=MAX_TAG_CHARS)]
Id = Annotated[Text, Field(max_length=64)]


class Body(BaseModel):
    """A body of which every field is known."""

    model_config = ConfigDict(extra="forbid", strict=False)


class QueueOption(Body):
    name: Annotated[Text, Field(min_length=1, max_length=MAX_QUEUE_NAME_CHARS, pattern=r"^[A-Za-z0-9_\-/.]+$")]
    concurrencyLimit: int | None = None  # noqa: N815 - the wire's word; obsolete, accepted and ignored


class IdempotencyKeyOptions(Body):
    key: Annotated[Text, Field(max_length=MAX_IDEMPOTENCY_KEY_CHARS)]
    scope: Literal["run", "attempt", "global"]


class TriggerOptions(Body):
    queue: QueueOption | None = None
    concurrencyKey: Annotated[  # noqa: N815
        Annotated[Text, Field(max_length=MAX_CONCURRENCY_KEY_CHARS)] | None, BeforeValidator(_text_of_number)
    ] = None
    delay: Annotated[Text, Field(max_length=100)] | None = None
    ttl: Annotated[int, Field(ge=0, le=NO_MAX_DURATION)] | Annotated[str, Field(max_length=100)] | None = None
    idempotencyKey: Annotated[Text, Field(min_length=1, max_length=MAX_IDEMPOTENCY_KEY_CHARS)] | None = None  # noqa: N815
    idempotencyKeyTTL: Annotated[str, Field(max_length=100)] | None = None  # noqa: N815
    idempotencyKeyOptions: IdempotencyKeyOptions | None = None  # noqa: N815
    tags: Annotated[list[Tag] | None, BeforeValidator(_tags), Field(max_length=MAX_TAGS)] = None
    metadata: Any = None
    metadataType: Short | None = None  # noqa: N815
    payloadType: Short | None = None  # noqa: N815
    payloadSize: Annotated[int, Field(ge=0)] | None = None  # noqa: N815
    machine: Annotated[str, AfterValidator(_machine)] | None = None
    maxAttempts: Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)] | None = None  # noqa: N815
    maxDuration: Annotated[float, Field(gt=0, le=NO_MAX_DURATION)] | None = None  # noqa: N815
    priority: Annotated[float, Field(ge=-1_000_000_000, le=1_000_000_000)] | None = None
    region: Short | None = None
    test: bool | None = None
    lockToVersion: Short | None = None  # noqa: N815
    parentRunId: Id | None = None  # noqa: N815


class TriggerBody(Body):
    payload: Any = None
    context: Any = None
    options: TriggerOptions | None = None


class DeployBody(Body):
    manifest: dict[str, Any]
    contentHash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # noqa: N815
    archive: str


class OutcomeBody(BaseModel):
    """From an executor: user code had a hand in it, so that it is checked, and what is unknown is dropped."""

    ok: bool
    output: str | None = None
    outputType: str = "application/json"  # noqa: N815
    error: dict[str, Any] | None = None
    retry: dict[str, Any] | None = None
    skippedRetrying: bool = False  # noqa: N815
    handBack: bool = False  # noqa: N815


class LineBody(BaseModel):
    attempt: Annotated[int, Field(ge=0, le=MAX_ATTEMPTS + 10)]
    n: Annotated[int, Field(ge=0, le=2_000_000_000)]
    at: Annotated[str, Field(max_length=64)]
    stream: Literal["stdout", "stderr", "logger", "system"]
    level: Literal["DEBUG", "LOG", "INFO", "WARN", "ERROR"]
    message: str
    properties: dict[str, Any] | None = None


class CompletionBody(BaseModel):
    run: Id
    snapshot: Annotated[int, Field(ge=0)]
    token: str
    attempt: Annotated[int, Field(ge=0)]
    outcome: OutcomeBody
    usageMs: Annotated[int, Field(ge=0, le=10**12)] = 0  # noqa: N815
    logs: list[LineBody] = []


class NextBody(BaseModel):
    wait: Annotated[float, Field(ge=0, le=60)] | None = None
    served: Annotated[int, Field(ge=0)] = 0
    request: str | None = None
    again: bool = False
    completion: CompletionBody | None = None


class HeldBody(BaseModel):
    run: Id
    snapshot: Annotated[int, Field(ge=0)]
    token: str
    wait: Annotated[float, Field(ge=0, le=60)] = 0
    lines: list[LineBody] = []
