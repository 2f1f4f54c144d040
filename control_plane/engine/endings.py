"""Hooks of ends: a run whose task has `on_end` is followed by a small one that calls it, however the run ended.

The platform makes that run out of the stored end: so the hook is told what everybody else is told, also where no process
is left, or none ever was. The end and its row in the outbox are one transaction, and the row and the run another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Set
from datetime import datetime, timedelta

from sojourn.control_plane import faults
from sojourn.control_plane.domain import ids
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.endings import Endings as StoredEndings

#: Hooks have a queue of their own in each environment, so that they take no place in those of tasks.
QUEUE = "sojourn/hooks"
#: How often a hook is tried, and seconds that each attempt may take.
MAX_ATTEMPTS, MAX_DURATION = 5, 300
#: How long a hook may wait for its turn, each time that it comes to the queue. The run that has ended is kept until then.
LONGEST_WAIT = timedelta(days=3)


class Endings:
    """Each call is one bounded pass; two at once make each run once."""

    def __init__(
        self,
        endings: StoredEndings,
        index: Index,
        add_queues: Callable[[Set[tuple[str, str]], datetime], None],
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._endings = endings
        self._index = index
        self._add_queues = add_queues
        self._random = random

    def make_hook_runs(self, now: datetime, limit: int) -> int:
        """Makes and queues the runs of ends that have none yet; how many ends were looked at."""
        ended = self._endings.oldest(limit)
        if not ended:
            return 0
        names = {run: ids.make("run", now, self._random(ids.RANDOM_BYTES)) for run in ended}
        made = self._endings.make_runs(names, QUEUE, MAX_ATTEMPTS, MAX_DURATION, LONGEST_WAIT, now)
        faults.point("endings.after_store")
        self._add_queues({(each.environment_id, QUEUE) for each in made}, now)
        self._index.enqueue(made, now)
        return len(ended)
