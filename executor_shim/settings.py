"""What a shim is told when it is started: one JSON object over an inherited pipe, so that no secret is in argv."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. `max_runs`: how many runs one user process serves before it is replaced."""

    api_url: str
    credential: str
    executor: str
    version_hash: str
    versions_dir: str
    idle_timeout: float = 60
    poll: float = 20
    heartbeat: float = 10
    lease: float = 60
    cancel_grace: float = 30
    term_grace: float = 1
    drain_grace: float = 5
    max_runs: int = 100

    @classmethod
    def read(cls, fd: int) -> Settings:
        """Reads the settings from a descriptor to its end, and closes it."""
        with os.fdopen(fd, "rb") as pipe:
            given: dict[str, Any] = json.loads(pipe.read())
        return cls(**given)
