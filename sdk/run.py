"""Runs as an app sees them: handles, typed runs, and the pages of a list."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sojourn.sdk.client import Client, default
from sojourn.sdk.context import inside
from sojourn.sdk.errors import OutsideRunError, RunTimeoutError
from sojourn.sdk.result import TaskResult
from sojourn.sdk.trigger_options import trigger_options

#: Seconds of one long poll for a result; and between polls of a server that does not wait.
_POLL, _PAUSE = 30.0, 1.0
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Run:
    """A run. Dates are aware; `output` and `payload` are parsed; `error` is `{message, name?, stackTrace?}`."""

    id: str
    status: str
    task: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    payload: Any = None
    output: Any = None
    error: dict[str, Any] | None = None
    attempt_count: int = 0
    version: str | None = None
    region: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    duration_ms: int = 0
    is_completed: bool = False
    is_success: bool = False
    is_failed: bool = False
    is_cancelled: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> Run:
        """A run as the API has it; `raw` keeps what has no field here."""
        return cls(
            id=wire["id"],
            status=wire["status"],
            task=wire["taskIdentifier"],
            created_at=_date(wire["createdAt"]),
            started_at=_date(wire["startedAt"]) if wire.get("startedAt") else None,
            finished_at=_date(wire["finishedAt"]) if wire.get("finishedAt") else None,
            payload=wire.get("payload"),
            output=wire.get("output"),
            error=wire.get("error"),
            attempt_count=wire.get("attemptCount", 0),
            version=wire.get("version"),
            region=wire.get("region"),
            tags=tuple(wire.get("tags", ())),
            metadata=wire.get("metadata"),
            idempotency_key=wire.get("idempotencyKey"),
            duration_ms=wire.get("durationMs", 0),
            is_completed=bool(wire.get("isCompleted")),
            is_success=bool(wire.get("isSuccess")),
            is_failed=bool(wire.get("isFailed")),
            is_cancelled=bool(wire.get("isCancelled")),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was triggered. `is_cached`: an idempotency key led to one that was there before."""

    id: str
    task: str
    is_cached: bool = False
    client: Client | None = field(default=None, repr=False, compare=False)

    def result(self, timeout: float | None = None) -> TaskResult:
        """Waits for the run to end; `RunTimeoutError` after `timeout` seconds."""
        return wait_for_result(self.client or default(), self.id, self.task, timeout)

    def retrieve(self) -> Run:
        """The run as it stands."""
        return Run.of((self.client or default()).retrieve(self.id))

    def cancel(self) -> None:
        """Cancels it; one that is over stays as it is."""
        (self.client or default()).cancel(self.id)


def trigger(task_id: str, payload: Any, options: Mapping[str, Any], client: Client | None = None) -> RunHandle:
    """Asks for a run; inside a run, as its child."""
    current = inside()
    wire = trigger_options(options, current.run.id if current is not None else None)
    answer = (client or default()).trigger(task_id, payload, wire)
    return RunHandle(answer["id"], task_id, bool(answer.get("isCached")), client)


def trigger_and_wait(
    task_id: str, payload: Any, options: Mapping[str, Any], timeout: float | None, client: Client | None = None
) -> TaskResult:
    """Asks for a run and waits for its result, from an app."""
    _refuse_waiting()
    return trigger(task_id, payload, options, client).result(timeout)


def wait_for_result(client: Client, run_id: str, task_id: str, timeout: float | None) -> TaskResult:
    """Long polls until the run is over."""
    _refuse_waiting()
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        wait = _POLL if deadline is None else min(_POLL, max(deadline - begun, 0))
        result = client.result(run_id, wait)
        if result is not None:
            return _result(result, task_id)
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            raise RunTimeoutError(f"{task_id} ({run_id}) did not end within {timeout:g} s; it goes on")
        if now - begun < wait / 2:
            client.sleep(_PAUSE if deadline is None else min(_PAUSE, deadline - now))


def _refuse_waiting() -> None:
    if inside() is not None:
        raise OutsideRunError(
            "waiting inside a run is not supported by this release; use trigger, or trigger_and_wait from an app"
        )


def _result(wire: Mapping[str, Any], task_id: str) -> TaskResult:
    task = wire.get("taskIdentifier", task_id)
    if not wire["ok"]:
        return TaskResult(False, wire["id"], task, error=wire.get("error") or {})
    text = wire.get("output")
    output = json.loads(text) if text is not None and "json" in wire.get("outputType", "") else text
    return TaskResult(True, wire["id"], task, output=output)


class Runs:
    """Look at runs and act on them. `sojourn.runs` uses the process's client, `Runs(client)` another."""

    def __init__(self, client: Client | None = None):
        self._given = client

    def retrieve(self, run_id: str) -> Run:
        """A run, with its payload and output."""
        return Run.of(self._client.retrieve(run_id))

    def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        task: str | Sequence[str] | None = None,
        tag: str | Sequence[str] | None = None,
        version: str | Sequence[str] | None = None,
        region: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Run]:
        """Runs, newest first, page after page as they are asked for. Several values of a filter: any fits."""
        query: dict[str, Any] = {"page[size]": _PAGE if limit is None else max(min(limit, _PAGE), 1)}
        filters = (
            ("status", status), ("taskIdentifier", task), ("tag", tag), ("version", version), ("region", region),
        )  # fmt: skip
        for name, value in filters:
            if value is not None:
                query[f"filter[{name}]"] = value if isinstance(value, str) else ",".join(value)
        return self._pages(query, limit)

    def cancel(self, run_id: str) -> None:
        """Cancels a run; one that is over stays as it is."""
        self._client.cancel(run_id)

    def replay(self, run_id: str, *, region: str | None = None) -> RunHandle:
        """A new run of the same task with the same payload and options; in another region, if one is given."""
        client = self._client
        made = client.replay(run_id, region)["id"]
        return RunHandle(made, client.retrieve(made)["taskIdentifier"], client=self._given)

    def result(self, run_id: str, timeout: float | None = None) -> TaskResult:
        """Waits for a run to end; `RunTimeoutError` after `timeout` seconds."""
        return wait_for_result(self._client, run_id, "the run", timeout)

    def logs(self, run_id: str) -> Iterator[dict[str, Any]]:
        """A run's log lines so far, in order: `{attempt, n, at, stream, level, message, properties?}`."""
        after = None
        while True:
            page = self._client.logs(run_id, after)
            yield from page["lines"]
            if not page.get("next") or page["next"] == after:
                return
            after = page["next"]

    def _pages(self, query: dict[str, Any], limit: int | None) -> Iterator[Run]:
        left = limit
        while left is None or left > 0:
            page = self._client.list_runs(query)
            for wire in page["data"][:left]:
                yield Run.of(wire)
            left = None if left is None else left - len(page["data"])
            following = page.get("pagination", {}).get("next")
            if not following:
                return
            query["page[after]"] = following

    @property
    def _client(self) -> Client:
        return self._given or default()


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text)


runs = Runs()
