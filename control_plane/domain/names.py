"""Names of tasks and queues: one rule wherever they come in, so that whatever a body takes an address can name."""

from __future__ import annotations

import re

from sojourn.sdk.protocol import MAX_QUEUE_NAME_CHARS

MAX_TASK_CHARS = 256
#: What a task's own queue is called: this, and the task's id.
OF_TASK = "task/"
_QUEUE = re.compile(rf"[A-Za-z0-9_\-/]{{1,{MAX_QUEUE_NAME_CHARS}}}")
#: An encoded slash: clients write names of queues so, before they encode the name as a whole.
_SLASH = re.compile("%2F", re.IGNORECASE)
#: What clients and proxies take out of addresses.
_DOTS = frozenset({".", ".."})


def task_flaw(text: str) -> str | None:
    """What keeps a text from being a task's id; None for one that may be."""
    if not 0 < len(text) <= MAX_TASK_CHARS or not text.isprintable():
        return f"a task's id has 1 to {MAX_TASK_CHARS} printable characters"
    if text in _DOTS or _SLASH.search(text):
        return "a task's id is neither . nor .., and has no %2F, which stands for a slash"
    return None


def queue_flaw(text: str) -> str | None:
    """What keeps a text from being a queue's name; None for one that may be."""
    if _QUEUE.fullmatch(text):
        return None
    if text.startswith(OF_TASK):
        return task_flaw(text.removeprefix(OF_TASK))
    return f"a queue's name has 1 to {MAX_QUEUE_NAME_CHARS} letters, digits, _, - or /, or is {OF_TASK} and a task's id"


def with_slashes(text: str) -> str:
    """A queue's name out of an address, in which its slashes may be encoded once more than the rest."""
    return _SLASH.sub("/", text)
