"""Idempotency keys in a test: what each leads to, until its time is over."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sojourn.sdk import testing_checks

#: Seconds for which a run's or a batch's key holds that does not say how long.
USUAL = 30 * 86_400


class KeyBook:
    """Keys of one kind of thing. `now`: the test's clock; `usual`: seconds of one that does not say, None is for ever."""

    def __init__(self, now: Callable[[], datetime], usual: int | None = USUAL):
        self._now, self._usual = now, usual
        self._held: dict[Hashable, tuple[str, datetime | None]] = {}

    def find(self, name: Hashable) -> str | None:
        """The id of what a key leads to now."""
        found, until = self._held.get(name, (None, None))
        return found if until is None or until > self._now() else None

    def keep(self, name: Hashable, thing: str, options: Mapping[str, Any]) -> None:
        """A key leads to that thing from now on, for as long as the options say."""
        text = options.get("idempotencyKeyTTL")
        seconds = self._usual if text is None else testing_checks.seconds(text, "idempotencyKeyTTL")
        self._held[name] = thing, None if seconds is None else self._now() + timedelta(seconds=seconds)

    def free(self, name: Hashable) -> str | None:
        """A key leads to nothing any more, whatever its time; what it led to."""
        thing, _ = self._held.pop(name, (None, None))
        return thing
