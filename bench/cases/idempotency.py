"""What an idempotency key costs a trigger: none, a key that nobody has, one that a run holds; and what debouncing costs."""

from __future__ import annotations

import itertools
import secrets
from typing import Any

from tests.support.stack import Stack

from bench.measure import in_ms, row, stack, timed

_SECONDS = 4.0


def main() -> None:
    """One row each, for one client over one connection."""
    with stack() as made:
        mark, count = secrets.token_hex(4), itertools.count()
        triggers(made, "no key", dict)
        triggers(made, "a fresh key", lambda: {"idempotencyKey": f"{mark}-{next(count)}"})
        triggers(made, "a key that a run holds", lambda: {"idempotencyKey": mark})
        debounce = {"key": mark, "delay": "1h"}
        triggers(made, "debounced, leading", lambda: {"debounce": debounce})
        triggers(made, "debounced, trailing", lambda: {"debounce": {**debounce, "key": f"{mark}-t", "mode": "trailing"}})


def triggers(of: Stack, name: str, options: Any) -> None:
    """Triggers of a task that no version has, with those options."""
    client = of.client()
    client.trigger("nothing", {"n": 0}, options())
    spent = timed(lambda: client.trigger("nothing", {"n": 1}, options()), _SECONDS)
    row(f"trigger, {name}", per_s=len(spent) / sum(spent), **in_ms(spent))
