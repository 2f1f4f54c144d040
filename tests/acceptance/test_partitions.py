"""What is lost on the way: calls that come thrice, answers that never come, commits of unknown fate, cut lines."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from falcon import testing
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.worker_calls import ask, completed, held
from tests.support.ledger import Ledger
from tests.support.postgres_server import Databases
from tests.support.proxy import Proxy, Seen, postgres_address, through
from tests.support.schedulers import database_of
from tests.support.stack import FAST, Stack, until

from sojourn.control_plane import config, wiring, wsgi
from sojourn.control_plane.wiring import Platform
from sojourn.sdk.client import Client
from sojourn.sdk.protocol import API_VERSION

PROJECT = Path(__file__).parent / "project"
LEASE = float(FAST["SOJOURN_LEASE_SECONDS"])
SUCCESS: dict[str, Any] = {"ok": True, "output": "1"}


@dataclass(frozen=True)
class Edge:
    """The real application in this process; `proxy` lies between it and PostgreSQL, and `version` is deployed."""

    platform: Platform
    proxy: Proxy
    tenant: Tenant
    version: str

    def worker(self, name: str | None = None) -> testing.TestClient:
        """A client that holds an executor's credential."""
        return executor(self.platform, self.tenant, self.version, name or f"executor_{secrets.token_hex(4)}")

    def post(self, **options: Any) -> testing.Result:
        """A trigger, and whatever it is answered with."""
        headers = {"x-trigger-request-idempotency-key": options.pop("request")} if "request" in options else {}
        body = {"payload": 1, "options": options}
        return self.tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=body, headers=headers)

    def events(self, run: str) -> list[str]:
        """What happened to a run, in order."""
        return [row.event for row in self.platform.runs.history(run)]

    def runs(self) -> list[str]:
        """Every run there is."""
        return [row["id"] for row in self.platform.database.rows("SELECT id FROM runs ORDER BY id")]

    def is_whole(self) -> bool:
        """Whether every invariant holds once the queue was swept."""
        self.platform.recovery.sweep(self.tenant.organization, self.platform.clock())
        return not self.platform.checks.check(self.platform.clock())


@pytest.fixture
def edge(databases: Databases, redis_connection: redis.Redis, redis_url: str, tmp_path: Path) -> Iterator[Edge]:
    url = databases.fresh()
    proxy = Proxy(postgres_address(url))
    settings = config.load(
        {},
        database_url=through(proxy, url),
        redis_url=redis_url,
        data_dir=str(tmp_path),
        master_key=urlsafe_b64encode(os.urandom(32)).decode(),
    )
    platform = wiring.connect(settings, application="test-partitions")
    tenant = _tenant(platform)
    yield Edge(platform, proxy, tenant, tenant.deploy(["hello"])["id"])
    platform.close()
    proxy.close()
    databases.drop(url)


def _tenant(platform: Platform) -> Tenant:
    installation = platform.access.create_installation(platform.clock())
    platform.recovery.rebuild(installation.organization_id, platform.clock())
    key = installation.keys["dev"]
    headers = {"Authorization": f"Bearer {key}", "x-trigger-api-version": API_VERSION}
    client = testing.TestClient(wsgi.create_app(platform), headers=headers)
    return Tenant(installation.organization_id, installation.environments["dev"], key, client)


# --- F11, F12: a line between executors and the control plane that is cut, or loses answers


@dataclass(frozen=True)
class Line:
    """A real stack whose executors reach the control plane through `proxy`; the test itself does so directly."""

    stack: Stack
    proxy: Proxy
    client: Client
    ledger: Ledger

    def trigger(self, seconds: float) -> str:
        return str(self.client.trigger("notes", self.ledger.payload(seconds))["id"])

    def attempts(self, run: str) -> list[dict[str, Any]]:
        return list(self.client.timeline(run)["attempts"])

    def beats(self, run: str) -> list[Seen]:
        """The heartbeats of a run that came to the proxy."""
        return [each for each in self.proxy.requests(run.encode()) if each.data.startswith(b"POST /worker/v1/heartbeat")]

    def tell(self, path: str, who: bytes, body: dict[str, Any]) -> dict[str, Any]:
        """What an executor would be answered, past the proxy."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=60)
        headers = {"Authorization": f"Bearer {who.decode()}", "Content-Type": "application/json"}
        connection.request("POST", f"/worker/v1/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        found: dict[str, Any] = json.loads(answer.read())
        connection.close()
        return found

    def ended(self, run: str) -> dict[str, Any]:
        result: dict[str, Any] = until(lambda: self.client.result(run, wait=5), 40, f"{run} ends")
        assert result["ok"], result
        return result


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    made: list[tuple[Stack, Proxy]] = []

    def start(**settings: str) -> Line:
        stack = Stack(**settings)
        proxy = Proxy(("127.0.0.1", stack.port))
        made.append((stack, proxy))
        stack.environment["SOJOURN_API_URL"] = f"http://127.0.0.1:{proxy.port}"
        stack.up()
        stack.found["api_url"] = f"http://127.0.0.1:{stack.port}"
        stack.deploy(PROJECT)
        return Line(stack, proxy, stack.client(), Ledger(tmp_path / "ledger"))

    yield start
    for stack, proxy in made:
        stack.down()
        proxy.close()


def test_an_executor_that_is_cut_off(line: Callable[..., Line]) -> None:
    """F11: cut off for a third of a lease, nothing happens to its run; for three of them, it stops the run in time.

    The run is tried again elsewhere, and what the first attempt would still tell is refused.
    """
    # A run outlives any cut of four fifths of a lease less two beats, wherever between two beats it begins.
    there = line(SOJOURN_HEARTBEAT_SECONDS="0.25")
    run = there.trigger(LEASE)
    until(lambda: there.beats(run), 20, "it beats")
    there.proxy.cut()
    time.sleep(LEASE / 3)
    there.proxy.heal()
    there.ended(run)
    assert [(life.attempt, life.ended) for life in there.ledger.lives(run)] == [(1, True)]

    run = there.trigger(2 * LEASE)
    beat = until(lambda: there.beats(run), 20, "it beats")[0]
    there.proxy.cut(beat.who)
    cut_since = time.monotonic()
    lease_until = _when_it_is_given_up(there, run)
    until(lambda: len(there.attempts(run)) == 2, 20, "it is tried again")
    _first_attempt_is_refused(there, run, beat)
    until(lambda: time.monotonic() - cut_since > 3 * LEASE, 3 * LEASE, "it was cut off for three leases")
    there.proxy.heal()
    assert json.loads(there.ended(run)["output"])["attempt"] == 2
    first, second = there.ledger.lives(run)
    assert (first.attempt, first.ended, second.attempt, second.ended) == (1, False, 2, True)
    assert first.last < lease_until, "it stopped its code only after its lease"
    assert first.last < second.began
    assert [each["outcome"] for each in there.attempts(run)] == ["RETRY_LATER", "SUCCEED"]
    assert len({each["executor"] for each in there.attempts(run)}) == 2
    _first_attempt_is_refused(there, run, beat)
    until(lambda: not there.stack.violations(), 20, "every invariant holds")


def _when_it_is_given_up(there: Line, run: str) -> float:
    """Waits until the first attempt's lease has lapsed; when that was, by the database's clock."""
    database, leases = database_of(there.stack), [0.0]

    def is_given_up() -> bool:
        row = database.rows("SELECT snapshot_status, attempt, lease_until FROM runs WHERE id = %s", run)[0]
        if row["snapshot_status"] == "EXECUTING" and row["attempt"] == 1:
            leases.append(row["lease_until"].timestamp())
            return False
        return True

    until(is_given_up, 20, "its lease lapses")
    database.close()
    return leases[-1]


def _first_attempt_is_refused(there: Line, run: str, beat: Seen) -> None:
    """What the first attempt's executor might still have sent, sent again."""
    had = json.loads(beat.data.partition(b"\r\n\r\n")[2])
    taken = {name: had[name] for name in ("run", "snapshot", "token")}
    done = {**taken, "attempt": 1, "outcome": {"ok": True, "output": '"wrong"'}, "usageMs": 1, "logs": []}
    body = {"wait": None, "served": 1, "request": "late", "completion": done}
    assert there.tell("next", beat.who, body)["completion"] == {"result": "STALE"}
    assert there.tell("heartbeat", beat.who, taken | {"wait": 0}) == {"state": "stop"}


def test_answers_that_are_lost(line: Callable[..., Line]) -> None:
    """F12: requests arrive and one answer does not. An end is applied once, and its repetition is answered the same.

    The run that was given in the lost answer is given again, to be executed once.
    """
    there = line(SOJOURN_PLACES="1")
    there.proxy.lose_answer(b'"served":0')
    first = there.trigger(2)
    until(lambda: there.beats(first), 20, "it runs, though the first answer to its executor was lost")
    assert there.proxy.lost == 1
    second = there.trigger(1.5)
    told = b'"completion":{"run":"%s"' % first.encode()
    there.proxy.lose_answer(told, is_silent=True)
    for run in (first, second):
        there.ended(run)
        assert [(life.attempt, life.ended) for life in there.ledger.lives(run)] == [(1, True)]
        assert [each["outcome"] for each in there.attempts(run)] == ["SUCCEED"]
    assert there.proxy.lost == 2
    lost = json.loads(there.proxy.dropped[1].partition(b"\r\n\r\n")[2])
    assert (lost["completion"], lost["work"]["run"]["id"]) == ({"result": "RUN_FINISHED"}, second)
    once, again = there.proxy.requests(told)
    assert (b'"again":true' in once.data, b'"again":true' in again.data) == (False, True)
    given = {json.loads(each.data.partition(b"\r\n\r\n")[2])["snapshot"] for each in there.beats(second)}
    assert given == {lost["work"]["snapshot"]}
    until(lambda: not there.stack.violations(), 20, "every invariant holds")


# --- F13: calls that come more than once, and late


def test_what_an_executor_tells_may_come_thrice_and_in_any_order(edge: Edge) -> None:
    """F13: heartbeats, log lines and the end, each three times in every order; the run ends once, and says so each time.

    Lines are stored once, also those that come after the end. A beat after it is told to stop.
    """
    for order in itertools.permutations(("heartbeat", "logs", "complete")):
        run = edge.tenant.trigger()
        worker = edge.worker()
        work = ask(worker, wait=0)["work"]
        assert work["run"]["id"] == run
        _deliver(worker, work, order * 3)
        stored = edge.tenant.client.simulate_get(f"/api/v1/runs/{run}/logs").json["lines"]
        assert [line["message"] for line in stored] == ["1", "2", "3"], order
        assert edge.events(run) == ["TRIGGER", "DEQUEUE", "START", "SUCCEED"], order
    assert edge.is_whole()


def _deliver(worker: testing.TestClient, work: dict[str, Any], calls: tuple[str, ...]) -> None:
    """Carries out the calls one by one, each with the answer that it must have where it stands."""
    ended = False
    lines = [_line(n) for n in (3, 1, 2)]
    for call in calls:
        if call == "heartbeat":
            beat = worker.simulate_post("/worker/v1/heartbeat", json=held(work) | {"wait": 0})
            assert (beat.status_code, beat.json) == (200, {"state": "stop" if ended else "continue"})
        elif call == "logs":
            kept = worker.simulate_post("/worker/v1/logs", json=held(work) | {"lines": lines})
            assert (kept.status_code, kept.json) == (200, {})
        else:
            answer = ask(worker, wait=0, served=1, completion=completed(work, SUCCESS, logs=lines[:1]))
            assert answer == {"completion": {"result": "RUN_FINISHED"}}
            ended = True


def _line(n: int) -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    return {"attempt": 1, "n": n, "at": at, "stream": "stdout", "level": "LOG", "message": str(n)}


def test_an_end_that_comes_after_the_next_attempt_began_changes_nothing(edge: Edge) -> None:
    """F13: the first attempt's end is repeated while the second runs, and after it: both times it is refused."""
    run = edge.tenant.trigger()
    worker = edge.worker()
    first = ask(worker, wait=0)["work"]
    failure = {"ok": False, "error": {"type": "STRING_ERROR", "raw": "once"}, "retry": {"delay": 1, "timestamp": 0}}
    told = [ask(worker, wait=0, served=1, completion=completed(first, failure))["completion"] for _ in range(3)]
    assert [(each["result"], each["snapshot"]) for each in told] == [("RETRY_IMMEDIATELY", first["snapshot"] + 1)] * 3
    begun = held(first) | {"snapshot": told[0]["snapshot"]}
    second = [worker.simulate_post("/worker/v1/start", json=begun).json["work"] for _ in range(3)]
    assert [each["attempt"]["number"] for each in second] == [2, 2, 2]
    for outcome in (failure, SUCCESS):
        late = ask(worker, wait=0, served=1, completion=completed(first, outcome))
        assert late["completion"] == {"result": "STALE"}
    assert edge.events(run)[-2:] == ["RETRY_NOW", "START"]


# --- F12: a poll that is still open, and nobody at its other end


@pytest.mark.parametrize("way", ["it left", "it was buried"])
def test_an_executor_that_is_gone_is_handed_nothing(edge: Edge, way: str) -> None:
    """F12: no answer can reach it any more. A run that is triggered now goes to another, and costs no attempt."""
    gone = edge.worker("executor_gone")
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(ask, gone, wait=8)
        until(lambda: "executor_gone" in edge.platform.placing.idle_executors(), 8, "it waits for a run")
        if way == "it left":
            assert "leave" in ask(edge.worker("executor_gone"), wait=None, served=1)
        else:
            edge.platform.placing.forget(["executor_gone"])
        run = edge.tenant.trigger()
        work = ask(edge.worker(), wait=0)["work"]
        assert "work" not in poll.result()
    assert (work["run"]["id"], work["attempt"]["number"]) == (run, 1)
    assert edge.events(run) == ["TRIGGER", "DEQUEUE", "START"]


# --- F32: the connection is cut between a commit and its answer


#: The statement that a fault strikes, by what is asked for.
TRIGGER, CLAIM, START, MOVE = (
    f"EXECUTE {name} ".encode() for name in ("trigger_runs", "claim_runs", "start_run", "move_runs")
)


@pytest.mark.parametrize("given", [{}, {"idempotencyKey": "once"}], ids=["no key", "a key"])
def test_a_trigger_whose_commit_is_unknown_makes_one_run(edge: Edge, given: dict[str, Any]) -> None:
    """F32: the platform asks again by the run's own id. The run is queued at once, not by a later sweep."""
    edge.proxy.lose_answer(TRIGGER)
    made = edge.post(**given)
    assert (made.status_code, edge.proxy.lost) == (200, 1)
    assert edge.runs() == [made.json["id"]]
    if given:
        again = edge.post(**given).json
        assert (again["id"], again["isCached"]) == (made.json["id"], True)
    assert ask(edge.worker(), wait=0)["work"]["run"]["id"] == made.json["id"]
    assert edge.is_whole()


@pytest.mark.parametrize("given", [{}, {"idempotencyKey": "once"}], ids=["no key", "a key"])
def test_a_trigger_that_was_given_up_is_found_by_its_request(edge: Edge, given: dict[str, Any]) -> None:
    """F32: both tries are lost, so the client hears 503; what it sends again finds the run that was made."""
    edge.proxy.lose_answer(TRIGGER, times=2)
    refused = edge.post(request="r1", **given)
    assert (refused.status_code, edge.proxy.lost) == (503, 2)
    made = edge.post(request="r1", **given)
    assert made.status_code == 200
    assert edge.runs() == [made.json["id"]]
    assert edge.is_whole()
    assert ask(edge.worker(), wait=0)["work"]["run"]["id"] == made.json["id"]


def test_a_warm_claim_whose_commit_is_unknown_gives_the_run(edge: Edge) -> None:
    """F32: the executor that waits gets the run that it was given, as its first attempt, and nobody else does."""
    run = edge.tenant.trigger()
    edge.proxy.lose_answer(CLAIM)
    work = ask(edge.worker("executor_warm"), wait=0)["work"]
    assert edge.proxy.lost == 1
    assert (work["run"]["id"], work["attempt"]["number"]) == (run, 1)
    assert "work" not in ask(edge.worker(), wait=0)
    assert edge.events(run) == ["TRIGGER", "DEQUEUE", "START"]
    assert edge.is_whole()


def test_a_claim_that_was_given_up_is_found_when_the_executor_asks_again(edge: Edge) -> None:
    """F32: both tries are lost, so the executor hears 503; asking again it gets the run that it was given."""
    run = edge.tenant.trigger()
    worker = edge.worker()
    edge.proxy.lose_answer(CLAIM, times=2)
    body = {"wait": 0, "served": 3, "request": "r"}
    refused = worker.simulate_post("/worker/v1/next", json=body)
    assert (refused.status_code, edge.proxy.lost) == (503, 2)
    work = ask(worker, wait=0, served=3, again=True)["work"]
    assert (work["run"]["id"], work["attempt"]["number"]) == (run, 1)
    ask(worker, wait=None, served=4, completion=completed(work, SUCCESS))
    assert edge.events(run) == ["TRIGGER", "DEQUEUE", "START", "SUCCEED"]
    assert edge.is_whole()


def test_a_cold_claim_and_a_start_whose_commits_are_unknown(edge: Edge) -> None:
    """F32: the dispatcher's claim, then the start of the executor that it placed: one executor, one attempt."""
    run = edge.tenant.trigger()
    edge.proxy.lose_answer(CLAIM)
    order = until(lambda: edge.platform.placing.next_order(edge.platform.clock()), 20, "the run is due")
    assert (order.run.id, edge.proxy.lost) == (run, 1)
    assert edge.platform.placing.next_order(edge.platform.clock()) is None
    edge.proxy.lose_answer(START)
    work = ask(edge.worker(order.identity.executor), wait=0, served=0)["work"]
    assert (work["run"]["id"], work["attempt"]["number"], edge.proxy.lost) == (run, 1, 2)
    assert edge.events(run) == ["TRIGGER", "DEQUEUE", "START"]
    assert edge.is_whole()


@pytest.mark.parametrize(
    ("outcome", "result", "event"),
    [
        (SUCCESS, "RUN_FINISHED", "SUCCEED"),
        ({"ok": False, "error": {"type": "STRING_ERROR", "raw": "no"}, "skippedRetrying": True}, "RUN_FINISHED", "FAIL"),
        (
            {"ok": False, "error": {"type": "STRING_ERROR", "raw": "no"}, "retry": {"delay": 1, "timestamp": 0}},
            "RETRY_IMMEDIATELY",
            "RETRY_NOW",
        ),
        (
            {"ok": False, "error": {"type": "STRING_ERROR", "raw": "no"}, "retry": {"delay": 60_000, "timestamp": 0}},
            "RETRY_QUEUED",
            "RETRY_LATER",
        ),
    ],
    ids=["success", "failure", "retry now", "retry later"],
)
def test_an_end_whose_commit_is_unknown_is_told_once(edge: Edge, outcome: dict[str, Any], result: str, event: str) -> None:
    """F32: the platform tells it again by itself, or the executor does: one row of history, one answer."""
    for times in (1, 2):
        run = edge.tenant.trigger()
        worker = edge.worker()
        work = ask(worker, wait=0)["work"]
        edge.proxy.lose_answer(MOVE, times=times)
        done = completed(work, outcome)
        if times == 2:
            body = {"wait": None, "served": 1, "request": "r", "completion": done}
            assert worker.simulate_post("/worker/v1/next", json=body).status_code == 503
        told = ask(worker, wait=None, served=1, again=times == 2, completion=done)["completion"]
        assert told["result"] == result
        assert edge.events(run) == ["TRIGGER", "DEQUEUE", "START", event]
    assert edge.proxy.lost == 3
    assert edge.is_whole()
