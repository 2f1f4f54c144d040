"""One leader among schedulers: whoever holds a PostgreSQL advisory lock, on a connection of its own.

The lock is the connection's: it ends with it, also when the process is killed. A leader asks its connection before
each pass; one that asks nothing for a lease (paused, frozen, cut off) loses the lock, so that another can lead. What a
leader does is compare-and-set all the same, so that a moment with two leaders does no harm.
"""

from __future__ import annotations

import logging
import threading

from sojourn.control_plane.store.database import AdvisoryLock

log = logging.getLogger(__name__)

_PATIENCE = 1.0


class Leader:
    """`leads()` is cheap enough to be asked before each pass."""

    def __init__(self, lock: AdvisoryLock):
        self._lock = lock
        self._guard = threading.Lock()
        self._led = False

    def leads(self) -> bool:
        """Whether this process is the leader now; tries to become it if nobody is."""
        with self._guard:
            leads = self._lock.held()
            if leads != self._led:
                log.info("this scheduler %s", "leads" if leads else "stands by")
                self._led = leads
            return leads

    def resign(self) -> None:
        """Lets another one lead. A server that does not answer is not waited for: the lock ends with the connection."""
        if not self._guard.acquire(timeout=_PATIENCE):
            return
        try:
            self._lock.release()
            self._led = False
        finally:
            self._guard.release()
