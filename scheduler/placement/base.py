"""Placement: giving an executor a place to run. One small interface; every implementation passes one suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class CannotPlace(Exception):
    """There is no place for this executor now; the text is the reason that the run's history shows."""


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """An executor to be placed. `run` is what it is placed for; `credential` goes to it alone."""

    executor: str
    organization: str
    environment: str
    version: str
    version_hash: str
    machine: str
    lane: str
    run: str | None
    credential: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An executor that lives."""

    executor: str
    environment: str
    version: str
    machine: str
    handle: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An executor that is gone, with every process of its tree."""

    executor: str
    exit_code: int | None
    reason: str


class Placement(Protocol):
    """Where executors live."""

    def free(self) -> int:
        """How many more executors may be placed now."""

    def place(self, spec: ExecutorSpec) -> None:
        """Places an executor; one that is placed already is left alone. `CannotPlace` says why not."""

    def stop(self, executor: str, grace: float) -> None:
        """Asks an executor to leave; after `grace` seconds (0: a moment) it is made to. Returns at once."""

    def living(self) -> list[Placed]:
        """Every executor that lives, those of a scheduler that died included."""

    def ended(self) -> list[Ended]:
        """Executors that ended since this was last asked; each is told once."""

    def close(self, grace: float) -> None:
        """Ends every executor, and waits for that."""
