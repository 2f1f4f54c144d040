"""curl, by which pages show the API."""

from __future__ import annotations

import shutil

from tests.support.postgres_server import absent


def needs_curl() -> None:
    """Skips the test where there is none; in CI it fails."""
    if shutil.which("curl") is None:
        absent("curl", FileNotFoundError("curl"))
