"""The words of scopes (`action:type[:id]`), which the API and whoever asks it for a token or a key read alike.

A scope that nothing would ever ask for is refused where it is written, since a misspelt one grants nothing without a word.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ADMIN = "admin"
#: Any action; any type.
ANY, ALL = "*", "all"

#: For each action the types that some route asks for it on, of keys and public tokens alike …
OF_TOKENS: Mapping[str, tuple[str, ...]] = {
    "read": ("runs", "tasks", "tags", "batch", "queues", "schedules", "deployments", "waitpoints"),
    "write": ("runs", "tasks", "tags", "batch", "queues", "waitpoints"),
    "trigger": ("tasks",),
    "batchTrigger": ("tasks",),
}
#: … and of keys alone.
OF_KEYS: Mapping[str, tuple[str, ...]] = {
    "read": ("envvars", "webhooks"),
    "write": ("deployments", "envvars", "schedules"),
    "manage": ("apiKeys", "envvars", "webhooks"),
}
#: What existing clients write, whether a route asks for it or not: it is taken, and may grant nothing.
CLIENTS_ACTIONS = ("read", "write", "manage")
CLIENTS_TYPES = (
    "runs", "tasks", "tags", "batch", "queues", "deployments", "envvars", "apiKeys", "branches", "sessions", "waitpoints",
    "inputStreams", "query", "environments", "project",
)  # fmt: skip

ACTIONS = (*OF_TOKENS, "manage", ANY)


def types_of(action: str, *, public: bool) -> tuple[str, ...]:
    """What a route asks for that action on, of a key or of a public token; `*`: for any action."""
    tables = (OF_TOKENS,) if public else (OF_TOKENS, OF_KEYS)
    named = (types for table in tables for own, types in table.items() if action in (own, ANY))
    return tuple(dict.fromkeys(type_ for types in named for type_ in types))


def is_meant(scope: str, *, public: bool) -> bool:
    """Whether some route may ask for that, or existing clients write it. `public`: in a public token, not for a key."""
    if scope == ADMIN:
        return True
    action, _, rest = scope.partition(":")
    type_ = rest.partition(":")[0]
    if action not in ACTIONS:
        return False
    theirs = action in (*CLIENTS_ACTIONS, ANY) and type_ in CLIENTS_TYPES
    return type_ == ALL or theirs or type_ in types_of(action, public=public)


def refusal(scope: str, *, public: bool) -> str:
    """Why a scope is none, and what there is in the place of the word that is wrong."""
    if is_meant(scope, public=public):
        return f"{scope[:80]!r} is no scope: its id has 1 to 400 characters, none of which is a control character"
    action = scope.partition(":")[0]
    if types := types_of(action, public=public):
        part, words = f"the type of {action}", (*types, ALL)
    else:
        part, words = "the action", tuple(each for each in ACTIONS if types_of(each, public=public))
    whose = " of a public token" if public else ""
    return (
        f"{scope[:80]!r} is no scope{whose}: that is admin, or action:type or action:type:id, where {part} is one of"
        f" {', '.join(words)}"
    )
