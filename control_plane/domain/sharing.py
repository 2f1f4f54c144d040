"""Sharing places when there are too few: which environments should give one up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from sojourn.control_plane.domain.resting import Resting


def places_to_give(living: Mapping[str, str], waiting: Collection[str]) -> dict[str, int]:
    """How many executors of each environment should leave at the end of their quantum.

    `living` maps executors to their environments, `waiting` are the environments with runs that could start now.
    An environment without any place comes first; else a place moves only if that makes the shares more even. Who gets
    the freed place is the fair queue's choice.
    """
    shares = Counter(living.values())
    poor = sorted(shares.get(environment, 0) for environment in waiting)
    giving: Counter[str] = Counter()
    for share in poor:
        richest = max(shares, key=lambda environment: (shares[environment], environment), default=None)
        if richest is None or shares[richest] < (1 if share == 0 else share + 2):
            break
        shares[richest] -= 1
        giving[richest] += 1
        if not shares[richest]:
            del shares[richest]
    return dict(giving)


def full_environments(environments: Iterable[str], most: int, resting: Mapping[str, Resting] | None = None) -> set[str]:
    """Those that have all the executors they may have: one entry for each executor, `most` 0 for no limit.

    `resting`: how many of them hold runs that only wait, by environment.
    """
    counts = Counter(environments) if most else {}
    allowed = {name: each.places(most) for name, each in (resting or {}).items()}
    return {environment for environment, count in counts.items() if count >= allowed.get(environment, most)}
