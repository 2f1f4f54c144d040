"""A test's time: it stands still until the test moves it."""

from __future__ import annotations

from datetime import UTC, datetime

from sojourn.sdk.errors import ConfigurationError


class Clock:
    """`now` is what everything is decided by. `begin`: where it stands at first (aware); else the moment, in whole seconds.

    `told` is what things are dated with, and never goes back. Of a clock that nobody set or moved it is the process's own
    time, which code under test compares it with.
    """

    def __init__(self, begin: datetime | None = None):
        self.now = aware(begin or datetime.now(UTC).replace(microsecond=0))
        self._is_set = begin is not None
        self._last = self.now

    def told(self) -> datetime:
        """The moment, as dates are told."""
        self._last = max(self._last, self.now if self._is_set else datetime.now(UTC))
        return self._last

    def move(self, to: datetime) -> None:
        """Time passes until then; it never goes back."""
        self.now, self._is_set = max(self.now, to), True


def aware(moment: datetime) -> datetime:
    """A date in UTC; ConfigurationError for one without a time zone."""
    if moment.tzinfo is None:
        raise ConfigurationError("a datetime without a time zone: add tzinfo=timezone.utc")
    return moment.astimezone(UTC)
