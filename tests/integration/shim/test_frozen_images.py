"""A sealed image: what was packed is unpacked; what is anything else is refused before criu sees a byte of it."""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.shim.icebox import CONTEXT, KEY, Icebox
from tests.support.freezers import needs_freezing

from sojourn.executor_shim.freezing import images, places
from sojourn.executor_shim.freezing.errors import CheckpointInvalid
from sojourn.executor_shim.freezing.sealing import Opener, Sealer

OTHER_KEY = b"K" * 32
CHUNK = (1 << 20) + 4 + 16
HEAD = 20


@pytest.fixture(scope="module", autouse=True)
def _root() -> None:
    needs_freezing()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """As criu leaves it: some small files, one large one that does not compress, a log."""
    made = tmp_path / "dumped"
    made.mkdir()
    (made / "pages-1.img").write_bytes(random.Random(1).randbytes(3 << 20) + bytes(1 << 20))
    (made / "core-20001.img").write_bytes(b"core")
    (made / "dump.log").write_text("a secret, perhaps")
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As user code may leave its /tmp."""
    made = tmp_path / "private"
    (made / "deep" / "er").mkdir(parents=True)
    (made / "deep" / "a\udcff file").write_text("text")
    os.link(made / "deep" / "a\udcff file", made / "same")
    (made / "link").symlink_to("/etc/passwd")
    (made / "deep" / "er" / "up").symlink_to("../../..")
    os.mkfifo(made / "fifo", 0o640)
    with (made / "holes").open("wb") as file:
        file.truncate(1 << 42)
        file.seek(5 << 30)
        file.write(b"far away")
    (made / "x").write_bytes(b"x")
    os.chmod(made / "x", 0o4711)
    for path in (made / "x", made / "deep", made / "link"):
        os.chown(path, 1234, 1235, follow_symlinks=False)
    os.chmod(made / "deep", 0o500)
    os.utime(made / "deep", ns=(10**18, 10**18))
    return made


def packed(directory: Path, tree: Path | None = None, key: bytes = KEY, context: str = CONTEXT) -> bytes:
    """The stream."""
    out = io.BytesIO()
    roots = {"tmp": os.open(tree, os.O_RDONLY)} if tree else {}
    fd = os.open(directory, os.O_RDONLY)
    try:
        told = images.pack(fd, roots, out, key, context)
    finally:
        for each in (fd, *roots.values()):
            os.close(each)
    assert told.sealed == len(out.getvalue())
    return out.getvalue()


def test_what_was_packed_is_unpacked(directory: Path, tree: Path, tmp_path: Path) -> None:
    to = tmp_path / "unpacked"
    size = images.unpack(io.BytesIO(packed(directory, tree)), str(to), KEY, CONTEXT)
    assert size > 4 << 20
    assert sorted(each.name for each in to.iterdir()) == ["core-20001.img", "pages-1.img", "tmp"]
    assert (to / "pages-1.img").read_bytes() == (directory / "pages-1.img").read_bytes()
    assert stat.S_IMODE(to.stat().st_mode) == 0o700
    for path in sorted(tree.rglob("*")):
        here, there = path.lstat(), (to / "tmp" / path.relative_to(tree)).lstat()
        for what in ("st_mode", "st_uid", "st_gid", "st_nlink"):
            assert getattr(here, what) == getattr(there, what), (path, what)
        if not stat.S_ISDIR(here.st_mode):
            assert here.st_size == there.st_size
    assert (to / "tmp" / "link").readlink() == Path("/etc/passwd")
    assert (to / "tmp" / "deep").stat().st_mtime_ns == 10**18
    with (to / "tmp" / "holes").open("rb") as file:
        file.seek(5 << 30)
        assert file.read(8) == b"far away"
    assert (to / "tmp" / "holes").stat().st_blocks < 64


def test_zeros_and_holes_cost_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "zeros").write_bytes(bytes(64 << 20))
    with (empty / "hole").open("wb") as file:
        file.truncate(1 << 40)
    assert len(packed(empty)) < 20_000


def test_a_flipped_bit_anywhere_is_refused(directory: Path, tmp_path: Path) -> None:
    """Of criu's files, criu itself would run with each of these."""
    sealed, dice = packed(directory), random.Random(2)
    edges = [*range(HEAD + 4), HEAD + CHUNK, HEAD + CHUNK + 3, HEAD + CHUNK - 1, len(sealed) - 1, len(sealed) - 17]
    for position in edges + [dice.randrange(len(sealed)) for _ in range(100)]:
        changed = bytearray(sealed)
        changed[position] ^= 1 << dice.randrange(8)
        refused(bytes(changed), tmp_path)


def test_an_image_that_is_cut_or_went_on_is_refused(directory: Path, tmp_path: Path) -> None:
    sealed = packed(directory)
    for length in (0, 3, HEAD, HEAD + 3, HEAD + CHUNK, HEAD + 2 * CHUNK, len(sealed) - 17, len(sealed) - 1):
        refused(sealed[:length], tmp_path)
    refused(sealed + b"\0", tmp_path)
    refused(sealed + sealed, tmp_path)


def test_chunks_of_another_order_or_another_image_are_refused(directory: Path, tmp_path: Path) -> None:
    sealed, again = packed(directory), packed(directory)
    one, two = (sealed[HEAD + n * CHUNK : HEAD + (n + 1) * CHUNK] for n in (0, 1))
    rest = sealed[HEAD + 2 * CHUNK :]
    refused(sealed[:HEAD] + two + one + rest, tmp_path)
    refused(sealed[:HEAD] + one + rest, tmp_path)
    refused(sealed[:HEAD] + one + one + rest, tmp_path)
    refused(sealed[:HEAD] + again[HEAD:], tmp_path)
    refused(again[:HEAD] + sealed[HEAD:], tmp_path)
    refused(sealed[:HEAD] + again[HEAD : HEAD + CHUNK] + two + rest, tmp_path)


def test_another_key_and_another_context_are_refused(directory: Path, tmp_path: Path) -> None:
    """The image of another run, of an older snapshot, of another tenant."""
    sealed = packed(directory)
    refused(sealed, tmp_path, key=OTHER_KEY)
    refused(sealed, tmp_path, context="run_1 snapshot 8")
    refused(sealed, tmp_path, context="run_2 snapshot 7")
    refused(packed(directory, key=OTHER_KEY), tmp_path)


def refused(sealed: bytes, tmp_path: Path, key: bytes = KEY, context: str = CONTEXT) -> None:
    """Nothing of it is left on the disk."""
    to = tmp_path / "unpacked"
    with pytest.raises(CheckpointInvalid) as failed:
        images.unpack(io.BytesIO(sealed), str(to), key, context)
    assert failed.value.code == "CHECKPOINT_INVALID"
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith("unpacked")) == []


def test_a_source_in_small_pieces_is_read_all_the_same() -> None:
    out = io.BytesIO()
    sealer = Sealer(out, KEY, "")
    text = random.Random(3).randbytes(3_000_000)
    for at in range(0, len(text), 70_001):
        sealer.write(text[at : at + 70_001])
    sealer.close()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1000))

    opener = Opener(Slow(out.getvalue()), KEY, "")
    assert b"".join(iter(lambda: opener.read(99_999), b"")) == text


@pytest.fixture
def icebox() -> Iterator[Icebox]:
    made = Icebox()
    yield made
    made.close()


def test_secrets_of_a_process_are_nowhere_in_clear(icebox: Icebox, tmp_path: Path) -> None:
    """Its memory, its variables and its files have them; neither the image nor the node has, once it is packed."""
    resident = icebox.start()
    resident.run("nothing", {"canary": "in-the-coal-mine"})
    resident.until_standing("go-0")
    seen: list[bytes] = []
    with places.workplace(str(tmp_path)) as place:
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
        directory = os.open(place, os.O_RDONLY)
        frozen = resident.child.freeze(directory, _criu())
        seen += [each.read_bytes() for each in Path(place).iterdir()]
        with (tmp_path / "image").open("wb") as out:
            frozen.pack(out, KEY, CONTEXT)
        frozen.close()
        os.close(directory)
    assert any(b"canary-in-the-coal-mine" in each for each in seen)
    assert [each.name for each in tmp_path.iterdir()] == ["image"]
    assert b"coal-mine" not in (tmp_path / "image").read_bytes()


def test_plain_files_of_a_shim_that_was_killed_are_removed(tmp_path: Path) -> None:
    """By the next one that freezes or thaws there; never those of one that lives."""
    code = (
        "from sojourn.executor_shim.freezing import places\n"
        f"with places.workplace({str(tmp_path)!r}): print(end='!', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shim:
        assert shim.stdout and shim.stdout.read(1) == b"!"
        (left,) = tmp_path.iterdir()
        (left / "pages-1.img").write_bytes(b"plain")
        with places.workplace(str(tmp_path)):
            assert left.exists()
        shim.kill()
        shim.wait()
        with places.workplace(str(tmp_path)) as mine:
            assert list(tmp_path.iterdir()) == [Path(mine)]


def _criu() -> str:
    from sojourn.executor_shim import freezing

    found = freezing.find_criu()
    assert found
    return found


def test_many_directories_take_time_by_their_number(directory: Path, tmp_path: Path) -> None:
    """User code makes as many as its /tmp has room for: with the square of that an executor would thaw for an hour."""
    tree = tmp_path / "many"
    tree.mkdir()
    for number in range(16_000):
        (tree / str(number)).mkdir()
    image = io.BytesIO(packed(directory, tree))
    began = time.process_time()
    images.unpack(image, str(tmp_path / "unpacked"), KEY, CONTEXT)
    assert time.process_time() - began < 60


def test_a_date_beyond_all_dates_is_no_reason_not_to_thaw(directory: Path, tmp_path: Path) -> None:
    tree = Path(tempfile.mkdtemp(prefix="sojourn-test-", dir="/dev/shm"))
    try:
        (tree / "late").touch()
        os.utime(tree / "late", ns=(0, (2**63 - 1) * 10**9))
        images.unpack(io.BytesIO(packed(directory, tree)), str(tmp_path / "unpacked"), KEY, CONTEXT)
    finally:
        shutil.rmtree(tree)
