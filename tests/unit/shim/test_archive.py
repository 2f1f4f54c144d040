"""Archives: the same tree gives the same hash, and nothing in one is trusted."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.sdk import archive
from sojourn.sdk.archive import ArchiveError


def project(directory: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def zipped(*entries: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            made.writestr(entry, data)
    return buffer.getvalue()


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    source = project(tmp_path / "a", {"tasks.py": b"x = 1", "deep/er/file.txt": b"\x00", "run.sh": b"#!", "empty": b""})
    (source / "run.sh").chmod(0o700)
    packed, content_hash = archive.pack(source)
    (tmp_path / "b").mkdir()
    assert archive.unpack(packed, tmp_path / "b") == content_hash == archive.tree_hash(packed)
    assert archive.pack(tmp_path / "b") == (packed, content_hash)
    assert stat.S_IMODE(os.stat(tmp_path / "b/run.sh").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(tmp_path / "b/tasks.py").st_mode) == 0o644


def test_dates_do_not_matter_and_names_and_modes_do(tmp_path: Path) -> None:
    source = project(tmp_path, {"a.py": b"1"})
    first = archive.pack(source)
    os.utime(source / "a.py", (1, 1))
    assert archive.pack(source) == first
    (source / "a.py").chmod(0o755)
    second = archive.pack(source)
    (source / "a.py").rename(source / "b.py")
    assert len({first[1], second[1], archive.pack(source)[1]}) == 3


def test_secrets_caches_and_links_are_left_out(tmp_path: Path) -> None:
    files = [
        ".env", ".env.local", ".git/config", ".venv/x.py", "venv/x.py", "a/__pycache__/x.pyc", "key.pem", "a/id.key",
        ".sojourn/x", "dist/x", "build/x", "x.egg-info/y", "node_modules/m/i.js", "mine.csv", "a/data/x.bin", "keep.py",
    ]  # fmt: skip
    source = project(tmp_path, dict.fromkeys(files, b""))
    (source / ".sojournignore").write_text("# own\n*.csv\na/data/\n")
    (source / "link.py").symlink_to("/etc/passwd")
    (source / "linked").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    assert archive.included(source) == [".sojournignore", "keep.py"]


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../../up", "a//b", "./a", "a\\b", "a/", "x" * 600, "a/" * 40 + "b", "nul\x01"],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    packed = zipped(("fine.py", b"", 0o100644), (name, b"", 0o100644))
    with pytest.raises(ArchiveError):
        archive.unpack(packed, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o020644, 0o010644, 0o140644])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ArchiveError, match="regular file"):
        archive.unpack(zipped(("x", b"/etc/passwd", mode)), tmp_path)


def test_files_may_not_stand_in_for_each_other(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), pytest.raises(ArchiveError, match="twice"):
        archive.unpack(zipped(("x", b"1", 0), ("x", b"2", 0)), tmp_path)
    with pytest.raises((ArchiveError, OSError)):
        archive.unpack(zipped(("x", b"1", 0), ("x/y", b"2", 0)), tmp_path)


def test_sizes_are_bounded_whatever_the_headers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TREE_BYTES", 1_000)
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(ArchiveError, match="more than 3 files"):
        archive.unpack(zipped(*((str(n), b"", 0) for n in range(4))), tmp_path)
    big = zipped(("a", b"x" * 600, 0), ("b", b"x" * 600, 0))
    with pytest.raises(ArchiveError, match="unpacks to more"):
        archive.unpack(big, tmp_path)
    lying = big.replace((600).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(ArchiveError):
        archive.unpack(lying, tmp_path)
    with pytest.raises(ArchiveError):
        archive.pack(project(tmp_path / "p", {str(n): b"" for n in range(4)}))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        archive.tree_hash(data)


@given(st.data())
def test_a_damaged_archive_never_passes_for_the_whole_one(data: st.DataObject) -> None:
    packed = bytearray(zipped(("tasks.py", b"print('hello')" * 10, 0o100644), ("b", b"2", 0o100755)))
    content_hash = archive.tree_hash(bytes(packed))
    place = data.draw(st.integers(min_value=0, max_value=len(packed) - 1))
    packed[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    try:
        found = archive.tree_hash(bytes(packed))
    except ArchiveError:
        return
    assert isinstance(found, str) and len(found) == len(content_hash)
