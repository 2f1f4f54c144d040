"""Whether and when a failed attempt is followed by another: pure, from what was decided and what the options say."""

from __future__ import annotations

from sojourn.sdk.decision import RetryAt, RetryIn, Skip
from sojourn.sdk.errors import AbortTaskRunError, ApiError
from sojourn.sdk.options import Retry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def never(error: BaseException) -> bool:
    """Errors that another attempt would only repeat: an abort, and what the platform's API refuses for good."""
    if isinstance(error, AbortTaskRunError):
        return True
    status = error.status if isinstance(error, ApiError) else None
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def check(decided: Any) -> None:
    """TypeError for what `catch_error` may not give."""
    if decided and not isinstance(decided, Skip | RetryAt | RetryIn | Retry | BaseException):
        raise TypeError(
            f"catch_error gives Skip, RetryAt, RetryIn, Retry, an exception or None, not {type(decided).__name__}"
        )


def pause(
    decided: Any, error: BaseException, attempt: int, most: int, retry: Retry, unit_random: float, now: float
) -> float | None:
    """Seconds until the next attempt; None when there is none. `now` in seconds since the epoch."""
    if isinstance(decided, Skip) or attempt >= most:
        return None
    if isinstance(decided, RetryAt):
        return max(decided.when.timestamp() - now, 0.0)
    if isinstance(decided, RetryIn):
        return decided.seconds
    if isinstance(decided, Retry):
        return decided.delay(attempt, unit_random) if attempt < decided.max_attempts else None
    if isinstance(error, ApiError) and error.status == 429:
        reset = error.headers.get("x-ratelimit-reset", "")
        if reset.isdecimal():
            return max(int(reset[:20]) / 1000 - now, 0.0)
    return retry.delay(attempt, unit_random)
