"""A namespace that Nomad refuses to tell of keeps nobody else's executors from being watched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sojourn.nomad_jobs.client import NomadError
from sojourn.nomad_jobs.sites import Site
from sojourn.nomad_jobs.spec import Terms
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.nomad import NomadPlacement

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = 20.0


def row(executor: str, namespace: str) -> Any:
    return SimpleNamespace(
        id=executor, namespace=namespace, child_job_id=f"job/{executor}", job_id="job", cluster="default", lane="lane",
        placed_at=NOW - timedelta(minutes=5), running_at=None, allocation_id=None, node_id=None, ended_at=None,
    )  # fmt: skip


class Rows:
    """Three executors, and which of them were ended. One of those that are out of reach still beats."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}
        self.are_two = threading.Event()

    def living(self, cluster: str) -> list[Any]:
        rows = [row("well", "sojourn"), row("silent", "revoked"), row("beating", "revoked")]
        return [each for each in rows if each.id not in self.ended]

    def find(self, executor: str) -> Any:
        return None

    def beats(self, executor: str, now: datetime) -> bool:
        return executor == "beating"

    def end(self, executor: str, at: datetime, *, exit_code: int | None, cause: str, reason: str) -> None:
        self.ended[executor] = reason
        if len(self.ended) == 2:
            self.are_two.set()


class Cluster:
    """A Nomad with no allocation left; it refuses one namespace."""

    def living_allocations(self, prefix: str, namespace: str) -> Any:
        if namespace == "revoked":
            raise NomadError("Permission denied", is_refusal=True)
        return SimpleNamespace(index=1, rows=[])

    def allocations(self, job: str, namespace: str) -> list[Any]:
        return []

    def job(self, job: str, namespace: str) -> dict[str, str]:
        return {"Status": "dead"}

    def events(self, *_: Any) -> Iterator[Any]:
        threading.Event().wait(0.01)
        return iter(())


def test_others_are_watched_and_who_does_not_beat_is_given_up() -> None:
    rows, cluster = Rows(), Cluster()
    made: Any = NomadPlacement
    placement = made(
        cluster, rows, cluster="default", namespace="sojourn", site_of=lambda *_: Site(), terms=Terms("http://x", 1, 1),
        limits=Limits(lost=0), clock=lambda: NOW,
    )  # fmt: skip
    try:
        assert rows.are_two.wait(PATIENCE), rows.ended
        assert set(rows.ended) == {"well", "silent"}
        assert "refuses" in rows.ended["silent"]
    finally:
        placement.leave()
