"""Answers that were lost and claims that came late: no limit is exceeded, no run is left behind, nobody waits for long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from sojourn.control_plane.domain.due_runs import Taken
from sojourn.control_plane.engine.attempts import Completed, NextAnswer, NextRequest
from sojourn.control_plane.engine.claiming import NotNow
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.engine.indexing import milliseconds
from sojourn.control_plane.engine.outcomes import Outcome
from sojourn.control_plane.queue.notices import Notice
from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.runs import Runs
from sojourn.control_plane.telemetry.logs import Line
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.protocol import Completion
from tests.contract.api.conftest import Tenant
from tests.support.stack import until

PATIENCE = 20.0


class Crew:
    """Executors of one version, and what happened to the runs."""

    def __init__(self, platform: Platform, tenant: Tenant):
        self.platform = platform
        self.tenant = tenant
        (row,) = platform.database.rows(
            "SELECT current_version_id AS version FROM environments WHERE id = %s", tenant.environment
        )
        self._version = row["version"]

    def executor(self, name: str) -> ExecutorIdentity:
        return ExecutorIdentity(name, self.tenant.organization, self.tenant.environment, self._version, "small-1x")

    def ask(self, name: str, wait: float | None = 0, **more: Any) -> NextAnswer:
        request = NextRequest(wait=wait, **({"served": 1} | more))
        return self.platform.attempts.next(self.executor(name), request, self.platform.clock())

    def asking(self, name: str, wait: float, **more: Any) -> Callable[[], NextAnswer]:
        """The same beside the test; the answer once there is one. Returns when the executor waits."""
        answers: list[NextAnswer] = []
        thread = threading.Thread(target=lambda: answers.append(self.ask(name, wait, **more)), daemon=True)
        thread.start()
        waits = lambda: name in self.platform.queue.idle_executors(self.tenant.organization)  # noqa: E731
        until(lambda: waits() or answers, PATIENCE, "it waits, or is answered")

        def answer() -> NextAnswer:
            thread.join(PATIENCE)
            return answers[0]

        return answer

    def take(self, name: str, at: datetime) -> Taken:
        """What an executor is given by the queue, not claimed yet."""
        lanes = [f"{self.tenant.environment}|current|small-1x"]
        taken = self.platform.queue.dequeue(self.tenant.organization, milliseconds(at), lanes=lanes, executor=name)
        assert taken is not None
        return taken

    def claim(self, taken: Taken, name: str) -> bool:
        try:
            claimed = self.platform.attempts._claiming.claim_and_start(taken, self.executor(name), self.platform.clock())
        except NotNow:
            return False
        return claimed is not None

    def done(self, run: str, name: str, lines: Sequence[Line] = ()) -> Completed:
        found = self.platform.runs.any(run)
        assert found
        token = self.platform.credentials.for_run(run, name)
        return Completed(run, found.snapshot, token, found.attempt, Outcome(ok=True, output="1"), lines)

    def cancel(self, run: str) -> None:
        environment = self.platform.access.environment(self.tenant.environment, self.platform.clock())
        assert environment
        self.platform.cancelling.cancel(environment, run, "the test says so", self.platform.clock())

    def sweep(self) -> Any:
        return self.platform.recovery.sweep(self.tenant.organization, self.platform.clock())

    def limit(self, slots: int) -> None:
        self.platform.database.rows(
            "UPDATE environments SET concurrency_limit = %s WHERE id = %s", slots, self.tenant.environment
        )
        self.platform.limiting.push(self.tenant.organization, self.platform.clock())

    def status(self, run: str) -> str:
        found = self.platform.runs.any(run)
        assert found
        return found.snapshot_status


@pytest.fixture
def crew(platform: Platform, tenant: Tenant) -> Iterator[Crew]:
    tenant.deploy(["hello"])
    for table in ("snapshots", "run_logs", "runs"):
        platform.database.rows(f"DELETE FROM {table}")
    platform.redis.flushall()
    platform.recovery.rebuild(tenant.organization, platform.clock())
    made = Crew(platform, tenant)
    yield made
    made.limit(100)


def lose_one_answer(monkeypatch: pytest.MonkeyPatch, platform: Platform, statement: str) -> None:
    """The next call of a statement is carried out, and its caller hears that the store is away."""
    call = platform.database.call

    def lossy(name: str, document: Any) -> Any:
        answer = call(name, document)
        if name == statement:
            monkeypatch.setattr(platform.database, "call", call)
            raise StoreUnavailable("the answer was lost")
        return answer

    monkeypatch.setattr(platform.database, "call", lossy)


def test_a_claim_after_the_lease_is_refused(crew: Crew) -> None:
    run = crew.tenant.trigger()
    taken = crew.take("executor_1", crew.platform.clock() - timedelta(seconds=11))
    assert not crew.claim(taken, "executor_1")
    assert crew.status(run) == "QUEUED"
    assert crew.ask("executor_2").assignment is not None


def test_a_call_with_an_old_date_takes_one_run_and_gives_it_back(crew: Crew) -> None:
    """It would take all that wait, one after another, and claim none: their slots were held for nothing."""
    runs = [crew.tenant.trigger() for _ in range(5)]
    until(lambda: crew.tenant.organization in crew.platform.queue.due_organizations(0), PATIENCE, "they are due")
    assert crew.platform.placing.next_order(crew.platform.clock() - timedelta(seconds=11)) is None
    assert crew.platform.queue.members(crew.tenant.organization, runs) == ["waiting"] * 5
    assert [crew.ask(f"executor_{n}").assignment is not None for n in range(5)] == [True] * 5


def test_an_overtaken_request_gives_its_executor_no_second_run(crew: Crew) -> None:
    """The first was held up for so long that the shim asked again, and was given a run."""
    first, second = crew.tenant.trigger(), crew.tenant.trigger()
    given = crew.ask("executor_1")
    assert given.assignment and given.assignment["run"]["id"] == first
    assert crew.ask("executor_1").assignment is None
    assert crew.status(second) == "QUEUED"
    assert crew.ask("executor_1", completed=crew.done(first, "executor_1")).assignment is not None


def test_a_sweep_that_reads_before_a_late_claim_gives_nobody_its_slot(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.limit(1)
    crew.tenant.trigger(queue={"name": "a"})
    crew.tenant.trigger(queue={"name": "b"})
    taken = crew.take("executor_1", crew.platform.clock() - timedelta(seconds=11))
    standing, claimed = Runs.standing, []

    def read_then_claim(self: Runs, ids: Sequence[str]) -> dict[str, str]:
        found = standing(self, ids)
        monkeypatch.undo()
        claimed.append(crew.claim(taken, "executor_1"))
        return found

    monkeypatch.setattr(Runs, "standing", read_then_claim)
    crew.sweep()
    other = crew.ask("executor_2").assignment
    assert claimed and claimed.count(True) + (other is not None) == 1


def test_a_run_that_was_taken_again_keeps_its_slot(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep read that it was delayed; it has been queued, dequeued and claimed before the sweep acts on that."""
    crew.limit(1)
    run = crew.tenant.trigger()
    delayed = "UPDATE runs SET snapshot_status = 'DELAYED', status = 'DELAYED', available_at = now() WHERE id = %s"
    queued = "UPDATE runs SET snapshot_status = 'QUEUED', status = 'QUEUED' WHERE id = %s"
    crew.platform.database.rows(delayed, run)
    standing = Runs.standing

    def read_then_start(self: Runs, ids: Sequence[str]) -> dict[str, str]:
        found = standing(self, ids)
        if run in ids:
            monkeypatch.undo()
            crew.platform.database.rows(queued, run)
            assert crew.ask("executor_1").assignment is not None
        return found

    monkeypatch.setattr(Runs, "standing", read_then_start)
    crew.sweep()
    assert crew.platform.queue.members(crew.tenant.organization, [run]) == ["inflight"]
    assert crew.platform.queue.audit(crew.tenant.organization).slots[("org",)] == {run}


def test_a_claim_whose_answer_was_lost_keeps_its_slot(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.limit(1)
    first = crew.tenant.trigger(queue={"name": "a"})
    second = crew.tenant.trigger(queue={"name": "b"})
    lose_one_answer(monkeypatch, crew.platform, "claim_runs")
    with pytest.raises(StoreUnavailable):
        crew.ask("executor_1")
    assert crew.ask("executor_2").assignment is None
    again = crew.ask("executor_1", again=True).assignment
    assert again is not None and again["run"]["id"] == first
    assert [crew.status(first), crew.status(second)] == ["EXECUTING", "QUEUED"]


def test_a_rebuild_sees_what_was_claimed_while_it_read(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    crew.limit(1)
    first = crew.tenant.trigger(queue={"name": "a"})
    crew.tenant.trigger(queue={"name": "b"})
    taken = crew.take("executor_1", crew.platform.clock())
    crew.platform.redis.flushall()
    live = Runs.live

    def read_then_claim(self: Runs, organization: str, statuses: Sequence[str], after: str, limit: int) -> Any:
        found = live(self, organization, statuses, after, limit)
        if "EXECUTING" in statuses:
            monkeypatch.undo()
            assert crew.claim(taken, "executor_1")
        return found

    monkeypatch.setattr(Runs, "live", read_then_claim)
    crew.platform.recovery.rebuild(crew.tenant.organization, crew.platform.clock())
    assert crew.platform.queue.audit(crew.tenant.organization).slots[("org",)] == {first}
    assert crew.ask("executor_2").assignment is None


def test_an_end_that_is_told_again_frees_its_slots_at_once(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    run = crew.tenant.trigger()
    assert crew.ask("executor_1").assignment is not None
    done = crew.done(run, "executor_1")
    lose_one_answer(monkeypatch, crew.platform, "move_runs")
    with crew.platform.mailbox.open_run(crew.tenant.organization, run) as box:
        with pytest.raises(StoreUnavailable):
            crew.ask("executor_1", completed=done)
        answer = crew.ask("executor_1", completed=done, again=True)
        assert answer.settled is not None and answer.settled.result is Completion.RUN_FINISHED
        assert box.get(PATIENCE) == "COMPLETED"
    assert crew.platform.queue.members(crew.tenant.organization, [run]) == [None]
    assert crew.platform.queue.audit(crew.tenant.organization).slots == {}


def test_the_end_of_an_old_poll_leaves_the_new_one_waiting(crew: Crew) -> None:
    old = crew.asking("executor_1", wait=0.5)
    new = crew.asking("executor_1", wait=PATIENCE, again=True)
    assert old().assignment is None
    assert crew.platform.queue.idle_executors(crew.tenant.organization) == {"executor_1"}
    crew.tenant.trigger()
    assert new().assignment is not None


@pytest.mark.parametrize("how", ["emptied", "cut off"])
def test_executors_that_wait_are_known_again_after_a_loss(crew: Crew, how: str) -> None:
    answer = crew.asking("executor_1", wait=PATIENCE)
    if how == "cut off":
        crew.platform.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    crew.platform.redis.flushall()
    crew.platform.recovery.rebuild(crew.tenant.organization, crew.platform.clock())
    # It is told to ask again, long before its poll would have been over.
    assert answer() == NextAnswer()
    again = crew.asking("executor_1", wait=PATIENCE)
    crew.tenant.trigger()
    assert again().assignment is not None


def test_limits_that_did_not_reach_the_queue_follow_with_the_sweep(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise redis.exceptions.TimeoutError

    monkeypatch.setattr(crew.platform.queue, "set_limits", away)
    crew.limit(0)
    monkeypatch.undo()
    crew.sweep()
    crew.tenant.trigger()
    assert crew.ask("executor_1").assignment is None
    crew.limit(100)
    assert crew.ask("executor_1").assignment is not None


def test_due_work_whose_notice_died_with_its_process_is_found_by_the_sweep(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # the organization leaves the index
        assert crew.platform.placing.next_order(crew.platform.clock()) is None
    monkeypatch.setattr(crew.platform.notices, "send", lambda notice: None)
    run = crew.tenant.trigger()
    assert crew.platform.placing.next_order(crew.platform.clock()) is None
    crew.sweep()
    order = crew.platform.placing.next_order(crew.platform.clock())
    assert order is not None and order.run.id == run


def test_due_work_is_said_again_until_redis_takes_it(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    notices = crew.platform.notices
    say, failed = notices.send_now, []

    def refused_twice(*given: Notice) -> None:
        if any(notice.due for notice in given) and len(failed) < 2:
            failed.append(given)
            raise redis.exceptions.TimeoutError
        say(*given)

    for _ in range(2):
        assert crew.platform.placing.next_order(crew.platform.clock()) is None
    monkeypatch.setattr(notices, "send_now", refused_twice)
    crew.tenant.trigger()
    organization = crew.tenant.organization
    until(lambda: organization in crew.platform.queue.due_organizations(0), PATIENCE, "it is heard")
    assert len(failed) == 2


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        ({"pattern": "\\u0000"}, {"pattern": "\\u0000"}),
        ({"half \ud800": ["\udc00", 1, None]}, {"half ?": ["?", 1, None]}),
        ({"a\x00": {"b": "\x00"}}, {"a\u2400": {"b": "\u2400"}}),
    ],
)
def test_what_user_code_logs_does_not_stand_in_the_way_of_its_end(crew: Crew, properties: Any, kept: Any) -> None:
    run = crew.tenant.trigger()
    assert crew.ask("executor_1").assignment is not None
    line = Line(1, 1, datetime.now(UTC), "logger", "INFO", "text \ud800 \x00", properties)
    answer = crew.ask("executor_1", completed=crew.done(run, "executor_1", [line]))
    assert answer.settled is not None and answer.settled.result is Completion.RUN_FINISHED
    ((found,), _) = crew.platform.logs.read(crew.tenant.environment, run, after=None, limit=10)
    assert (found.message, found.properties) == ("text ? \u2400", kept)


def test_lines_that_cannot_be_kept_are_lost_and_the_end_is_not(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    run = crew.tenant.trigger()
    assert crew.ask("executor_1").assignment is not None
    line = Line(1, 1, datetime.now(UTC), "no such stream", "INFO", "text")
    crew.ask("executor_1", completed=crew.done(run, "executor_1", [line]))
    assert crew.status(run) == "FINISHED"
    assert "log lines" in caplog.text


def test_lines_of_attempts_that_never_were_are_dropped(crew: Crew) -> None:
    run = crew.tenant.trigger()
    assert crew.ask("executor_1").assignment is not None
    lines = [Line(attempt, 1, datetime.now(UTC), "stdout", "LOG", "text") for attempt in (0, 1, 2, 99)]
    crew.platform.logs.append(crew.tenant.environment, run, lines)
    found, _ = crew.platform.logs.read(crew.tenant.environment, run, after=None, limit=10)
    assert [line.attempt for line in found] == [0, 1]


def test_a_cancellation_that_was_cut_off_goes_on(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever repeats it, and by the sweep: the parent's end was stored, its children were not reached."""
    for goes_on in (lambda run: crew.cancel(run), lambda _: crew.platform.cancelling.sweep(crew.platform.clock(), 10)):
        parent = crew.tenant.trigger()
        child = crew.tenant.trigger(parentRunId=parent)
        grandchild = crew.tenant.trigger(parentRunId=child)
        with monkeypatch.context() as patched:
            patched.setattr(crew.platform.runs, "children", _away)
            with pytest.raises(StoreUnavailable):
                crew.cancel(parent)
        assert [crew.status(run) for run in (parent, child)] == ["FINISHED", "QUEUED"]
        goes_on(parent)
        assert [crew.status(run) for run in (child, grandchild)] == ["FINISHED", "FINISHED"]
    assert crew.platform.cancelling.sweep(crew.platform.clock(), 10) == 0


def _away(*_: object) -> None:
    raise StoreUnavailable("away")


def test_a_long_chain_is_cancelled_to_its_end(crew: Crew) -> None:
    runs = [crew.tenant.trigger()]
    for _ in range(1_100):
        runs.append(crew.tenant.trigger(parentRunId=runs[-1]))
    crew.cancel(runs[0])
    assert {crew.status(run) for run in runs[:200]} == {"FINISHED"} and crew.status(runs[-1]) == "QUEUED"
    swept = []
    while not swept or swept[-1]:  # the rest is the canceller's, bounded as well
        swept.append(crew.platform.cancelling.sweep(crew.platform.clock(), 300))
    assert max(swept) < 300 + 100
    assert {crew.status(run) for run in runs} == {"FINISHED"}


def test_what_is_being_cancelled_has_no_more_children(crew: Crew) -> None:
    parent = crew.tenant.trigger()
    assert crew.ask("executor_1").assignment is not None
    crew.cancel(parent)
    assert crew.status(parent) == "PENDING_CANCEL"
    body = {"options": {"parentRunId": parent}}
    answer = crew.tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "PARENT_IS_OVER")


def test_one_that_could_not_ask_the_queue_is_answered_soon(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits nowhere: no run would be handed to it until its poll, of minutes here, is over."""
    monkeypatch.setattr(crew.platform.queue, "next", _loading)
    answer = crew.asking("executor_1", wait=600)()
    assert (answer.assignment, answer.leave) == (None, None)


def _loading(*_: object, **__: object) -> None:
    raise redis.exceptions.BusyLoadingError("it reads its dump")
