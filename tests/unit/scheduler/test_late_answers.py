"""Who places waits a moment for Nomad; what it answers later counts all the same, and meanwhile nothing more is placed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.stack import until

from sojourn.nomad_jobs.client import NomadError
from sojourn.nomad_jobs.sites import Site
from sojourn.nomad_jobs.spec import Terms
from sojourn.scheduler.placement.base import CannotPlace, ExecutorSpec
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.nomad import NomadPlacement

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = 20.0


class Rows:
    """What was written down."""

    def __init__(self) -> None:
        self.children: dict[str, str] = {}
        self.ended: dict[str, tuple[str, str]] = {}
        self.told: list[str] = []

    def living(self, cluster: str) -> list[Any]:
        return []

    def find(self, executor: str) -> Any:
        return None

    def insert(self, row: Any) -> bool:
        return True

    def dispatched(self, executor: str, child: str) -> None:
        self.children[executor] = child

    def end(self, executor: str, at: datetime, *, exit_code: int | None, cause: str, reason: str) -> None:
        self.ended[executor] = (cause, reason)

    def tell(self, executors: list[str], at: datetime) -> None:
        self.told.extend(executors)


class Silent:
    """A Nomad that answers a dispatch when the test says what, and anything else while `is_there`."""

    def __init__(self) -> None:
        self.answers: queue.Queue[str | NomadError] = queue.Queue()
        self.is_there = threading.Event()
        self.refuses = False

    def register(self, job: Any) -> bool:
        return True

    def dispatch(self, *_: Any) -> str:
        answer = self.answers.get(timeout=PATIENCE)
        if isinstance(answer, NomadError):
            raise answer
        return answer

    def parents(self, prefix: str, namespace: str) -> list[Any]:
        if not self.is_there.is_set():
            raise NomadError("no answer")
        if self.refuses:
            raise NomadError("Permission denied", is_refusal=True)
        return []


@pytest.fixture
def nomad() -> Silent:
    return Silent()


@pytest.fixture
def rows() -> Rows:
    return Rows()


#: Whoever places waits so long: not at all, or for as long as it takes.
NOT, LONG = 0.0, PATIENCE


@pytest.fixture
def placement(nomad: Silent, rows: Rows, request: pytest.FixtureRequest) -> Iterator[NomadPlacement]:
    made: Any = NomadPlacement
    placement = made(
        nomad, rows, cluster="eu-1", namespace="sojourn", site_of=lambda *_: Site(), terms=Terms("http://x", 1, 1),
        limits=Limits(answer=request.param), clock=lambda: NOW, may_watch=lambda: False,
    )  # fmt: skip
    yield placement
    placement.leave()


def spec(executor: str = "executor_1") -> ExecutorSpec:
    return ExecutorSpec(executor, "org", "env", "v", "hash", "micro", "lane", "run_1", "credential", 2, "eu")


@pytest.mark.parametrize("placement", [NOT], indirect=True)
@pytest.mark.parametrize("refuses", [False, True])
def test_a_late_child_is_noted(placement: NomadPlacement, nomad: Silent, rows: Rows, refuses: bool) -> None:
    nomad.refuses = refuses  # which is an answer, too
    placement.place(spec())
    assert (placement.free(), placement.is_full(), rows.children) == (0, False, {})
    nomad.answers.put("child")
    until(lambda: rows.children == {"executor_1": "child"}, PATIENCE, "it is noted")
    assert [placed.region for placed in placement.living()] == ["eu"]
    assert placement.free() == 0, "that one answer is late is no sign that the next will not be"
    nomad.is_there.set()
    until(lambda: placement.free() > 0, PATIENCE, "it answers again")


@pytest.mark.parametrize("placement", [NOT], indirect=True)
def test_a_late_failure_is_told_like_an_end(placement: NomadPlacement, nomad: Silent, rows: Rows) -> None:
    placement.place(spec())
    nomad.answers.put(NomadError("timed out"))
    until(lambda: rows.ended and not placement.living(), PATIENCE, "it is given up")
    assert rows.ended == {"executor_1": ("UNPLACED", "Nomad did not take it: timed out")}
    assert rows.told == [], "the undertaker has yet to give the run back"


@pytest.mark.parametrize("placement", [LONG], indirect=True)
def test_a_failure_in_time_is_the_dispatchers_to_tell(placement: NomadPlacement, nomad: Silent, rows: Rows) -> None:
    nomad.answers.put(NomadError("connection refused"))
    with pytest.raises(CannotPlace, match="connection refused"):
        placement.place(spec())
    assert rows.told == ["executor_1"]
    assert placement.free() == 0


@pytest.mark.parametrize("placement", [LONG], indirect=True)
def test_a_refusal_is_an_answer(placement: NomadPlacement, nomad: Silent, rows: Rows) -> None:
    nomad.answers.put(NomadError("Permission denied", is_refusal=True))
    with pytest.raises(CannotPlace, match="Permission denied"):
        placement.place(spec())
    assert placement.free() > 0


@pytest.mark.parametrize("placement", [LONG], indirect=True)
def test_one_in_time_is_placed(placement: NomadPlacement, nomad: Silent, rows: Rows) -> None:
    nomad.answers.put("child")
    placement.place(spec())
    assert (rows.children, rows.ended) == ({"executor_1": "child"}, {})
    assert placement.free() > 0
