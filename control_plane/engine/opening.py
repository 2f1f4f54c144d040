"""What rates have shut is opened again when its time has come: in the queue, time alone moves nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import redis

from sojourn.control_plane.engine.indexing import Index, milliseconds
from sojourn.control_plane.queue.fair_queue import NotReady
from sojourn.control_plane.store.queues import Queues


class Opening:
    """One bounded look at one organization at a time; two at once do no harm."""

    def __init__(self, queues: Queues, index: Index):
        self._queues = queues
        self._index = index

    def organizations(self) -> list[str]:
        """Those that have rates at all."""
        return self._queues.rated()

    def open(self, organization: str, now: datetime) -> datetime | None:
        """Lets go on what may start by now; when there is more to do. What is not done now is done at the next look."""
        try:
            due = self._index.queue.open_rates(organization, milliseconds(now))
        except NotReady:
            self._index.ring("sweeper")
            return None
        except redis.RedisError:
            return None
        return None if due is None else now + timedelta(milliseconds=due - milliseconds(now))
