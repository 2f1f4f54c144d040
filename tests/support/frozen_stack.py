"""A stack where every wait is frozen at once, with all that a test of its faults wants to lay hands on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.proxy import Proxy
from tests.support.stack import Stack, until
from tests.support.stand_in import StandIn
from tests.support.witness import Witness

_FROZEN = {
    "SOJOURN_RESTORED_STARTS": "off",  # restores are counted, and these would be more
    "SOJOURN_SANDBOX": "required",
    "SOJOURN_SANDBOX_NETWORK": "none",
    "SOJOURN_SHORT_WAIT": "0",
    "SOJOURN_FREEZE_AFTER": "0",
    "SOJOURN_FREEZE_THRESHOLD": "0",
    # Longer than a service that is killed is away, so that it costs no attempt.
    "SOJOURN_LEASE_SECONDS": "15",
    "SOJOURN_CRIU_SECONDS": "6",
    "SOJOURN_IDLE_TIMEOUT_SECONDS": "60",
}
_REMEMBERED = 1 << 15


class FrozenStack(Stack):
    """`criu` stands in for criu, `line` lies between executors and the control plane, `witness` hears of runs that go on.

    Plain images lie in `plain`, a small file system of its own.
    """

    def __init__(self, criu: str, **settings: str):
        super().__init__(**{**_FROZEN, **settings})
        self.witness = Witness()
        #: Runs of which no image may be left in the end.
        self.over: list[str] = []
        # Not in the data directory, which is to be empty; its name begins like that one's.
        self.beside = self.data_dir.with_name(self.data_dir.name + "-beside")
        self.beside.mkdir(mode=0o755)
        self.criu = StandIn(self.beside / "criu", criu)
        self.line = Proxy(("127.0.0.1", self.port), most=_REMEMBERED)
        self.plain = self.beside / "plain"
        self.plain.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m,mode=700", "plain", str(self.plain)], check=True)
        self.images = self.data_dir / "objects"
        self.environment |= {
            "SOJOURN_API_URL": f"http://127.0.0.1:{self.line.port}",
            "SOJOURN_CRIU": str(self.criu.path),
            "SOJOURN_FREEZE_DIR": str(self.plain),
            "SOJOURN_SANDBOX_READABLE": str(self.beside / "criu"),
            "SOJOURN_SANDBOX_FORWARD": f"127.0.0.1:{self.witness.port}",
        }

    def up(self) -> dict[str, Any]:
        found = super().up()
        found["api_url"] = f"http://127.0.0.1:{self.port}"
        return found

    def down(self) -> None:
        try:
            super().down()
        finally:
            subprocess.run(["umount", "--lazy", str(self.plain)], check=True)
            shutil.rmtree(self.beside, ignore_errors=True)
            self.line.close()
            self.witness.close()
            self.criu.close()

    # --- runs

    def tokens(self, count: int) -> list[str]:
        client = self.client()
        return [client.create_token()["id"] for _ in range(count)]

    def start(self, task: str, tokens: Sequence[str], **options: Any) -> str:
        """A run of a task that waits for these, one after the other."""
        payload = {"port": self.witness.port, "tokens": list(tokens), **options}
        return str(self.client().trigger(task, payload)["id"])

    def frozen(self, task: str = "keeps", **options: Any) -> tuple[str, str]:
        """A run that is frozen, and the token that it waits for."""
        (token,) = self.tokens(1)
        run = self.start(task, [token], **options)
        self.until_frozen(run)
        return run, token

    def until_frozen(self, run: str, times: int = 1) -> None:
        until(lambda: self.events(run).count("SUSPEND") >= times, 40, f"{run} is frozen {times} times")

    def complete(self, token: str, data: Any = None) -> None:
        self.client().complete_token(token, data)

    def events(self, run: str) -> list[str]:
        return [row["event"] for row in self.client().timeline(run)["snapshots"]]

    def result(self, run: str, seconds: float = 60) -> dict[str, Any]:
        client = self.client()
        found: dict[str, Any] = until(lambda: client.result(run, wait=20), seconds, f"{run} ends")
        return found

    def output(self, run: str, seconds: float = 60) -> dict[str, Any]:
        """Of a run that ended well. Each of its processes went on once for each wait at most, and none in two places."""
        result = self.result(run, seconds)
        assert result["ok"], (result, self.client().timeline(run))
        found: dict[str, Any] = json.loads(result["output"])
        return found

    def shim(self, run: str) -> int:
        """The pid of the executor that has the run."""
        executor = self.client().retrieve(run)["executor"]["id"]
        return int(json.loads((self.data_dir / "executors" / f"{executor}.json").read_text())["pid"])

    def kill_shim(self, run: str) -> None:
        os.kill(self.shim(run), signal.SIGKILL)

    # --- what is left

    def stored(self, run: str = "") -> list[Path]:
        """Images in the store, of a run or at all, unfinished ones too."""
        return files_of(self.images, run)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def listed(self, run: str) -> list[str]:
        """What its checkpoints are, those that are not gone."""
        found = self.rows("SELECT status FROM checkpoints WHERE run_id = %s AND status <> 'GONE'", run)
        return [str(row[0]) for row in found]

    def leaves_nothing(self, run: str) -> None:
        """No checkpoint of the run is of any use. What is stored goes with the next sweep for such: see `over`."""
        assert self.listed(run) == []
        self.over.append(run)

    @contextlib.contextmanager
    def before(self, verb: str, shell: str) -> Iterator[int]:
        """What criu does meanwhile; how often it was called before."""
        self.criu.before(verb, shell)
        try:
            yield self.criu.calls(verb)
        finally:
            self.criu.before(verb, "")

    @contextlib.contextmanager
    def no_store(self) -> Iterator[None]:
        """The store of images is no directory meanwhile."""
        aside = self.images.with_name("objects.aside")
        self.images.mkdir(exist_ok=True)
        self.images.rename(aside)
        self.images.write_bytes(b"")
        try:
            yield
        finally:
            self.images.unlink()
            aside.rename(self.images)


def files_of(directory: Path, run: str) -> list[Path]:
    """What is stored of a run. Directories may go meanwhile: `os.walk` passes over those."""
    return [Path(at, name) for at, _, names in os.walk(directory) for name in names if run in f"{at}/{name}"]
