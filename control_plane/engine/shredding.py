"""Images, payloads and outputs that nobody needs any more: removed from the object store, a bounded number at a time.

The keys of images are destroyed before, with the move that made them useless, so that nothing here is urgent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

from sojourn.control_plane.store.checkpoints import Checkpoints, name_of
from sojourn.control_plane.store.objects import Objects, ObjectsUnavailable
from sojourn.control_plane.store.packets import PACKETS, UPLOADS, Packets

log = logging.getLogger(__name__)

_IMAGES = "checkpoints/"
_AT_ONCE, _SWEPT_AT_ONCE = 500, 10_000
#: How old an image, or a broken upload, has to be before the store is swept of it: longer than any upload takes.
UNUSED = timedelta(hours=1)
#: How long a client's upload waits for the trigger that copies it.
UPLOAD_LIFE = timedelta(days=1)


class Shredding:
    """All of it may be repeated, and done by several at once."""

    def __init__(self, checkpoints: Checkpoints, packets: Packets, objects: Objects, patience: timedelta = UNUSED):
        self._checkpoints = checkpoints
        self._packets = packets
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

    def remove_packets(self, limit: int) -> int:
        """Payloads and outputs whose runs were deleted, unless other runs have them, too; how many were looked at."""
        names = self._packets.gone(limit)
        unused = self._packets.unused(names) if names else set()
        try:
            for name in unused:
                self._objects.delete(name)
        except ObjectsUnavailable as error:
            log.warning("payloads are left for later: %s", error)
            return 0
        self._packets.forget(names)
        return len(names)

    def sweep(self, now: datetime, limit: int = _SWEPT_AT_ONCE) -> int:
        """What crashes, and triggers that made no run, left in the object store; uploads that are old: how many.

        With `limit` of them it ends: the rest is left to the next sweep.
        """
        before, removed = now - self._patience, 0
        kinds = (
            (_IMAGES, before, self._useless_images),
            (PACKETS, before, self._packets.unused),
            (UPLOADS, now - UPLOAD_LIFE, self._packets.unused),
        )
        try:
            for prefix, then, useless in kinds:
                old = (each.name for each in self._objects.list(prefix) if each.at < then)
                for some in _batches(old):
                    for name in useless(some):
                        if removed >= limit:
                            return removed
                        self._objects.delete(name)
                        removed += 1
            return removed + self._objects.abandon(before)
        except ObjectsUnavailable as error:
            log.warning("the object store is swept later: %s", error)
            return removed

    def _useless_images(self, names: Sequence[str]) -> set[str]:
        unwanted = self._checkpoints.unwanted([_place(name) for name in names])
        return {name for name in names if _place(name)[1] in unwanted}


def _place(name: str) -> tuple[str, str]:
    """The environment and the checkpoint that an image's name says."""
    parts = name.split("/")
    return parts[1], parts[-1]


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    source = iter(items)
    while some := list(islice(source, _AT_ONCE)):
        yield some
