"""The Lua scripts: loaded by name, sent by their hash, and by their text where Redis does not know them (any more)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError, RedisError

_TREE = ("_ring", "_tree")
_PARTS = {
    "announce": ("_ring",),
    "retire": ("_ring",),
    "charge": ("_ring",),
    "ring": (),
    "take": (),
    "enqueue": _TREE,
    "dequeue": (*_TREE, "_dequeue"),
    "ack": (*_TREE, "_forget"),
    "ack_and_dequeue": (*_TREE, "_forget", "_dequeue"),
    "nack": _TREE,
    "unpark": _TREE,
    "extend": _TREE,
    "expire": _TREE,
    "due": _TREE,
    "lanes": _TREE,
    "members": _TREE,
    "restore": _TREE,
    "begin_rebuild": _TREE,
    "finish_rebuild": _TREE,
    "hand_over": _TREE,
    "set_limits": _TREE,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a script."""

    verb: str
    keys: tuple[str, ...]
    arguments: tuple[Any, ...] = ()


class Scripts:
    """Runs verbs, one or several in a round trip."""

    def __init__(self, redis: Redis):
        self._redis = redis
        self._texts = {verb: _text((*parts, verb)) for verb, parts in _PARTS.items()}
        self._hashes = {verb: hashlib.sha1(text.encode()).hexdigest() for verb, text in self._texts.items()}  # noqa: S324

    def run(self, verb: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        """The script's answer. Raises what redis-py raises."""
        command = (len(keys), *keys, *arguments)
        try:
            return self._redis.execute_command("EVALSHA", self._hashes[verb], *command)
        except NoScriptError:
            return self._redis.execute_command("EVAL", self._texts[verb], *command)

    def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """The answers of all calls, in one round trip. The first error is raised after all were made."""
        if len(calls) == 1:
            return [self.run(calls[0].verb, calls[0].keys, *calls[0].arguments)]
        answers = self._pipe("EVALSHA", self._hashes, calls)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = self._pipe("EVAL", self._texts, [calls[at] for at in unknown])
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers

    def _pipe(self, command: str, named: dict[str, str], calls: Sequence[Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(command, named[call.verb], len(call.keys), *call.keys, *call.arguments)
        return pipeline.execute(raise_on_error=False)


def text(value: bytes | str) -> str:
    """A word of an answer, whether the client decodes or not."""
    return value.decode() if isinstance(value, bytes) else value


def _text(parts: Sequence[str]) -> str:
    folder = resources.files(__package__) / "lua"
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
