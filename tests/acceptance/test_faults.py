"""Killed without a word, while runs with retries and cancels are in flight: every accepted run ends once, and right."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
import redis
from tests.support.stack import Stack, until

from sojourn.sdk.errors import ApiConnectionError, ApiError, ServerError

SOAK = bool(os.environ.get("SOAK"))
RUNS, KILLS = (2_000, 20) if SOAK else (150, 3)
ENDS_WITHIN = 400 if SOAK else 120


class Load:
    """Triggers runs from several threads, and remembers what was accepted and what should become of it."""

    def __init__(self, stack: Stack, seed: int = 7):
        self.stack = stack
        self.random = random.Random(seed)
        self.accepted: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def trigger_all(self, count: int) -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(self._one, range(count)))

    def _one(self, n: int) -> None:
        client = self.stack.client()
        kind = self.random.choices(("echo", "retries", "fails", "cancelled"), (5, 3, 1, 1))[0]
        task, payload = {
            "echo": ("echo", {"n": n}),
            "retries": ("fails-until", {"until": 2, "n": n}),
            "fails": ("always-fails", {"n": n}),
            "cancelled": ("sleeps", 20),
        }[kind]
        # A client that was given up on asks again, with the key under which the run may have been stored already.
        run = until(lambda: self._triggered(client, task, payload, f"load-{n}"), 60, "it is triggered")
        if kind == "cancelled":
            until(lambda: self._cancelled(client, run), 60, "it is cancelled")
        with self._lock:
            self.accepted[run] = (kind, n)

    @staticmethod
    def _triggered(client, task: str, payload, key: str) -> str:
        try:
            return str(client.trigger(task, payload, {"idempotencyKey": key})["id"])
        except (ApiConnectionError, ServerError):
            return ""

    @staticmethod
    def _cancelled(client, run: str) -> bool:
        try:
            client.cancel(run)
            return True
        except ApiError:
            return False

    def check(self) -> None:
        """Every accepted run ends, as it should, within the bound; then the platform is whole."""
        client = self.stack.client()
        deadline = time.monotonic() + ENDS_WITHIN
        for run, (kind, n) in self.accepted.items():
            wire = until(lambda run=run: client.result(run, wait=5), max(deadline - time.monotonic(), 1), f"{run} ends")
            run_status = client.retrieve(run)["status"]
            if kind == "echo":
                # An executor that is lost costs an attempt; the one that these may make may be lost with it.
                assert run_status in ("COMPLETED", "CRASHED", "FAILED"), (run, wire)
                if run_status == "COMPLETED":
                    assert json.loads(wire["output"]) == {"n": n}
            elif kind == "retries":
                assert run_status in ("COMPLETED", "CRASHED", "FAILED"), (run, wire)
            elif kind == "fails":
                assert run_status in ("FAILED", "CRASHED"), (run, wire)
            else:
                assert run_status == "CANCELED", (run, wire)
        until(lambda: not self.stack.violations(), 20, "every invariant holds")
        assert self._stored() == len(self.accepted), "no run was made twice"

    def _stored(self) -> int:
        with contextlib.closing(psycopg2.connect(self.stack.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM runs")
            return int(cursor.fetchone()[0])

    def completed(self) -> int:
        client = self.stack.client()
        return sum(client.retrieve(run)["status"] == "COMPLETED" for run in self.accepted)


def under_load(stack: Stack, harm: Callable[[], None], times: int = KILLS) -> Load:
    """Triggers runs while harm is done a few times, evenly over the load."""
    load = Load(stack)
    triggering = threading.Thread(target=load.trigger_all, args=(RUNS,))
    triggering.start()
    for part in range(times):
        until(lambda part=part: len(load.accepted) > RUNS * part / times or not triggering.is_alive(), 240, "load")
        harm()
    triggering.join(400)
    assert not triggering.is_alive()
    assert len(load.accepted) == RUNS
    load.check()
    return load


@pytest.mark.parametrize("service", ["control-plane", "scheduler", "redis", "postgres"])
def test_a_service_is_killed_again_and_again(own_stack, service: str):
    """F01 the control plane, F05 the scheduler, F20 Redis, which comes back empty, F30 PostgreSQL."""
    stack = own_stack()
    load = under_load(stack, lambda: stack.kill(service))
    should = sum(kind in ("echo", "retries") for kind, _ in load.accepted.values())
    assert load.completed() >= should * 0.9


def test_executors_are_killed(own_stack):
    """F08: shims die, and the processes of the user's code with them."""
    stack = own_stack()

    def harm() -> None:
        living = until(stack.executors, 20, "an executor lives")
        try:
            os.kill(living[0], signal.SIGKILL)
        except ProcessLookupError:
            return

    under_load(stack, harm)


def test_redis_is_emptied_under_load(own_stack):
    """F21: at any moment, again and again."""
    stack = own_stack()
    connection = redis.Redis.from_url(f"unix://{stack.data_dir}/run/redis.sock")
    under_load(stack, connection.flushall, times=20 if SOAK else 5)
    connection.close()


POINTS = (
    "trigger.after_store",
    "claim.after_dequeue",
    "claim.after_claim",
    "attempt.after_settle",
    "scheduler.after_pop",
    "scheduler.after_claim",
    "scheduler.before_place",
    "scheduler.after_place",
)


@pytest.mark.parametrize("point", POINTS)
def test_the_process_dies_at_each_fault_point(own_stack, tmp_path: Path, point: str):
    """F05 and the points of the control plane: killed right there, once."""
    note = tmp_path / "struck"
    stack = own_stack(SOJOURN_FAULTS=f"{point}=kill:1:once={note}")
    client = stack.client()
    runs = [client.trigger("fails-until", {"until": 1, "n": n})["id"] for n in range(3)]
    for run in runs:
        result = until(lambda run=run: client.result(run, wait=5), 60, f"{run} ends")
        assert result["ok"], result
    assert note.exists(), "the fault never struck"
    until(lambda: not stack.violations(), 20, "every invariant holds")


def test_a_rebuild_that_is_broken_off_is_done_again(own_stack, tmp_path: Path):
    """F20: Redis comes back empty, and the scheduler dies when running runs have their slots and waiting ones are lost."""
    note, gate = tmp_path / "struck", tmp_path / "gate"
    note.touch()  # not the first rebuild, of an empty queue: a stack of which a part ends while it starts does not start
    stack = own_stack(SOJOURN_FAULTS=f"recovery.half_rebuilt=kill:1:once={note}", SOJOURN_PLACES="2")
    note.unlink()
    client = stack.client()
    running = [client.trigger("waits-for", {"file": str(gate)})["id"] for _ in range(2)]
    until(lambda: all(client.retrieve(run)["status"] == "EXECUTING" for run in running), 30, "both places are taken")
    waiting = [client.trigger("echo", {"n": n})["id"] for n in range(20)]
    stack.kill("redis")
    until(note.exists, 20, "the rebuild is broken off")
    gate.touch()
    for run in (*running, *waiting):
        result = until(lambda run=run: client.result(run, wait=5), 60, f"{run} ends")
        assert result["ok"], result
    assert all(client.retrieve(run)["attemptCount"] == 1 for run in (*running, *waiting))
    until(lambda: not stack.violations(), 20, "every invariant holds")
