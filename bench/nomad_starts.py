"""Cold starts on a private Nomad, one by one or at once, and the moments of each: seconds since 1970, all on one clock."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.nomad_stack import NomadStack
from tests.support.stack import until

from bench.measure import PROJECT, TIMES, sql
from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.nomad_jobs import spec
from sojourn.nomad_jobs.client import Client
from sojourn.nomad_jobs.sites import Site

#: In the order of a start. Those of a job without Sojourn are fewer.
MOMENTS = (
    "asked", "stored", "claimed", "dispatched", "allocated", "received", "started", "identity swapped", "START",
    "first line", "end stored", "result known",
)  # fmt: skip
Moments = dict[str, float]
#: So little that as many executors as are asked for at once find room on the node; MHz.
MHZ_PER_CPU = 20
_FLOOR = str(Path(__file__).parent / "nomad_floor.py")
#: Requests are made by so many threads.
_ASKERS = 8
_EVENTS = {"Received": "received", "Started": "started"}


class Jobs:
    """A parameterized job like those of Sojourn, but for what it starts: nothing of Sojourn takes part."""

    def __init__(self, agent: NomadAgent, name: str, command: list[str]):
        self._client, self._tags = Client(agent.management), itertools.count()
        site, terms = Site(mhz_per_cpu=MHZ_PER_CPU), spec.Terms("http://127.0.0.1:1", 10, 60, prefix="floor")
        document = spec.job("bench", name, "small-1x", site, terms)
        document["TaskGroups"][0]["Tasks"][0]["Config"] = {"command": command[0], "args": command[1:]}
        self._job = document["ID"]
        self._client.register({**document, "Namespace": agent.management.namespace})

    def start(self) -> Moments:
        """One start, once it is over."""
        return self.start_many(1)[0]

    def start_many(self, count: int) -> list[Moments]:
        """As many at once, once all of them are over."""
        with ThreadPoolExecutor(min(count, _ASKERS)) as pool:
            asked = list(pool.map(lambda _: self._dispatch(), range(count)))
        return [{**moments, **self._told(child), **self._first_line(tag)} for tag, child, moments in asked]

    def _dispatch(self) -> tuple[str, str, Moments]:
        tag, begun = f"tag{next(self._tags)}", time.time()
        return tag, self._client.dispatch(self._job, tag, {"executor": tag}, ""), {"asked": begun}

    def _told(self, child: str) -> Moments:
        def over() -> list[dict[str, Any]]:
            return [each for each in self._client.allocations(child) if each["ClientStatus"] == "complete"]

        [allocation] = until(over, 120, f"{child} is over")
        return of_nomad(self._client.job(child), allocation)

    def _first_line(self, tag: str) -> Moments:
        return {}


class Shims(Jobs):
    """Jobs that start a shim and a user's process with their imports. They stay for so many `seconds`."""

    def __init__(self, agent: NomadAgent, seconds: float = 0):
        self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind(("127.0.0.1", 0))
        self._receiver.settimeout(30)
        self._heard: dict[str, float] = {}
        port = str(self._receiver.getsockname()[1])
        super().__init__(agent, f"shim-{port}", [sys.executable, "-P", _FLOOR, "shim", port, str(seconds)])

    def _first_line(self, tag: str) -> Moments:
        while tag not in self._heard:
            said, at = self._receiver.recv(200).decode().split()
            self._heard[said] = float(at)
        return {"first line": self._heard[tag]}


class Sojourn:
    """A stack whose executors leave when there is no work at once, so that each start is a cold one."""

    def __init__(self, stack: NomadStack):
        self._stack = stack

    def start(self, task: str = "cold") -> Moments:
        """One start, once its executor has ended."""
        client, begun = self._stack.client(), time.time()
        run = client.trigger(task, {"seconds": 0})["id"]
        result = client.result(run, wait=60)
        moments = {"asked": begun, "result known": time.time(), "first line": _output(result)}
        self.wait_until_gone()
        return {**moments, **self._told(run)}

    def start_many(self, count: int, seconds: float) -> list[Moments]:
        """As many at once; each stays for so many `seconds`, so that none is served by another's executor."""
        with ThreadPoolExecutor(min(count, _ASKERS)) as pool:
            asked = list(pool.map(lambda _: self._trigger(seconds), range(count)))
        client = self._stack.client()
        results = [client.result(run, wait=60) for run, _ in asked]
        self.wait_until_gone()
        return [
            {**self._told(run), "asked": begun, "first line": _output(result)}
            for (run, begun), result in zip(asked, results, strict=True)
        ]

    def wait_until_gone(self) -> None:
        """Returns when no executor lives."""
        with sql(self._stack) as ask:
            until(lambda: not ask("SELECT 1 FROM executors WHERE ended_at IS NULL"), 60, "executors have left")

    def _trigger(self, seconds: float) -> tuple[str, float]:
        begun = time.time()
        return self._stack.client().trigger("cold", {"seconds": seconds})["id"], begun

    def _told(self, run: str) -> Moments:
        """What the history, the executor's row and Nomad have of a run; without Nomad's part if it was warm."""
        with sql(self._stack) as ask:
            history = dict(
                ask("SELECT event, extract(epoch FROM created_at)::float FROM snapshots WHERE run_id = %s", [run])
            )
            found = ask(
                "SELECT child_job_id, allocation_id, extract(epoch FROM admitted_at)::float"
                " FROM executors WHERE run_id = %s",
                [run],
            )
        moments = {
            "stored": history["TRIGGER"],
            "claimed": history["DEQUEUE"],
            "START": history["START"],
            "end stored": history["SUCCEED"],
        }
        if len(found) != 1:
            return moments
        [(child, allocation, admitted)] = found
        ask_nomad = self._stack.ask
        told = of_nomad(ask_nomad(f"job/{child.replace('/', '%2F')}"), ask_nomad(f"allocation/{allocation}"))
        return {**moments, **told, "identity swapped": admitted}


def of_nomad(job: dict[str, Any], allocation: dict[str, Any]) -> Moments:
    """Nomad's own times of a child and its one allocation; `started` is that of the event, as in StartedAt."""
    found = {"dispatched": job["SubmitTime"], "allocated": allocation["CreateTime"]}
    for event in allocation["TaskStates"][spec.TASK]["Events"]:
        if event["Type"] in _EVENTS:
            found[_EVENTS[event["Type"]]] = event["Time"]
    return {name: nanoseconds / 1e9 for name, nanoseconds in found.items()}


@contextmanager
def sojourn(agent: NomadAgent, sandbox: str, places: int, project: Path = PROJECT, **settings: str) -> Iterator[Sojourn]:
    """A fresh stack on the agent, with the bench's project; ended afterwards."""
    made = NomadStack(
        agent,
        **TIMES,
        SOJOURN_PLACEMENT_SECONDS="60",
        SOJOURN_NOMAD_PLACES=str(places),
        SOJOURN_IDLE_TIMEOUT_SECONDS="0.2",
        SOJOURN_NOMAD_SITES=json.dumps({"*": {"mhz_per_cpu": MHZ_PER_CPU}}),
        SOJOURN_SANDBOX=sandbox,
        **settings,
    )
    made.up()
    try:
        made.deploy(project)
        yield Sojourn(made)
    finally:
        made.down()


def _output(result: dict[str, Any] | None) -> float:
    """What the task `cold` returned: its first line's clock."""
    assert result and result["ok"], result
    return float(json.loads(result["output"]))
