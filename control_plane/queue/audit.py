"""Reading back all that the fair queue holds of an organization, a stretch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from sojourn.control_plane.domain.entries import decode
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.scripts import text

_STRETCH = 1_000
_NODES_AT_ONCE = 200

#: ("org",), ("env", environment), ("queue", environment, queue) or ("key", environment, queue, key).
SlotName = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Runs by where they are. `unplaced` are known, yet neither wait nor are in flight; `unkeyed` are the slots of
    runs without a key, by (environment, queue), which the queue's set in `slots` has too. Both are for repair."""

    waiting: set[str] = field(default_factory=set)
    inflight: set[str] = field(default_factory=set)
    unplaced: set[str] = field(default_factory=set)
    slots: dict[SlotName, set[str]] = field(default_factory=dict)
    unkeyed: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def runs(self) -> set[str]:
        """Every run that has a place anywhere."""
        return self.waiting.union(self.inflight, self.unplaced, *self.slots.values(), *self.unkeyed.values())


def read_audit(redis: Redis, organization: str) -> Audit:
    """Reads all of it. Commands are O(log n) or a stretch of 1,000; there is one command a node with runs."""
    prefix = keys.prefix(organization)
    audit = Audit()
    leaves: set[str] = set()
    known: set[str] = set()
    for run, item in redis.hscan_iter(f"{prefix}items", count=_STRETCH):
        known.add(text(run))
        leaves.add(text(item).split("|", 1)[1])
    audit.inflight.update(text(run) for run, _ in redis.zscan_iter(f"{prefix}inflight", count=_STRETCH))
    for _, runs in _many(redis, sorted(leaves), lambda pipe, leaf: pipe.zrange(f"{prefix}runs:{leaf}", 0, -1)):
        audit.waiting.update(map(text, runs))
    audit.unplaced.update(known - audit.waiting - audit.inflight)
    if audit.inflight:
        audit.slots[("org",)] = set(audit.inflight)
    _read_slots(redis, prefix, leaves, audit)
    return audit


def _read_slots(redis: Redis, prefix: str, leaves: Iterable[str], audit: Audit) -> None:
    names: set[str] = set()
    for leaf in leaves:
        environment, _, _, queue, key = leaf.split("|")
        names |= {environment, f"{environment}|{queue}", f"{environment}|{queue}|{key}"}
    for name, members in _many(redis, sorted(names), lambda pipe, name: pipe.smembers(f"{prefix}slots:{name}")):
        runs = {text(run) for run in members}
        environment, *below = name.split("|")
        words = [decode(word) for word in below]
        if runs and len(words) == 2 and not words[1]:
            audit.unkeyed[(environment, words[0])] = runs
        elif runs:
            audit.slots[(("env", "queue", "key")[len(words)], environment, *words)] = runs


def _many(redis: Redis, names: list[str], ask: Callable[[Any, str], Any]) -> Iterator[tuple[str, Any]]:
    """One question for each name, a few hundred in a round trip."""
    for start in range(0, len(names), _NODES_AT_ONCE):
        chunk = names[start : start + _NODES_AT_ONCE]
        pipeline = redis.pipeline(transaction=False)
        for name in chunk:
            ask(pipeline, name)
        yield from zip(chunk, pipeline.execute(), strict=True)
