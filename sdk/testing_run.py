"""`testing.run`: one task in a test, on the platform that is entered or one of its own."""

from __future__ import annotations

from typing import Any

from sojourn.sdk.encoding import encode
from sojourn.sdk.errors import PayloadError
from sojourn.sdk.protocol import MAX_PAYLOAD_BYTES
from sojourn.sdk.task import Task
from sojourn.sdk.testing import Ended
from sojourn.sdk.testing_platform import Platform, entered
from sojourn.sdk.testing_tokens import Answers


def run(task: Task, payload: Any = None, *, tokens: Answers | None = None, **run_fields: Any) -> Ended:
    """Runs a task with its retries, hooks, middleware and waits; payload and output go through JSON as they would.

    `run_fields` are what `context.run` has: `tags=["a"]`, `is_test=False`, `max_attempts=1` … Pauses between attempts
    are not slept, only told; they are the shortest that the options allow. Dates to wait for pass at once; `tokens` says
    what completes tokens. What the task triggers runs in a Platform: the one that is entered, or one of its own.
    PayloadError for what is not JSON.
    """
    text = encode(payload, "the payload", MAX_PAYLOAD_BYTES, PayloadError)
    wire = {_camel(name): value for name, value in run_fields.items()}
    given = None if payload is None else text
    there = entered()
    if there is None:
        with Platform(tokens=tokens) as platform:
            return platform.run(task, given, wire)
    before = there.tokens.answers
    there.tokens.answers = before if tokens is None else tokens
    try:
        return there.run(task, given, wire)
    finally:
        there.tokens.answers = before


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
