"""The shim's side of the worker API: calls are sent again until the lease would be over."""

from __future__ import annotations

import json
import os
import time

from sojourn.executor_shim.connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sojourn.executor_shim.events import Events

_encoder = json.JSONEncoder(separators=(",", ":"))
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Refused(Exception):
    """The control plane will not have this executor, or this call, any more. `status` is HTTP's."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text}")
        self.status = status


class OutOfTouch(Exception):
    """No answer within the patience of a call."""


class Control:
    """One connection; each thread has its own Control. `patience`: seconds after which a call is given up."""

    def __init__(
        self,
        api_url: str,
        credential: str,
        events: Events | None = None,
        on_event: Callable[[str], None] | None = None,
    ):
        self.connection = Connection(api_url, credential, events, on_event)

    def identity(self, executor: str, patience: float) -> dict[str, Any]:
        """Swaps the workload identity, which stands for the credential here, for an executor's credential."""
        return self._persistently("/worker/v1/identity", {"executor": executor}, _answering_time(patience), patience)

    def next(
        self,
        *,
        wait: float | None,
        served: int,
        completion: dict[str, Any] | None,
        patience: float,
        isolation: str | None = None,
        node_type: str | None = None,
    ) -> dict[str, Any]:
        """Tells of the last attempt and asks for the next run; `wait` None: no further run is wanted.

        `isolation`: what runs are kept in here, told once; `node_type`: what can be thawed here.
        """
        request = os.urandom(12).hex()
        body = {"wait": wait, "served": served, "request": request, "completion": completion}
        if isolation is not None:
            body["isolation"] = isolation
        if node_type is not None:
            body["nodeType"] = node_type
        return self._persistently("/worker/v1/next", body, (wait or 0) + _answering_time(patience), patience)

    def start(self, run: str, snapshot: int, token: str, patience: float) -> dict[str, Any]:
        """Begins the next attempt of a run that is tried again."""
        body = {"run": run, "snapshot": snapshot, "token": token}
        return self._persistently("/worker/v1/start", body, _answering_time(patience), patience)

    def heartbeat(
        self, run: str, snapshot: int, token: str, wait: float, timeout: float, pending: list[str] | None = None
    ) -> dict[str, Any]:
        """One beat, and a wait for what happens to the run or to its pending waits. `OSError` when nobody answers."""
        body: dict[str, Any] = {"run": run, "snapshot": snapshot, "token": token, "wait": wait}
        if pending:
            body["pending"] = pending
        return self._once("/worker/v1/heartbeat", body, timeout)

    def wait(self, body: dict[str, Any], patience: float) -> dict[str, Any]:
        """Tells of a run's waits: `{state: ready|blocked, snapshot, done}`. The same again has the same answer."""
        return self._persistently("/worker/v1/wait", body, _answering_time(patience), patience)

    def checkpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        """Begins a checkpoint of a blocked run, once: `{checkpoint, key, context}`."""
        return self._once("/worker/v1/checkpoints", body, 10)

    def suspend(self, body: dict[str, Any], patience: float) -> dict[str, Any]:
        """Suspends a run whose image is stored; 409: its wait is over."""
        return self._persistently("/worker/v1/suspend", body, _answering_time(patience), patience)

    def thawed(self, body: dict[str, Any], patience: float) -> dict[str, Any]:
        """Claims a run for the process that was restored: `{work, done}`; 409: it is somebody else's."""
        return self._persistently("/worker/v1/thawed", body, _answering_time(patience), patience)

    def logs(
        self,
        run: str,
        snapshot: int,
        token: str,
        lines: list[dict[str, Any]],
        changes: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Sends log lines and changes of metadata, once: `{refused?}`, why changes were not made."""
        body: dict[str, Any] = {"run": run, "snapshot": snapshot, "token": token, "lines": lines}
        if changes:
            body["changes"] = changes
        return self._once("/worker/v1/logs", body, 10)

    def version(self, content_hash: str, patience: float) -> bytes:
        """A version's archive."""
        path = f"/worker/v1/versions/{content_hash}"
        return self._until(lambda again: self._ask("GET", path, b"", 60), patience)

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()

    # --- inside

    def _persistently(self, path: str, body: dict[str, Any], timeout: float, patience: float) -> dict[str, Any]:
        def call(again: bool) -> dict[str, Any]:
            return self._once(path, {**body, "again": True} if again else body, timeout)

        return self._until(call, patience)

    def _until(self, call: Callable[[bool], Any], patience: float) -> Any:
        """Calls until there is an answer, or `patience` is over since the first failure.

        A call that was answered with 4xx is never repeated, but for 408 and 429.
        """
        deadline: float | None = None
        pause, again = _FIRST_PAUSE, False
        while True:
            try:
                return call(again)
            except Refused as error:
                if error.status < 500 and error.status not in (408, 429):
                    raise
                cause: Exception = error
            except (OSError, ValueError) as error:
                cause = error
            deadline = deadline or time.monotonic() + patience
            if time.monotonic() + pause > deadline:
                raise OutOfTouch(f"{type(cause).__name__}: {cause}") from cause
            self.connection.pause(pause)
            pause, again = min(pause * 2, _LONGEST_PAUSE), True

    def _once(self, path: str, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        answer = json.loads(self._ask("POST", path, _encoder.encode(body).encode(), timeout))
        if not isinstance(answer, dict):
            raise ValueError("an answer that is no object")
        return answer

    def _ask(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        status, data = self.connection.exchange(method, path, body, timeout)
        if status != 200:
            raise Refused(status, data[:500].decode("utf-8", "replace"))
        return data


def _answering_time(patience: float) -> float:
    """What an answer may take beyond the wait that was asked for: less than the lease, so that it is asked again."""
    return min(15.0, max(patience / 3, 1.0))
