"""A data directory is marked as ours and held by one stack at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sojourn.control_plane.embedded.data_dir import DataDir, DataDirError, StackRuns


def test_a_new_directory_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep"
    DataDir(path).open()
    assert path.stat().st_mode & 0o777 == 0o700


def test_one_stack_at_a_time(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    first.open()
    with pytest.raises(StackRuns) as starting:
        DataDir(tmp_path).open()
    first.write_state({"api_url": "http://here"})
    with pytest.raises(StackRuns) as runs:
        DataDir(tmp_path).open()
    assert starting.value.state is None
    assert runs.value.state
    assert runs.value.state["api_url"] == "http://here"


@pytest.mark.parametrize("mark", ["", "[]", "{}", '{"format": 99}'])
def test_a_mark_that_is_not_this_releases(tmp_path: Path, mark: str) -> None:
    (tmp_path / "sojourn.json").write_text(mark)
    with pytest.raises(DataDirError, match="name another directory by --data-dir"):
        DataDir(tmp_path).open()


def test_it_is_known_to_have_moved_until_that_is_noted(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert opened(old).moved_from is None
    old.rename(new)
    assert opened(new).moved_from == str(old)
    moved = opened(new)  # a start that came to nothing has noted nothing
    assert moved.moved_from == str(old)
    moved.note_place()
    assert opened(new).moved_from is None


def opened(path: Path) -> DataDir:
    """As a process leaves it that has ended: not held any more."""
    found = DataDir(path)
    found.open()
    assert found._lock is not None
    os.close(found._lock)
    return found


def test_a_directory_of_an_earlier_release_has_not_moved(tmp_path: Path) -> None:
    (tmp_path / "sojourn.json").write_text('{"format": 1}\n')
    found = DataDir(tmp_path)
    found.open()
    assert found.moved_from is None
    found.note_place()
    assert json.loads((tmp_path / "sojourn.json").read_text()) == {"format": 1, "path": str(tmp_path)}


def test_files_of_something_else_stay_untouched(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    with pytest.raises(DataDirError, match="has other files"):
        DataDir(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
