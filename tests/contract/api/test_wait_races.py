"""F43: what a run waits for is over before, while and after the run is blocked or frozen; nobody waits for ever.

The real application on real PostgreSQL and Redis. Two play: the run's executor, who begins the waits, blocks, freezes;
and whoever completes them. Most histories are laid out, each side stopped at each of its steps in turn; the others are
two threads that race; in some, one of the two crashes at a step. No sweep runs unless whoever was to tell has crashed.

`WAIT_RACES` says how many (500, with SOAK 10,000), `WAIT_RACES_FROM` where they begin: a history is made of its number.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane import faults
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor
from tests.contract.api.worker_calls import drain
from tests.support.freezing import Player
from tests.support.stack import until

RACES = int(os.environ.get("WAIT_RACES", 10_000 if os.environ.get("SOAK") else 500))
FROM = int(os.environ.get("WAIT_RACES_FROM", 0))
PATIENCE = 30

#: The steps of an executor, in order; B's parts fall between them.
ALIVE = ("begin", "wait.after_make", "wait.before_block", "wait.after_block", "blocked")
FROZEN = (*ALIVE, "begun", "freezing.after_upload", "stored", "freezing.after_suspend", "suspended")
KINDS = ("date", "token", "timeout", "run", "all", "any")
STANDING_STILL = ("EXECUTING_WITH_WAITPOINTS", "SUSPENDED")


class Crash(Exception):
    """A process ended at this step."""


@dataclass
class Plan:
    """One history. `parts`: after which of the executor's steps each part of the completion happens; None: they race."""

    number: int
    kind: str
    freezes: bool
    parts: list[int] | None
    crash: str | None = None
    chance: random.Random = field(default_factory=random.Random)


def plan_of(number: int) -> Plan:
    chance = random.Random(number)
    kind, freezes = KINDS[number % len(KINDS)], number // len(KINDS) % 2 == 1
    steps = len(FROZEN if freezes else ALIVE)
    how = number % 10
    first = 1 if kind == "date" else 0  # a date comes once it is waited for; one that is past before is no wait
    parts = None if how == 9 else sorted(chance.randrange(first, steps) for _ in range(6))
    crash = None
    if how in (6, 7):
        points = ["wait.after_make", "wait.before_block", "wait.after_block", "wait.after_complete", "told"]
        crash = chance.choice([*points, *(["freezing.after_suspend"] if freezes else [])])
    return Plan(number, kind, freezes, parts, crash, chance)


class Director:
    """Stands at every fault point. The test's own thread is the executor; B is the thread that completes."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._executor = threading.current_thread()
        self._steps = FROZEN if plan.freezes else ALIVE
        self._left = list(plan.parts or ())
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._crashed = False
        self.b: threading.Thread | None = None
        self.b_is_over = False
        self.b_failed: BaseException | None = None

    def begin(self, act: Callable[[], None]) -> None:
        def run() -> None:
            try:
                if self._plan.parts is not None:
                    self._go.acquire(timeout=PATIENCE)
                act()
            except Crash:
                pass
            except BaseException as error:
                self.b_failed = error
            finally:
                self.b_is_over = True
                self._stopped.release()

        self.b = threading.Thread(target=run, daemon=True)
        self.b.start()

    def point(self, name: str) -> None:
        """Where the code itself has a step."""
        here = threading.current_thread()
        if here is self.b:
            self._crash_at(name)
            if self._plan.parts is None:
                self._dawdle()
            else:
                self._stopped.release()
                assert self._go.acquire(timeout=PATIENCE)
        elif here is self._executor:
            self.step(name)
            self._crash_at(name)

    def step(self, name: str) -> None:
        """The executor has come to a step: what B is to do after it happens now."""
        if self._plan.parts is None:
            self._dawdle()
            return
        if name not in self._steps:
            return
        while self._left and self._left[0] <= self._steps.index(name):
            self._left.pop(0)
            self._let_b_act()

    def finish(self) -> None:
        """Whatever is left of B."""
        assert self.b
        while not self.b_is_over:
            if self._plan.parts is None:
                self.b.join(PATIENCE)
            else:
                self._let_b_act()
        self.b.join(PATIENCE)
        if self.b_failed:
            raise self.b_failed

    def _let_b_act(self) -> None:
        if not self.b_is_over:
            self._go.release()
            assert self._stopped.acquire(timeout=PATIENCE), "B hangs"

    def _crash_at(self, name: str) -> None:
        if name == self._plan.crash and not self._crashed:
            self._crashed = True
            raise Crash(name)

    def _dawdle(self) -> None:
        if self._plan.chance.random() < 0.5:
            time.sleep(self._plan.chance.random() * 0.003)


@dataclass
class Ground:
    """Where all histories are played, one after the other."""

    platform: Platform
    tenant: Tenant
    first: Player
    second: Player
    patch: pytest.MonkeyPatch

    def play(self, plan: Plan) -> None:
        run = self.tenant.trigger()
        player = self.first
        player.served = 0
        assert player.next()["work"]["run"]["id"] == run
        wishes, complete = self._waits(plan)
        keys = [wish["key"] for wish in wishes]
        need = "any" if plan.kind == "any" else "all"
        director = Director(plan)
        told_of_runs = self.platform.index.on_awaited

        def told(runs: Any, now: Any) -> None:
            director.point("told")
            told_of_runs(runs, now)

        with self.patch.context() as patch:
            patch.setattr(faults, "point", director.point)
            patch.setattr(self.platform.index, "on_awaited", told)
            director.begin(complete)
            director.step("begin")
            state, done = self._wait(player, director, wishes, keys, need)
            if state == "blocked" and plan.freezes:
                state = self._freeze(player, director)
            director.finish()
        if plan.crash in ("wait.after_complete", "told"):
            self.platform.waiting.sweep(self.platform.clock())
        assert self._standing(run) not in STANDING_STILL, "it has what it needs, and stands still"
        player, done = self._go_on(run, state, keys, done)
        assert all(each["ok"] or each["error"]["code"] in _ENDS for each in done.values())
        assert len(done) == len(keys) if need == "all" else done
        assert player.complete({"ok": True, "output": "1"}) == {"result": "RUN_FINISHED"}

    def _waits(self, plan: Plan) -> tuple[list[dict[str, Any]], Callable[[], None]]:
        """What is waited for, and what completes it; of several, one after the other."""
        made: list[tuple[dict[str, Any], Callable[[], None]]] = []
        kinds = {"all": ("token", "run"), "any": ("run", "token")}.get(plan.kind, (plan.kind,))
        for n, kind in enumerate(kinds):
            wish, act = getattr(self, f"_{kind}")()
            made.append(({"key": f"1:{n}", **wish}, act))
        acts = [act for _, act in made][: 1 if plan.kind == "any" else None]

        def complete() -> None:
            for act in acts:
                act()

        return [wish for wish, _ in made], complete

    def _date(self) -> tuple[dict[str, Any], Callable[[], None]]:
        at = self.platform.clock() + timedelta(minutes=5)
        return {"kind": "date", "at": at.isoformat()}, self._time_passes

    def _token(self, **options: Any) -> tuple[dict[str, Any], Callable[[], None]]:
        token = self.tenant.client.simulate_post("/api/v1/waitpoints/tokens", json=options).json["id"]

        def complete() -> None:
            answer = self.tenant.client.simulate_post(f"/api/v1/waitpoints/tokens/{token}/complete", json={"data": 1})
            assert answer.status_code in (200, 500)  # it crashes where it is to crash

        return {"kind": "token", "waitpoint": token}, complete

    def _timeout(self) -> tuple[dict[str, Any], Callable[[], None]]:
        wish, _ = self._token(timeout="5m")
        return wish, self._time_passes

    def _run(self) -> tuple[dict[str, Any], Callable[[], None]]:
        child = self.tenant.trigger(delay="30d")

        def end() -> None:
            self.tenant.client.simulate_post(f"/api/v2/runs/{child}/cancel")

        return {"kind": "run", "awaited": child}, end

    def _time_passes(self) -> None:
        later = self.platform.clock() + timedelta(minutes=6)
        until(lambda: self.platform.waiting.complete_due(later), PATIENCE, "it is waited for")

    def _wait(
        self, player: Player, director: Director, wishes: list[dict[str, Any]], keys: list[str], need: str
    ) -> tuple[str, dict[str, Any]]:
        body = player.held(waits=wishes, pending=keys, block=need)
        answer = player.post("wait", body)
        if answer.status_code == 500:  # the control plane was killed there: the executor sends it again
            answer = player.post("wait", body)
        assert answer.status_code == 200, answer.text
        player.work["snapshot"] = answer.json["snapshot"]
        if answer.json["state"] == "blocked":
            director.step("blocked")
        return answer.json["state"], answer.json["done"]

    def _freeze(self, player: Player, director: Director) -> str:
        """What became of it: suspended, or still blocked, where the wait was over first."""
        begun = player.begin()
        if begun.status_code == 409:
            return "blocked"
        director.step("begun")
        stored = player.store(begun.json["checkpoint"], b"image")
        if stored.status_code == 409:
            return "blocked"
        director.step("stored")
        body = player.held(checkpoint=begun.json["checkpoint"], nodeType=player.node_type, sealedBytes=5, imageBytes=9)
        body |= {"freezeMs": 1, "storeMs": 1}
        answer = player.post("suspend", body)
        if answer.status_code == 500:
            answer = player.post("suspend", body)
        if answer.status_code == 409:
            return "blocked"
        assert answer.json == {"state": "suspended"}, answer.text
        director.step("suspended")
        return "suspended"

    def _go_on(self, run: str, state: str, keys: list[str], done: dict[str, Any]) -> tuple[Player, dict[str, Any]]:
        """Who has the run now, and what its process was told."""
        if state == "suspended":
            other = self.second
            other.served = 0
            assert other.next()["work"]["run"]["id"] == run
            return other, other.go_on()
        if state == "blocked":
            self.platform.placing.readmit(self.platform.clock())
            answer = self.first.post("heartbeat", self.first.held(wait=0, pending=keys)).json
            assert not answer.get("blocked")
            self.first.work["snapshot"] = answer.get("snapshot", self.first.work["snapshot"])
            done = answer["done"]
        return self.first, done

    def _standing(self, run: str) -> str:
        return self.platform.runs.standing([run])[run]


_ENDS = ("WAITPOINT_TIMED_OUT", "TASK_RUN_CANCELLED")


@pytest.fixture(scope="module")
def ground(platform: Platform, tenant: Tenant) -> Iterator[Ground]:
    version = tenant.deploy(["hello", "child"])["id"]
    drain(executor(platform, tenant, version, "executor_drain"))
    players = [Player(executor(platform, tenant, version, f"executor_race{n}")) for n in range(2)]
    tenant.client.simulate_post("/api/v1/tasks/child/trigger", json={})  # pins nothing; the lanes are known
    drain(players[0].client)
    with pytest.MonkeyPatch.context() as patch:
        yield Ground(platform, tenant, players[0], players[1], patch)


def test_nobody_waits_for_what_is_over(ground: Ground) -> None:
    platform, tenant = ground.platform, ground.tenant
    seen: dict[str, int] = {}
    for number in range(FROM, FROM + RACES):
        plan = plan_of(number)
        try:
            ground.play(plan)
        except BaseException as error:
            raise AssertionError(f"history {number} ({plan}): WAIT_RACES_FROM={number} WAIT_RACES=1") from error
        how = "race" if plan.parts is None else "crash" if plan.crash else "laid out"
        seen[how] = seen.get(how, 0) + 1
    if RACES >= 100:
        assert set(seen) == {"race", "crash", "laid out"}
    for run in platform.runs.live(tenant.organization, ["DELAYED"], "", 10_000):  # children that nobody needed
        tenant.client.simulate_post(f"/api/v2/runs/{run.id}/cancel")
    assert platform.waiting.sweep(platform.clock()) == 0, "the sweep has nothing to mend"
    assert platform.checks.check(platform.clock()) == []
    audit = platform.queue.audit(tenant.organization)
    assert not audit.waiting and not audit.inflight
    assert platform.database.rows("SELECT 1 FROM runs WHERE snapshot_status <> 'FINISHED'") == []
