"""One real stack for the tests that do it no harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.stack import Stack

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack()
    made.up()
    made.deploy(PROJECT)
    yield made
    made.down()
