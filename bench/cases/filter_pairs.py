"""What two and three filters of a list cost together, over the runs that `run_filters` fills in.

All pairs, and all triples of the common ones. A row for each class: over all its calls, and its slowest pair or triple.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations, product
from typing import Any

from bench.measure import in_ms, row
from sojourn.control_plane.store.run_lists import Page, RunFilters

_ROUNDS = 20
#: A page's size where none is asked for.
_SIZE = 25
#: Filters that many runs fit; how many says `run_filters.line`.
COMMON: Mapping[str, Any] = {
    "tasks": ["common"],
    "statuses": ["FAILED"],
    "tags": ["common"],
    "queues": ["task/common"],
    "machines": ["small-1x"],
    "regions": ["default"],
    "versions": ["20260101.3"],
    "is_test": True,
    "schedules": ["sched_1"],
    "batches": ["batch_1"],
    "bulk_actions": ["bulk_1"],
    "errors": ["ValueError"],
}
#: Many, too, and with others above: never a task and a queue, say, or only long ago.
OTHERS: Mapping[str, Any] = {
    "tasks": ["old"],
    "statuses": ["COMPLETED"],
    "queues": ["mail"],
    "versions": ["20260101.1"],
    "is_test": False,
}
RARE: Mapping[str, Any] = {
    "tasks": ["rare"],
    "statuses": ["CRASHED"],
    "tags": ["customer-77"],
    "queues": ["task/rare"],
    "machines": ["large-2x"],
    "regions": ["far"],
    "errors": ["TASK_PROCESS_OOM_KILLED"],
}

_Filters = Mapping[str, Any]


def together(page: Callable[[RunFilters], Page], period: _Filters) -> None:
    """The rows. `page` asks for a first page; `period`: filters of a span of time, paired with each other one."""
    many = [{name: value} for filters in (COMMON, OTHERS) for name, value in filters.items()]
    few = [{name: value} for name, value in RARE.items()]
    _class("pairs, both common", page, _joined(combinations(many, 2)))
    _class("pairs, common and rare", page, _joined(product(many, few)))
    _class("pairs, both rare", page, _joined(combinations(few, 2)))
    _class("a time and any other", page, _joined((each, period) for each in (*many, *few)))
    _class("triples, all common", page, _joined(combinations(many, 3)))


def _joined(chosen: Iterable[tuple[_Filters, ...]]) -> list[dict[str, Any]]:
    """Those in which no filter is twice."""
    found = []
    for filters in chosen:
        joined = {name: value for each in filters for name, value in each.items()}
        if len(joined) == sum(len(each) for each in filters):
            found.append(joined)
    return found


def _class(name: str, page: Callable[[RunFilters], Page], chosen: list[dict[str, Any]]) -> None:
    """One row for those where some runs fit, another for those that never meet."""
    met: dict[str, list[float]] = {}
    never: dict[str, list[float]] = {}
    short = 0
    for filters in chosen:
        spent = []
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            found = page(RunFilters(**filters))
            spent.append(time.perf_counter() - begun)
        short += found.next is not None and len(found.runs) < _SIZE
        (met if found.runs else never)[_named(filters)] = spent
    for which, spent_of in (("", met), (", never met", never)):
        if spent_of:
            slowest = max(spent_of, key=lambda each: sorted(spent_of[each])[_ROUNDS // 2])
            everything = [each for spent in spent_of.values() for each in spent]
            its, most = in_ms(spent_of[slowest])["p50_ms"], max(everything) * 1000
            row(f"list: {len(spent_of)} {name}{which}", **in_ms(everything), max_ms=most, slowest=slowest, its_p50_ms=its)
    row(f"list: {name}, pages that were given up", n=short)


def _named(filters: _Filters) -> str:
    return "+".join(f"{name}:{value[0] if isinstance(value, list) else value}" for name, value in filters.items())
