"""Whether this machine can freeze processes: without, tests of it are skipped on a laptop and fail in CI."""

from __future__ import annotations

import os

import pytest

from tests.support.sandboxes import needs_sandboxes


def needs_criu() -> str:
    """The path of criu; skips the test, or fails it in CI, where there is none."""
    from sojourn.executor_shim import freezing

    needs_sandboxes()
    found = freezing.find_criu()
    if found is not None:
        return found
    why = "freezing needs CRIU 4.1 or later (make criu)"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
