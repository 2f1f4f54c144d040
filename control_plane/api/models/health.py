"""Whether the process, and its parts, answer."""

from __future__ import annotations

from sojourn.control_plane.api.models.shape import Reply


class LiveReply(Reply):
    """The process answers."""

    status: str


class ReadyReply(Reply):
    """Each part: `ok` or `unavailable`."""

    status: str
    parts: dict[str, str]
