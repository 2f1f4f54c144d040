"""Whether the process of an attempt is frozen, and when: by what it waits for and what that costs. One try at a time."""

from __future__ import annotations

import time

from sojourn.executor_shim import memory
from sojourn.executor_shim.suspending import Suspending, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.attempt import Attempt
    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.freezing.frozen import FrozenChild
    from sojourn.executor_shim.station import Station
    from sojourn.executor_shim.waits import Block

#: Seconds until a process whose image was not stored is frozen again: at first, and at most. Doubled each time.
_AGAIN, _AGAIN_MOST = 30.0, 1800.0


class NotFrozen(Exception):
    """The process goes on as if nothing had been; the text is why."""


class Freezes:
    """Of one attempt. `begin` stops its process, then either `store` has its image stored, or `abandon` ends the try."""

    def __init__(self, attempt: Attempt, child: Child, station: Station):
        self._attempt = attempt
        self._child = child
        self._station = station
        self._suspending: Suspending | None = None
        self._again = _AGAIN
        #: Before this moment of the monotonic clock the process of this block is not frozen.
        self._not_before = 0.0
        #: Why it cannot be frozen while it waits for what it waits for now.
        self._hold: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether processes of this task are frozen at all."""
        return bool(self._attempt.terms.get("freeze"))

    @property
    def is_under_way(self) -> bool:
        """Whether the process stands frozen, and its image is being stored."""
        return self._suspending is not None

    def why_alive(self) -> str | None:
        """Why the process is not frozen, if that is known before it is tried."""
        if self.is_wanted:
            from sojourn.executor_shim import freezing

            self._hold = freezing.refusal(self._child.process)
        else:
            self._hold = self._attempt.terms.get("why")
        return self._hold

    def moment(self, block: Block | None, now: float) -> float | None:
        """When the process of a run that is blocked is to be frozen; None: not, as things are."""
        if block is None:
            self._not_before = 0.0
            return None
        if not self.is_wanted or self._hold is not None or self._suspending is not None:
            return None
        cost = self._station.freezing_cost.expected(memory.resident(self._child.process.members()))
        patience = 0.0 if self._station.is_draining else block.patience(self._attempt.terms, time.time(), cost)
        return None if patience is None else max(now + patience, self._not_before)

    def hurry(self) -> None:
        """This executor has to leave: no pause is kept."""
        self._not_before = 0.0

    def is_possible_at_work(self) -> bool:
        """Whether a process that does not wait can be frozen.

        Not one with connections: what it does over them would fail.
        """
        from sojourn.executor_shim import freezing

        process = self._child.process
        return self.is_wanted and not freezing.refusal(process) and not freezing.is_connected(process.pid)

    # --- one try

    def begin(self, kept: dict[str, Any]) -> FrozenChild:
        """Stops the process and writes its image; what it had said last. `NotFrozen`, or `FrameError`: it has to be killed.

        `kept`: what is to be known again when it is thawed.
        """
        from sojourn.executor_shim import freezing
        from sojourn.executor_shim.freezing.errors import FreezeFailed

        self._child.kept = kept
        try:
            criu = freezing.find_criu()
            if criu is None:
                raise FreezeFailed("this node has no criu")
            station, run = self._station, self._attempt.credentials
            suspending = Suspending(station.settings, station.another_control(), self._child, run, criu)
            frozen = suspending.freeze()
        except (FreezeFailed, OSError) as error:  # whatever it was, the process goes on
            self._hold = str(error)
            raise NotFrozen(self._hold) from error
        self._suspending = suspending
        return frozen

    def store(self, lines: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
        """Has the image stored and the run suspended, by a thread. Lines and changes of metadata are sent before."""
        assert self._suspending is not None
        self._station.events.add(self._suspending.wakeup, "suspending")
        self._suspending.store(lines, changes)

    def over(self, now: float) -> tuple[Verdict, str]:
        """What came of it, at the event `suspending`; and why."""
        suspending, self._suspending = self._suspending, None
        assert suspending is not None
        self._station.events.drop(suspending.wakeup)
        verdict, why = suspending.take()
        if verdict is Verdict.SUSPENDED:
            self._station.freezing_cost.learn(suspending.seconds, suspending.resident)
        else:
            self._not_before = now + self._again
            self._again = min(2 * self._again, _AGAIN_MOST)
        return verdict, why

    def abandon(self) -> None:
        """An image that is not stored yet is not wanted any more; one that is being stored comes too late."""
        suspending, self._suspending = self._suspending, None
        if suspending is not None:
            self._station.events.drop(suspending.wakeup)
            suspending.abandon()
