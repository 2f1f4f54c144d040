"""The words for a run's status, in the current vocabulary and in the older one."""

from __future__ import annotations

from sojourn.sdk.protocol import RunStatus

#: Clients that do not name this release's API version get the words of the version before.
_OLDER = {RunStatus.DEQUEUED: "EXECUTING", RunStatus.WAITING: "FROZEN"}
_FROM_OLDER = {
    "FROZEN": RunStatus.WAITING,
    "REATTEMPTING": RunStatus.EXECUTING,
    "WAITING_FOR_DEPLOY": RunStatus.PENDING_VERSION,
}
#: Every word for a status. No run is ever interrupted here, so that the older vocabulary's word finds nothing.
STATUS_WORDS = (*RunStatus.__members__, *_FROM_OLDER, "INTERRUPTED")


def status_word(status: str, current: bool) -> str:
    """A status in the current vocabulary or the older one."""
    return status if current else _OLDER.get(RunStatus(status), status)


def status_of(word: str) -> str | None:
    """The status that a word of either vocabulary means; None for a word of neither."""
    found: str | None = _FROM_OLDER.get(word)
    return found or (word if word in STATUS_WORDS else None)
