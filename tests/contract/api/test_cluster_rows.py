"""What placement on a cluster makes of the store's rows when Nomad answers oddly, or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.control_plane.domain import ids
from sojourn.control_plane.wiring import Platform
from sojourn.nomad_jobs.client import NomadError, NotThere
from sojourn.nomad_jobs.sites import Site
from sojourn.nomad_jobs.spec import Terms
from sojourn.scheduler.placement.base import CannotPlace, ExecutorSpec
from sojourn.scheduler.placement.limits import Limits
from sojourn.scheduler.placement.nomad import NomadPlacement
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_identity import CLUSTER, NAMESPACE, Cluster, Placed, Swap, cluster, placed, swap
from tests.support.stack import until

__all__ = ["cluster", "placed", "swap"]
PATIENCE = 20.0


class Quiet:
    """A Nomad that has nothing and tells nothing; a test makes it odd."""

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.registered = 0

    def living_allocations(self, *_: Any) -> Any:
        return SimpleNamespace(index=1, rows=[])

    def events(self, *_: Any) -> Iterator[Any]:
        threading.Event().wait(0.02)
        return iter(())

    def parents(self, *_: Any) -> list[Any]:
        return []

    def children(self, *_: Any) -> list[Any]:
        return []

    def allocations(self, *_: Any) -> list[Any]:
        return []

    def register(self, document: Any) -> bool:
        self.registered += 1
        return True

    def dispatch(self, job: str, executor: str, *_: Any) -> str:
        return f"{job}/dispatch-{executor}-1-aaaaaaaa"

    def deregister(self, job: str, *_: Any, **__: Any) -> None:
        self.stopped.append(job)


Make = Callable[..., NomadPlacement]


@pytest.fixture
def make(platform: Platform, placed: Placed) -> Iterator[Make]:
    made: list[NomadPlacement] = []

    def one(nomad: Any, limits: Limits | None = None, **more: Any) -> NomadPlacement:
        kind: Any = NomadPlacement
        made.append(
            kind(
                nomad, platform.executors, cluster=CLUSTER, namespace=NAMESPACE, site_of=lambda *_: Site(),
                terms=Terms("http://127.0.0.1:1", 1, 1), limits=limits or Limits(undispatched=900), clock=platform.clock,
                **more,
            )
        )  # fmt: skip
        return made[-1]

    yield one
    for each in made:
        each.leave()
    for row in platform.executors.living(CLUSTER):
        platform.executors.end(row.id, platform.clock(), exit_code=0, cause="EXITED", reason="the test is over")


@pytest.fixture
def another(platform: Platform, placed: Placed) -> Callable[[], ExecutorSpec]:
    """Orders of further executors of the same version."""
    of = placed.order.identity

    def one() -> ExecutorSpec:
        made = ids.make("executor", platform.clock(), os.urandom(ids.RANDOM_BYTES))
        return ExecutorSpec(
            executor=made, organization=of.organization, environment=of.environment, version=of.version, version_hash="h",
            machine=of.machine, lane="l", run=None, credential="c",
        )  # fmt: skip

    return one


Another = Callable[[], ExecutorSpec]


def test_a_job_that_was_stopped_is_registered_again(make: Make, another: Another) -> None:
    class Stopped(Quiet):
        is_stopped = False

        def register(self, document: Any) -> bool:
            self.is_stopped = False
            return super().register(document)

        def dispatch(self, job: str, executor: str, *more: Any) -> str:
            if self.is_stopped:
                raise NotThere(f'500 Specified job "{job}" is stopped', is_refusal=True)
            return super().dispatch(job, executor, *more)

    nomad = Stopped()
    placement = make(nomad)
    placement.place(another())
    nomad.is_stopped = True
    placement.place(another())
    assert nomad.registered == 2


def test_whatever_a_dispatch_failed_by_the_job_is_looked_at_again(make: Make, another: Another) -> None:
    class Odd(Quiet):
        is_odd = False

        def dispatch(self, job: str, executor: str, *more: Any) -> str:
            if self.is_odd:
                raise NomadError("500 what no release said before")
            return super().dispatch(job, executor, *more)

    nomad = Odd()
    placement = make(nomad)
    placement.place(another())
    nomad.is_odd = True
    with pytest.raises(CannotPlace):
        placement.place(another())
    nomad.is_odd = False
    placement.place(another())
    assert nomad.registered == 2


def test_an_executor_whose_allocation_nomad_has_forgotten_ends(platform: Platform, placed: Placed, make: Make) -> None:
    """As when its servers were restored from a snapshot: the allocation that they made later was refused here."""
    child = f"{placed.job}/dispatch-{placed.executor}-1-aaaaaaaa"
    told = {"child_job_id": child, "node_id": "n", "node_name": "node"}
    assert platform.executors.bind(placed.executor, allocation_id=placed.allocation, **told)

    class Restored(Quiet):
        status = "running"

        def allocations(self, *_: Any) -> list[Any]:
            return [{"ID": "b", "JobID": child, "Namespace": NAMESPACE, "ClientStatus": self.status, "NodeID": "n"}]

    nomad = Restored()
    placement = make(nomad, Limits(unheard=0))
    placement._watch.compare()
    assert placed.executor in {each.executor for each in placement.living()}, "what may run is not judged"
    nomad.status = "complete"
    until(lambda: ended(platform, placed), PATIENCE, "it ended")
    row = platform.executors.find(placed.executor)
    assert row and row.reason == "its allocation is no longer known to Nomad"


def ended(platform: Platform, placed: Placed) -> bool:
    row = platform.executors.find(placed.executor)
    return row is not None and row.ended_at is not None


def test_what_could_not_be_stopped_is_tried_again(make: Make, another: Another) -> None:
    """The answer to a dispatch was lost, and Nomad was still away when its child was to be stopped."""

    class Away(Quiet):
        refusals = 2

        def dispatch(self, *_: Any) -> str:
            raise NomadError("502 Bad Gateway")

        def children(self, job: str, executor: str = "", *_: Any) -> list[Any]:
            if self.refusals:
                self.refusals -= 1
                raise NomadError("connection refused")
            return [{"ID": f"{job}/dispatch-{executor}"}]

    nomad = Away()
    placement, order = make(nomad), another()
    with pytest.raises(CannotPlace):
        placement.place(order)
    until(lambda: nomad.stopped, PATIENCE, "its child is stopped")
    assert nomad.stopped[0].endswith(f"/dispatch-{order.executor}")
    until(lambda: not placement._stopping._failed, PATIENCE, "it is not tried for ever")


def test_a_scheduler_that_stands_by_knows_what_the_other_placed(platform: Platform, tenant: Tenant, make: Make) -> None:
    standby = make(Quiet(), Limits(undispatched=900), may_watch=lambda: False)
    later = Placed(platform, tenant)
    until(lambda: later.executor in {each.executor for each in standby.living()}, PATIENCE, "it is known")


def test_an_executor_that_is_not_known_yet_is_stopped(platform: Platform, tenant: Tenant, make: Make) -> None:
    nomad = Quiet()
    standby = make(nomad, Limits(undispatched=900), may_watch=lambda: False)
    later = Placed(platform, tenant)
    platform.executors.dispatched(later.executor, "its-child")
    standby._roster.strike(later.executor)
    standby.stop(later.executor, 0)
    until(lambda: nomad.stopped == ["its-child"], PATIENCE, "its job is stopped")


def test_a_cluster_that_was_renamed_admits_its_new_executors(
    platform: Platform, placed: Placed, swap: Swap, cluster: Cluster
) -> None:
    """The same Nomad with the same keys. What was admitted by the old name does not stand in the way."""
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200
    platform.database.rows("UPDATE executors SET cluster = 'prod' WHERE id = %s RETURNING id", placed.executor)
    cluster.publish(platform, "prod")
    swap(cluster.sign(placed.claims()), placed.executor)  # by a key that was read before
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200
    assert platform.executors.living_elsewhere([CLUSTER]) == {"prod": 1}
    assert "prod" not in platform.executors.living_elsewhere(["prod"])
    platform.executors.end(placed.executor, platform.clock(), exit_code=0, cause="EXITED", reason="the test is over")
