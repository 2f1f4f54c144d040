"""What `catch_error` may decide about a failed attempt. None, or nothing, leaves it to the task's retry options.

Each may carry an `error` that is told in place of the one that was raised. To replace the error alone, and leave the
decision to the task's options, a hook returns the exception itself.
"""

from __future__ import annotations

from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime


class Skip(Value):
    """Fail now, whatever attempts are left."""

    __slots__ = ("error",)
    error: BaseException | None

    def __init__(self, error: BaseException | None = None):
        self._keep(error)


class RetryAt(Value):
    """Try again at a moment (with a time zone)."""

    __slots__ = ("error", "when")
    when: datetime
    error: BaseException | None

    def __init__(self, when: datetime, error: BaseException | None = None):
        if when.tzinfo is None:
            raise ValueError("RetryAt takes a datetime with a time zone: add tzinfo=timezone.utc")
        self._keep(when, error)


class RetryIn(Value):
    """Try again after so many seconds."""

    __slots__ = ("error", "seconds")
    seconds: float
    error: BaseException | None

    def __init__(self, seconds: float, error: BaseException | None = None):
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"RetryIn takes seconds, 0 or more, not {seconds!r}")
        self._keep(seconds, error)
