"""Waiting for a batch: looked at now and again, since a batch of a hundred thousand runs tells of no single one."""

from __future__ import annotations

import time

from sojourn.sdk import batch_calls
from sojourn.sdk.client import default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sojourn.sdk.batches import BatchState
    from sojourn.sdk.client import Client

#: Seconds between looks: short in the beginning, for small batches.
_FIRST, _FACTOR, _LONGEST = 0.25, 1.4, 5.0


def wait(
    batch_id: str,
    client: Client | None,
    timeout: float | None,
    on_progress: Callable[[BatchState], object] | None,
) -> BatchState:
    """Waits until a batch is over, or so many seconds; it as it stands then. Each look is given to `on_progress`."""
    asked = client or default()
    for pause in pauses(timeout):
        state = batch_calls.retrieve(batch_id, asked)
        if on_progress is not None:
            on_progress(state)
        if state.is_over or pause is None:
            return state
        asked.sleep(pause)
    raise AssertionError("the last pause is None")


def pauses(timeout: float | None) -> Iterator[float | None]:
    """Seconds to pause after each look, as long as there is time; None after the last one."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST
    while True:
        left = pause if deadline is None else deadline - time.monotonic()
        if left <= 0:
            yield None
            return
        yield min(pause, left)
        pause = min(pause * _FACTOR, _LONGEST)
