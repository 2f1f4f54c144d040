"""The loop that services run under, on a standby."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from sojourn.scheduler.service import Loop


class Wakeups:
    """Counts who looked for a wake-up: each is there once."""

    def __init__(self) -> None:
        self.looks = 0

    def wait(self, service: str, seconds: float) -> bool:
        self.looks += 1
        return True


class Service:
    name = "dispatcher"

    def run_once(self, now: datetime) -> dict[str, int]:
        raise AssertionError("it does not lead")

    def interval(self, now: datetime) -> float:
        return 0


def test_a_standby_takes_no_wake_up_from_the_leader() -> None:
    asked, wakeups = threading.Semaphore(0), Wakeups()

    def may_run() -> bool:
        asked.release()
        return False

    loop = Loop(Service(), wakeups, lambda: datetime.now(UTC), may_run)  # type: ignore[arg-type]  # a stand-in
    loop.start()
    for _ in range(2):
        assert asked.acquire(timeout=20)
    loop.stop()
    loop.join(20)
    assert wakeups.looks == 0
