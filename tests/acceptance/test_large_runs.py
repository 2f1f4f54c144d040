"""Large payloads and outputs, debouncing and metadata through everything real: command, control plane, executors, store."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.stack import Stack, until

from sojourn.sdk.run import Runs
from sojourn.sdk.tasks import tasks

LARGE = "x" * 2_000_000
PATIENCE = 60


def test_what_is_large_goes_there_and_back(stack: Stack):
    client = stack.client()
    handle = tasks.trigger("measures", {"text": LARGE, "seconds": 6}, client=client)
    seen = until(lambda: Runs(client).metadata(handle.id), PATIENCE, "it tells how far it is")
    assert seen == {"chars": len(LARGE), "n": 2, "measured": 1}
    assert handle.result(timeout=PATIENCE).output == LARGE
    run = handle.retrieve()
    assert (run.payload["text"], run.output) == (LARGE, LARGE) and "payloadPresignedUrl" in run.raw
    assert run.metadata == {"chars": len(LARGE), "n": 3, "measured": 1}
    again = Runs(client).replay(handle.id)
    assert again.result(timeout=PATIENCE).output == LARGE
    until(lambda: not stack.violations(), 20, "every invariant holds")


def test_a_debounced_child_is_waited_for(stack: Stack):
    client = stack.client()
    handle = tasks.trigger("measures-twice", {"text": LARGE}, client=client)
    assert handle.result(timeout=PATIENCE).output == {"same": True, "first": len(LARGE)}
    (child,) = Runs(client).list(task="measures", limit=1)
    assert child.metadata == {"chars": len(LARGE), "n": 3}
    assert handle.retrieve().metadata == {"measured": 1}


def test_the_command_debounces(stack: Stack, tmp_path: Path):
    words = ("trigger", "echo", "--debounce", "cli", "--delay", "10s", "--debounce-mode", "trailing", "--max-delay", "1m")
    first = json.loads(stack.cli(*words, "--payload", "1", "--json").stdout)
    again = json.loads(stack.cli(*words, "--payload", "2", "--json").stdout)
    assert again["id"] == first["id"] and (first["isCached"], again["isCached"]) == (False, True)
    client = stack.client()
    until(lambda: client.result(first["id"], wait=5), PATIENCE, "it ends")
    assert client.retrieve(first["id"])["output"] == 2


def test_the_command_shows_what_is_large(stack: Stack, tmp_path: Path):
    file = tmp_path / "large.json"
    file.write_text(json.dumps({"text": LARGE}))
    shown = json.loads(stack.cli("trigger", "echo", "--file", str(file), "--wait", "--json").stdout)
    assert shown["output"] == shown["payload"] == {"text": LARGE}
    told = stack.cli("runs", "get", shown["id"]).stdout
    whole = json.dumps({"text": LARGE})
    for name in ("payload", "output"):
        [line] = [line for line in told.splitlines() if line.startswith(f"{name}: ")]
        begin, _, note = line.removeprefix(f"{name}: ").partition(" … ")
        assert whole.startswith(begin) and len(begin) > 100 and note == f"({len(whole)} characters: see --json)"
