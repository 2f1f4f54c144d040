"""What is left of a process that was not frozen."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sojourn.executor_shim.freezing.errors import FreezeFailed
from sojourn.executor_shim.suspending import Suspending

REFUSALS = 50


def test_a_process_that_is_refused_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor serves many runs: what each leaves behind would be its end."""
    monkeypatch.setenv("SOJOURN_FREEZE_DIR", str(tmp_path))

    def refuse(*_: Any) -> Any:
        raise FreezeFailed("criu refused")

    nothing: Any = SimpleNamespace(freeze=refuse, process=SimpleNamespace(members=list))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(REFUSALS):
        with pytest.raises(FreezeFailed):
            Suspending(nothing, nothing, nothing, {}, "").freeze()
    # What other threads of the test run open and close meanwhile is far less than one for each refusal.
    assert len(os.listdir("/proc/self/fd")) < before + REFUSALS // 2
    assert list(tmp_path.iterdir()) == []
