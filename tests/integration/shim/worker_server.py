"""A small server that speaks the worker API from memory: it hands out runs and keeps what executors tell it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from sojourn.sdk.testing_batches import BatchBook
from sojourn.sdk.testing_clock import Clock

PATIENCE = 90.0


class Parked:
    """The waits of one run: what it waits for by key, what came of them, and whether it has its place."""

    def __init__(self, snapshot: int):
        self.snapshot = snapshot
        self.known: dict[str, dict[str, Any]] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.pending: list[str] = []
        self.need: str | None = None

    def done(self, keys: list[str]) -> dict[str, Any]:
        """Results of these keys; a date is done when it has come."""
        now = datetime.now(UTC)
        for key, wait in self.known.items():
            if wait["kind"] == "date" and datetime.fromisoformat(wait["at"]) <= now:
                self.results.setdefault(key, {"ok": True, "kind": "date"})
        return {key: self.results[key] for key in keys if key in self.results}

    def satisfies(self, need: str | None, pending: list[str]) -> bool:
        done = len(self.done(pending))
        return need in (None, "nothing") or (done > 0 if need == "any" else done == len(pending))

    @property
    def is_blocked(self) -> bool:
        return self.need is not None


class WorkerServer:
    """`result` and `wait_for` wait on what executors tell. `fail(path)` is asked before, `lose(path)` after a call."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        self.waiting: deque[dict[str, Any]] = deque()
        self.given: dict[str, dict[str, Any]] = {}
        self.completions: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        #: Changes of metadata as they came, by run; with the calls that carried any.
        self.changes: dict[str, list[list[dict[str, Any]]]] = {}
        self.beats: list[dict[str, Any]] = []
        self.nexts: list[dict[str, Any]] = []
        self.retries: dict[str, list[int]] = {}
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
        #: How many questions for a run are open: each would take the next one.
        self.asking = 0
        #: Every word about waits; runs by id; results of tokens and runs by their ids; what was triggered.
        self.told_waits: list[dict[str, Any]] = []
        self.parked: dict[str, Parked] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.triggered: dict[str, dict[str, Any]] = {}
        self.batches = BatchBook(Clock(datetime(2026, 1, 1, tzinfo=UTC)))
        #: While cleared, a run whose wait is over does not get its place again.
        self.has_place = threading.Event()
        self.has_place.set()
        self._changed = threading.Condition()
        self._count = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        self.log_pause.set()
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

    def retry(self, run: str, *milliseconds: int) -> None:
        """The run's next failures are answered with an immediate retry each, after so long."""
        self.retries[run] = list(milliseconds)

    def tell(self, run: str, state: str, snapshot: int | None = None) -> None:
        """What heartbeats of the run are answered with from now on."""
        with self._changed:
            self.states[run] = {"state": state} | ({} if snapshot is None else {"snapshot": snapshot})
            self._changed.notify_all()

    def finish(self, name: str, output: Any = None, **more: Any) -> None:
        """A token or a run that others wait for is done."""
        result = {"ok": True, "output": json.dumps(output), "outputType": "application/json"} | more
        with self._changed:
            self.results[name] = {"id": name, "taskIdentifier": "child", **result}
            self._changed.notify_all()

    def blocked(self, run: str) -> list[dict[str, Any]]:
        """Waits for the run to be blocked; what it then waits for."""

        def waits() -> list[dict[str, Any]]:
            parked = self.parked.get(run)
            return [parked.known[key] for key in parked.pending] if parked is not None and parked.is_blocked else []

        return list(self.wait_for(waits))

    def wait_for(self, condition: Callable[..., Any], patience: float = PATIENCE) -> Any:
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
            self.asking += 1
            self._changed.wait_for(lambda: self.waiting or self.leave, body["wait"])
            self.asking -= 1
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
        if not completion["outcome"]["ok"] and self.retries.get(run):
            snapshot = completion["snapshot"] + 1
            work = self.given[run]
            self.given[run] = work | {
                "snapshot": snapshot + 1,
                "attempt": {**work["attempt"], "number": work["attempt"]["number"] + 1},
            }
            wait = self.retries[run].pop(0)
            self.completions.append(completion | {"run": f"{run}/{work['attempt']['number']}"})
            return {"result": "RETRY_IMMEDIATELY", "retryInMs": wait, "snapshot": snapshot}
        self.completions.append(completion)
        outcome = completion["outcome"]
        self.results[run] = {
            **{name: outcome[name] for name in ("ok", "output", "outputType", "error") if name in outcome},
            "id": run, "taskIdentifier": self.given[run]["task"]["id"],
        }  # fmt: skip
        return {"result": "RETRY_QUEUED" if completion["outcome"].get("handBack") else "RUN_FINISHED"}

    def swap(self, identity: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            self.swaps.append((identity, body))
            self._changed.notify_all()
        return {"credential": "credential", "settings": self.shim_settings}

    def start(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"work": self.given[body["run"]]}

    def heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        until = time.monotonic() + body["wait"]
        with self._changed:
            self.beats.append({**body, "at": time.monotonic()})
            self._changed.notify_all()
            while True:
                answer = self._beaten(body)
                left = until - time.monotonic()
                if answer is not None or left <= 0:
                    return answer or {"state": "continue", "blocked": self._parked(body["run"]).is_blocked}
                self._changed.wait(min(left, 0.02 if body.get("pending") else left))

    def _beaten(self, body: dict[str, Any]) -> dict[str, Any] | None:
        run = body["run"]
        if run in self.states:
            return self.states[run]
        parked = self._parked(run)
        self._resolve(parked)
        if parked.is_blocked and parked.satisfies(parked.need, parked.pending) and self.has_place.is_set():
            parked.need = None
            parked.snapshot += 2  # UNBLOCK_QUEUED and READMIT
        done = {} if parked.is_blocked else parked.done(body.get("pending", []))
        if done or parked.snapshot > body["snapshot"]:
            newer = {"snapshot": parked.snapshot} if parked.snapshot > body["snapshot"] else {}
            return {"state": "continue", "blocked": parked.is_blocked, "done": done, **newer}
        return None

    def wait(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            parked = self._parked(body["run"])
            for wait in body["waits"]:
                parked.known.setdefault(wait["key"], wait)
            self._resolve(parked)
            if parked.is_blocked and body["block"] is None:
                parked.need = "nothing"
                answer = {"state": "blocked", "snapshot": parked.snapshot, "done": {}}
            elif not parked.is_blocked and parked.satisfies(body["block"], body["pending"]):
                answer = {"state": "ready", "snapshot": parked.snapshot, "done": parked.done(body["pending"])}
            else:
                parked.snapshot += not parked.is_blocked
                if parked.need != "nothing":  # one that is queued for its place is not blocked anew before it has it
                    parked.need, parked.pending = body["block"], body["pending"]
                answer = {"state": "blocked", "snapshot": parked.snapshot, "done": {}}
            self.told_waits.append({**body, "answer": answer["state"]})
            self._changed.notify_all()
            return answer

    def _parked(self, run: str) -> Parked:
        return self.parked.setdefault(run, Parked(self.given[run]["snapshot"]))

    def _resolve(self, parked: Parked) -> None:
        for key, wait in parked.known.items():
            name = wait.get("waitpoint") or wait.get("awaited")
            if name in self.results:
                parked.results.setdefault(key, {**self.results[name], "kind": wait["kind"], "waitpoint": "waitpoint_x"})

    def trigger(self, task: str, body: dict[str, Any]) -> dict[str, Any]:
        run = self.give(task, body.get("payload"))
        with self._changed:
            self.triggered[run] = body
            self._changed.notify_all()
        return {"id": run, "isCached": False}

    def batch(self, path: str, raw: bytes) -> dict[str, Any]:
        """A call about batches: one is made, filled or read."""
        address, _, query = path.partition("?")
        found = self.batches.find(([*address.split("/"), ""])[4])
        if found is None:
            return self.batches.create(json.loads(raw))
        if not address.endswith("/items"):
            return found.shown(None, dict(parse_qsl(query)))
        for item in map(json.loads, raw.splitlines()):
            task, body = item.pop("task"), item
            found.fill(item.pop("index"), lambda: str(self.trigger(task, body)["id"]))  # noqa: B023
        return found.filled()

    def logs(self, body: dict[str, Any]) -> dict[str, Any]:
        self.log_pause.wait()
        with self._changed:
            self.lines += [{**line, "run": body["run"]} for line in body["lines"]]
            if body.get("changes"):
                self.changes.setdefault(body["run"], []).append(body["changes"])
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
                if self.path.startswith("/api/v2/batches/"):
                    self.answer(200, json.dumps(server.batch(self.path, b"")).encode())
                    return
                data = server.archives.get(self.path.rsplit("/", 1)[1])
                self.answer(200 if data is not None else 404, data or b"{}")

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                name = self.path.rsplit("/", 1)[1]
                shown = str(self.headers["Authorization"])
                if self.path.startswith("/api/v3/batches") and shown == "Bearer tr_dev_test":
                    self.answer(200, json.dumps(server.batch(self.path, raw)).encode())
                    return
                body = json.loads(raw)
                if self.path.startswith("/api/v1/tasks/") and shown == "Bearer tr_dev_test":
                    self.answer(200, json.dumps(server.trigger(self.path.split("/")[4], body)).encode())
                    return
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
