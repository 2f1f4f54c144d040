"""Keeper: executors without a run are placed ahead of need and stay, so that an environment's next runs start warm.

They come after everything else: none is placed while runs wait, and the dispatcher sends them away like any idle executor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from sojourn.control_plane.domain import keeping
from sojourn.control_plane.domain.keeping import Kind, Living, Wish
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.domain.sharing import full_environments
from sojourn.control_plane.engine.placing import Placing
from sojourn.scheduler.placement.base import CannotPlace, ExecutorSpec, Placed, Placement
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)

_NAP = 5.0
#: Ones that end at once must not be made for ever: in this time only so many more of a kind are placed than are wanted.
_SPELL, _MORE = timedelta(minutes=1), 3


class Keeper:
    """Looks every few seconds, and when a version becomes the current one.

    `most_of_one` and `resting` are as the dispatcher has them.
    """

    name = "keeper"

    def __init__(
        self,
        placing: Placing,
        placement: Placement,
        wish: Wish,
        most_of_one: int = 0,
        resting: Callable[[], Mapping[str, Resting]] = dict,
    ):
        self._placing = placing
        self._placement = placement
        self._wish = wish
        self._most_of_one = most_of_one
        self._resting = resting
        self._placed: dict[Kind, list[datetime]] = {}

    def run_once(self, now: datetime) -> Counts:
        wanted = self._wanted()
        living = [_living(each) for each in self._placement.living()]
        leaving = keeping.superfluous(wanted, living, self._placing.idle_executors() if living else ())
        for executor in leaving:
            self._placement.stop(executor, grace=0)
        placed = 0
        if missing := keeping.missing(wanted, living):
            placed = self._place_all(missing, wanted, now)
        return {"placed": placed, "dismissed": len(leaving)}

    def interval(self, now: datetime) -> float:
        return _NAP

    def _wanted(self) -> dict[Kind, int]:
        wanted: dict[Kind, int] = {}
        for environment, version, region in self._placing.current_versions() if self._wish else ():
            wanted |= keeping.wanted(self._wish, environment.id, environment.slug, version, region)
        return wanted

    def _place_all(self, missing: Iterable[Kind], wanted: dict[Kind, int], now: datetime) -> int:
        placed = 0
        self._forget_placed(now)
        for kind in missing:
            recent, full = self._placed.setdefault(kind, []), self._full()
            if self._others_wait(now, full):
                break
            if len(recent) < wanted[kind] + _MORE and kind.environment not in full:
                recent.append(now)
                placed += self._place(kind, now)
        return placed

    def _others_wait(self, now: datetime, full: set[str]) -> bool:
        return bool(self._placing.waiting_environments(now, tuple(self._placement.closed_lanes())) - full)

    def _place(self, kind: Kind, now: datetime) -> int:
        spare = self._placing.spare(kind, now)
        if spare is None or not self._has_room(spare.lane):
            return 0
        identity = spare.identity
        spec = ExecutorSpec(
            executor=identity.executor,
            organization=identity.organization,
            environment=identity.environment,
            version=identity.version,
            version_hash=spare.version_hash,
            machine=identity.machine,
            lane=spare.lane,
            run=None,
            credential=spare.credential,
            region=identity.region,
        )
        try:
            self._placement.place(spec)
        except CannotPlace as error:
            log.warning("an executor to be kept for %s was not placed: %s", kind.environment, error)
            return 0
        return 1

    def _has_room(self, lane: str) -> bool:
        grounds = [each for each in self._placement.grounds() if each.serves(lane)]
        return lane not in self._placement.closed_lanes() and any(each.free() > 0 for each in grounds)

    def _full(self) -> set[str]:
        """Environments that have all the executors they may have."""
        if not self._most_of_one:
            return set()
        living = (each.environment for each in self._placement.living())
        return full_environments(living, self._most_of_one, self._resting())

    def _forget_placed(self, now: datetime) -> None:
        fresh = {kind: [at for at in times if at > now - _SPELL] for kind, times in self._placed.items()}
        self._placed = {kind: times for kind, times in fresh.items() if times}


def _living(placed: Placed) -> Living:
    kind = Kind(placed.environment, placed.version, placed.machine, placed.region)
    return Living(placed.executor, kind, placed.is_kept)
