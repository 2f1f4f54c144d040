"""What a run can wait for: how each is told to the platform, and what its end means to the code that waited."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from sojourn.sdk.errors import ApiError, ConfigurationError, NotFoundError, WaitpointTimeoutError
from sojourn.sdk.result import TaskResult
from sojourn.sdk.tokens import TokenResult
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NOT_FOUND = ("WAITPOINT_NOT_FOUND", "RUN_NOT_FOUND")


class Condition(Value):
    """One thing to wait for. `kind` is `date`, `token` or `run`."""

    __slots__ = ()
    kind = ""

    def wire(self, now: datetime) -> dict[str, Any]:
        """As the worker API has it, without its key."""
        raise NotImplementedError

    def read(self, told: Mapping[str, Any]) -> Any:
        """What the code that waited gets; `NotFoundError` if there is no such thing."""
        error = told.get("error") or {}
        if not told.get("ok") and error.get("code") in _NOT_FOUND:
            message = error.get("message") or "there is no such thing in this environment"
            raise NotFoundError(message, status=404, code=error["code"])
        return self._read(told)

    def _read(self, told: Mapping[str, Any]) -> Any:
        raise NotImplementedError


class Date(Condition):
    """A moment (aware), or so many `seconds` from when the waiting begins. Its result is None.

    `key`, `key_ttl`: an idempotency key as the platform has it, and its seconds.
    """

    __slots__ = ("at", "key", "key_ttl", "seconds")
    kind = "date"
    at: datetime | None
    seconds: float | None
    key: str | None
    key_ttl: int | None

    def __init__(
        self, at: datetime | None = None, seconds: float | None = None, key: str | None = None, key_ttl: int | None = None
    ):
        self._keep(at, seconds, key, key_ttl)

    def wire(self, now: datetime) -> dict[str, Any]:
        told: dict[str, Any] = {"kind": "date", "at": self.moment(now).astimezone(UTC).isoformat()}
        if self.key is not None:
            told["idempotencyKey"] = self.key
        if self.key_ttl is not None:
            told["idempotencyKeyTTL"] = self.key_ttl
        return told

    def moment(self, now: datetime) -> datetime:
        """When it is."""
        if self.at is not None:
            return self.at
        try:
            return now + timedelta(seconds=self.seconds or 0)
        except OverflowError:
            raise ConfigurationError(f"{self.seconds:g} seconds lead beyond the year 9999: wait for less") from None

    def _read(self, told: Mapping[str, Any]) -> None:
        if not told.get("ok"):
            raise _refused(told)


class ForToken(Condition):
    """A token by its id. Its result is a TokenResult."""

    __slots__ = ("id",)
    kind = "token"
    id: str

    def __init__(self, id: str):
        self._keep(id)

    def wire(self, now: datetime) -> dict[str, Any]:
        return {"kind": "token", "waitpoint": self.id}

    def _read(self, told: Mapping[str, Any]) -> TokenResult:
        if told.get("ok"):
            return TokenResult(True, self.id, output=parsed(told))
        error = told.get("error") or {}
        return TokenResult(False, self.id, error=WaitpointTimeoutError(self.id, error.get("message")))


class ForRun(Condition):
    """A run by its id. Its result is a TaskResult."""

    __slots__ = ("id", "task")
    kind = "run"
    id: str
    task: str

    def __init__(self, id: str, task: str = "the run"):
        self._keep(id, task)

    def wire(self, now: datetime) -> dict[str, Any]:
        return {"kind": "run", "awaited": self.id}

    def _read(self, told: Mapping[str, Any]) -> TaskResult:
        return task_result(told, self.task)


def task_result(told: Mapping[str, Any], task_id: str) -> TaskResult:
    """A run's result as the API has it."""
    task = told.get("taskIdentifier", task_id)
    if not told["ok"]:
        return TaskResult(False, told["id"], task, error=told.get("error") or {})
    return TaskResult(True, told["id"], task, output=parsed(told))


def parsed(told: Mapping[str, Any]) -> Any:
    """The value of `output`, a text of the type `outputType`."""
    text = told.get("output")
    return json.loads(text) if text is not None and "json" in told.get("outputType", "application/json") else text


def _refused(told: Mapping[str, Any]) -> ApiError:
    error = told.get("error") or {}
    return ApiError(str(error.get("message") or "the wait was refused"), code=error.get("code"))
