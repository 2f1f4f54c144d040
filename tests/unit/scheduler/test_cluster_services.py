"""The services that a cluster needs: what is removed when, and how often keys are asked for."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.cluster_keys import Keys
from sojourn.scheduler.remover import Remover

NOW = datetime(2026, 3, 4, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


class Jobs:
    """So many children are over, so many jobs unused."""

    def __init__(self, over: int, unused: int):
        self.over, self.unused = over, unused
        self.before: list[datetime] = []
        self.looks = 0

    def remove(self, before: datetime, limit: int) -> int:
        self.before.append(before)
        removed = min(self.over, limit)
        self.over -= removed
        return removed

    def remove_unused(self, limit: int) -> int:
        self.looks += 1
        removed = min(self.unused, limit)
        self.unused -= removed
        return removed


def test_children_go_in_batches_and_unused_jobs_within_the_hour() -> None:
    jobs = Jobs(over=45, unused=25)
    made = Remover(jobs.remove, jobs.remove_unused, keep=5 * SECOND)
    counts = []
    while not counts or made.interval(NOW) < 1:
        counts.append(made.run_once(NOW)["removed"])
    assert (counts, jobs.looks) == ([20, 20, 5], 0)
    assert set(jobs.before) == {NOW - 5 * SECOND}
    assert made.run_once(NOW + HOUR) == {"removed": 0, "unused": 20}
    assert made.run_once(NOW + HOUR + SECOND) == {"removed": 0, "unused": 5}
    assert made.run_once(NOW + HOUR + 2 * SECOND)["unused"] == 0
    assert jobs.looks == 2


def test_a_cluster_that_does_not_answer_stops_nothing() -> None:
    def broken(*_: object) -> int:
        raise NomadError("no route")

    assert Remover(broken, broken, keep=SECOND).run_once(NOW) == {"removed": 0, "unused": 0}


class Kept:
    """The store's keys."""

    def __init__(self) -> None:
        self.replaced: list[list[str]] = []

    def replace(self, cluster: str, keys: list[tuple[str, str]], at: datetime) -> None:
        self.replaced.append([kid for kid, _ in keys])


def test_keys_are_fetched_once_a_second_at_most() -> None:
    kept, fetched = Kept(), []
    made = Keys({"default": lambda: fetched.append(1) or [("a", "{}")]}, kept)  # type: ignore[arg-type]
    made.run_once(NOW)
    made.run_once(NOW + SECOND / 2)
    made.run_once(NOW + 2 * SECOND)
    assert (len(fetched), kept.replaced) == (2, [["a"], ["a"]])


def test_a_cluster_that_does_not_answer_keeps_no_other_from_being_asked() -> None:
    both, kept = threading.Barrier(2, timeout=20), Kept()

    def broken() -> list[tuple[str, str]]:
        both.wait()
        raise NomadError("no route")

    def well() -> list[tuple[str, str]]:
        both.wait()
        return [("a", "{}")]

    assert Keys({"broken": broken, "well": well}, kept).run_once(NOW) == {"keys": 1}  # type: ignore[arg-type]
    assert kept.replaced == [["a"]]


def test_no_answer_and_no_keys_leave_those_that_are_known() -> None:
    kept = Kept()

    def broken() -> list[tuple[str, str]]:
        raise NomadError("no route")

    Keys({"default": broken}, kept).run_once(NOW)  # type: ignore[arg-type]
    Keys({"default": list}, kept).run_once(NOW)  # type: ignore[arg-type]
    assert kept.replaced == []
