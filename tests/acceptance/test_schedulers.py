"""More than one scheduler: one that slept, and two at once with clocks that are hours wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.ledger import Ledger
from tests.support.schedulers import Paused, Scheduler, database_of, leads, wrong_clock
from tests.support.stack import FAST, Stack, until

from sojourn.control_plane.store.database import Database
from sojourn.sdk.client import Client

LEASE, SWEEP = float(FAST["SOJOURN_LEASE_SECONDS"]), float(FAST["SOJOURN_SWEEP_SECONDS"])
#: What starting a process, and a busy machine, may take; far less than the clocks are wrong.
SLACK = 60.0
HOUR = 3600

Starts = Callable[..., Stack]
StartsBeside = Callable[..., Scheduler]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[StartsBeside]:
    """Starts schedulers beside a stack's own."""
    made: list[Scheduler] = []

    def start(stack: Stack, **settings: Any) -> Scheduler:
        made.append(Scheduler(stack, tmp_path / f"scheduler-{len(made)}", **settings))
        return made[-1]

    yield start
    for scheduler in made:
        scheduler.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def trigger(client: Client, ledger: Ledger, seconds: float, n: int = 0, **options: Any) -> str:
    return str(client.trigger("notes", ledger.payload(seconds, n), options or None)["id"])


def ends_right(client: Client, ledger: Ledger, run: str, n: int = 0) -> None:
    """The run ends with its own result, and one execution alone came to its end."""
    result = until(lambda: client.result(run, wait=5), 40, f"{run} ends")
    lives = ledger.lives(run)
    assert result["ok"], (result, lives)
    assert json.loads(result["output"]) == {"n": n, "attempt": lives[-1].attempt}, lives
    assert [life.ended for life in lives].count(True) == 1, lives
    assert client.retrieve(run)["attemptCount"] == len(lives), lives


def stands(client: Client, run: str, *statuses: str) -> bool:
    return client.retrieve(run)["status"] in statuses


def test_a_scheduler_that_slept_does_no_harm(own_stack: Starts, beside: StartsBeside, ledger: Ledger) -> None:
    """F06: paused for three leases right before it places an executor, while another one takes over; then resumed.

    Its late placement finds its run executed by another executor, and is of no consequence.
    """
    stack = own_stack(SOJOURN_FAULTS="scheduler.before_place=delay:1:4000", SOJOURN_PLACEMENT_SECONDS="9")
    client, log = stack.client(), stack.data_dir / "logs" / "scheduler.log"
    until(lambda: leads(log), 10, "the first scheduler leads")
    undisturbed = trigger(client, ledger, 4 * LEASE, n=1)
    until(lambda: stands(client, undisturbed, "EXECUTING"), 20, "it runs")
    other = beside(stack, SOJOURN_FAULTS="")
    promised = trigger(client, ledger, 6 * LEASE, n=2)
    until(lambda: stands(client, promised, "DEQUEUED"), 10, "the first scheduler has claimed it")
    with Paused(stack.services()["scheduler"]):
        known = set(stack.executors())
        slept_since = time.monotonic()
        until(other.leads, 2 * LEASE + SLACK, "the other scheduler leads")
        quick = [trigger(client, ledger, 0.1, n=n) for n in range(3, 8)]
        until(lambda: stands(client, promised, "EXECUTING"), 9 + SWEEP + SLACK, "another executor has it")
        assert client.timeline(promised)["attempts"][-1]["executor"] in other.executors()
        for n, run in enumerate(quick, 3):
            ends_right(client, ledger, run, n)
        until(lambda: time.monotonic() - slept_since > 3 * LEASE, 3 * LEASE, "it slept for three leases")
    until(lambda: set(stack.executors()) - known, 10, "it places the executor that it had in mind")
    assert stands(client, promised, "EXECUTING"), "the late executor came too late to do harm"
    for run, n in ((undisturbed, 1), (promised, 2)):
        ends_right(client, ledger, run, n)
        assert len(ledger.lives(run)) == 1
    until(lambda: not leads(log), 10, "it knows that it does not lead")
    assert other.leads()
    other.stop()
    until(lambda: leads(log), 10, "it leads again")
    ends_right(client, ledger, trigger(client, ledger, 0.1, n=9), 9)
    until(lambda: not stack.violations(), 20, "every invariant holds")


def test_two_schedulers_at_once_with_wrong_clocks(
    own_stack: Starts, beside: StartsBeside, ledger: Ledger, tmp_path: Path
) -> None:
    """F07: one an hour late, then a second one beside it that is an hour early, and both lead at the same time.

    Delays and leases go by the database's clock; no run is lost, or executed twice.
    """
    stack = own_stack(PYTHONPATH=wrong_clock(tmp_path / "clock"), SHIFTED_BY=str(-HOUR))
    client, database = stack.client(), database_of(stack)
    assert _clock_of(stack.data_dir / "logs" / "scheduler.log") - time.time() < -HOUR + 60
    _delays_and_leases_hold([stack.data_dir], client, database, ledger)

    early = beside(stack, leads_anyway=True, SHIFTED_BY=str(HOUR))
    until(early.leads, 10, "both lead")
    assert _clock_of(early.log) - time.time() > HOUR - 60
    long = trigger(client, ledger, 2.5 * LEASE, n=-1, ttl=600)
    runs = {}
    for n in range(24):
        delay = {"delay": f"{1 + n % 3}s"} if n % 2 else {}
        runs[trigger(client, ledger, 0.2, n=n, ttl=600, **delay)] = n
    _delays_and_leases_hold([stack.data_dir, early.data_dir], client, database, ledger)
    for run, n in {**runs, long: -1}.items():
        ends_right(client, ledger, run, n)
        assert len(ledger.lives(run)) == 1, ledger.lives(run)
        assert ledger.lives(run)[0].began > _due(database, run) - 1
    until(lambda: not stack.violations(), 20, "every invariant holds")
    database.close()


def _delays_and_leases_hold(directories: list[Path], client: Client, database: Database, ledger: Ledger) -> None:
    """A delayed run starts when it is due, and what a frozen executor had is given to another after its lease."""
    frozen = trigger(client, ledger, 6, n=100)
    until(lambda: stands(client, frozen, "EXECUTING"), 20, "it runs")
    delayed = trigger(client, ledger, 0.1, n=101, delay="2s")
    with Paused(_shim_of(directories, client, frozen)):
        since = time.monotonic()
        until(lambda: len(client.timeline(frozen)["attempts"]) == 2, LEASE + SWEEP + SLACK, "its lease lapses")
        assert time.monotonic() - since > LEASE / 2
    ends_right(client, ledger, delayed, 101)
    late = ledger.lives(delayed)[0].began - _due(database, delayed)
    assert -1 < late < SLACK, late
    result = until(lambda: client.result(frozen, wait=5), 20, "it ends on another executor")
    assert json.loads(result["output"])["attempt"] == 2


def _due(database: Database, run: str) -> float:
    """When a run may start, by the database's clock."""
    row = database.rows("SELECT coalesce(delayed_until, created_at) AS due FROM runs WHERE id = %s", run)[0]
    return float(row["due"].timestamp())


def _shim_of(directories: list[Path], client: Client, run: str) -> int:
    """The pid of the executor that has the run, whichever scheduler placed it."""
    name = client.timeline(run)["attempts"][-1]["executor"]
    found = [path for each in directories if (path := each / "executors" / f"{name}.json").exists()]
    return int(json.loads(found[0].read_text())["pid"])


def _clock_of(log: Path) -> float:
    """The time that a process writes before its lines, when it wrote the first."""
    until(lambda: log.exists() and "this scheduler" in log.read_text(), 10, "it says something")
    first = next(line for line in log.read_text().splitlines() if "this scheduler" in line)
    return time.mktime(time.strptime(first[:19], "%Y-%m-%d %H:%M:%S"))
