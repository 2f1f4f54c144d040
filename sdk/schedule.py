"""`Schedule`: when a task is triggered by itself, as its code declares it."""

from __future__ import annotations

from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.options import nearest
from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

OVERLAPS = ("allow", "skip", "queue", "replace")
CATCH_UPS = ("none", "last", "all")
ENVIRONMENTS = ("development", "staging", "production", "preview")


class Schedule(Value):
    """`cron`: minute, hour, day of month, month, day of week, in the time zone `timezone`.

    `window`: over how long ticks are spread ("30m", "2h", "25%"). `overlap`: what a tick does while a run is not over.
    `catch_up`: which ticks that were missed are made up for. `environments`: in which it holds; None is in all.
    """

    __slots__ = ("catch_up", "cron", "environments", "overlap", "timezone", "window")
    cron: str
    timezone: str
    window: str | None
    overlap: str
    catch_up: str
    environments: tuple[str, ...] | None

    def __init__(
        self,
        cron: str,
        timezone: str = "UTC",
        window: str | None = None,
        overlap: str = "allow",
        catch_up: str = "last",
        environments: Sequence[str] | None = None,
    ):
        if not isinstance(cron, str) or len(cron.split()) != 5:
            raise TaskDefinitionError(f'schedule.cron is {cron!r}: write five fields, as in "0 8 * * 1-5"')
        for name, value, known in (("overlap", overlap, OVERLAPS), ("catch_up", catch_up, CATCH_UPS)):
            if value not in known:
                raise TaskDefinitionError(f"schedule.{name} cannot be {nearest(str(value), known)}")
        for kind in environments or ():
            if kind not in ENVIRONMENTS:
                raise TaskDefinitionError(f"schedule.environments cannot have {nearest(str(kind), ENVIRONMENTS)}")
        self._keep(cron, timezone, window, overlap, catch_up, None if environments is None else tuple(environments))

    @classmethod
    def of(cls, given: Schedule | str | Mapping[str, Any]) -> Schedule:
        """What a user gave in any form."""
        if isinstance(given, Schedule):
            return given
        if isinstance(given, str):
            return cls(given)
        for name in given:
            if name not in cls.fields:
                raise TaskDefinitionError(f"schedule has no option {nearest(name, cls.fields)}")
        return cls(**given)

    def to_wire(self) -> dict[str, Any]:
        """As the manifest has it."""
        wire: dict[str, Any] = {"cron": self.cron, "timezone": self.timezone}
        wire |= {"overlap": self.overlap, "catchUp": self.catch_up}
        if self.window is not None:
            wire["window"] = self.window
        if self.environments is not None:
            wire["environments"] = [kind.upper() for kind in self.environments]
        return wire
