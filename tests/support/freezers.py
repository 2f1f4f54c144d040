"""Whether this machine can freeze processes: without, tests of it are skipped on a laptop and fail in CI."""

from __future__ import annotations

import os

import pytest

from sojourn.executor_shim import freezing
from tests.support.sandboxes import needs_sandboxes


def needs_freezing() -> None:
    """Skips the test, or fails it in CI, where a process cannot be frozen."""
    needs_sandboxes()
    lacking = freezing.obstacle()
    if lacking is None:
        return
    if os.environ.get("CI"):
        pytest.fail(lacking)
    pytest.skip(lacking)
