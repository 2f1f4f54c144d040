"""A node's places for sandboxes: two never have the same number, wherever they keep their locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.nodes import Namespace
from tests.support.sandboxes import needs_sandboxes

from sojourn.executor_shim.sandbox.slots import NoSlot, take


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Others on this machine hold numbers, too: in a network namespace of its own all are free."""
    needs_sandboxes()
    own = Namespace()
    with own.entered():
        yield
    own.close()


def free(locks: tuple[int, int]) -> None:
    for each in locks:
        os.close(each)


def test_executors_with_directories_of_their_own_share_the_network_and_so_the_numbers(tmp_path: Path) -> None:
    """As tasks of the driver exec do: interfaces and addresses are named by the number."""
    first, held = take(str(tmp_path / "one"), 1024)
    second, other = take(str(tmp_path / "two"), 1024)
    third, last = take(str(tmp_path / "one"), 1024)
    assert len({first, second, third}) == 3
    free(held)
    again, anew = take(str(tmp_path / "two"), 1024)
    assert again == first
    for each in (other, last, anew):
        free(each)


def test_the_last_place_is_told(tmp_path: Path) -> None:
    _, held = take(str(tmp_path), 1)
    with pytest.raises(NoSlot, match="all 1 places"):
        take(str(tmp_path), 1)
    free(held)
