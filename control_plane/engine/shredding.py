"""Images that nobody needs any more: removed from the object store, a bounded number at a time.

Their keys are destroyed before, with the move that made them useless, so that nothing here is urgent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from sojourn.control_plane.store.checkpoints import Checkpoints, name_of
from sojourn.control_plane.store.objects import Objects, ObjectsUnavailable, Stored

log = logging.getLogger(__name__)

_PREFIX = "checkpoints/"
_AT_ONCE = 500
#: How old an image, or a broken upload, has to be before the store is swept of it: longer than any upload takes.
UNUSED = timedelta(hours=1)


class Shredding:
    """All of it may be repeated, and done by several at once."""

    def __init__(self, checkpoints: Checkpoints, objects: Objects, patience: timedelta = UNUSED):
        self._checkpoints = checkpoints
        self._objects = objects
        self._patience = patience

    def remove(self, now: datetime, limit: int) -> int:
        """The images of checkpoints that are GONE; how many. It ends early where the object store does not answer."""
        self._checkpoints.forget_unused(now - self._patience, now, limit)
        removed = 0
        for row in self._checkpoints.to_remove(limit):
            try:
                self._objects.delete(name_of(row))
            except ObjectsUnavailable as error:
                log.warning("images are left for later: %s", error)
                break
            self._checkpoints.removed(row.id, now)
            removed += 1
        self._checkpoints.forget(now - self._patience, limit)
        return removed

    def sweep(self, now: datetime) -> int:
        """What a crash left in the object store: images that no checkpoint is of, uploads that broke; how many."""
        before, removed = now - self._patience, 0
        try:
            old = (each for each in self._objects.list(_PREFIX) if each.at < before)
            for some in _batches(old):
                unwanted = self._checkpoints.unwanted([_place(each) for each in some])
                for each in some:
                    if _place(each)[1] in unwanted:
                        self._objects.delete(each.name)
                        removed += 1
            return removed + self._objects.abandon(before)
        except ObjectsUnavailable as error:
            log.warning("the object store is swept later: %s", error)
            return removed


def _place(stored: Stored) -> tuple[str, str]:
    """The environment and the checkpoint that an image's name says."""
    parts = stored.name.split("/")
    return parts[1], parts[-1]


def _batches(items: Iterable[Stored]) -> Iterator[list[Stored]]:
    source = iter(items)
    while some := list(islice(source, _AT_ONCE)):
        yield some
