"""The looks at what is waited for and tells of no end by itself: a batch, a bulk action."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds between looks: few in the beginning, for what is over soon.
_FIRST, _FACTOR, _LONGEST = 0.25, 1.4, 2.0


class Looks:
    """At most so many seconds of looks, each of which is given to `on_progress`. `ConfigurationError`: these are none."""

    def __init__(self, timeout: float | None, on_progress: Callable[[Any], object] | None):
        from sojourn.sdk import durations

        durations.timeout(timeout)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._on_progress = on_progress
        self._pause = _FIRST

    def pause(self, state: Any) -> float | None:
        """Seconds until the next look; None where this one is the last, since `state.is_over` or the time is."""
        if self._on_progress is not None:
            self._on_progress(state)
        pause, self._pause = self._pause, min(self._pause * _FACTOR, _LONGEST)
        left = pause if self._deadline is None else self._deadline - time.monotonic()
        return None if state.is_over or left <= 0 else min(pause, left)
