"""Placement: giving an executor a place to run. One small interface; every implementation passes one suite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sojourn.control_plane.domain.regions import DEFAULT


class CannotPlace(Exception):
    """There is no place for this executor now; the text is the reason that the run's history shows."""


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """An executor to be placed, for `run`, which stands at `snapshot`. `credential` goes to it alone.

    `node_type`: what its node has to be, since the run is frozen; None: anything.

    One that is placed for no run is kept: it does not leave for being idle.
    """

    executor: str
    organization: str
    environment: str
    version: str
    version_hash: str
    machine: str
    lane: str
    run: str | None
    credential: str
    snapshot: int | None = None
    region: str = DEFAULT
    node_type: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """An executor that lives. `is_kept`: it was placed for no run."""

    executor: str
    environment: str
    version: str
    machine: str
    handle: str
    is_kept: bool = False
    region: str = DEFAULT


class Cause(StrEnum):
    """Why an executor ended. One that never began says nothing about its run; UNPLACED is not even a try."""

    EXITED = "EXITED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    LOST = "LOST"
    NOT_STARTED = "NOT_STARTED"
    UNPLACED = "UNPLACED"


@dataclass(frozen=True, slots=True)
class Ended:
    """An executor that is gone, with every process of its tree."""

    executor: str
    exit_code: int | None
    reason: str
    cause: Cause = Cause.EXITED


@dataclass(frozen=True, slots=True)
class Closed:
    """Why a lane is left alone for a while. `is_full`: others would have to make room for it."""

    reason: str
    is_full: bool = False


class Ground(Protocol):
    """A part of a placement that fills up by itself, such as one of several clusters; or all of it."""

    def serves(self, lane: str) -> bool:
        """Whether executors of that lane are placed here."""

    def free(self) -> int:
        """How many more executors may be placed now."""

    def is_full(self) -> bool:
        """Whether room is what is missing: executors would have to leave for others to be placed."""

    def living(self) -> list[Placed]:
        """Every executor that lives here, those of a scheduler that died included."""


class Placement(Protocol):
    """Where executors live."""

    def grounds(self) -> Sequence[Ground]:
        """Its parts."""

    def closed_lanes(self) -> Mapping[str, Closed]:
        """Lanes for which there is no place just now; they are tried again before long."""

    def place(self, spec: ExecutorSpec) -> None:
        """Places an executor; one that is placed already is left alone. `CannotPlace` says why not."""

    def stop(self, executor: str, grace: float) -> None:
        """Asks an executor to leave; after `grace` seconds (0: a moment) it is made to. Returns at once."""

    def living(self) -> list[Placed]:
        """Every executor that lives, those of a scheduler that died included."""

    def ended(self) -> list[Ended]:
        """Executors that ended, each told until it is settled: who asks may be killed before anything came of it."""

    def settled(self, executors: Collection[str]) -> None:
        """What follows from their ends is stored: they are told no more."""

    def close(self, grace: float) -> None:
        """Ends every executor, and waits for that."""

    def leave(self) -> None:
        """Places no more; executors go on, and the next scheduler takes them over. Where they cannot, they are ended."""
