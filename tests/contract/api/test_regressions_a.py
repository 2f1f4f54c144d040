"""Regressions of kind A: slots, counters and queues that no longer agree with the truth. Each is a failure that a system
of this kind has shipped, named by its number; what is said of it is what must not happen here.

A4 and A11: `test_regressions_more.py`; at length in `tests/acceptance/test_faults.py`, `test_wait_races.py` and
`test_wait_interleavings.py`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane import faults
from sojourn.control_plane.domain import lifecycle
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.attempts import Completed, NextAnswer
from sojourn.control_plane.engine.errors import QueueFull
from sojourn.control_plane.engine.outcomes import Outcome, executor_gone_error
from sojourn.control_plane.engine.room import Room
from sojourn.control_plane.engine.triggering import Triggering, TriggerRequest
from sojourn.control_plane.faults import InjectedFault
from sojourn.control_plane.store.queues import Queues
from sojourn.control_plane.store.runs import Move, requeue
from sojourn.sdk.protocol import RunStatus, SnapshotStatus
from tests.contract.api.test_lost_and_late import Crew, crew

__all__ = ["crew"]

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_fault_stays() -> Iterator[None]:
    yield
    faults.switch_on("")


def slots(crew: Crew) -> set[str]:
    """Every run that holds any slot."""
    held = crew.platform.queue.audit(crew.tenant.organization).slots
    return {run for runs in held.values() for run in runs}


def given(answer: NextAnswer) -> str:
    assert answer.assignment is not None
    return str(answer.assignment["run"]["id"])


def finish(crew: Crew, run: str, name: str) -> None:
    crew.ask(name, completed=crew.done(run, name), wait=None)


def drained(crew: Crew, name: str = "executor_drain") -> list[str]:
    """Ends every run that is to be had; which."""
    ended: list[str] = []
    while (answer := crew.ask(name)).assignment is not None:
        ended.append(given(answer))
        finish(crew, ended[-1], name)
    return ended


def later(crew: Crew, seconds: float) -> Any:
    return crew.platform.recovery.sweep(crew.tenant.organization, crew.platform.clock() + timedelta(seconds=seconds))


def test_a1_a_lease_that_lapses_gives_its_slot_back(crew: Crew) -> None:
    crew.limit(1)
    run = crew.tenant.trigger(maxAttempts=1)
    assert given(crew.ask("executor_1")) == run and slots(crew) == {run}
    late = crew.platform.clock() + HOUR
    (lapsed,) = crew.platform.runs.lapsed(late, 10)
    assert crew.platform.outcomes.lose(lapsed, executor_gone_error("silent"), late, lapsed_by=late)
    assert slots(crew) == set()
    other = crew.tenant.trigger()
    assert drained(crew) == [other]


@pytest.mark.parametrize(
    "point", ["trigger.after_store", "claim.after_dequeue", "claim.after_claim", "attempt.after_settle"]
)
def test_a2_a_crash_at_any_step_leaves_no_slot_and_no_run_behind(crew: Crew, point: str) -> None:
    crew.limit(1)
    environment = crew.platform.access.environment(crew.tenant.environment, crew.platform.clock())
    assert environment
    if point == "trigger.after_store":
        faults.switch_on(f"{point}=raise:1")
        with pytest.raises(InjectedFault):
            crew.platform.triggering.trigger(environment, TriggerRequest("hello"), crew.platform.clock())
    else:
        run = crew.tenant.trigger()
        if point == "attempt.after_settle":
            assert given(crew.ask("executor_1")) == run
        faults.switch_on(f"{point}=raise:1")
        more: dict[str, Any] = {"completed": crew.done(run, "executor_1")} if point == "attempt.after_settle" else {}
        with pytest.raises(InjectedFault):
            crew.ask("executor_1", **more)
    faults.switch_on("")
    if point == "claim.after_claim":  # the executor never hears of it: its lease decides
        late = crew.platform.clock() + HOUR
        for lapsed in crew.platform.runs.lapsed(late, 10):
            crew.platform.outcomes.lose(lapsed, executor_gone_error("silent"), late, lapsed_by=late)
        crew.platform.expiring.queue_due(late + HOUR, 10)
    later(crew, 60)
    drained(crew)
    assert slots(crew) == set()
    rows = crew.platform.database.rows("SELECT snapshot_status FROM runs WHERE task = 'hello'")
    assert [row["snapshot_status"] for row in rows] == ["FINISHED"]


def test_a3_a_slot_of_a_run_that_does_not_run_is_found_and_taken_away(crew: Crew) -> None:
    crew.limit(1)
    run = crew.tenant.trigger()
    crew.take("executor_1", crew.platform.clock())
    stored = crew.platform.runs.any(run)
    assert stored and slots(crew) == {run}
    now = crew.platform.clock()
    wish = Move(run, stored.snapshot, Event.CANCEL, now, source=SnapshotStatus.QUEUED, changes={"finished_at": now})
    assert crew.platform.runs.move(wish), "and nobody tells the queue"
    later(crew, 60)
    assert slots(crew) == set()
    other = crew.tenant.trigger()
    assert drained(crew) == [other]


def test_a5_an_executor_that_never_shows_up_holds_its_slot_no_longer_than_its_lease(crew: Crew) -> None:
    crew.limit(1)
    run = crew.tenant.trigger()
    taken = crew.take("executor_1", crew.platform.clock())
    assert crew.platform.attempts._claiming.claim_for_placement(taken, "executor_1", crew.platform.clock())
    assert crew.ask("executor_2").assignment is None
    late = crew.platform.clock() + HOUR
    (lapsed,) = crew.platform.runs.lapsed(late, 10)
    crew.platform.outcomes.lose(lapsed, {}, late, lapsed_by=late)
    assert drained(crew) == [run]


def test_a6_slots_are_sets_so_that_nothing_is_freed_or_taken_twice(crew: Crew) -> None:
    crew.limit(2)
    runs = [crew.tenant.trigger() for _ in range(3)]
    held = [given(crew.ask(f"executor_{n}")) for n in range(2)]
    for _ in range(3):
        crew.platform.queue.ack(crew.tenant.organization, held[0], 0)
    assert slots(crew) == {held[1]}
    assert given(crew.ask("executor_9")) == next(run for run in runs if run not in held)
    assert crew.ask("executor_8").assignment is None, "three acks of one run freed one slot"


def test_a7_a_run_that_waits_to_try_again_holds_no_slot_of_its_key(crew: Crew) -> None:
    crew.limit(1)
    for n in range(3):
        crew.tenant.trigger(concurrencyKey=f"k{n}", maxAttempts=5)
    seen = set()
    for _ in range(3):
        run = given(crew.ask("executor_1"))
        found = crew.platform.runs.any(run)
        assert found
        token = crew.platform.credentials.for_run(run, "executor_1")
        outcome = Outcome(ok=False, error={"type": "STRING_ERROR", "raw": "no"}, retry_in=HOUR)
        completed = Completed(run, found.snapshot, token, found.attempt, outcome)
        crew.ask("executor_1", completed=completed, wait=None)
        seen.add(run)
    assert len(seen) == 3 and slots(crew) == set()


@pytest.mark.parametrize("has_started", [False, True])
def test_a8_a_run_that_was_dequeued_never_expires_whatever_becomes_of_it(crew: Crew, has_started: bool) -> None:
    run = crew.tenant.trigger(ttl=1, maxAttempts=3)
    taken = crew.take("executor_1", crew.platform.clock())
    if has_started:
        assert crew.claim(taken, "executor_1")
    else:
        assert crew.platform.attempts._claiming.claim_for_placement(taken, "executor_1", crew.platform.clock())
    late = crew.platform.clock() + HOUR
    stored = crew.platform.runs.any(run)
    assert stored
    if has_started:
        crew.platform.outcomes.take_back(stored, late)
    else:
        moved = crew.platform.runs.move(requeue(stored, late))
        assert moved
        crew.platform.index.settled([moved], late)
    crew.platform.expiring.expire(late + HOUR, 100)
    later(crew, 60)
    assert crew.status(run) == "QUEUED"
    assert drained(crew) == [run]


KEYS = [
    "*",
    ":",
    "{}",
    "{x}",
    "a|b",
    "a\nb",
    "\u202eabc",
    " ",
    "日本",
    "k" * 512,
    0,
    -7,
    7.5,
    "NULL",
    "__proto__",
    "\\",
    '"',
    "%s",
]


def test_a9_any_concurrency_key_is_a_key_like_any(crew: Crew) -> None:
    crew.limit(100)
    made = [crew.tenant.trigger(concurrencyKey=key) for key in KEYS]
    assert sorted(drained(crew)) == sorted(made)
    assert slots(crew) == set() and not crew.platform.queue.audit(crew.tenant.organization).waiting


@pytest.mark.parametrize("key", ["a\x00b", "\ud800", "k" * 513, "", True, [], {}])
def test_a9_what_can_be_no_key_is_refused(crew: Crew, key: Any) -> None:
    body = json.dumps({"options": {"concurrencyKey": key}})  # in ASCII
    answer = crew.tenant.client.simulate_post("/api/v1/tasks/hello/trigger", body=body)
    if key == "":
        assert answer.status_code == 200 and drained(crew) == [answer.json["id"]]
        return
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")


def test_a10_the_limit_of_waiting_runs_counts_those_of_all_keys(crew: Crew) -> None:
    platform = crew.platform
    for n in range(50):
        crew.tenant.trigger(concurrencyKey=f"k{n}")
    environment = platform.access.environment(crew.tenant.environment, platform.clock())
    assert environment
    limited = Triggering(
        platform.runs,
        Queues(platform.database),
        platform.index,
        platform.debouncing,
        platform.packets,
        room=Room(platform.index, platform.stored_batches, 50),
    )
    with pytest.raises(QueueFull):
        limited.trigger(environment, TriggerRequest("hello", concurrency_key=secrets.token_hex(4)), platform.clock())
    assert len(drained(crew)) == 50


def test_a10_a_tenant_of_many_keys_does_not_keep_others_out(crew: Crew) -> None:
    crew.limit(1)
    for n in range(200):
        crew.tenant.trigger(concurrencyKey=f"many-{n}", queue={"name": "many"})
    other = crew.tenant.trigger(queue={"name": "one"})
    first = []
    for _ in range(5):
        first.append(given(crew.ask("executor_1")))
        finish(crew, first[-1], "executor_1")
    assert other in first
    drained(crew)


def test_a12_every_state_has_a_way_out_and_can_be_cancelled() -> None:
    open_states = set(SnapshotStatus) - {SnapshotStatus.FINISHED}
    assert {row.source for row in lifecycle.TRANSITIONS if row.source is not None} == open_states
    cancellable = set(lifecycle.sources(Event.CANCEL))
    assert open_states - cancellable == {SnapshotStatus.PENDING_CANCEL}, "which is being cancelled"
    reached, frontier = set(), {row.target for row in lifecycle.TRANSITIONS if row.source is None}
    while frontier:
        reached |= frontier
        frontier = {row.target for row in lifecycle.TRANSITIONS if row.source in frontier} - reached
    assert reached == set(SnapshotStatus)


def test_a12_every_status_that_a_run_may_show_is_known_to_be_final_or_not() -> None:
    shown = {status for _, status in lifecycle.shown_pairs()}
    assert shown == set(RunStatus)
    for snapshot, status in lifecycle.shown_pairs():
        is_over = snapshot in (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL)
        assert lifecycle.is_final(status) is is_over
