"""Courier: sends messages to webhooks, many at a time, and notes what came of them."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from datetime import datetime

from sojourn.control_plane import faults
from sojourn.control_plane.domain.delivering import Answer
from sojourn.control_plane.engine.delivering import GIVEN_UP_AT_ONCE, Delivering, Parcel
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.scheduler.posting import Poster
from sojourn.scheduler.service import Counts
from sojourn.sdk.protocol import VERSION
from sojourn.sdk.webhooks import sign

log = logging.getLogger(__name__)

#: Messages under way at once, and how many of these to webhooks that fail: those that do not always find a place.
_MOST, _FAILING = 16, 8
_BETWEEN_LOOKS, _WHILE_SENDING = 1.0, 0.2
#: Between looks at messages whose time is over.
_GIVING_UP = 60.0


class Courier:
    """Each message has a thread for its few seconds; what is settled is settled in the service's own."""

    name = "courier"

    def __init__(self, delivering: Delivering, poster: Poster, ring: Callable[[], None]):
        self._delivering = delivering
        self._poster = poster
        self._ring = ring
        self._under_way: dict[str, Parcel] = {}
        self._answered: queue.SimpleQueue[tuple[Parcel, Answer]] = queue.SimpleQueue()
        self._unsettled: list[tuple[Parcel, Answer]] = []
        self._gave_up: datetime | None = None

    def run_once(self, now: datetime) -> Counts:
        settled = self._settle(now)
        failing = sum(parcel.taken.failing for parcel in self._under_way.values())
        parcels = self._delivering.take(now, _MOST - len(self._under_way), max(_FAILING - failing, 0))
        for parcel in parcels:
            self._under_way[parcel.taken.id] = parcel
            threading.Thread(target=self._send, args=(parcel, now), name="sojourn-courier", daemon=True).start()
        return {"sent": len(parcels), "settled": settled, "given_up": self._give_up(now)}

    def interval(self, now: datetime) -> float:
        return _WHILE_SENDING if self._under_way else _BETWEEN_LOOKS

    def _send(self, parcel: Parcel, now: datetime) -> None:
        answer = Answer(error="it could not be sent")
        try:
            answer = self._poster.post(parcel.url, parcel.body, headers_of(parcel, now))
        finally:
            faults.point("courier.after_send")
            self._answered.put((parcel, answer))
            self._ring()

    def _settle(self, now: datetime) -> int:
        """What has come back; while the store is away it is kept for the next look."""
        while not self._answered.empty():
            self._unsettled.append(self._answered.get())
        count = len(self._unsettled)
        while self._unsettled:
            parcel, answer = self._unsettled[0]
            try:
                self._delivering.settle(parcel, answer, now)
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("what came of %s is not noted: it will be sent again", parcel.taken.id)
            del self._unsettled[0]
            self._under_way.pop(parcel.taken.id, None)
        return count

    def _give_up(self, now: datetime) -> int:
        if self._gave_up is not None and (now - self._gave_up).total_seconds() < _GIVING_UP:
            return 0
        count = self._delivering.give_up(now)
        self._gave_up = None if count == GIVEN_UP_AT_ONCE else now  # there may be more
        return count


def headers_of(parcel: Parcel, now: datetime) -> dict[str, str]:
    """The headers of a message, as Standard Webhooks has them; signed at the moment it is sent."""
    timestamp = int(now.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Sojourn/{VERSION}",
        "Connection": "close",
        "webhook-id": parcel.taken.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(parcel.secrets, parcel.taken.id, timestamp, parcel.body),
    }
