"""How values read on a page: durations, sizes, status colours, texts that users wrote. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from sojourn.sdk.protocol import RunStatus

_COLOURS = {
    RunStatus.DELAYED: "quiet",
    RunStatus.PENDING_VERSION: "warn",
    RunStatus.QUEUED: "quiet",
    RunStatus.DEQUEUED: "busy",
    RunStatus.EXECUTING: "busy",
    RunStatus.WAITING: "wait",
    RunStatus.COMPLETED: "good",
    RunStatus.FAILED: "bad",
    RunStatus.CRASHED: "bad",
    RunStatus.SYSTEM_FAILURE: "bad",
    RunStatus.TIMED_OUT: "bad",
    RunStatus.CANCELED: "off",
    RunStatus.EXPIRED: "off",
}
#: Characters of a payload or an output that a page shows.
SHOWN_CHARS = 100_000
#: Bidirectional overrides, which could make a line read other than it is.
_OVERRIDES = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_CONTROLS = {code: 0x2400 + code for code in range(32) if code not in (9, 10)} | {127: 0x2421}
_VISIBLE = _CONTROLS | _OVERRIDES


def colour(status: str) -> str:
    """The class that colours a status."""
    return _COLOURS.get(RunStatus(status), "quiet")


def words(name: str) -> str:
    """An upper-case name as words: `TIMED_OUT` is "Timed out"."""
    return name.replace("_", " ").capitalize()


def span(length: timedelta | float | None) -> str:
    """A length of time (a number is milliseconds) in the unit that reads best; nothing for None."""
    if length is None:
        return ""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length / 1000
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: int | None) -> str:
    """A number of bytes in the unit that reads best; nothing for None."""
    if count is None:
        return ""
    amount, units = float(count), ["bytes", "KB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "bytes" else f"{amount:.1f} {units[0]}"


def moment(value: datetime | None) -> str:
    """A time in UTC to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def machine_moment(value: datetime) -> str:
    """A time for a `<time datetime>`."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds")


def visible(text: str) -> str:
    """A text that users wrote, with every control character made visible, so that it cannot disguise itself."""
    return text.translate(_VISIBLE)


def marked(text: str) -> Markup:
    """A text of ours with code between backticks."""
    parts = text.split("`")
    return Markup().join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def compact(value: Any) -> str:
    """A JSON value in one line, as a log line's properties are shown."""
    # Half a surrogate pair cannot be sent as UTF-8.
    return visible(json.dumps(value, ensure_ascii=False)).encode("utf-8", "replace").decode("utf-8")


def pretty(text: str | None, media_type: str | None) -> str:
    """A payload or an output, indented where it is JSON, cut where it is long."""
    if text is None:
        return ""
    if len(text) <= SHOWN_CHARS and "json" in (media_type or ""):
        try:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass  # shown as it is
    if len(text) > SHOWN_CHARS:
        text = f"{text[:SHOWN_CHARS]}\n… {len(text) - SHOWN_CHARS} more characters"
    # Half a surrogate pair cannot be sent as UTF-8.
    return visible(text).encode("utf-8", "replace").decode("utf-8")
