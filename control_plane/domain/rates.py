"""Rates as people give them: so many starts in a period, with a burst. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sojourn.control_plane.domain import duration
from sojourn.sdk.protocol import MAX_RATE, MAX_RATE_SECONDS


class BadRate(ValueError):
    """Something of a rate cannot be used; `field` says which."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` starts in so many seconds, spread evenly, but `burst` of them may come at once."""

    limit: int
    seconds: int
    burst: int

    def stored(self) -> dict[str, Any]:
        """As the store has it."""
        return asdict(self)


def read(limit: int, period: str, burst: int | None) -> Rate:
    """What a call or a manifest asks for; a burst that is absent is a second's worth, 1 at least. `BadRate`."""
    try:
        seconds = duration.seconds(period)
    except duration.BadTime as error:
        raise BadRate("period", str(error)) from None
    if not 1 <= limit <= MAX_RATE:
        raise BadRate("limit", f"is 1 to {MAX_RATE}")
    if not 1 <= seconds <= MAX_RATE_SECONDS:
        raise BadRate("period", "is 1 second to 400 days")
    chosen = max(1, limit // seconds) if burst is None else burst
    if not 1 <= chosen <= limit:
        raise BadRate("burst", "is 1 to the limit")
    return Rate(limit, seconds, chosen)
