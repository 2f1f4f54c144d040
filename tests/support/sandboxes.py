"""Whether this machine can make sandboxes: without, tests of them are skipped on a laptop and fail in CI."""

from __future__ import annotations

import os
import shutil

import pytest


def needs_sandboxes() -> None:
    """Skips the test, or fails it in CI, where a sandbox is out of reach."""
    lacking = None
    if os.geteuid() != 0:
        lacking = "sandboxes need root"
    elif shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        lacking = "sandboxes need nft (apt-get install nftables)"
    if lacking is None:
        return
    if os.environ.get("CI"):
        pytest.fail(lacking)
    pytest.skip(lacking)
