"""Loads the Lua files, each with the shared tree before it, and runs them by their hash."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis

from sojourn.control_plane.domain.fair_node import PATIENCE
from sojourn.control_plane.domain.lanes import RESIDENT

#: Scripts over the index of organizations, or over no organization at all: none of an organization's keys, so no tree.
_INDEX_ONLY = frozenset({"choose", "leave_index", "take", "tell"})
NAMES = (
    "ack",
    "choose",
    "dequeue",
    "eligible",
    "enqueue",
    "expire",
    "extend",
    "finish_rebuild",
    "leave_index",
    "limits",
    "nack",
    "next",
    "open",
    "recount",
    "release",
    "restore",
    "take",
    "tell",
    "turn",
    "unpark",
)


class Scripts:
    """`run` sends scripts in one round trip; a server that does not know them (any more) is given their text."""

    def __init__(self, connection: redis.Redis):
        self._redis = connection
        self._texts = _texts()
        self._hashes = {name: sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._texts.items()}

    def run(self, *calls: tuple[str, Sequence[str], Sequence[Any]]) -> list[Any]:
        """The answers to (name, keys, arguments) each, in order."""
        try:
            return self._send(calls)
        except redis.exceptions.NoScriptError:
            # All at once: a server knows every script or none, so that a failed pipeline has carried out nothing.
            with self._redis.pipeline(transaction=True) as pipeline:
                for text in self._texts.values():
                    pipeline.script_load(text)
                pipeline.execute()
            return self._send(calls)

    def _send(self, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]]) -> list[Any]:
        if len(calls) == 1:
            name, keys, arguments = calls[0]
            return [self._redis.evalsha(self._hashes[name], len(keys), *keys, *arguments)]
        with self._redis.pipeline(transaction=False) as pipeline:
            for name, keys, arguments in calls:
                pipeline.evalsha(self._hashes[name], len(keys), *keys, *arguments)
            return list(pipeline.execute())


@cache
def _texts() -> dict[str, str]:
    """The scripts, each with what it shares with others before it."""
    folder = files(__package__) / "lua"
    constants = f"local PATIENCE, RESIDENT = {PATIENCE}, '{RESIDENT}'\n"
    tree = (folder / "_tree.lua").read_text(encoding="utf-8")
    return {
        name: constants + ("" if name in _INDEX_ONLY else tree) + (folder / f"{name}.lua").read_text(encoding="utf-8")
        for name in NAMES
    }
