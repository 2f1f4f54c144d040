"""The images of a node as files: what is kept, what is found damaged, what goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sojourn.executor_shim.freezing.errors import CheckpointInvalid
from sojourn.executor_shim.starts import checks, shelf
from sojourn.executor_shim.starts.checks import Check
from sojourn.executor_shim.starts.figures import Figures
from sojourn.executor_shim.starts.shelf import Shelf, StartImage

VERSION, OTHER = "a" * 64, "b" * 64
NOW = 1_700_000_000.0


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    return tmp_path


def made(versions: Path, version: str = VERSION, used: float = NOW, made_at: float = NOW) -> StartImage:
    place = Shelf(str(versions))
    part = place.part(version)
    Path(part, "pages-1.img").write_bytes(bytes(1000))
    fd = os.open(part, os.O_RDONLY)
    shelf.write_about(part, {"boot": "1"}, "tasks.py", checks.taken(fd), [])
    os.close(fd)
    shelf.write_figures(part, Figures(100.0, made_at, (10.0,)))
    path = place.publish(part)
    os.utime(Path(path, "figures.json"), (used, used))
    found = StartImage.read(path)
    assert found is not None
    return found


def test_the_last_used_comes_first(versions: Path) -> None:
    older, newer = made(versions, used=NOW - 10), made(versions, used=NOW)
    made(versions, OTHER)
    assert [each.path for each in Shelf(str(versions)).images(VERSION)] == [newer.path, older.path]
    older.note(older.figures.told(5))
    assert [each.path for each in Shelf(str(versions)).images(VERSION)] == [older.path, newer.path]


def test_the_longest_unused_go_and_what_is_over(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [made(versions, used=NOW), made(versions, OTHER, used=NOW - 1)]
    gone = [made(versions, used=NOW - 2), made(versions, used=NOW, made_at=NOW - 90_000)]
    monkeypatch.setattr(shelf, "MOST", 2)
    Shelf(str(versions)).tidy(NOW)
    assert [Path(each.path).exists() for each in kept + gone] == [True, True, False, False]
    monkeypatch.setattr(shelf, "MOST_BYTES", 1500)
    Shelf(str(versions)).tidy(NOW)
    assert [Path(each.path).exists() for each in kept] == [True, False]


def test_what_nobody_makes_or_thaws_any_more_goes(versions: Path) -> None:
    place = Shelf(str(versions))
    image = made(versions)
    part, work = place.part(VERSION), place.work(image.path)
    Path(work, "pages-1.img").write_bytes(b"x")
    old = place.work(image.path)
    os.utime(work, (NOW, NOW))
    os.utime(old, (NOW - 601, NOW - 601))
    place.tidy(NOW)
    assert [Path(each).exists() for each in (image.path, part, work, old)] == [True, False, True, False]
    place.leave(work)
    assert not Path(work).exists()


def test_one_makes_at_a_time(versions: Path) -> None:
    first = Shelf(str(versions)).lock()
    assert first is not None and Shelf(str(versions)).lock() is None
    os.close(first)
    second = Shelf(str(versions)).lock()
    assert second is not None
    os.close(second)


def _truncate(image: Path) -> None:
    os.truncate(image / "pages-1.img", 10)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        lambda image: (image / "files.img").write_bytes(b"other"),
        lambda image: (image / "files.img").unlink(),
        lambda image: (image / "more.img").write_bytes(b""),
        lambda image: (image / "tmp" / "inside").write_bytes(b"Inside"),
        lambda image: (image / "tmp" / "link").unlink(),
        lambda image: (image / "tmp" / "inside").chmod(0o777),
    ],
)
def test_whatever_differs_is_found_before_anything_is_made(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    check, fd = _checked(tmp_path, damage)
    with pytest.raises(CheckpointInvalid):
        check.begin()
    os.close(fd)


def test_damaged_memory_is_found_before_criu_sees_it(tmp_path: Path) -> None:
    def flip(image: Path) -> None:
        data = bytearray((image / "pages-1.img").read_bytes())
        data[-1] ^= 0x80
        (image / "pages-1.img").write_bytes(data)

    check, fd = _checked(tmp_path, flip)
    check.begin()
    with pytest.raises(CheckpointInvalid, match="damaged"):
        check.end()
    os.close(fd)


def test_what_is_whole_passes_and_our_own_notes_do_not_count(tmp_path: Path) -> None:
    check, fd = _checked(tmp_path, lambda image: (image / "figures.json").write_text("{}"))
    check.begin()
    check.end()
    os.close(fd)


def _checked(image: Path, damage: Callable[[Path], object]) -> tuple[Check, int]:
    (image / "tmp").mkdir()
    (image / "tmp" / "inside").write_bytes(b"inside")
    (image / "tmp" / "link").symlink_to("inside")
    (image / "files.img").write_bytes(b"files")
    (image / "pages-1.img").write_bytes(os.urandom((3 << 20) + 17))
    fd = os.open(image, os.O_RDONLY)
    expected = checks.taken(fd)
    damage(image)
    return Check(fd, expected), fd
