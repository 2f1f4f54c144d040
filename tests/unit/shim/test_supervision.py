"""What the watch over an attempt makes of a process that is not to be trusted, at the moment that it is frozen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sojourn.executor_shim.ends import Killed
from sojourn.executor_shim.phases import Course, Event, Phase
from sojourn.executor_shim.supervision import Supervision

ASSIGNMENT = {"run": {"id": "run_1"}, "attempt": {"number": 1}, "token": "t", "snapshot": 3}
NONSENSE = {"type": "wait", "run": "run_1", "waits": "none", "pending": [], "block": None}


def test_nonsense_among_the_last_words_before_a_freeze_ends_the_run_alone() -> None:
    """It came after the last that was read, and before the process stood still."""
    course = Course()
    course.step(Event.READY)
    course.step(Event.WORK)
    station: Any = SimpleNamespace(
        settings=SimpleNamespace(lease=60.0), course=course, wait_sender=SimpleNamespace(is_free=True)
    )
    child: Any = SimpleNamespace(process=SimpleNamespace(members=list), kernel_kills=None)
    watched: Any = Supervision(station, child, ASSIGNMENT)
    watched._leaves = True
    watched._freezes.begin = lambda kept: SimpleNamespace(stdout=b"last\n", stderr=b"", messages=[NONSENSE])
    watched._freeze(0.0)
    assert (watched._killed, watched._is_over, course.phase) == (Killed.STOPPED, True, Phase.STOPPING)
    assert "where only Sojourn writes" in watched._detail
    assert watched._report.logs.next == 1
