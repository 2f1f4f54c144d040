"""What executors say, and what they are answered. Fields that a newer shim may add are passed over."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from sojourn.control_plane.api.models.shape import Loose, Query, Reply
from sojourn.control_plane.api.models.texts import IDENTIFIER, Key, Name, Time
from sojourn.sdk.protocol import MAX_WAITS

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


class LogsTakenReply(Reply):
    """Why changes of metadata were not made."""

    refused: list[str] | None = None


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
