"""A small server that speaks the worker API from memory: it hands out runs and keeps what executors tell it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 30.0


class WorkerServer:
    """`result` and `wait_for` wait on what executors tell. `fail(path)` is asked before, `lose(path)` after a call."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        self.waiting: deque[dict[str, Any]] = deque()
        self.given: dict[str, dict[str, Any]] = {}
        self.completions: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.beats: list[dict[str, Any]] = []
        self.nexts: list[dict[str, Any]] = []
        self.retries: dict[str, int] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.leave: str | None = None
        #: What identities are swapped for, besides the credential; and every swap, as (identity, body).
        self.shim_settings: dict[str, Any] = {}
        self.swaps: list[tuple[str, dict[str, Any]]] = []
        self.log_pause = threading.Event()
        self.log_pause.set()
        #: What a call is answered with instead: (status, body), or None as usual.
        self.fail: Callable[[str, dict[str, Any]], int | None] = lambda path, body: None
        #: Whether a call is carried out and its answer lost.
        self.lose: Callable[[str, dict[str, Any]], bool] = lambda path, body: False
        self._changed = threading.Condition()
        self._count = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    # --- what tests do

    def give(self, task: str, payload: Any = None, file: str = "tasks.py", **more: Any) -> str:
        """Puts a run into the queue; its id."""
        run = f"run_{next(self._count)}"
        assignment = {
            "run": {
                "id": run, "payload": json.dumps(payload), "payloadType": "application/json", "tags": [],
                "isTest": False, "isReplay": False, "createdAt": "2026-01-01T00:00:00+00:00",
                "startedAt": "2026-01-01T00:00:00+00:00", "maxAttempts": 3, "version": "20260101.1",
            },
            "attempt": {"number": 1, "startedAt": "2026-01-01T00:00:00+00:00"},
            "task": {"id": task, "filePath": file, "exportName": task},
            "queue": {"id": f"task/{task}", "name": task}, "snapshot": 3, "token": f"token-{run}",
            "retry": {"maxAttempts": 3, "minTimeoutInMs": 50, "maxTimeoutInMs": 50, "factor": 1, "randomize": False},
            "variables": {}, "apiUrl": self.url, "secretKey": "tr_dev_test", "maxDuration": None,
        } | more  # fmt: skip
        with self._changed:
            self.waiting.append(assignment)
            self._changed.notify_all()
        return run

    def retry(self, run: str, milliseconds: int) -> None:
        """The run's next failure is answered with an immediate retry."""
        self.retries[run] = milliseconds

    def tell(self, run: str, state: str, snapshot: int | None = None) -> None:
        """What heartbeats of the run are answered with from now on."""
        with self._changed:
            self.states[run] = {"state": state} | ({} if snapshot is None else {"snapshot": snapshot})
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Until something that executors tell makes the condition true."""
        with self._changed:
            assert self._changed.wait_for(condition, patience), "it did not happen"
            return condition()

    def result(self, run: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The run's first completion."""
        return self.wait_for(lambda: next((each for each in self.completions if each["run"] == run), None), patience)

    def log(self, run: str) -> list[dict[str, Any]]:
        """Every line of the run, in order."""
        lines = [line for line in self.lines if line["run"] == run]
        for completion in self.completions:
            if completion["run"] == run:
                lines += completion["logs"]
        return sorted(lines, key=lambda line: line["n"])

    def messages(self, run: str) -> list[str]:
        """The texts of the run's lines."""
        return [line["message"] for line in self.log(run)]

    # --- the calls

    def next(self, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        completion = body["completion"]
        with self._changed:
            self.nexts.append({**body, "at": time.monotonic()})
            if completion is not None:
                answer["completion"] = self._settle(completion)
            self._changed.notify_all()
            if "RETRY_IMMEDIATELY" in str(answer):
                return answer
            if body["wait"] is None:
                return answer | {"leave": "no further run was asked for"}
            if body.get("again"):
                for held in self.given.values():
                    if not any(each["run"] == held["run"]["id"] for each in self.completions):
                        return answer | {"work": held}
            self._changed.wait_for(lambda: self.waiting or self.leave, body["wait"])
            if self.leave:
                return answer | {"leave": self.leave}
            if self.waiting:
                work = self.waiting.popleft()
                self.given[work["run"]["id"]] = work
                self._changed.notify_all()
                return answer | {"work": work}
        return answer

    def _settle(self, completion: dict[str, Any]) -> dict[str, Any]:
        if completion in self.completions:
            return {"result": "RUN_FINISHED"}
        run = completion["run"]
        if not completion["outcome"]["ok"] and run in self.retries:
            snapshot = completion["snapshot"] + 1
            work = self.given[run]
            self.given[run] = work | {
                "snapshot": snapshot + 1,
                "attempt": {**work["attempt"], "number": work["attempt"]["number"] + 1},
            }
            wait = self.retries.pop(run)
            self.completions.append(completion | {"run": f"{run}/{work['attempt']['number']}"})
            return {"result": "RETRY_IMMEDIATELY", "retryInMs": wait, "snapshot": snapshot}
        self.completions.append(completion)
        return {"result": "RETRY_QUEUED" if completion["outcome"].get("handBack") else "RUN_FINISHED"}

    def swap(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            self.swaps.append((identity, body))
            self._changed.notify_all()
        return {"credential": "credential", "settings": self.shim_settings}

    def start(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"work": self.given[body["run"]]}

    def heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            self.beats.append({**body, "at": time.monotonic()})
            self._changed.notify_all()
            self._changed.wait_for(lambda: body["run"] in self.states, body["wait"])
            return self.states.get(body["run"], {"state": "continue"})

    def logs(self, body: dict[str, Any]) -> dict[str, Any]:
        self.log_pause.wait(PATIENCE)
        with self._changed:
            self.lines += [{**line, "run": body["run"]} for line in body["lines"]]
            self._changed.notify_all()
        return {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                return

            def do_GET(self) -> None:
                data = server.archives.get(self.path.rsplit("/", 1)[1])
                self.answer(200 if data is not None else 404, data or b"{}")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = self.path.rsplit("/", 1)[1]
                shown = str(self.headers["Authorization"])
                if name != "identity" and shown != "Bearer credential":
                    self.answer(401, b"{}")
                    return
                status = server.fail(name, body)
                if status is not None:
                    self.refuse(status)
                    return
                if name == "identity":
                    answer = server.swap(shown.removeprefix("Bearer "), body)
                else:
                    answer = getattr(server, name)(body)
                if server.lose(name, body):
                    self.close_connection = True
                    return
                self.answer(200, json.dumps(answer).encode())

            def refuse(self, status: int) -> None:
                if status == 0:  # nobody there
                    self.close_connection = True
                else:
                    self.answer(status, b'{"error": "refused", "code": "REFUSED"}')

            def answer(self, status: int, data: bytes) -> None:
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True

        return Handler
