"""Dispatcher: the fair queue's next run gets an executor of its own, as long as there are places.

When there are none, executors that had their turn are asked to give way, and idle ones to leave. So they are in an
environment that has all the executors it may have, but none for a lane in which its runs wait.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta

from sojourn.control_plane import faults
from sojourn.control_plane.domain.lanes import environment_of
from sojourn.control_plane.domain.resting import Resting
from sojourn.control_plane.domain.sharing import full_environments, places_to_give
from sojourn.control_plane.engine.placing import Order, Placing
from sojourn.control_plane.engine.turns import Turns
from sojourn.scheduler.placement.base import CannotPlace, ExecutorSpec, Ground, Placed, Placement
from sojourn.scheduler.service import Counts

log = logging.getLogger(__name__)

_AT_ONCE = 50
#: A lane that could not be placed is left alone this long, so that it does not keep others waiting.
_SET_ASIDE = timedelta(seconds=2)
_CROWDED_NAP, _NAP = 0.25, 2.0
#: The number of the look for room within environments, beside those on grounds.
_WITHIN = -1


class Dispatcher:
    """Woken whenever a run waits, a slot is freed or an executor ends."""

    name = "dispatcher"

    def __init__(
        self,
        placing: Placing,
        placement: Placement,
        turns: Turns,
        clock: Callable[[], datetime],
        most_of_one: int = 0,
        resting: Callable[[], Mapping[str, Resting]] = dict,
    ):
        """`clock` is the store's. `most_of_one`: executors of one environment at once; 0: as many as there are places.

        `resting` tells by environment of runs that only wait in memory: their executors do not count.
        """
        self._placing = placing
        self._placement = placement
        self._turns = turns
        self._clock = clock
        self._most_of_one = most_of_one
        self._resting = resting
        self._set_aside: dict[str, datetime] = {}
        self._idle_before: dict[int, set[str]] = {}
        self._crowded = False
        self._has_more = False

    def run_once(self, now: datetime) -> Counts:
        self._set_aside = {lane: until for lane, until in self._set_aside.items() if until > now}
        readmitted = self._placing.readmit(self._clock())
        placed = 0
        while placed < _AT_ONCE and (grounds := [each for each in self._placement.grounds() if each.free() > 0]):
            now = self._clock()  # a placement may have taken long, and what is dequeued has a lease from this moment
            capped = self._full()
            order = self._placing.next_order(
                now, (*self._closed(), *self._lanes_of(capped, now), *self._lanes_elsewhere(grounds, now))
            )
            if order is None:
                break
            placed += self._place(order, capped)
        self._has_more = placed >= _AT_ONCE
        held_back = self._lanes_of(self._full(), now)
        self._crowded = bool(held_back)
        asked, full = 0, []
        for number, ground in enumerate(self._placement.grounds()):
            if ground.is_full():
                full.append(ground)
                asked += self._make_room(number, ground, now, held_back)
        elsewhere = [lane for lane in held_back if not any(ground.serves(lane) for ground in full)]
        if elsewhere:
            asked += self._make_room_within(elsewhere)
        return {"readmitted": readmitted, "placed": placed, "asked": asked}

    def interval(self, now: datetime) -> float:
        if self._has_more:
            return 0
        return _CROWDED_NAP if self._crowded or self._closed() else _NAP

    def _closed(self) -> tuple[str, ...]:
        """Lanes that are not tried now."""
        return (*self._set_aside, *self._placement.closed_lanes())

    def _place(self, order: Order, full: Collection[str]) -> int:
        identity = order.identity
        spec = ExecutorSpec(
            executor=identity.executor,
            organization=identity.organization,
            environment=identity.environment,
            version=identity.version,
            version_hash=order.version_hash,
            machine=identity.machine,
            lane=order.lane,
            run=order.run.id,
            credential=order.credential,
            snapshot=order.run.snapshot,
            region=identity.region,
            node_type=order.run.frozen_on,
        )
        faults.point("scheduler.before_place")
        try:
            if identity.environment in full:
                raise CannotPlace(f"its environment has all {self._most_of_one} executors that it may have")
            self._placement.place(spec)
        except CannotPlace as error:
            log.warning("%s was not placed: %s", order.run.id, error)
            now = self._clock()
            self._set_aside[order.lane] = now + _SET_ASIDE
            self._placing.return_order(order, str(error), now)
            return 0
        faults.point("scheduler.after_place")
        return 1

    def _lanes_elsewhere(self, grounds: Collection[Ground], now: datetime) -> tuple[str, ...]:
        """Lanes with work that none of these grounds serves: their runs wait for room on another."""
        if len(grounds) == len(self._placement.grounds()):
            return ()
        lanes = self._placing.waiting_lanes(now)
        return tuple(lane for lane in lanes if not any(ground.serves(lane) for ground in grounds))

    def _make_room(self, number: int, ground: Ground, now: datetime, held_back: Collection[str]) -> int:
        """No place is free there: those who wait get the places of executors that idle, or that had their turn."""
        closed = [lane for lane, why in self._placement.closed_lanes().items() if not why.is_full]
        elsewhere = self._lanes_elsewhere([ground], now)
        waiting = self._placing.waiting_environments(now, (*self._set_aside, *closed, *held_back, *elsewhere))
        self._crowded = self._crowded or bool(waiting)
        if not waiting:
            self._idle_before.pop(number, None)
            return 0
        here = ground.living()
        living = {placed.executor: placed.environment for placed in here}
        leaving = self._dismiss_idle(number, living, waiting)
        for executor in leaving:
            del living[executor]
        giving = {} if leaving else places_to_give(living, waiting)
        for environment, count in giving.items():
            self._want_places(environment, count, here)
        return len(leaving) + sum(giving.values())

    def _want_places(self, environment: str, count: int, living: Iterable[Placed]) -> None:
        """Of an environment's executors among these, as many as are to leave are asked to, by their regions."""
        regions = [placed.region for placed in living if placed.environment == environment][:count]
        for region, many in Counter(regions).items():
            self._turns.want_places(environment, region, many)

    def _full(self) -> set[str]:
        if not self._most_of_one:
            return set()
        living = (placed.environment for placed in self._placement.living())
        return full_environments(living, self._most_of_one, self._resting())

    def _lanes_of(self, full: Collection[str], now: datetime) -> tuple[str, ...]:
        """Lanes with work of environments that may have no more executors: their runs wait for those there are."""
        return tuple(lane for lane in self._placing.waiting_lanes(now) if environment_of(lane) in full) if full else ()

    def _make_room_within(self, held_back: Collection[str]) -> int:
        """Environments that wait in a lane for which they have no executor give up one that serves another."""
        living = self._placement.living()
        served = {
            lane
            for each in living
            for lane in self._placing.lanes_of(each.environment, each.version, each.machine, each.region)
        }
        waiting = {environment_of(lane) for lane in held_back if lane not in served}
        own = {each.executor: each.environment for each in living if each.environment in waiting}
        leaving = self._dismiss_idle(_WITHIN, own, waiting)
        for environment in waiting - {own[executor] for executor in leaving}:
            self._want_places(environment, 1, living)
        return len(waiting)

    def _dismiss_idle(self, look: int, living: dict[str, str], waiting: set[str]) -> list[str]:
        """Executors that waited for a run at two of the same looks in a row leave, as many as environments wait."""
        idle = set(living) & self._placing.idle_executors()
        leaving = sorted(idle & self._idle_before.get(look, set()))[: len(waiting)]
        self._idle_before[look] = idle - set(leaving)
        for executor in leaving:
            self._placement.stop(executor, grace=0)
        return leaving
