"""Runs as an app sees them: handles, results, typed runs, and the pages of a list."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sojourn.sdk.client import Client, default
from sojourn.sdk.errors import OutsideRunError, RunTimeoutError, SubtaskUnwrapError
from sojourn.sdk.options import trigger_options

#: Seconds of one long poll for a result.
_POLL = 30.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run. Dates are aware; `output` and `payload` are parsed; `error` has name, message and stackTrace."""

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
    tags: Sequence[str] = ()
    duration_ms: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_completed(self) -> bool:
        """Whether it is over."""
        return self.finished_at is not None

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> Run:
        """A run as the API has it."""
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
            tags=tuple(wire.get("tags", ())),
            duration_ms=wire.get("durationMs", 0),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a run ended. `output` where `ok`, else `error` as the API has it."""

    ok: bool
    id: str
    task: str
    output: Any = None
    error: Mapping[str, Any] | None = None

    def unwrap(self) -> Any:
        """The output; `SubtaskUnwrapError` if the run did not succeed."""
        if not self.ok:
            raise SubtaskUnwrapError(self.id, self.task, self.error or {})
        return self.output


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was triggered. `is_cached`: an idempotency key led to one that was there before."""

    id: str
    task: str
    is_cached: bool = False

    def result(self, timeout: float | None = None) -> TaskResult:
        """Waits for the run to end; `RunTimeoutError` after `timeout` seconds."""
        return wait_for_result(default(), self.id, self.task, timeout)

    def retrieve(self) -> Run:
        """The run as it stands."""
        return Run.of(default().retrieve(self.id))

    def cancel(self) -> None:
        """Cancels it."""
        default().cancel(self.id)


def trigger(task_id: str, payload: Any, options: Mapping[str, Any]) -> RunHandle:
    """Asks for a run; inside a run, as its child."""
    from sojourn.sdk.context import inside

    wire = trigger_options(options)
    current = inside()
    if current is not None and current.run.id:
        wire["parentRunId"] = current.run.id
    answer = default().trigger(task_id, payload, wire)
    return RunHandle(answer["id"], task_id, bool(answer.get("isCached")))


def trigger_and_wait(task_id: str, payload: Any, options: Mapping[str, Any], timeout: float | None) -> TaskResult:
    """Asks for a run and waits for its result."""
    from sojourn.sdk.context import inside

    if inside() is not None:
        raise OutsideRunError(
            "a run cannot wait for another one in this release: use trigger(), or trigger_and_wait() from an app"
        )
    return trigger(task_id, payload, options).result(timeout)


def wait_for_result(client: Client, run_id: str, task_id: str, timeout: float | None) -> TaskResult:
    """Long polls until the run is over."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _POLL if deadline is None else min(_POLL, max(deadline - time.monotonic(), 0))
        result = client.result(run_id, wait=left)
        if result is not None:
            return _result(result, task_id)
        if deadline is not None and time.monotonic() >= deadline:
            raise RunTimeoutError(f"{task_id} ({run_id}) did not end within {timeout:g} s; it goes on")


def _result(wire: Mapping[str, Any], task_id: str) -> TaskResult:
    task = wire.get("taskIdentifier", task_id)
    if not wire["ok"]:
        return TaskResult(False, wire["id"], task, error=wire.get("error") or {})
    text = wire.get("output")
    output = json.loads(text) if text is not None and "json" in wire.get("outputType", "") else text
    return TaskResult(True, wire["id"], task, output=output)


class Runs:
    """`sojourn.runs`: look at runs and act on them."""

    def retrieve(self, run_id: str) -> Run:
        """A run, with its payload and output."""
        return Run.of(default().retrieve(run_id))

    def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        task: str | Sequence[str] | None = None,
        tag: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Run]:
        """Runs, newest first, page after page as they are asked for."""
        query: dict[str, Any] = {"page[size]": min(limit or 100, 100)}
        for name, value in (("status", status), ("taskIdentifier", task), ("tag", tag)):
            if value is not None:
                query[f"filter[{name}]"] = value if isinstance(value, str) else ",".join(value)
        given = 0
        while True:
            page = default().list_runs(query)
            for wire in page["data"]:
                if limit is not None and given >= limit:
                    return
                given += 1
                yield Run.of(wire)
            following = page.get("pagination", {}).get("next")
            if not following:
                return
            query["page[after]"] = following

    def cancel(self, run_id: str) -> None:
        """Cancels a run; one that is over stays as it is."""
        default().cancel(run_id)

    def replay(self, run_id: str) -> RunHandle:
        """A new run of the same task with the same payload and options."""
        return RunHandle(default().replay(run_id)["id"], "")

    def result(self, run_id: str, timeout: float | None = None) -> TaskResult:
        """Waits for a run to end."""
        return wait_for_result(default(), run_id, "run", timeout)

    def logs(self, run_id: str) -> Iterator[dict[str, Any]]:
        """A run's log lines so far, in order."""
        after = None
        while True:
            page = default().logs(run_id, after)
            yield from page["lines"]
            if not page.get("next"):
                return
            after = page["next"]


def _date(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


runs = Runs()
