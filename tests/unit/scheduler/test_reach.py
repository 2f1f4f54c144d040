"""A cluster that does not answer is asked until it does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.placement.reach import Reach

PATIENCE = 20.0


class Cluster:
    """Answers what a test says: None is well, an error is raised. `returned`: whether that it answers again was told."""

    def __init__(self) -> None:
        self.answers: queue.Queue[Exception | None] = queue.Queue()
        self.asked = 0
        self.returned = threading.Event()

    def ask(self) -> None:
        answer = self.answers.get(timeout=PATIENCE)
        self.asked += 1
        if answer is not None:
            raise answer


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def reach(cluster: Cluster) -> Iterator[Reach]:
    made = Reach("eu-1", cluster.ask, cluster.returned.set)
    yield made
    made.leave()


@pytest.mark.parametrize("last", [None, NomadError("Permission denied", is_refusal=True)], ids=["well", "refused"])
def test_it_is_away_until_it_answers_however(cluster: Cluster, reach: Reach, last: Exception | None) -> None:
    reach.failed(NomadError("connection refused"))
    assert reach.is_away
    cluster.answers.put(NomadError("connection refused"))
    cluster.answers.put(KeyError("what no release answered before"))
    cluster.answers.put(last)
    assert cluster.returned.wait(PATIENCE)
    assert (reach.is_away, cluster.asked) == (False, 3)


def test_a_refusal_is_an_answer(cluster: Cluster, reach: Reach) -> None:
    reach.failed(NomadError("Permission denied", is_refusal=True))
    reach.answered()
    assert not reach.is_away
    assert not cluster.returned.is_set(), "it was never away"


def test_others_may_hear_of_it_first(cluster: Cluster, reach: Reach) -> None:
    reach.failed(NomadError("timed out"))
    reach.answered()
    assert cluster.returned.is_set()
    assert not reach.is_away
    cluster.answers.put(None)  # what was asked meanwhile changes nothing
