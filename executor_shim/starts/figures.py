"""How long either way takes, and what follows from it. Pure."""

from __future__ import annotations

from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds that an image is used: what a module noted when it was imported is never older. One that is not worth it is
#: tried anew after the second.
_AGE, _SECOND_LOOK = 86_400.0, 3_600.0
_LAST = 5
#: Of a fresh start, that a thaw takes at most: where there is no image, a fresh one begins while the shim asks for its run.
_SHARE = 0.85


class Figures(Record):
    """`fresh`, `thaws`: milliseconds from nothing to a process that has imported; the last few thaws. `made`: when."""

    fresh: float
    made: float
    thaws: tuple[float, ...] = ()

    @classmethod
    def read(cls, told: dict[str, Any]) -> Figures:
        """Out of JSON. `KeyError`, `TypeError`, `ValueError`."""
        thaws = tuple(float(each) for each in told["thaws"])
        return cls(float(told["fresh"]), float(told["made"]), thaws)

    def as_json(self) -> dict[str, Any]:
        """What `read` takes."""
        return {**self._asdict(), "thaws": list(self.thaws)}

    @property
    def thaw(self) -> float | None:
        """The median of the last thaws."""
        known = sorted(self.thaws)
        return known[(len(known) - 1) // 2] if known else None

    @property
    def is_worth_it(self) -> bool:
        """Whether a start is to be by the image."""
        return self.thaw is not None and self.thaw < self.fresh * _SHARE

    def is_over(self, now: float) -> bool:
        """Whether another is to be made; `now` in seconds since 1970."""
        age = now - self.made
        return age > _AGE or age < 0 or (not self.is_worth_it and age > _SECOND_LOOK)

    def told(self, thaw: float) -> Figures:
        """After one more thaw."""
        return self._replace(thaws=(*self.thaws, round(thaw, 1))[-_LAST:])
