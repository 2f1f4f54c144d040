"""Which attempt of which run an executor has, as it was assigned, and where that run stands."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Attempt:
    """`snapshot`: the run's newest that was told. `memory`: bytes that it may have. `lease`, `longest`: seconds."""

    def __init__(self, assignment: dict[str, Any], lease: float):
        """`lease`: what counts where the assignment names none."""
        self.assignment = assignment
        self.run = str(assignment["run"]["id"])
        self.number = int(assignment["attempt"]["number"])
        self.token = assignment["token"]
        self.snapshot = int(assignment["snapshot"])
        self.lease = float(assignment.get("lease") or lease)
        self.variables: dict[str, str] = assignment.get("variables") or {}
        self.memory: int | None = assignment.get("memoryBytes")
        self.longest: float | None = assignment.get("maxDuration") or None
        #: How its run waits: see `WaitingTerms.for_task`.
        self.terms: dict[str, Any] = assignment.get("waiting") or {}

    @property
    def credentials(self) -> dict[str, Any]:
        """By which the control plane knows it, in the body of a call."""
        return {"run": self.run, "snapshot": self.snapshot, "token": self.token}
