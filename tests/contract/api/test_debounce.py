"""Debounced triggers through the real application: one run for triggers that follow each other, put off by each."""

from __future__ import annotations

import random
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.control_plane.domain.debounce import Debounce
from sojourn.control_plane.domain.lifecycle import Event
from sojourn.control_plane.engine.triggering import TriggerRequest
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Move
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, drained, executor
from tests.contract.api.test_pruning import pruned
from tests.contract.api.test_waits import begun, child, stands, wait
from tests.contract.api.worker_calls import ask, completed, drain
from tests.support.stack import until

SECOND = timedelta(seconds=1)


@pytest.fixture
def key() -> str:
    return secrets.token_hex(6)


@pytest.fixture
def version(platform: Platform, tenant: Tenant) -> str:
    platform.database.rows("DELETE FROM debounces")
    platform.expiring.queue_due(platform.clock() + timedelta(hours=2), 500)  # what other tests have left waiting
    return drained(platform, tenant, "hello", "child", "other")


def trigger(tenant: Tenant, key: str, payload: Any = None, task: str = "hello", **options: Any) -> dict[str, Any]:
    debounce = {"key": key, "delay": "60s"} | options.pop("debounce", {})
    body = {"payload": payload, "options": {"debounce": debounce, **options}}
    answer = tenant.client.simulate_post(f"/api/v1/tasks/{task}/trigger", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def shown(tenant: Tenant, run: str) -> dict[str, Any]:
    return dict(tenant.client.simulate_get(f"/api/v3/runs/{run}").json)


def found(platform: Platform, tenant: Tenant, run: str) -> Run:
    there = platform.runs.find(tenant.environment, run)
    assert there
    return there


def environment_of(platform: Platform, tenant: Tenant) -> Environment:
    environment = platform.access.environment(tenant.environment, platform.clock())
    assert environment
    return environment


# --- what a user sees


def test_triggers_with_one_key_are_one_run_that_is_put_off(
    platform: Platform, tenant: Tenant, version: str, key: str
) -> None:
    first = trigger(tenant, key, 1)
    assert first["isCached"] is False and shown(tenant, first["id"])["status"] == "DELAYED"
    before = found(platform, tenant, first["id"]).delayed_until
    again = trigger(tenant, key, 2, debounce={"delay": "90s"})
    assert again == {"id": first["id"], "isCached": True}
    after = found(platform, tenant, first["id"])
    assert before and after.delayed_until and timedelta(seconds=25) < after.delayed_until - before < timedelta(seconds=60)
    assert (after.available_at, after.queued_at) == (after.delayed_until, after.delayed_until)
    assert shown(tenant, first["id"])["payload"] == 1


def test_leading_keeps_what_the_first_trigger_said(tenant: Tenant, version: str, key: str) -> None:
    first = trigger(tenant, key, 1, tags=["a"], metadata={"n": 1}, machine="micro")
    trigger(tenant, key, 2, tags=["b"], metadata={"n": 2}, machine="small-2x", debounce={"mode": "leading"})
    wire = shown(tenant, first["id"])
    assert (wire["payload"], wire["tags"], wire["metadata"], wire["machine"]) == (1, ["a"], {"n": 1}, "micro")


def test_trailing_takes_what_the_last_trigger_says(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    given: dict[str, Any]
    given = {"tags": ["a"], "metadata": {"n": 1}, "machine": "micro", "maxAttempts": 2, "maxDuration": 10, "priority": 3}
    first = trigger(tenant, key, 1, debounce={"mode": "trailing"}, **given)
    given = {"tags": ["b"], "metadata": {"n": 2}, "machine": "small-2x", "maxAttempts": 5, "maxDuration": 20, "priority": 9}
    trigger(tenant, key, [2], debounce={"mode": "trailing"}, **given)
    run = found(platform, tenant, first["id"])
    assert (run.payload, run.tags, run.metadata, run.machine) == ("[2]", ["b"], '{"n":2}', "small-2x")
    assert (run.max_attempts, run.max_duration, run.priority_ms) == (5, 20, 3_000)
    trigger(tenant, key, None, debounce={"mode": "trailing"})
    run = found(platform, tenant, first["id"])
    assert (run.payload, run.tags, run.metadata, run.max_attempts) == (None, ["b"], '{"n":2}', 5), "what is not said stays"


def test_no_trigger_puts_the_start_beyond_the_longest_delay(
    platform: Platform, tenant: Tenant, version: str, key: str
) -> None:
    first = trigger(tenant, key, debounce={"delay": "60s", "maxDelay": "70s"})
    trigger(tenant, key, debounce={"delay": "69s", "maxDelay": "70s"})
    trigger(tenant, key, debounce={"delay": "69s", "maxDelay": "70s"})
    run = found(platform, tenant, first["id"])
    assert run.delayed_until and run.delayed_until - run.created_at <= timedelta(seconds=70)


def test_a_run_that_was_queued_is_left_alone(
    platform: Platform, tenant: Tenant, worker: testing.TestClient, key: str
) -> None:
    first = trigger(tenant, key, 1, debounce={"mode": "trailing"})
    late = platform.clock() + timedelta(seconds=61)
    assert platform.expiring.queue_due(late, 500) == 1
    second = trigger(tenant, key, 2, debounce={"mode": "trailing"})
    assert second["isCached"] is False and second["id"] != first["id"]
    assert shown(tenant, first["id"])["payload"] == 1
    drain(worker)


def test_a_key_is_of_its_task_and_its_environment(
    platform: Platform, tenant: Tenant, sibling: Tenant, version: str, key: str
) -> None:
    sibling.deploy(["hello"])
    made = {
        trigger(tenant, key)["id"],
        trigger(tenant, key, task="other")["id"],
        trigger(sibling, key)["id"],
        trigger(tenant, f"{key}2")["id"],
    }
    assert len(made) == 4 and trigger(tenant, key)["id"] in made


def test_a_run_without_a_version_is_joined_too(platform: Platform, tenant: Tenant, key: str) -> None:
    task = f"later-{key}"
    first = trigger(tenant, key, 1, task=task, machine="micro", debounce={"mode": "trailing"})
    assert shown(tenant, first["id"])["status"] == "PENDING_VERSION"
    assert trigger(tenant, key, 2, task=task, machine="small-2x", debounce={"mode": "trailing"})["id"] == first["id"]
    tenant.deploy([task])
    wire = shown(tenant, first["id"])
    assert (wire["status"], wire["payload"], wire["machine"]) == ("DELAYED", 2, "small-2x")


@pytest.mark.parametrize(
    ("debounce", "field"),
    [
        ({"key": "k"}, "options.debounce.delay"),
        ({"delay": "5s"}, "options.debounce.key"),
        ({"key": "", "delay": "5s"}, "options.debounce.key"),
        ({"key": "k" * 513, "delay": "5s"}, "options.debounce.key"),
        ({"key": "k\x00", "delay": "5s"}, "options.debounce.key"),
        ({"key": "k", "delay": "soon"}, "options.debounce.delay"),
        ({"key": "k", "delay": "2030-01-01T00:00:00Z"}, "options.debounce.delay"),
        ({"key": "k", "delay": "0s"}, "options.debounce.delay"),
        ({"key": "k", "delay": "5s", "mode": "both"}, "options.debounce.mode"),
        ({"key": "k", "delay": "5s", "maxDelay": "5s"}, "options.debounce.maxDelay"),
        ({"key": "k", "delay": "5s", "maxDelay": "x"}, "options.debounce.maxDelay"),
        ({"key": "k", "delay": "5s", "wait": 1}, "options.debounce.wait"),
    ],
)
def test_what_cannot_be_debounced_is_refused(tenant: Tenant, debounce: dict[str, Any], field: str) -> None:
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={"options": {"debounce": debounce}})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", field)


# --- beside other options


def test_an_idempotency_key_comes_first(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    first = trigger(tenant, key, 1, idempotencyKey=key, debounce={"mode": "trailing"})
    before = found(platform, tenant, first["id"])
    again = trigger(tenant, f"{key}-other", 2, idempotencyKey=key, debounce={"delay": "1h", "mode": "trailing"})
    assert again == {"id": first["id"], "isCached": True}
    assert found(platform, tenant, first["id"]) == before, "it was found, and not put off"
    joined = trigger(tenant, key, 3, idempotencyKey=f"{key}-new")
    assert joined == {"id": first["id"], "isCached": True}


def test_a_request_that_is_repeated_puts_nothing_off(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    headers = {"x-trigger-request-idempotency-key": secrets.token_hex(8)}
    body = {"options": {"debounce": {"key": key, "delay": "60s"}}}
    answers = [tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body, headers=headers) for _ in range(3)]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert not any(answer.json["isCached"] for answer in answers)


@pytest.mark.parametrize("mode", ["leading", "trailing"])
@pytest.mark.parametrize("delay", ["30s", "45s"])
def test_a_request_that_joined_a_run_and_is_repeated_when_that_has_begun_makes_no_other(
    platform: Platform, tenant: Tenant, version: str, worker: testing.TestClient, key: str, mode: str, delay: str
) -> None:
    """Its answer was lost. With the shorter delay it needed not put the run off."""
    debounce = {"key": key, "delay": "45s", "mode": mode}
    run = trigger(tenant, key, 1, debounce=debounce)["id"]
    body = {"payload": 2, "options": {"debounce": debounce | {"delay": delay}}}
    headers = {"x-trigger-request-idempotency-key": secrets.token_hex(6)}

    def repeated(**others: str) -> dict[str, Any]:
        return dict(tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body, headers=headers | others).json)

    joined = repeated()
    assert (joined["id"], joined["isCached"]) == (run, True)
    platform.expiring.queue_due(platform.clock() + timedelta(hours=1), 100)
    work = ask(worker, wait=0, served=0)["work"]
    assert work["run"]["id"] == run
    assert repeated() == joined, "and with it no other request, whose run has begun"
    other = trigger(tenant, key, 3, debounce=debounce)["id"]
    assert other != run and repeated() == joined, "the key leads to another run now"
    assert repeated(**{"x-trigger-request-idempotency-key": secrets.token_hex(6)})["id"] == other
    ask(worker, wait=None, served=1, completion=completed(work, {"ok": True, "output": "1"}))


def test_the_newest_requests_are_remembered(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    for n in range(25):
        headers = {"x-trigger-request-idempotency-key": f"{key}-{n}"}
        body = {"payload": n, "options": {"debounce": {"key": key, "delay": "60s", "mode": "trailing"}}}
        assert tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body, headers=headers).status_code == 200
    rows = platform.database.rows("SELECT requests FROM debounces")
    assert [len(set(row["requests"])) for row in rows] == [20]


def test_a_run_that_was_cancelled_is_not_joined(tenant: Tenant, version: str, key: str) -> None:
    first = trigger(tenant, key)
    tenant.client.simulate_post(f"/api/v2/runs/{first['id']}/cancel")
    second = trigger(tenant, key)
    assert second["isCached"] is False and second["id"] != first["id"]
    assert trigger(tenant, key)["id"] == second["id"]


def test_a_run_that_was_rescheduled_is_joined_and_not_brought_forward(
    platform: Platform, tenant: Tenant, version: str, key: str
) -> None:
    first = trigger(tenant, key)
    tenant.client.simulate_post(f"/api/v1/runs/{first['id']}/reschedule", json={"delay": "1h"})
    start = found(platform, tenant, first["id"]).delayed_until
    assert trigger(tenant, key) == {"id": first["id"], "isCached": True}
    assert found(platform, tenant, first["id"]).delayed_until == start


def test_an_unknown_version_makes_no_run_and_holds_no_key(tenant: Tenant, version: str, key: str) -> None:
    body = {"options": {"debounce": {"key": key, "delay": "60s"}, "lockToVersion": "19990101.1"}}
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "VERSION_NOT_FOUND")
    assert trigger(tenant, key)["isCached"] is False


def test_items_of_a_batch_are_debounced(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    options = {"debounce": {"key": key, "delay": "60s", "mode": "trailing"}}
    items = [{"task": "hello", "payload": n, "options": options} for n in range(3)] + [{"task": "hello", "payload": 9}]
    made = tenant.client.simulate_post("/api/v2/tasks/batch", json={"items": items}).json["id"]
    runs = tenant.client.simulate_get(f"/api/v2/batches/{made}").json["runs"]
    assert len(set(runs)) == 2 and runs[0] == runs[1] == runs[2]
    assert shown(tenant, runs[0])["payload"] == 2
    assert trigger(tenant, key, 5, debounce={"mode": "trailing"}) == {"id": runs[0], "isCached": True}


def test_a_key_goes_with_its_run(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    run = trigger(tenant, key)["id"]
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    pruned(platform, platform.clock() + timedelta(days=31))
    assert platform.database.rows("SELECT 1 FROM debounces WHERE run_id = %s", run) == []


# --- parents


def test_every_parent_that_waits_for_a_shared_run_goes_on(
    platform: Platform, tenant: Tenant, version: str, key: str
) -> None:
    crew = [executor(platform, tenant, version, f"executor_{secrets.token_hex(4)}") for _ in range(3)]
    parents, shared = [], set()
    for worker in crew[:2]:
        work = begun(tenant, worker)
        run = trigger(tenant, key, task="child", parentRunId=work["run"]["id"])["id"]
        shared.add(run)
        answer = wait(worker, work, child(run))
        assert answer["state"] == "blocked"
        parents.append(work)
    assert len(shared) == 1
    assert platform.expiring.queue_due(platform.clock() + timedelta(seconds=62), 500) == 1
    work = ask(crew[2], wait=0, served=0)["work"]
    assert work["run"]["id"] in shared
    ask(crew[2], wait=None, served=1, completion=completed(work, {"ok": True, "output": "42"}))
    assert [stands(platform, parent)[0] for parent in parents] == ["QUEUED_EXECUTING"] * 2
    for parent, worker in zip(parents, crew, strict=False):
        done = completed({**parent, "snapshot": stands(platform, parent)[1]}, {"ok": True, "output": "1"})
        ask(worker, wait=None, served=1, completion=done)


# --- many at once


def test_a_hundred_triggers_at_once_are_one_run(platform: Platform, tenant: Tenant, version: str, key: str) -> None:
    for mode in ("leading", "trailing"):
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda n: trigger(tenant, key + mode, n, debounce={"mode": mode}), range(100)))  # noqa: B023
        assert len({answer["id"] for answer in answers}) == 1
        assert [answer["isCached"] for answer in answers].count(False) == 1


def test_a_look_that_is_older_than_a_trigger_does_not_queue_the_run(
    platform: Platform, tenant: Tenant, version: str, key: str
) -> None:
    """The stager has read that the run is due; a trigger puts it off before the run is moved."""
    environment, now = environment_of(platform, tenant), platform.clock()
    wish = Debounce(key, 5 * SECOND)
    made = platform.triggering.trigger(environment, TriggerRequest("hello", debounce=wish), now)
    due = now + 5 * SECOND
    seen = found(platform, tenant, made.id)
    joined = platform.triggering.trigger(environment, TriggerRequest("hello", debounce=wish), due - SECOND)
    assert joined.id == made.id
    assert platform.runs.move(Move(made.id, seen.snapshot, Event.DUE, due, due_by=due)) is None
    later = due + 10 * SECOND
    assert platform.runs.move(Move(made.id, seen.snapshot, Event.DUE, later, due_by=later)) is not None
    tenant.client.simulate_post(f"/api/v2/runs/{made.id}/cancel")


def test_no_run_is_queued_before_its_last_trigger_s_delay_is_over(
    platform: Platform, tenant: Tenant, version: str, key: str
) -> None:
    """Triggers, and a scheduler that queues what is due, at once: nobody's delay is cut short, and nobody is left out."""
    environment, is_over = environment_of(platform, tenant), threading.Event()
    came: list[tuple[str, datetime]] = []

    def stage() -> None:
        while not is_over.is_set():
            platform.expiring.queue_due(platform.clock(), 500)

    def keep_asking(number: int) -> None:
        for turn in range(12):
            now = platform.clock()
            wish = Debounce(key, SECOND, trailing=number % 2 == 0)
            request = TriggerRequest("hello", payload=f"[{number},{turn}]", debounce=wish)
            came.append((platform.triggering.trigger(environment, request, now).id, now))
            is_over.wait(random.Random(number * 100 + turn).random() * (1.6 if turn == 6 else 0.1))

    stager = threading.Thread(target=stage)
    stager.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(keep_asking, range(4)))
        until(lambda: all(found(platform, tenant, run).status == "QUEUED" for run, _ in came), 60, "all are queued")
    finally:
        is_over.set()
        stager.join()
    for run, asked_at in came:
        (due,) = [row.created_at for row in platform.runs.history(run) if row.event == Event.DUE]
        assert due >= asked_at + SECOND
        platform.cancelling.cancel(environment, run, "by the test", platform.clock())


# --- random histories against the rules


@dataclass
class Known:
    """What the model knows of a key's newest run."""

    run: str
    first_at: datetime
    start_at: datetime
    payload: str
    waits: bool = True


@dataclass
class Model:
    """The page's words about debouncing, with none of the code's."""

    newest: dict[str, Known] = field(default_factory=dict)

    def trigger(self, key: str, run: str, cached: bool, payload: str, wish: Debounce, now: datetime) -> None:
        known = self.newest.get(key)
        is_open = known is not None and known.waits and known.start_at > now
        assert cached is is_open, "a run is joined if, and only if, it waits"
        if not is_open or known is None:
            self.newest[key] = Known(run, now, now + wish.delay, payload)
            return
        assert run == known.run
        whole = (now + wish.delay).replace(microsecond=0)
        wanted = whole if whole == now + wish.delay else whole + SECOND
        limit = known.first_at + wish.max_delay if wish.max_delay else wanted
        known.start_at = max(known.start_at, min(wanted, limit))
        known.payload = payload if wish.trailing else known.payload


STEPS = st.lists(
    st.tuples(st.just("trigger"), st.sampled_from("ab"), st.booleans(), st.integers(1, 6), st.none() | st.integers(7, 12))
    | st.tuples(st.just("pass"), st.integers(1, 7_000))
    | st.tuples(st.just("cancel"), st.sampled_from("ab"))
    | st.tuples(st.just("reschedule"), st.sampled_from("ab"), st.integers(0, 9)),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_any_history_goes_as_the_rules_say(platform: Platform, tenant: Tenant, version: str, steps: list[Any]) -> None:
    environment, now = environment_of(platform, tenant), platform.clock()
    model, prefix, made = Model(), secrets.token_hex(6), set()
    for number, step in enumerate(steps):
        if step[0] == "trigger":
            _, letter, trailing, delay, longest = step
            wish = Debounce(prefix + letter, delay * SECOND, trailing, longest * SECOND if longest else None)
            request = TriggerRequest("hello", payload=str(number), debounce=wish)
            answer = platform.triggering.trigger(environment, request, now)
            made.add(answer.id)
            model.trigger(letter, answer.id, answer.cached, str(number), wish, now)
        elif step[0] == "pass":
            now += timedelta(milliseconds=step[1])
            platform.expiring.queue_due(now, 500)
        elif (known := model.newest.get(step[1])) is not None and known.waits and known.start_at > now:
            if step[0] == "cancel":
                platform.cancelling.cancel(environment, known.run, "by the test", now)
                known.waits = False
            else:
                start = now + timedelta(seconds=step[2], milliseconds=1)
                platform.steering.reschedule(environment, known.run, start, now)
                known.start_at = start
        for known in model.newest.values():
            run = found(platform, tenant, known.run)
            assert (run.payload, run.delayed_until) == (known.payload, known.start_at)
            assert not known.waits or (run.status == "DELAYED") is (known.start_at > now)
    for run_id in made:  # nothing of it is left to the tests that follow
        platform.cancelling.cancel(environment, run_id, "by the test", now)
