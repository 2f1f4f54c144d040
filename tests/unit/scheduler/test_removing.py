"""Children that are over are purged, whatever Nomad refuses of some."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.nomad_jobs.client import NomadError
from sojourn.scheduler.placement.removal import Removal

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Rows:
    """The store's table, as far as removing needs it: two in a namespace that is out of reach, then two that are not."""

    def __init__(self) -> None:
        self.removed_ids: list[str] = []
        self._rows = [
            SimpleNamespace(id=f"ex_{at}", child_job_id=None, job_id="job", namespace="typo" if at < 2 else "sojourn")
            for at in range(4)
        ]

    def removable(self, cluster: str, before: datetime, limit: int, but: Sequence[str] = ()) -> list[Any]:
        return [row for row in self._rows if row.id not in self.removed_ids and row.id not in but][:limit]

    def removed(self, executors: Sequence[str], at: datetime) -> None:
        self.removed_ids += executors


class Cluster:
    """A Nomad that lists no jobs of one namespace."""

    def __init__(self, refusal: NomadError):
        self._refusal = refusal

    def children(self, job: str, executor: str, namespace: str) -> list[dict[str, str]]:
        if namespace == "typo":
            raise self._refusal
        return [{"ID": f"{job}/{executor}"}]

    def deregister(self, job: str, namespace: str, *, purge: bool = False) -> None:
        pass


def removal(rows: Rows, refusal: NomadError) -> Removal:
    made: Any = Removal
    return made(Cluster(refusal), rows, cluster="default", namespace="sojourn", prefix="sojourn", clock=lambda: NOW)


def test_what_nomad_refuses_to_remove_keeps_nothing_else() -> None:
    rows = Rows()
    tried = removal(rows, NomadError("Permission denied", is_refusal=True))
    removed = [tried.remove(NOW - timedelta(hours=1), 2) for _ in range(3)]
    assert removed == [0, 2, 0]
    assert rows.removed_ids == ["ex_2", "ex_3"]


def test_a_nomad_that_does_not_answer_is_asked_once() -> None:
    rows = Rows()
    tried = removal(rows, NomadError("no answer"))
    with pytest.raises(NomadError):
        tried.remove(NOW - timedelta(hours=1), 4)
    assert rows.removed_ids == []
