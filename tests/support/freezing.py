"""An executor that freezes and thaws runs by the worker API, with made-up images."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from falcon import testing

NODE_TYPE = "type-of-tests"


@dataclass
class Frozen:
    """What was stored of a run, and where the run stood."""

    checkpoint: str
    key: str
    context: str
    image: bytes
    run: str
    snapshot: int


@dataclass
class Player:
    """Plays the shim of one executor. `work` is the assignment it has."""

    client: testing.TestClient
    node_type: str | None = NODE_TYPE
    work: dict[str, Any] = field(default_factory=dict)
    served: int = 0

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.client.simulate_post(f"/worker/v1/{path}", json=body)

    def next(self, wait: float = 10, **body: Any) -> dict[str, Any]:
        """The answer of /next; the run in it, if there is one, is this executor's now."""
        asked = {"wait": wait, "served": self.served, "nodeType": self.node_type} | body
        answer = self.post("next", asked)
        assert answer.status_code == 200, answer.text
        if "work" in answer.json:
            self.work = answer.json["work"]
            self.served += 1
        return dict(answer.json)

    def held(self, **more: Any) -> dict[str, Any]:
        return {"run": self.work["run"]["id"], "snapshot": self.work["snapshot"], "token": self.work["token"], **more}

    def block(self, until: datetime, **more: Any) -> str:
        """The run waits for a date, and can do nothing else; the wait's key."""
        key = f"{self.work['attempt']['number']}:{secrets.token_hex(3)}"
        wish = {"key": key, "kind": "date", "at": until.isoformat()}
        answer = self.post("wait", self.held(waits=[wish], pending=[key], block="all", **more))
        assert (answer.status_code, answer.json["state"]) == (200, "blocked"), answer.text
        self.work["snapshot"] = answer.json["snapshot"]
        return key

    def begin(self) -> Any:
        return self.post("checkpoints", self.held(nodeType=self.node_type))

    def store(self, checkpoint: str, image: bytes, **headers: str) -> Any:
        sent = {"Content-Type": "application/octet-stream", "x-run-token": self.work["token"], **headers}
        return self.client.simulate_put(f"/worker/v1/checkpoints/{checkpoint}", body=image, headers=sent)

    def stored(self, size: int = 100_000) -> Frozen:
        """A checkpoint with an image in the store."""
        begun = self.begin()
        assert begun.status_code == 200, begun.text
        image = os.urandom(size)
        answer = self.store(begun.json["checkpoint"], image)
        assert (answer.status_code, answer.json) == (200, {"bytes": size}), answer.text
        wire = begun.json
        return Frozen(
            wire["checkpoint"], wire["key"], wire["context"], image, self.work["run"]["id"], self.work["snapshot"]
        )

    def suspend(self, frozen: Frozen, **more: Any) -> Any:
        body = {"checkpoint": frozen.checkpoint, "nodeType": self.node_type, "sealedBytes": len(frozen.image)}
        numbers = {"imageBytes": 3 * len(frozen.image), "freezeMs": 80, "storeMs": 20.4}
        body |= {"run": frozen.run, "snapshot": frozen.snapshot}
        return self.post("suspend", self.held() | body | numbers | more)

    def freeze(self, until: datetime) -> Frozen:
        """Blocks, stores and suspends the run; the executor has none any more."""
        self.block(until)
        frozen = self.stored()
        answer = self.suspend(frozen)
        assert (answer.status_code, answer.json) == (200, {"state": "suspended"}), answer.text
        return frozen

    def image(self, checkpoint: str) -> Any:
        run, token = self.work["run"]["id"], self.work["token"]
        return self.client.simulate_get(
            f"/worker/v1/checkpoints/{checkpoint}", params={"run": run}, headers={"x-run-token": token}
        )

    def thawed(self, **more: Any) -> Any:
        return self.post("thawed", self.held(thawMs=42.5, **more))

    def go_on(self) -> dict[str, Any]:
        """The thawed run is claimed and has gone on."""
        answer = self.thawed()
        assert answer.status_code == 200, answer.text
        self.work = answer.json["work"]
        return dict(answer.json["done"])

    def not_thawed(self, code: str = "CHECKPOINT_INVALID", message: str = "a bit was flipped") -> dict[str, Any]:
        """Tells that it could not be thawed, and asks for no other run."""
        error = {"type": "INTERNAL_ERROR", "code": code, "message": message}
        return self.complete({"ok": False, "handBack": True, "error": error})

    def complete(self, outcome: dict[str, Any]) -> dict[str, Any]:
        completion = self.held(attempt=self.work["attempt"]["number"], outcome=outcome, usageMs=5, logs=[])
        answer = self.post("next", {"wait": None, "served": self.served, "completion": completion})
        assert answer.status_code == 200, answer.text
        return dict(answer.json["completion"])


def soon(now: datetime) -> datetime:
    """A date that a test makes come by asking as of a later time."""
    return now + timedelta(hours=1)
