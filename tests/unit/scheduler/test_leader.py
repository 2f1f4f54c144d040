"""Leading, where the lock's server does not answer."""

from __future__ import annotations

import threading
from typing import Any

from sojourn.scheduler.leader import Leader

PATIENCE = 60.0


class Lock:
    """A lock whose server takes its time once."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        self.released = False

    def held(self) -> bool:
        self.asked.set()
        self.answer.wait()
        return True

    def release(self) -> None:
        self.released = True


def test_resigning_does_not_wait_for_a_server_that_is_silent() -> None:
    lock: Any = Lock()
    leader = Leader(lock)
    asking = threading.Thread(target=leader.leads, daemon=True)
    asking.start()
    assert lock.asked.wait(PATIENCE)
    leader.resign()
    assert not lock.released  # it ends with its connection, which is the asker's still
    lock.answer.set()
    asking.join(PATIENCE)
    leader.resign()
    assert lock.released
