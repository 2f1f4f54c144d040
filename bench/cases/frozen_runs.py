"""Many runs that wait for a token each: frozen until no process of theirs is left, then all of them go on.

SOJOURN_BENCH_RUNS says how many (50), SOJOURN_BENCH_PLACES on how many executors (8), SOJOURN_BENCH_SECONDS how long
either half may take (300).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.stack import Stack, until

from bench.measure import Ask, in_ms, row, sql, stack
from bench.thaws import FROZEN, PROJECT
from sojourn.executor_shim import freezing
from sojourn.executor_shim.process_tree import resident_bytes

_CLIENTS = 8
_IDLE = 3.0
#: Seconds between two lines of progress.
_TOLD = 10.0
_WHERE = "SELECT snapshot_status, count(*) FROM runs GROUP BY 1 ORDER BY 1"


def main() -> None:
    """Rows of the rates there and back, of what is left meanwhile, and of what froze and thawed cost."""
    if why := missing():
        print(f"frozen_runs: skipped, {why}", flush=True)
        return
    count, places = _number("RUNS", 50), _number("PLACES", 8)
    with ExitStack() as held:
        made = held.enter_context(stack(places, SOJOURN_IDLE_TIMEOUT_SECONDS=str(_IDLE), **FROZEN))
        made.deploy(PROJECT)
        ask = held.enter_context(sql(made))
        _Mass(made, ask, count, _number("SECONDS", 300)).measure()


def missing() -> str:
    """What keeps processes from being frozen here; empty: nothing."""
    return "only root can" if os.geteuid() != 0 else freezing.obstacle() or ""


class _Mass:
    """So many runs on one stack; neither half takes longer than `seconds`."""

    def __init__(self, made: Stack, ask: Ask, count: int, seconds: float):
        self._stack = made
        self._ask = ask
        self._count = count
        self._seconds = seconds
        self._numbers = range(1, count + 1)
        self._tokens: dict[int, str] = {}
        self._runs: dict[int, str] = {}
        #: When each run was at its last line before the wait.
        self._last_lines: dict[str, float] = {}
        self._lock = threading.Lock()

    def measure(self) -> None:
        """One time there and back."""
        self._each(self._trigger)
        frozen = self._until("SUSPENDED")
        row(f"{self._count} runs: until all are frozen", s=frozen, per_s=self._count / frozen, load=_load())
        self._left()
        begun = time.perf_counter()
        self._each(self._complete)
        told = time.perf_counter() - begun
        ended = told + self._until("FINISHED")
        row(f"{self._count} runs: until all have ended", s=ended, per_s=self._count / ended, tokens_s=told, load=_load())
        wrong = sum(not self._is_right(number) for number in self._numbers)
        violations = self._stack.violations()
        row(f"{self._count} runs: results", right=self._count - wrong, wrong=wrong, violations=len(violations))
        if violations:
            print(f"  fsck: {violations[:3]}", flush=True)
        self._costs()

    def _trigger(self, client: Any, number: int) -> None:
        token = client.create_token()["id"]
        run = client.trigger("approves", {"n": number, "token": token})["id"]
        with self._lock:
            self._tokens[number], self._runs[number] = token, run

    def _complete(self, client: Any, number: int) -> None:
        client.complete_token(self._tokens[number], {"approved": number})

    def _each(self, what: Callable[[Any, int], None]) -> None:
        """For every run, from several clients at once."""
        numbers = iter(self._numbers)

        def work() -> None:
            client = self._stack.client()
            while True:
                with self._lock:
                    number = next(numbers, None)
                if number is None:
                    return
                what(client, number)

        threads = [threading.Thread(target=work) for _ in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _until(self, status: str) -> float:
        """Seconds until every run stands there, a line of progress every now and then."""
        begun = told = time.perf_counter()
        while (where := self._counts(_WHERE)).get(status, 0) < self._count:
            now = time.perf_counter()
            if now - begun > self._seconds:
                raise AssertionError(f"not within {self._seconds:g} s: all {status}, but {where}\n{self._stuck(status)}")
            if now - told > _TOLD:
                told = now
                print(f"  {now - begun:.0f} s: {where}", flush=True)
            time.sleep(0.05)
        return time.perf_counter() - begun

    def _counts(self, text: str) -> dict[str, int]:
        return {name: int(count) for name, count in self._ask(text)}

    def _stuck(self, status: str) -> str:
        """The history of a few runs that stand elsewhere, and what the stack's processes wrote."""
        rows = self._ask("SELECT id FROM runs WHERE snapshot_status <> %s ORDER BY id LIMIT 3", [status])
        told = [
            (
                run,
                self._ask(
                    "SELECT event, executor_id, created_at::text FROM snapshots WHERE run_id = %s ORDER BY seq", [run]
                ),
            )
            for (run,) in rows
        ]
        return "\n".join([*(f"{run}: {history}" for run, history in told), self._stack.logs()])

    def _left(self) -> None:
        """What the frozen runs cost: processes and their memory, when no executor is warm any more; bytes stored."""
        warm = self._stack.executors()
        row("  executors that were warm", count=len(warm), rss_MB=sum(map(resident_bytes, warm)) / (1 << 20))
        until(lambda: not self._stack.executors(), _IDLE + 30, "the executors leave")
        left = [pid for pid in self._stack.processes() if _is_an_executors(pid)]
        stored = [path.stat().st_size for path in _images(self._stack)]
        row(
            f"{self._count} runs: while frozen",
            executors=len(self._stack.executors()),
            processes=len(left),
            bytes_of_memory=sum(map(resident_bytes, left)),
            images=len(stored),
            stored_MB=sum(stored) / (1 << 20),
            MB_each=sum(stored) / len(stored) / (1 << 20),
        )

    def _is_right(self, number: int) -> bool:
        result = self._stack.client().result(self._runs[number], wait=1)
        if not result or not result["ok"]:
            print(f"  run {number}, {self._runs[number]}: {result}", flush=True)
            return False
        output = json.loads(result["output"])
        output.pop("first_line")
        self._last_lines[self._runs[number]] = output.pop("last_line")
        expected = {
            "n": number,
            "digest": hashlib.sha256(f"run {number}".encode()).hexdigest(),
            "sum": sum(n * n for n in range(number, number + 1_000)),
            "answer": {"approved": number},
        }
        if output != expected:
            print(f"  run {number}, {self._runs[number]}: {output}", flush=True)
        return bool(output == expected)

    def _costs(self) -> None:
        """What the executors told of each: ms, by the checkpoints' rows."""
        for name in ("freeze_ms", "store_ms", "thaw_ms"):
            spent = [ms / 1e3 for (ms,) in self._ask(f"SELECT {name} FROM checkpoints WHERE {name} IS NOT NULL")]
            row(f"  {name}", **in_ms(spent), count=len(spent))
        self._moments()
        [(most,)] = self._ask("SELECT max(n) FROM (SELECT count(*) AS n FROM snapshots GROUP BY run_id) AS x")
        events = self._counts("SELECT event, count(*) FROM snapshots GROUP BY 1 ORDER BY 1")
        print(f"  events: {events}; of one run at most {most}", flush=True)

    def _moments(self) -> None:
        """From the last line before the wait: until the slots are free (BLOCK), it stands still, its image is stored."""
        found = self._ask(
            "SELECT c.run_id, min(extract(epoch FROM s.created_at))::float, max(extract(epoch FROM c.created_at))::float,"
            " max(extract(epoch FROM c.stored_at))::float FROM checkpoints c JOIN snapshots s USING (run_id)"
            " WHERE s.event = 'BLOCK' AND c.stored_at IS NOT NULL GROUP BY 1"
        )
        for at, what in enumerate(("until its slot is free", "until it is stopped", "until it is published"), start=1):
            spent = [each[at] - self._last_lines[each[0]] for each in found if each[0] in self._last_lines]
            row(f"  {what}", **in_ms(spent), count=len(spent))


def _is_an_executors(pid: int) -> bool:
    """Whether a process of the stack is an executor's or of user code, and not one of the platform's own."""
    try:
        return b"executor_shim" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _images(of: Stack) -> Iterator[Path]:
    return (path for path in (of.data_dir / "objects").rglob("*") if path.is_file())


def _load() -> float:
    return os.getloadavg()[0]


def _number(name: str, default: int) -> int:
    return int(os.environ.get(f"SOJOURN_BENCH_{name}", default))
