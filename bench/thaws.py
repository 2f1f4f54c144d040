"""One frozen run there and back, and the moments of it: seconds since 1970, all on one clock."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from pathlib import Path

from tests.support.stack import Stack, until

from bench.measure import Ask

PROJECT = Path(__file__).parent / "waiting"
#: Every wait is one on the server, and its process is frozen at once.
FROZEN = {
    "SOJOURN_SANDBOX": "required",
    "SOJOURN_SANDBOX_NETWORK": "none",
    "SOJOURN_SHORT_WAIT": "0",
    "SOJOURN_FREEZE_AFTER": "0",
    "SOJOURN_FREEZE_THRESHOLD": "0",
}
Moments = dict[str, float]
#: In order, out of memory and back. At BLOCK the run's slots are free; `begun` is storing, once the process stands still;
#: `completed` is the token, by its caller.
OUT = ("last line", "BLOCK", "begun", "stored", "SUSPEND")
BACK = ("completed", "RESUME", "DEQUEUE", "CONTINUE", "first line", "SUCCEED", "result known")
#: Seconds after which an executor that has frozen a run waits for another.
_SETTLED = 1.5


class Thaws:
    """Runs of one stack, one after another. `cold`: its executors leave at once, so that each thaw has a new one."""

    def __init__(self, made: Stack, ask: Ask, *, cold: bool):
        self._stack = made
        self._ask = ask
        self._cold = cold

    def once(self) -> Moments:
        """The moments of one run, there and back."""
        client = self._stack.client()
        token = client.create_token()["id"]
        run = client.trigger("approves", {"n": 1, "token": token})["id"]
        until(lambda: "SUSPEND" in self._events(run), 60, f"{run} is suspended")
        self._settle()
        begun = time.time()
        client.complete_token(token, True)
        result = client.result(run, wait=60)
        known = time.time()
        assert result and result["ok"], result
        [(checkpoint, stored)] = self._ask(
            "SELECT extract(epoch FROM created_at)::float, extract(epoch FROM stored_at)::float"
            " FROM checkpoints WHERE run_id = %s",
            [run],
        )
        told = json.loads(result["output"])
        return {
            **self._events(run), "last line": told["last_line"], "begun": checkpoint, "stored": stored,
            "completed": begun, "first line": told["first_line"], "result known": known,
        }  # fmt: skip

    def _settle(self) -> None:
        """Until no executor is left, or the one that has frozen the run waits for another."""
        if self._cold:
            until(self._is_alone, 60, "the executors have left")
        else:
            time.sleep(_SETTLED)

    def _is_alone(self) -> bool:
        return not self._stack.executors() and not self._ask("SELECT 1 FROM executors WHERE ended_at IS NULL")

    def _events(self, run: str) -> Moments:
        """The last moment of each event of a run."""
        rows = self._ask(
            "SELECT event, extract(epoch FROM created_at)::float FROM snapshots WHERE run_id = %s ORDER BY seq", [run]
        )
        return {str(event): float(at) for event, at in rows}


def legs(found: list[Moments], moments: tuple[str, ...]) -> dict[str, float]:
    """The medians from each moment to the next, in ms."""
    return {
        after: statistics.median(each[after] - each[before] for each in found) * 1e3
        for before, after in itertools.pairwise(moments)
    }
