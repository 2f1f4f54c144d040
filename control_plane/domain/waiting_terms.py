"""How runs wait: in their process, blocked in memory, or frozen. What installation, environment and task say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_ENTRY = re.compile(r"(?P<environment>[A-Za-z0-9_.-]+)=(?P<word>off|[0-9]{1,5}(\.[0-9]{1,3})?)")
_MOST_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class WaitingTerms:
    """`freeze`: whether processes are frozen at all. The rest in seconds:

    a wait of `short` at most stays in the process; one for a date further away than `threshold` is frozen at once; any
    other is frozen when it has lasted for `after`. `environments`: what holds for one of them instead, by slug or id.
    """

    freeze: bool = True
    after: float = 3.0
    threshold: float = 5.0
    short: float = 5.0
    environments: Mapping[str, float | None] = field(default_factory=dict)
    setting: str = "SOJOURN_FREEZE"

    def within(self, environment: str, slug: str) -> WaitingTerms:
        """The terms of one environment: what names its id goes before its slug. Freezing that is off stays off."""
        for name in (environment, slug):
            if name in self.environments:
                seconds = self.environments[name]
                if seconds is None:
                    return replace(self, freeze=False, setting="SOJOURN_FREEZE_ENVIRONMENTS")
                return replace(self, after=seconds, threshold=seconds)
        return self

    def for_task(self, freeze: bool | None) -> dict[str, Any]:
        """What an executor is told; `freeze`: the task's own word, if it has one."""
        refusal = self.refusal(freeze)
        terms = {"freeze": refusal is None, "after": self.after, "threshold": self.threshold, "short": self.short}
        return terms if refusal is None else terms | {"why": refusal}

    def refusal(self, freeze: bool | None) -> str | None:
        """Why runs of a task are not frozen; None: they are."""
        if not self.freeze:
            return f"freezing is switched off ({self.setting})"
        if freeze is False:
            return "its task is never frozen (freeze=False)"
        return None


def read(text: str) -> dict[str, float | None]:
    """Of `staging=off,prod=30`: by environment's slug or id the seconds a wait lasts before it is frozen; None: for ever.

    `ValueError` for another text.
    """
    told: dict[str, float | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _ENTRY.fullmatch(part)
        seconds = None if not found or found["word"] == "off" else float(found["word"])
        if not found or (seconds or 0) > _MOST_SECONDS:
            raise ValueError(part)
        told[found["environment"]] = seconds
    return told
