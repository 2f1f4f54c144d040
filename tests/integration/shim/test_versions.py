"""Version trees on a node."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from sojourn.executor_shim.versions import Trees
from sojourn.sdk import archive


def packed_tree(directory: Path) -> tuple[bytes, str]:
    directory.mkdir()
    (directory / "tasks.py").write_text(f"SEED = {secrets.token_hex(8)!r}")
    return archive.pack(directory)


def test_a_tree_is_fetched_once(tmp_path: Path) -> None:
    packed, content_hash = packed_tree(tmp_path / "p")
    asked: list[str] = []

    def fetch(wanted: str) -> bytes:
        asked.append(wanted)
        return packed

    for _ in range(2):
        tree = Trees(str(tmp_path / "trees"), 5).ensure(content_hash, fetch)
    assert (asked, os.listdir(tree)) == ([content_hash], ["tasks.py"])


def test_what_is_not_the_tree_is_not_published(tmp_path: Path) -> None:
    packed, content_hash = packed_tree(tmp_path / "p")
    trees = Trees(str(tmp_path / "trees"), 5)
    for wrong, data in (("a" * 64, packed), (content_hash, packed[:-5]), ("../x", packed), ("A" * 64, packed)):
        with pytest.raises(ValueError):
            trees.ensure(wrong, {wrong: data}.__getitem__)
    assert [name for name in os.listdir(tmp_path / "trees") if not name.endswith(".lock")] == []


def test_what_came_damaged_is_fetched_again_and_not_for_ever(tmp_path: Path) -> None:
    packed, content_hash = packed_tree(tmp_path / "p")
    trees, answers = Trees(str(tmp_path / "trees"), 5), [packed[:-5], b"", packed]
    assert os.listdir(trees.ensure(content_hash, lambda _: answers.pop(0))) == ["tasks.py"]
    other, other_hash = packed_tree(tmp_path / "q")
    asked: list[str] = []

    def fetch(wanted: str) -> bytes:
        asked.append(wanted)
        return other[:-5]

    with pytest.raises(ValueError):
        trees.ensure(other_hash, fetch)
    assert asked == [other_hash] * 3


def test_the_longest_unused_go_and_those_in_use_stay(tmp_path: Path) -> None:
    made = [packed_tree(tmp_path / f"p{number}") for number in range(5)]
    directory = tmp_path / "trees"
    in_use = Trees(str(directory), 2)
    in_use.ensure(made[0][1], lambda _: made[0][0])
    os.utime(directory / f"{made[0][1]}.lock", (1, 1))
    (directory / ".fetching-old").mkdir()
    os.utime(directory / ".fetching-old", (1, 1))
    held = []
    for number, (packed, content_hash) in enumerate(made[1:]):
        other = Trees(str(directory), 2)
        other.ensure(content_hash, {content_hash: packed}.__getitem__)
        os.utime(directory / f"{content_hash}.lock", (number + 2, number + 2))
        if number == 3:
            held.append(other)
        else:
            other.release()
    left = {name for name in os.listdir(directory) if not name.endswith(".lock")}
    assert left == {made[0][1], made[4][1]}
