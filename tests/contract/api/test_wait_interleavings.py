"""F43: what a run waits for is completed, or the run cancelled, at every moment of its being blocked, frozen and thawed.

An honest executor is played against the worker API. A race is a plan: what happens before, during and after which of its
steps, and at which point inside of one; during: in a thread. A crash is an answer that is lost with all that was to follow.
After each: the run went on exactly once for each time that it stood still, or ended as cancelled; nothing holds a slot that
should not; and where nothing crashed, no sweep was needed for any of it.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import faults, wsgi
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant
from tests.support.freezing import Frozen, Player
from tests.support.stack import until

RACES = int(os.environ.get("WAIT_RACES", 10_000 if os.environ.get("SOAK") else 500))
FROM = int(os.environ.get("WAIT_RACES_FROM", "0"))

POINTS = (
    "wait.after_make",
    "wait.before_block",
    "wait.after_block",
    "wait.after_complete",
    "freezing.after_upload",
    "freezing.after_suspend",
    "freezing.after_continue",
)
STEPS = ("block", "begin", "store", "suspend", "dequeue", "thaw")
PLACES = (*(f"{when} {step}" for step in STEPS for when in ("before", "during", "after")), *POINTS)
KINDS = ("token", "callback", "timeout", "child", "date")


@dataclass
class Happening:
    """`what`: complete (the next wait that is not), cancel, readmit, sweep, lose (the executor), crash (at a point)."""

    place: str
    what: str


@dataclass
class Race:
    """`kinds` are what the run waits for, `need` how many of them at first; `freezes`: whether it is frozen.

    `leaves`: its first executor has to leave before that, and the run is frozen in the middle of its work.
    """

    kinds: tuple[str, ...] = ("token",)
    need: str = "all"
    freezes: bool = True
    cold: bool = False
    leaves: bool = False
    plan: list[Happening] = field(default_factory=list)
    seed: int = 0

    @property
    def crashes(self) -> bool:
        return any(each.what == "crash" for each in self.plan)


class Lost(Exception):
    """The run is not this executor's any more."""


class Stage:
    """Plays races, one after the other."""

    def __init__(self, platform: Platform, tenant: Tenant, app: wsgi.App, version: str):
        self.platform = platform
        self.tenant = tenant
        self.app = app
        self.version = version
        self.race = Race()
        self.run = ""
        self.waits: dict[str, dict[str, Any]] = {}
        self.pending: list[str] = []
        self.left: list[Happening] = []
        self.went_on = self.looks = self.departures = 0
        self.is_over = False
        self.player = self.executor()
        self.lost: Player | None = None
        self._acting = threading.local()
        self._lock = threading.Lock()
        self._chance = random.Random(0)

    # --- a race

    def play(self, race: Race) -> None:
        try:
            self._play(race)
        except BaseException:
            self._clear()
            raise

    def _play(self, race: Race) -> None:
        self.race, self.left, self._chance = race, list(race.plan), random.Random(race.seed)
        self.went_on, self.looks, self.departures, self.is_over, self.lost = 0, 0, 0, False, None
        self.player = self.executor()
        self.run = self.tenant.trigger("hello")
        assert self.player.next(wait=0)["work"]["run"]["id"] == self.run
        self.waits = {f"1:{n + 1}": self._wish(f"1:{n + 1}", kind) for n, kind in enumerate(race.kinds)}
        self.pending = list(self.waits)
        new = list(self.waits)
        if race.leaves:
            self._leave()
        while self.pending and not self.is_over:
            self._wait(new)
            new = []
        if not self.is_over:
            self._ends(self.player.complete({"ok": True, "output": "1"}))
        self._check()

    def _wait(self, new: list[str]) -> None:
        """The process waits for what it needs, and is given it, whichever way that goes."""
        need = "all" if self.race.need == "all" or not new else "any"
        wishes = [self._sent(self.waits[key]) for key in new]
        body = self.player.held(waits=wishes, pending=list(self.pending), block=need)
        answer = self._step("block", lambda: self.player.post("wait", body))
        if answer.status_code == 409:
            return self._in_memory()
        assert answer.status_code == 200, answer.text
        if answer.json["state"] == "ready":
            return self._given(answer.json["done"], blocked=False)
        self.player.work["snapshot"] = answer.json["snapshot"]
        frozen = self._freeze() if self.race.freezes else None
        return self._in_memory() if frozen is None else self._in_the_store()

    def _leave(self) -> None:
        """Nothing holds the run up: it goes on as soon as somebody takes it. If it is cancelled, its executor hears so."""
        if self._freeze() is None:
            return self._in_memory()
        self.departures += 1
        return self._in_the_store()

    def _freeze(self) -> Frozen | None:
        """The image that the run's process was given up for; None where it waits in memory."""
        begun = self._step("begin", self.player.begin)
        if begun.status_code == 409:
            return None
        image = b"image of " + self.run.encode()
        checkpoint, work = begun.json["checkpoint"], self.player.work
        if self._step("store", lambda: self.player.store(checkpoint, image)).status_code == 409:
            return None
        frozen = Frozen(checkpoint, begun.json["key"], begun.json["context"], image, self.run, work["snapshot"])
        suspended = self._step("suspend", lambda: self.player.suspend(frozen))
        return frozen if suspended.status_code == 200 else None

    def _in_memory(self) -> None:
        """Its executor has the process, and beats until it may go on."""
        while True:
            self._dispatch()
            answer = self.player.post("heartbeat", self.player.held(wait=0, pending=self.pending))
            assert answer.status_code == 200, answer.text
            beat = answer.json
            self.player.work["snapshot"] = beat.get("snapshot", self.player.work["snapshot"])
            if beat["state"] == "cancel":
                error = {"type": "STRING_ERROR", "raw": "it was cancelled"}
                return self._ends(self.player.complete({"ok": False, "error": error}))
            assert beat["state"] == "continue", beat
            if beat.get("done"):
                return self._given(beat["done"], blocked=True)
            self._rests(holds_nothing=beat.get("blocked", False))

    def _in_the_store(self) -> None:
        """The run has no process. Whoever takes it, thaws it; of two only one goes on."""
        while not self.is_over:
            before = len(self.left)
            if self._step("dequeue", self._dequeued) is None:
                run = self._stands()
                if run.snapshot_status == "PENDING_CANCEL":  # whom it was given to never came: its lease ends that
                    self.platform.outcomes.lose(run, {"message": "it was never taken"}, self.platform.clock())
                    continue
                self.is_over = run.snapshot_status == "FINISHED"
                if not self.is_over and len(self.left) == before:  # nothing has happened since it was looked for
                    self._rests(holds_nothing=run.snapshot_status == "SUSPENDED")
                continue
            if self._lost_on_the_way():
                continue
            answer = self._step("thaw", self.player.thawed)
            if answer.status_code == 409:
                return self._in_memory()
            assert answer.status_code == 200, answer.text
            self.player.work = answer.json["work"]
            if self.lost is not None:
                assert self.lost.thawed().json["code"] == "STALE", "a second process of one image"
            if answer.json["done"]:
                return self._given(answer.json["done"], blocked=True)
            return self._holds_its_slots()  # it was not waiting
        return None

    def _given(self, done: dict[str, Any], *, blocked: bool) -> None:
        """The process goes on with what it waited for."""
        assert done and set(done) <= set(self.pending), (done, self.pending)
        for key in done:
            self.pending.remove(key)
        self.went_on += blocked
        self._holds_its_slots()

    def _ends(self, completion: dict[str, Any]) -> None:
        assert completion["result"] == "RUN_FINISHED", completion
        self.is_over = True

    # --- steps, and what happens around them

    def _step(self, name: str, call: Callable[[], Any]) -> Any:
        self._reached(f"before {name}")
        during = self._take(f"during {name}")
        threads = [threading.Thread(target=self._later, args=(each, self._chance.random() * 0.004)) for each in during]
        for thread in threads:
            thread.start()
        try:
            answer = self._answered(call)
        finally:
            for thread in threads:
                thread.join(30)
        self._reached(f"after {name}")
        return answer

    def _answered(self, call: Callable[[], Any]) -> Any:
        """The answer, asked for again where it was lost."""
        for _ in range(3):
            answer = call()
            if answer is None or isinstance(answer, dict) or answer.status_code < 500:
                return answer
            assert self.race.crashes, answer.text
        raise AssertionError("it fails again and again")

    def _later(self, happening: Happening, seconds: float) -> None:
        time.sleep(seconds)
        self._act(happening)

    def point(self, name: str) -> None:
        """Stands for `faults.point`."""
        if name not in POINTS:
            return
        for each in self._take(name, crashes=bool(getattr(self._acting, "depth", 0))):
            if each.what == "crash":
                raise faults.InjectedFault(name)
            self._act(each)

    def _reached(self, place: str) -> None:
        for each in self._take(place):
            self._act(each)

    def _take(self, place: str, crashes: bool = False) -> list[Happening]:
        """What is to happen there, once; `crashes`: nothing else is, for it is inside of a happening."""
        with self._lock:
            here = [each for each in self.left if each.place == place and (not crashes or each.what == "crash")]
            self.left = [each for each in self.left if each not in here]
        return sorted(here, key=lambda each: each.what == "crash")

    def _act(self, happening: Happening) -> None:
        before, self._acting.depth = getattr(self._acting, "depth", 0), 1
        try:
            {
                "complete": self._complete_one,
                "cancel": self._cancel,
                "readmit": self._dispatch,
                "sweep": self._sweep,
                "lose": self._lose,
            }[happening.what]()
        finally:
            self._acting.depth = before

    # --- what happens

    def _wish(self, key: str, kind: str) -> dict[str, Any]:
        client, wish = self.tenant.client, {"key": key, "of": kind, "completed": False}
        if kind == "child":
            return {**wish, "kind": "run", "awaited": self.tenant.trigger("hello", delay="1h")}
        if kind == "date":
            return {**wish, "kind": "date", "at": (self.platform.clock() + timedelta(hours=1)).isoformat()}
        body = {"timeout": "1h"} if kind == "timeout" else {}
        made = client.simulate_post("/api/v1/waitpoints/tokens", json=body).json
        return {**wish, "kind": "token", "waitpoint": made["id"], "url": made["url"]}

    def _sent(self, wish: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in wish.items() if name not in ("of", "completed", "url")}

    def _complete_one(self) -> None:
        with self._lock:
            left = [wish for wish in self.waits.values() if not wish["completed"]]
            if not left:
                return
            wish = left[0]
            wish["completed"] = True
        self._complete(wish)

    def _complete(self, wish: dict[str, Any]) -> None:
        path = f"/api/v1/waitpoints/tokens/{wish.get('waitpoint')}/complete"
        client = self.tenant.client
        match wish["of"]:
            case "token":
                self._told(lambda: client.simulate_post(path, json={"data": 1}))
            case "callback":
                anonymous = testing.TestClient(self.app)
                address = wish["url"].partition("/api/")[2]
                self._told(lambda: anonymous.simulate_post(f"/api/{address}", body=b"1"))
            case "child":
                self._told(lambda: client.simulate_post(f"/api/v2/runs/{wish['awaited']}/cancel"))
            case "timeout" | "date":
                self._come_due(wish)

    def _come_due(self, wish: dict[str, Any]) -> None:
        """Its time has come; the waker looks. A date that is not stored yet is past when it is."""
        if wish["of"] == "date":
            wish["at"] = (self.platform.clock() - timedelta(seconds=1)).isoformat()
        self.platform.database.rows(
            "UPDATE waitpoints SET due_at = now() - interval '1 s' WHERE kind = %s AND status = 'PENDING'",
            wish["kind"],
        )
        self._twice(lambda: self.platform.waiting.complete_due(self.platform.clock()))

    def _told(self, call: Callable[[], Any]) -> None:
        answer = self._answered(call)
        assert answer.status_code == 200, answer.text

    def _cancel(self) -> None:
        self._told(lambda: self.tenant.client.simulate_post(f"/api/v2/runs/{self.run}/cancel"))

    def _sweep(self) -> None:
        self._twice(lambda: self.platform.waiting.sweep(self.platform.clock()))
        self.platform.recovery.sweep(self.tenant.organization, self.platform.clock())

    def _twice(self, call: Callable[[], Any]) -> None:
        """A service of the scheduler that fails is run again."""
        try:
            call()
        except faults.InjectedFault:
            call()

    def _dispatch(self) -> None:
        """What the dispatcher does when it has no place free."""
        self.platform.placing.readmit(self.platform.clock())

    def _lose(self) -> None:
        """The executor that thaws falls silent, and is given up."""
        run = self._stands()
        if run.snapshot_status == "PENDING_EXECUTING":
            self.platform.outcomes.lose(run, {"message": "it fell silent"}, self.platform.clock())
            self.lost = self.player

    def _lost_on_the_way(self) -> bool:
        return self.lost is self.player

    def _dequeued(self) -> dict[str, Any] | None:
        """The run's assignment, to another executor."""
        name = ""
        if self.race.cold:
            order = self.platform.placing.next_order(self.platform.clock())
            if order is None:
                return None
            assert order.run.id == self.run
            name = order.identity.executor
        player = self.executor(name)
        work = player.next(wait=0).get("work")
        if work is None:
            return None
        assert work["run"]["id"] == self.run and work["thaw"], work
        self.player = player
        return dict(work)

    def executor(self, name: str = "") -> Player:
        name = name or f"executor_{secrets.token_hex(6)}"
        identity = ExecutorIdentity(
            name, self.tenant.organization, self.tenant.environment, self.version, "small-1x", "default"
        )
        credential = self.platform.credentials.for_executor(identity)
        return Player(testing.TestClient(self.app, headers={"Authorization": f"Bearer {credential}"}))

    # --- what has to be true

    def _clear(self) -> None:
        """A race that failed leaves nothing to the next one."""
        self.left = []
        self.tenant.client.simulate_post(f"/api/v2/runs/{self.run}/cancel")
        run = self._stands()
        if run.snapshot_status == "PENDING_CANCEL":
            self.platform.outcomes.lose(run, {}, self.platform.clock())
        self._sweep()

    def _stands(self) -> Any:
        run = self.platform.runs.any(self.run)
        assert run is not None
        return run

    def _rests(self, *, holds_nothing: bool) -> None:
        """Nobody moves the run: then it has not what it needs, or a crash has cut something off, which a sweep mends."""
        run = self._stands()
        if run.status == "CANCELED":
            return
        before = len(self.left)
        if self.race.crashes:
            self._sweep()
        self.looks += 1
        assert self.looks < 10, f"nothing gets it out of {run.snapshot_status}"
        if len(self.left) != before:
            return
        if run.snapshot_status in ("QUEUED", "QUEUED_EXECUTING"):
            self._becomes_due(run.snapshot_status)
            return
        waits = self.platform.waits.of_run(self.run, run.wait_keys or ())
        done = sum(wait.is_done for wait in waits)
        if done > 0 if run.wait_need == "any" else done >= len(run.wait_keys or ()):
            assert self.race.crashes, f"left standing in {run.snapshot_status} with {done} done"
            return
        if holds_nothing:
            self._is_out_of_the_queue()
        left = [wish for wish in self.waits.values() if wish["key"] in self.pending and not self._is_done(wish)]
        self._complete(left[0])

    def _becomes_due(self, standing: str) -> None:
        """What a crash has cut off may take another sweep; else it is due a moment later."""
        try:
            until(self._is_due, 1 if self.race.crashes else 20, f"it is due: it stands in {standing}")
        except AssertionError:
            if not self.race.crashes:
                raise

    def _is_due(self) -> bool:
        """Whether the queue has it, and a dispatcher looks there: that is said beside the move, a moment later."""
        audit = self.platform.queue.audit(self.tenant.organization)
        due = self.platform.queue.due_organizations(0)
        return self.run in audit.waiting and self.tenant.organization in due

    def _is_done(self, wish: dict[str, Any]) -> bool:
        return any(wait.is_done for wait in self.platform.waits.of_run(self.run, [wish["key"]]))

    def _is_out_of_the_queue(self) -> None:
        audit = self.platform.queue.audit(self.tenant.organization)
        assert (audit.waiting, audit.inflight) == (frozenset(), frozenset()), audit
        assert not any(audit.slots.values()), audit

    def _holds_its_slots(self) -> None:
        if self._stands().snapshot_status != "EXECUTING":
            return  # it was cancelled at that moment
        if self.race.crashes:
            self._sweep()
        audit = self.platform.queue.audit(self.tenant.organization)
        assert (audit.waiting, audit.inflight) == (frozenset(), {self.run}), audit
        assert len(audit.slots) == 4 and all(runs == {self.run} for runs in audit.slots.values()), audit

    def _check(self) -> None:
        run = self._stands()
        events = [row.event for row in self.platform.runs.history(self.run)]
        assert run.snapshot_status == "FINISHED", (run.snapshot_status, events)
        assert run.status in ("COMPLETED", "CANCELED"), events
        if self.race.crashes:
            self._sweep()
        self._is_out_of_the_queue()
        count = events.count
        assert count("SUCCEED") + count("CANCEL") == 1, events
        if run.status == "COMPLETED":
            stood = count("UNBLOCK_QUEUED") + count("SUSPEND") - self.departures
            assert count("BLOCK") == stood, events
            # Where an answer is lost, the process may learn of a block only when that is over.
            assert self.went_on == stood or (self.race.crashes and self.went_on < stood), events
            assert count("UNBLOCK_QUEUED") == count("READMIT"), events
            assert count("SUSPEND") == count("RESUME") == count("CONTINUE"), events
        for wish in self.waits.values():  # nothing of this race is left over
            if wish["of"] == "child":
                self.tenant.client.simulate_post(f"/api/v2/runs/{wish['awaited']}/cancel")
        self.platform.database.rows("DELETE FROM waitpoints WHERE status = 'PENDING'")


@pytest.fixture(scope="module")
def stage(platform: Platform, tenant: Tenant, app: wsgi.App) -> Iterator[Stage]:
    made = Stage(platform, tenant, app, str(tenant.deploy(["hello"])["id"]))
    original, faults.point = faults.point, made.point
    yield made
    faults.point = original


def happenings(*told: tuple[str, str]) -> list[Happening]:
    return [Happening(place, what) for place, what in told]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_completed_at_that_moment(stage: Stage, place: str, kind: str) -> None:
    stage.play(Race((kind,), plan=happenings((place, "complete"))))


@pytest.mark.parametrize("freezes", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_completed_and_readmitted_at_that_moment(stage: Stage, place: str, freezes: bool) -> None:
    """Whoever blocks, or freezes, comes to tell the queue when the run has its slots again."""
    stage.play(Race(freezes=freezes, plan=happenings((place, "complete"), (place, "readmit"))))


@pytest.mark.parametrize("freezes", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_swept_at_that_moment(stage: Stage, place: str, freezes: bool) -> None:
    """Queue and store are two, and the sweep may compare them between any two steps."""
    stage.play(Race(freezes=freezes, plan=happenings((place, "sweep"))))


@pytest.mark.parametrize("freezes", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_cancelled_at_that_moment(stage: Stage, place: str, freezes: bool) -> None:
    stage.play(Race(freezes=freezes, plan=happenings((place, "cancel"))))


@pytest.mark.parametrize("what", ["cancel", "sweep", "readmit", "complete"])
@pytest.mark.parametrize("place", PLACES)
def test_frozen_in_the_middle_of_its_work(stage: Stage, place: str, what: str) -> None:
    """Its executor has to leave."""
    stage.play(Race(leaves=True, plan=happenings((place, what))))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("crash", POINTS)
def test_a_crash_besides(stage: Stage, place: str, crash: str) -> None:
    stage.play(Race(plan=happenings((place, "complete"), (crash, "crash"))))


def drawn(chance: random.Random, seed: int) -> Race:
    """A race of any shape."""
    kinds = tuple(chance.choice(KINDS) for _ in range(chance.choice((1, 1, 2, 3))))
    plan = [Happening(chance.choice(PLACES), "complete") for _ in kinds if chance.random() < 0.9]
    for what, often in (("cancel", 0.15), ("readmit", 0.3), ("sweep", 0.3)):
        if chance.random() < often:
            plan.append(Happening(chance.choice(PLACES), what))
    if chance.random() < 0.15:
        plan.append(Happening("after dequeue", "lose"))
    if chance.random() < 0.25:
        plan.append(Happening(chance.choice(POINTS), "crash"))
    return Race(
        kinds,
        chance.choice(("all", "any")),
        chance.random() < 0.8,
        chance.random() < 0.3,
        chance.random() < 0.2,
        plan,
        seed,
    )


def test_races_of_every_shape(stage: Stage, platform: Platform) -> None:
    for number in range(FROM, FROM + RACES):
        race = drawn(random.Random(number), number)
        try:
            stage.play(race)
        except BaseException as error:
            raise AssertionError(f"WAIT_RACES_FROM={number} WAIT_RACES=1: {race}") from error
        if number % 100 == 99:
            assert platform.checks.check(platform.clock()) == []
    assert platform.checks.check(platform.clock()) == []
