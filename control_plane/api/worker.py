"""The worker API: executors show who they are, take runs, tell how they ended, beat, send lines, fetch their version."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sojourn.control_plane.api.bodies import (
    CompletionBody,
    HeartbeatBody,
    HeldBody,
    IdentityBody,
    LogsBody,
    NextBody,
    OutcomeBody,
)
from sojourn.control_plane.api.call import Answer, Call
from sojourn.control_plane.api.encoding import timestamp
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.domain.failure import truncated
from sojourn.control_plane.engine.attempts import Attempts, Completed, NextAnswer, NextRequest
from sojourn.control_plane.engine.deployments import Deployments
from sojourn.control_plane.engine.identities import Identities
from sojourn.control_plane.engine.outcomes import Outcome, Settled
from sojourn.control_plane.store.versions import Versions
from sojourn.control_plane.telemetry.logs import LEVELS, STREAMS, Line
from sojourn.sdk.protocol import MAX_LOG_LINE_CHARS

_MAX_LINES = 10_000
_MAX_PROPERTIES_CHARS = 32 * 1024
_MAX_NUMBER = 2_147_483_647
_NOTHING = Answer(b"{}")


class Worker:
    """`clock` tells the time again after a long poll."""

    def __init__(
        self,
        attempts: Attempts,
        identities: Identities,
        deployments: Deployments,
        versions: Versions,
        clock: Callable[[], datetime],
    ):
        self._attempts = attempts
        self._identities = identities
        self._deployments = deployments
        self._versions = versions
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
        beat = self._attempts.heartbeat(call.executor, body.run, body.snapshot, body.token, body.wait, call.now)
        return {"state": beat.state} if beat.snapshot is None else {"state": beat.state, "snapshot": beat.snapshot}

    def logs(self, call: Call) -> Answer:
        """Keeps log lines."""
        body: LogsBody = call.body
        self._attempts.append_logs(call.executor, body.run, body.token, log_lines(body.lines, 0, call.now))
        return _NOTHING

    def version(self, call: Call, content_hash: str) -> Answer:
        """The archive of the executor's own version, and no other."""
        version = self._versions.find(call.executor.version)
        archive = None
        if version is not None and version.content_hash == content_hash:
            archive = self._deployments.archive(content_hash)
        if archive is None:
            raise Problem("ARCHIVE_NOT_FOUND")
        return Answer(archive, "application/zip")

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


def _completed(body: CompletionBody, now: datetime) -> Completed:
    return Completed(
        run=body.run,
        snapshot=body.snapshot,
        token=body.token,
        attempt=body.attempt,
        outcome=_outcome(body.outcome, int(body.usageMs)),
        lines=log_lines(body.logs, body.attempt, now),
    )


def _outcome(body: OutcomeBody, usage_ms: int) -> Outcome:
    return Outcome(
        ok=body.ok,
        output=body.output,
        output_type=body.outputType if body.outputType and body.outputType.isprintable() else "application/json",
        error=truncated(body.error) if body.error else None,
        retry_in=timedelta(milliseconds=body.retry.delay) if body.retry else None,
        skipped_retrying=bool(body.skippedRetrying),
        hand_back=bool(body.handBack),
        usage_ms=usage_ms,
    )
