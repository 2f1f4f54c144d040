"""Executors kept alive though nothing waits: how many are wanted of which kind, which are missing, which too many. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sojourn.control_plane.domain.regions import DEFAULT
from sojourn.sdk.protocol import DEFAULT_MACHINE, MACHINES

#: Stands for every environment.
ANY = "*"
#: Seconds of idling after which a kept executor leaves all the same: never, in practice.
KEPT_IDLE_SECONDS = 10 * 365 * 86_400
MOST = 1_000
_ENTRY = re.compile(r"(?P<environment>\*|[A-Za-z0-9_.-]+)(/(?P<machine>[a-z0-9-]+))?=(?P<count>[0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Kind:
    """Executors that are as good as each other."""

    environment: str
    version: str
    machine: str
    region: str = DEFAULT


@dataclass(frozen=True, slots=True)
class Living:
    """An executor that lives. `is_kept`: it was placed for no run, and never leaves for being idle."""

    executor: str
    kind: Kind
    is_kept: bool


Wish = Mapping[tuple[str, str], int]


def read(text: str) -> Wish:
    """How many, by (environment's slug or id, machine), of `prod=2,prod/large-1x=1,*=0`. `ValueError` for another text."""
    wish: dict[tuple[str, str], int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _ENTRY.fullmatch(part)
        machine = (found["machine"] or DEFAULT_MACHINE) if found else ""
        if not found or machine not in MACHINES or int(found["count"]) > MOST:
            raise ValueError(part)
        wish[found["environment"], machine] = int(found["count"])
    return wish


def wanted(wish: Wish, environment: str, slug: str, version: str, region: str = DEFAULT) -> dict[Kind, int]:
    """How many of each kind for one environment: what names its id goes before its slug, and that before `*`.

    `region` is where its runs go that name none.
    """
    machines = {machine for _, machine in wish}
    counts = {machine: _first(wish, machine, (environment, slug, ANY)) for machine in machines}
    return {Kind(environment, version, machine, region): count for machine, count in counts.items() if count}


def missing(wanted: Mapping[Kind, int], living: Iterable[Living]) -> list[Kind]:
    """What is to be placed, one entry for each executor. Any that lives counts, kept or not."""
    there = Counter(each.kind for each in living)
    return [kind for kind, count in wanted.items() for _ in range(count - there[kind])]


def superfluous(wanted: Mapping[Kind, int], living: Iterable[Living], idle: Collection[str]) -> list[str]:
    """Kept executors that are to leave: idle ones of a kind of which more are kept than wanted, the oldest first."""
    kept = [each for each in sorted(living, key=lambda each: each.executor) if each.is_kept]
    surplus = {kind: count - wanted.get(kind, 0) for kind, count in Counter(each.kind for each in kept).items()}
    leaving = []
    for each in kept:
        if surplus[each.kind] > 0 and each.executor in idle:
            surplus[each.kind] -= 1
            leaving.append(each.executor)
    return leaving


def _first(wish: Wish, machine: str, names: Iterable[str]) -> int:
    return next((wish[name, machine] for name in names if (name, machine) in wish), 0)
