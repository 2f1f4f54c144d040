"""A real Nomad for tests: the private agent of the stack, on a directory of the session's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sojourn.control_plane.embedded.nomad import NomadAgent, find_binary


@contextmanager
def agent() -> Iterator[NomadAgent]:
    """An agent that takes jobs; `access` has the least rights, `management` all."""
    binary = required_binary()
    with tempfile.TemporaryDirectory(prefix="sojourn-nomad-") as directory:
        made = NomadAgent(binary, Path(directory))
        try:
            made.start()
            yield made
        finally:
            made.stop()


def required_binary() -> Path:
    """Nomad's program, where a test may start it; else the test is skipped, or fails in CI."""
    binary = find_binary()
    if binary is None:
        _absent("there is no nomad program: `make nomad` builds it")
    if os.geteuid() != 0:
        _absent("only root can start it")
    assert binary
    return binary


def _absent(why: str) -> None:
    """A real part that is missing: skipped on a laptop, a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have Nomad: {why}", pytrace=False)
    pytest.skip(f"Nomad is not to be had here: {why}")
