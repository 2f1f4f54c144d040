"""What tests say to the worker API in an executor's place."""

from __future__ import annotations

import json
from typing import Any

from falcon import testing

from sojourn.control_plane.api.models.worker import NextReply


def drain(worker: testing.TestClient) -> None:
    """Ends every run that waits, so that a test's own run is the next."""
    served, completion = 0, None
    while True:
        answer = ask(worker, wait=0, served=served, completion=completion)
        if "work" not in answer:
            return
        completion, served = completed(answer["work"], {"ok": True, "output": "1"}), served + 1


def ask(worker: testing.TestClient, **body: Any) -> dict[str, Any]:
    text = json.dumps({"request": "r", **body})  # as a shim writes it: in ASCII, NaN and all
    answer = worker.simulate_post("/worker/v1/next", body=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    NextReply.model_validate(answer.json)
    return dict(answer.json)


def completed(work: dict[str, Any], outcome: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {
        "run": work["run"]["id"],
        "snapshot": work["snapshot"],
        "token": work["token"],
        "attempt": work["attempt"]["number"],
        "outcome": outcome,
        "usageMs": 12,
        "logs": [],
    } | given


def held(work: dict[str, Any]) -> dict[str, Any]:
    return {"run": work["run"]["id"], "snapshot": work["snapshot"], "token": work["token"]}
