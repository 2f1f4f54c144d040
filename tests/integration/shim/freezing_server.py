"""The small server that speaks the worker API, with checkpoints: images are kept in memory, sealed as they come."""

from __future__ import annotations

import base64
import json
import os
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.integration.shim.worker_server import PATIENCE, WorkerServer


class FreezingServer(WorkerServer):
    """`suspended`: what was told of runs that gave their process up; `thawed`: what was told when they went on.

    `refusals`: kinds of calls (checkpoints, image, suspend, thawed) that are answered with a status instead.
    """

    def __init__(self) -> None:
        self.begun: dict[str, dict[str, Any]] = {}
        self.images: dict[str, bytes] = {}
        self.suspended: dict[str, dict[str, Any]] = {}
        self.thaws: list[dict[str, Any]] = []
        self.refusals: dict[str, int] = {}
        super().__init__()

    # --- what tests do

    def frozen(self, run: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Waits for the run to be suspended; what was told of it."""
        return dict(self.wait_for(lambda: self.suspended.get(run), patience))

    def resume(self, run: str, kinds: tuple[str, ...] = ("date", "token", "run"), **changes: Any) -> None:
        """What the suspended run waits for is done, if of these kinds, and it waits for an executor.

        `changes`: of what it is told to be thawed from.
        """
        told = self.suspended.pop(run)
        begun = self.begun[told["checkpoint"]]
        work = self.given[run]
        with self._changed:
            parked = self._parked(run)
            for key in parked.pending:
                if parked.known[key]["kind"] not in kinds:
                    continue
                parked.results[key] = {"ok": True, "kind": "date", "waitpoint": "waitpoint_x"}
            parked.snapshot += 3  # SUSPEND, RESUME, DEQUEUE
            parked.need = None
            thaw = {
                "checkpoint": told["checkpoint"], "key": begun["key"], "context": begun["context"],
                "nodeType": told["nodeType"], "sealedBytes": told["sealedBytes"],
            }  # fmt: skip
            self.waiting.append({**work, "snapshot": parked.snapshot, "thaw": {**thaw, **changes}})
            self._changed.notify_all()

    # --- the calls

    def checkpoints(self, body: dict[str, Any]) -> dict[str, Any]:
        name = f"checkpoint_{len(self.begun) + 1}"
        self.begun[name] = {
            "checkpoint": name, "key": base64.b64encode(os.urandom(32)).decode(), "context": f"{body['run']} {name}",
        }  # fmt: skip
        return self.begun[name]

    def suspend(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            self.suspended[body["run"]] = body
            self._changed.notify_all()
        return {"state": "suspended"}

    def thawed(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._changed:
            self.thaws.append(body)
            parked = self._parked(body["run"])
            parked.snapshot += 1
            done = parked.done(parked.pending)
            work = {name: value for name, value in self.given[body["run"]].items() if name != "thaw"}
            self.given[body["run"]] = {**work, "snapshot": parked.snapshot}
            self._changed.notify_all()
        return {"work": self.given[body["run"]], "done": done}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server, base = self, super()._handler()

        class Handler(base):  # type: ignore[misc,valid-type]
            def do_PUT(self) -> None:
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                if "image" in server.refusals:
                    self.refuse(server.refusals["image"])
                    return
                server.images[self.path.rsplit("/", 1)[1]] = data
                self.answer(200, json.dumps({"bytes": len(data)}).encode())

            def do_GET(self) -> None:
                if "/checkpoints/" not in self.path:
                    super().do_GET()
                    return
                image = server.images.get(self.path.rsplit("/", 1)[1].split("?")[0])
                self.answer(200 if image is not None else 404, image or b"{}")

        before = self.fail
        self.fail = lambda path, body: self.refusals.get(path, before(path, body))
        return Handler
