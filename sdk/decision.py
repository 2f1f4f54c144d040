"""What `catch_error` may decide about a failed attempt. None, or nothing, leaves it to the task's retry options."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Skip:
    """Fail now, whatever attempts are left."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at a moment (with a time zone)."""

    when: datetime


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after so many seconds."""

    seconds: float
