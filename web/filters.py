"""Durations, ages and status colours as people read them. Pure."""

from __future__ import annotations

from datetime import datetime

from sojourn.sdk.protocol import RunStatus

_COLOURS = {
    RunStatus.COMPLETED: "good",
    RunStatus.EXECUTING: "busy",
    RunStatus.DEQUEUED: "busy",
    RunStatus.WAITING: "calm",
    RunStatus.QUEUED: "calm",
    RunStatus.DELAYED: "calm",
    RunStatus.PENDING_VERSION: "calm",
    RunStatus.CANCELED: "dull",
    RunStatus.EXPIRED: "dull",
}


def colour(status: str) -> str:
    """The colour class of a status; what failed is bad."""
    return _COLOURS.get(RunStatus(status), "bad")


def duration(milliseconds: float | None) -> str:
    """`340 ms`, `4.2 s`, `3 m 12 s`, `2 h 5 m`."""
    if milliseconds is None:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    return f"{minutes // 60} h {minutes % 60} m"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    if moment is None:
        return ""
    seconds = max((now - moment).total_seconds(), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"
