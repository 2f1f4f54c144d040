"""What becomes of a run whose executor ended before, or while, it ran: by why that ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sojourn.control_plane.engine.outcomes import MAX_DEQUEUES
from sojourn.control_plane.engine.placing import Order
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.records import Run
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.placement.base import Cause, Ended
from sojourn.scheduler.reaper import Reaper
from sojourn.scheduler.undertaker import Undertaker
from tests.contract.api.conftest import Tenant, executor, next_order


@pytest.fixture
def reaper(platform: Platform) -> Reaper:
    return Reaper(platform.runs, platform.outcomes, lambda _: None, lease=timedelta(seconds=60), seconds=10)


def place(platform: Platform, run: str) -> Order:
    """The run is promised to an executor; others that wait are passed over."""
    while True:
        order = next_order(platform)
        if order.run.id == run:
            return order


def start(platform: Platform, tenant: Tenant, order: Order) -> None:
    """Its executor begins the attempt."""
    worker = executor(platform, tenant, order.identity.version, order.identity.executor)
    work = worker.simulate_post("/worker/v1/next", json={"request": "r", "wait": 0}).json["work"]
    assert work["run"]["id"] == order.run.id


def stored(platform: Platform, run: str) -> Run:
    found = platform.runs.any(run)
    assert found
    return found


@pytest.fixture
def run(tenant: Tenant) -> str:
    tenant.deploy(["hello"])
    return tenant.trigger()


def test_one_that_nobody_could_place_waits_with_the_reason(platform: Platform, reaper: Reaper, run: str) -> None:
    for _ in range(MAX_DEQUEUES + 2):
        order = place(platform, run)
        ended = Ended(order.identity.executor, None, "waiting for capacity: …", Cause.UNPLACED)
        assert reaper.bury([ended], platform.clock()) == 1
    found, last = stored(platform, run), platform.runs.history(run)[-1]
    assert (found.status, found.dequeues, found.attempt) == ("QUEUED", 0, 0)
    assert (last.event, last.description) == ("REQUEUE", "waiting for capacity: …")


def test_one_that_the_driver_could_not_start_is_tried_again_and_not_for_ever(
    platform: Platform, reaper: Reaper, run: str
) -> None:
    for n in range(MAX_DEQUEUES):
        order = place(platform, run)
        ended = Ended(order.identity.executor, None, "Nomad could not start it: no such binary", Cause.NOT_STARTED)
        assert reaper.bury([ended], platform.clock()) == 1
        if n < MAX_DEQUEUES - 1:
            assert "no such binary" in (platform.runs.history(run)[-1].description or "")
    found = stored(platform, run)
    assert (found.status, found.attempt) == ("SYSTEM_FAILURE", 0)
    assert found.error and "no such binary" in found.error["message"]


@pytest.mark.parametrize(
    ("cause", "exit_code", "event", "code"),
    [
        (Cause.OUT_OF_MEMORY, -9, "FAIL", "TASK_PROCESS_OOM_KILLED"),
        (Cause.EXITED, -9, "RETRY_LATER", "TASK_RUN_CRASHED"),
        (Cause.LOST, None, "RETRY_LATER", "TASK_RUN_CRASHED"),
        (Cause.EXITED, 0, "HAND_BACK", None),
    ],
)
def test_one_that_ran(
    platform: Platform,
    tenant: Tenant,
    reaper: Reaper,
    run: str,
    cause: Cause,
    exit_code: int | None,
    event: str,
    code: str | None,
) -> None:
    order = place(platform, run)
    start(platform, tenant, order)
    assert reaper.bury([Ended(order.identity.executor, exit_code, "it is gone", cause)], platform.clock()) == 1
    last = platform.runs.history(run)[-1]
    assert last.event == event, last
    assert (last.error or {}).get("code") == code
    assert reaper.bury([Ended(order.identity.executor, exit_code, "it is gone", cause)], platform.clock()) == 0


def test_one_that_was_cancelled_meanwhile_is_over(platform: Platform, tenant: Tenant, reaper: Reaper, run: str) -> None:
    order = place(platform, run)
    assert tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel").status_code == 200
    reaper.bury([Ended(order.identity.executor, None, "no room", Cause.UNPLACED)], platform.clock())
    found = stored(platform, run)
    assert (found.status, found.snapshot_status) == ("CANCELED", "FINISHED")


def test_an_end_that_the_store_was_away_for_is_not_lost(
    platform: Platform, tenant: Tenant, reaper: Reaper, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left with exit code 0: what it had is not charged, also when that could not be stored at once."""
    order = place(platform, run)
    start(platform, tenant, order)
    placement = _Placement([Ended(order.identity.executor, 0, "it left")])
    undertaker = Undertaker(placement, reaper, platform.placing, platform.index)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(platform.runs, "held_by", _away)
        with pytest.raises(StoreUnavailable):
            undertaker.run_once(platform.clock())
    assert undertaker.run_once(platform.clock()) == {"ended": 1, "lost": 1}
    assert platform.runs.history(run)[-1].event == "HAND_BACK"
    assert undertaker.run_once(platform.clock()) == {"ended": 0, "lost": 0}


def _away(*_: object) -> None:
    raise StoreUnavailable("away")


class _Placement:
    """Some executors have ended there."""

    def __init__(self, gone: list[Ended]):
        self._gone = gone

    def ended(self) -> list[Ended]:
        return list(self._gone)

    def settled(self, executors: list[str]) -> None:
        self._gone = [each for each in self._gone if each.executor not in executors]
