"""How runs wait: in their process, blocked in memory, or frozen. What an installation and a task have said about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WaitingTerms:
    """`freeze`: whether processes are frozen at all. The rest in seconds:

    a wait of `short` at most stays in the process; one for a date further away than `threshold` is frozen at once; any
    other is frozen when it has lasted for `after`.
    """

    freeze: bool = True
    after: float = 3.0
    threshold: float = 5.0
    short: float = 5.0

    def for_task(self, freeze: bool | None) -> dict[str, Any]:
        """What an executor is told; `freeze`: the task's own word, if it has one."""
        return {
            "freeze": self.refusal(freeze) is None,
            "after": self.after,
            "threshold": self.threshold,
            "short": self.short,
        }

    def refusal(self, freeze: bool | None) -> str | None:
        """Why runs of a task are not frozen; None: they are."""
        if not self.freeze:
            return "freezing is switched off on this installation (SOJOURN_FREEZE)"
        if freeze is False:
            return "its task is never frozen (freeze=False)"
        return None
