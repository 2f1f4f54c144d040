"""What a shim is told."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from sojourn.executor_shim.settings import Settings

NEEDED = {"api_url": "u", "credential": "c", "executor": "e", "version_hash": "h", "versions_dir": "d"}


def read(given: dict[str, Any]) -> Settings:
    reading, writing = os.pipe()
    os.write(writing, json.dumps(given).encode())
    os.close(writing)
    settings = Settings.read(reading)
    with pytest.raises(OSError):
        os.fstat(reading)
    return settings


def test_what_is_left_out_has_a_default_and_what_is_unknown_is_ignored() -> None:
    settings = read({**NEEDED, "lease": 3, "invented_later": True})
    assert (settings.api_url, settings.lease, settings.max_runs) == ("u", 3, 1_000)
    with pytest.raises(TypeError):
        read({"api_url": "u"})
