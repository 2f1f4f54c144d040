"""The worker API: executors show who they are, take runs, tell how they ended, beat, send lines, fetch their version."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sojourn.control_plane.api.body import Stream
from sojourn.control_plane.api.call import Answer, Call, Streamed
from sojourn.control_plane.api.encoding import timestamp
from sojourn.control_plane.api.models.metadata import AnOperation
from sojourn.control_plane.api.models.worker import (
    CheckpointBody,
    CheckpointQuery,
    CompletionBody,
    HeartbeatBody,
    HeldBody,
    IdentityBody,
    LogsBody,
    NextBody,
    OutcomeBody,
    SuspendBody,
    ThawedBody,
    WaitBody,
    WaitWish,
)
from sojourn.control_plane.api.present.waits import waits_done
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.runs import operation_of
from sojourn.control_plane.domain import duration
from sojourn.control_plane.domain.failure import truncated
from sojourn.control_plane.engine.annotating import RELATIVES, NumberedChange
from sojourn.control_plane.engine.attempts import Attempts, Completed, NextAnswer, NextRequest
from sojourn.control_plane.engine.deployments import Deployments
from sojourn.control_plane.engine.freezing import Freezing, Suspension
from sojourn.control_plane.engine.identities import Identities
from sojourn.control_plane.engine.outcomes import Outcome, Settled
from sojourn.control_plane.engine.waiting import Waiting, WaitRequest, Wish
from sojourn.control_plane.store.packets import STORED
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.telemetry.logs import LEVELS, STREAMS, Line
from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS

_MAX_LINES = _MAX_CHANGES = 10_000
#: Changes that make no sense, of which it is told why.
_MAX_REFUSED = 20
_OPERATION: TypeAdapter[AnOperation] = TypeAdapter(AnOperation)
_MAX_PROPERTIES_CHARS = 32 * 1024
_MAX_NUMBER = 2_147_483_647


class Worker:
    """`clock` tells the time again after a long poll. `image_limit`: bytes of a checkpoint's image, at most."""

    def __init__(
        self,
        attempts: Attempts,
        identities: Identities,
        deployments: Deployments,
        versions: Versions,
        waiting: Waiting,
        freezing: Freezing,
        clock: Callable[[], datetime],
        image_limit: int,
    ):
        self._attempts = attempts
        self._identities = identities
        self._deployments = deployments
        self._versions = versions
        self._waiting = waiting
        self._freezing = freezing
        self._image_limit = image_limit
        self._clock = clock

    def identity(self, call: Call) -> dict[str, Any]:
        """An allocation becomes the executor that it was placed to be."""
        body: IdentityBody = call.body
        admission = self._identities.admit(call.allocation, body.executor, call.now)
        return {"credential": admission.credential, "settings": admission.settings}

    def next(self, call: Call) -> dict[str, Any]:
        """Settles the last attempt and gives the next run: one request."""
        body: NextBody = call.body
        request = NextRequest(
            wait=body.wait,
            served=body.served,
            again=body.again,
            isolation=body.isolation,
            node_type=body.nodeType,
            completed=_completed(body.completion, call.now) if body.completion else None,
        )
        return self._answer(self._attempts.next(call.executor, request, call.now))

    def start(self, call: Call) -> dict[str, Any]:
        """The next attempt of a run that its executor kept."""
        body: HeldBody = call.body
        return {"work": self._attempts.start(call.executor, body.run, body.snapshot, body.token, call.now)}

    def heartbeat(self, call: Call) -> dict[str, Any]:
        """Renews the lease, and waits for what happens to the run."""
        body: HeartbeatBody = call.body
        beat = self._attempts.heartbeat(
            call.executor, body.run, body.snapshot, body.token, body.wait, call.now, body.pending
        )
        wire: dict[str, Any] = {"state": beat.state}
        if beat.snapshot is not None:
            wire["snapshot"] = beat.snapshot
        if beat.is_blocked:
            wire["blocked"] = True
        if beat.done:
            wire["done"] = waits_done(beat.done)
        return wire

    def wait(self, call: Call) -> dict[str, Any]:
        """Begins waits of a run, which is blocked if it asks for that and has not what it needs."""
        body: WaitBody = call.body
        wishes = [_wish(each, f"waits.{n}") for n, each in enumerate(body.waits)]
        request = WaitRequest(body.run, body.snapshot, body.token, wishes, body.pending, body.block, body.hold, body.call)
        answer = self._waiting.wait(call.executor, request, call.now)
        state = "blocked" if answer.is_blocked else "ready"
        return {"state": state, "snapshot": answer.snapshot, "done": waits_done(answer.done)}

    def logs(self, call: Call) -> dict[str, Any]:
        """Keeps log lines, and makes changes of metadata."""
        body: LogsBody = call.body
        lines, (changes, senseless) = log_lines(body.lines, 0, call.now), changes_of(body.changes)
        refused = senseless + self._attempts.append_logs(call.executor, body.run, body.token, lines, changes)
        return {"refused": refused} if refused else {}

    def version(self, call: Call, content_hash: str) -> Answer:
        """The archive of the executor's own version, and no other."""
        version = self._versions.find(call.executor.version)
        archive = None
        if version is not None and version.content_hash == content_hash:
            archive = self._deployments.archive(content_hash)
        if archive is None:
            raise Problem("ARCHIVE_NOT_FOUND")
        return Answer(archive, "application/zip")

    def begin_checkpoint(self, call: Call) -> dict[str, Any]:
        """A checkpoint, and the key of its image."""
        body: CheckpointBody = call.body
        begun = self._freezing.begin(call.executor, body.run, body.snapshot, body.token, body.nodeType, call.now)
        return {"checkpoint": begun.checkpoint, "key": begun.key, "context": begun.context}

    def store_checkpoint(self, call: Call, checkpoint: str) -> dict[str, Any]:
        """Stores an image while it arrives."""
        stream: Stream = call.body
        try:
            chunks = stream.chunks(self._image_limit)
            return {"bytes": self._freezing.upload(call.executor, checkpoint, _token(call), chunks, self._clock)}
        except Exception:
            stream.abandon()
            raise

    def read_checkpoint(self, call: Call, checkpoint: str) -> Streamed:
        """The image of the run that is to be thawed."""
        query: CheckpointQuery = call.query
        image = self._freezing.image(call.executor, checkpoint, query.run, _token(call))
        return Streamed(image.chunks, image.size)

    def suspend(self, call: Call) -> dict[str, Any]:
        """The run gives its process up."""
        body: SuspendBody = call.body
        self._freezing.suspend(call.executor, _suspension(body), call.now)
        return {"state": "suspended"}

    def thawed(self, call: Call) -> dict[str, Any]:
        """The run's process may go on, or is to be ended."""
        body: ThawedBody = call.body
        continued = self._freezing.thawed(call.executor, body.run, body.snapshot, body.token, round(body.thawMs), call.now)
        return {"work": continued.assignment, "done": waits_done(continued.done)}

    def _answer(self, answer: NextAnswer) -> dict[str, Any]:
        wire: dict[str, Any] = {}
        if answer.settled is not None:
            wire["completion"] = self._settled(answer.settled)
        if answer.assignment is not None:
            wire["work"] = answer.assignment
        elif answer.leave is not None:
            wire["leave"] = answer.leave
        return wire

    def _settled(self, settled: Settled) -> dict[str, Any]:
        wire: dict[str, Any] = {"result": settled.result}
        if settled.snapshot is not None:
            wire["snapshot"] = settled.snapshot
        if settled.retry_at is not None:
            wait = settled.retry_at - self._clock()
            wire["retryAt"] = timestamp(settled.retry_at)
            wire["retryInMs"] = max(0, round(wait / timedelta(milliseconds=1)))
        return wire


def _wish(body: WaitWish, field: str) -> Wish:
    try:
        at = duration.date(body.at) if body.at else None
    except duration.BadTime as error:
        raise Problem("BODY_INVALID", f"{error}.", field=f"{field}.at") from None
    ttl = None if body.idempotencyKeyTTL is None else timedelta(seconds=body.idempotencyKeyTTL)
    return Wish(body.key, body.kind, at, body.waitpoint, body.awaited, body.idempotencyKey, ttl)


def log_lines(given: list[Any], attempt: int, now: datetime) -> list[Line]:
    """Lines that can be stored. User code is behind them: what makes no sense is mended or passed over."""
    return [line for line in (_line(item, attempt, now) for item in given[:_MAX_LINES]) if line is not None]


def _line(item: Any, attempt: int, now: datetime) -> Line | None:
    if not isinstance(item, dict):
        return None
    n, message = _number(item.get("n")), item.get("message")
    if n is None or not isinstance(message, str):
        return None
    given = _number(item.get("attempt"))
    stream, level = item.get("stream"), item.get("level")
    return Line(
        attempt=attempt if given is None else given,
        n=n,
        at=_moment(item.get("at"), now),
        stream=stream if stream in STREAMS else "stdout",
        level=level if level in LEVELS else "LOG",
        message=message[: MAX_LOG_LINE_CHARS + 100],
        properties=_properties(item.get("properties")),
    )


def changes_of(given: list[Any]) -> tuple[list[NumberedChange], list[str]]:
    """Changes of metadata that can be made, in the order of their numbers; of those that cannot be, why."""
    changes, refused = [], []
    for item in given[:_MAX_CHANGES]:
        try:
            changes.append(_change(item))
        except ValueError as error:
            refused.append(str(error))
    if len(given) > _MAX_CHANGES:
        refused.insert(0, f"{len(given) - _MAX_CHANGES} changes are too many at once")
    return sorted(changes, key=lambda each: each.number), refused[:_MAX_REFUSED]


def _change(item: Any) -> NumberedChange:
    """`ValueError` says why it is none. (A `ValidationError` is one, too; its text repeats what was given.)"""
    if not isinstance(item, dict):
        raise ValueError("a change that is no object")
    number, whose, operation = item.get("n"), item.get("whose"), item.get("operation")
    named = " ".join(f"{operation.get(name)!r:.80}" for name in ("type", "key")) if isinstance(operation, dict) else ""
    if type(number) is not int or not 0 < number < 2**63 or whose not in RELATIVES:
        raise ValueError(f"{named}: its number, or whose metadata it changes, makes no sense")
    try:
        return NumberedChange(number, whose, operation_of(_OPERATION.validate_python(operation)))
    except ValidationError as error:
        raise ValueError(f"{named}: {error.errors(include_input=False)[0]['msg'][:200]}") from None


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_NUMBER else None


def _moment(text: Any, now: datetime) -> datetime:
    """The executor's time of a line; the server's where that is none, or lies in the future."""
    try:
        moment = datetime.fromisoformat(text)
        return min(moment, now) if moment.tzinfo else now
    except (TypeError, ValueError, OverflowError):
        return now


def _properties(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict) or not value:
        return None
    try:
        fits = len(json.dumps(value, allow_nan=False)) <= _MAX_PROPERTIES_CHARS
    except (ValueError, RecursionError):
        fits = False
    return value if fits else {"dropped": f"the properties were larger than {_MAX_PROPERTIES_CHARS} characters of JSON"}


def _token(call: Call) -> str:
    return call.header("x-run-token") or ""


def _suspension(body: SuspendBody) -> Suspension:
    return Suspension(
        run=body.run,
        snapshot=body.snapshot,
        token=body.token,
        checkpoint=body.checkpoint,
        node_type=body.nodeType,
        sealed_bytes=body.sealedBytes,
        image_bytes=round(body.imageBytes),
        freeze_ms=round(body.freezeMs),
        store_ms=round(body.storeMs),
    )


def _completed(body: CompletionBody, now: datetime) -> Completed:
    changes, refused = changes_of(body.changes)
    return Completed(
        run=body.run,
        snapshot=body.snapshot,
        token=body.token,
        attempt=body.attempt,
        outcome=_outcome(body.outcome, int(body.usageMs)),
        lines=log_lines(body.logs, body.attempt, now),
        changes=changes,
        refused=refused,
    )


def _output_type(named: str | None) -> str:
    """What an output is, as its executor says; what stands for an object of the store is ours to say."""
    return named if named and named.isprintable() and named != STORED else "application/json"


def _outcome(body: OutcomeBody, usage_ms: int) -> Outcome:
    return Outcome(
        ok=body.ok,
        output=body.output,
        output_type=_output_type(body.outputType),
        error=truncated(body.error) if body.error else None,
        retry_in=timedelta(milliseconds=body.retry.delay) if body.retry else None,
        skipped_retrying=bool(body.skippedRetrying),
        hand_back=bool(body.handBack),
        usage_ms=usage_ms,
    )
