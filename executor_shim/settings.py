"""What a shim is told when it is started: one JSON object over an inherited pipe, so that no secret is in argv."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Settings:
    """Times in seconds.

    `max_runs`: how many runs one user process serves before it is replaced (1: none is reused). `max_trees`: how many
    versions are kept on the node. `cancel_grace`, `drain_grace`: what a run has after a cancellation, and after the
    executor was told to leave. `term_grace`: what a process has between being asked and being killed. `sandbox`: off, auto
    or required, or an object of options (`sandbox/options.py`). `driver`: of the cluster's task that this is, if it is one.
    `restored_starts`: auto or off. `thaws`: the run that it is started for is frozen.
    """

    __slots__ = (
        "api_url",
        "cancel_grace",
        "credential",
        "drain_grace",
        "driver",
        "executor",
        "heartbeat",
        "idle_timeout",
        "lease",
        "max_runs",
        "max_trees",
        "poll",
        "restored_starts",
        "sandbox",
        "term_grace",
        "thaws",
        "version_hash",
        "versions_dir",
    )

    def __init__(
        self,
        *,
        api_url: str,
        credential: str,
        executor: str,
        version_hash: str,
        versions_dir: str,
        idle_timeout: float = 60,
        poll: float = 20,
        heartbeat: float = 10,
        lease: float = 60,
        cancel_grace: float = 30,
        term_grace: float = 1,
        drain_grace: float = 5,
        max_runs: int = 1_000,
        max_trees: int = 50,
        sandbox: str | dict[str, Any] = "auto",
        driver: str = "",
        restored_starts: str = "auto",
        thaws: bool = False,
    ):
        self.api_url = api_url
        self.credential = credential
        self.executor = executor
        self.version_hash = version_hash
        self.versions_dir = versions_dir
        self.idle_timeout = idle_timeout
        self.poll = poll
        self.heartbeat = heartbeat
        self.lease = lease
        self.cancel_grace = cancel_grace
        self.term_grace = term_grace
        self.drain_grace = drain_grace
        self.max_runs = max_runs
        self.max_trees = max_trees
        self.sandbox = sandbox
        self.driver = driver
        self.restored_starts = restored_starts
        self.thaws = thaws

    @classmethod
    def read(cls, fd: int) -> Settings:
        """Reads the settings from a descriptor to its end, and closes it; names that it does not know are ignored."""
        with os.fdopen(fd, "rb") as pipe:
            given: dict[str, Any] = json.loads(pipe.read())
        return cls(**{name: value for name, value in given.items() if name in cls.__slots__})
