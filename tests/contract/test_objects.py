"""One body of tests for every object store: whole or not at all, streamed, listed, deleted twice without harm."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from sojourn.control_plane.domain import buckets
from sojourn.control_plane.store.object_directory import MARK, DirectoryObjects
from sojourn.control_plane.store.object_s3 import S3Objects
from sojourn.control_plane.store.objects import CHUNK, ObjectMissing, Objects, ObjectsUnavailable
from tests.support.s3_server import CREDENTIALS, S3Server, s3_server

LATER = timedelta(days=1)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as made:
        yield made


@pytest.fixture(params=["directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    if request.param == "directory":
        return DirectoryObjects(tmp_path / "objects")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server: S3Server = request.getfixturevalue("server")
    return S3Objects(buckets.read(server.bucket(f"bucket-{uuid4().hex}")))


def read(objects: Objects, name: str) -> bytes:
    opened = objects.open(name)
    body = b"".join(opened.chunks)
    assert len(body) == opened.size
    return body


def names(objects: Objects, prefix: str = "checkpoints/") -> list[str]:
    return sorted(each.name for each in objects.list(prefix))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, 8 * CHUNK, 8 * CHUNK + 1, 33 * CHUNK])
def test_what_is_put_is_what_is_opened(objects: Objects, size: int) -> None:
    body = os.urandom(size)
    chunks = (body[start : start + 700_001] for start in range(0, size, 700_001))
    assert objects.put("checkpoints/e/r/c", chunks) == size
    assert sha256(read(objects, "checkpoints/e/r/c")).digest() == sha256(body).digest()


def test_what_is_put_again_replaces_what_was_there(objects: Objects) -> None:
    objects.put("checkpoints/e/r/c", [b"old"])
    objects.put("checkpoints/e/r/c", [b"new", b"er"])
    assert (read(objects, "checkpoints/e/r/c"), names(objects)) == (b"newer", ["checkpoints/e/r/c"])


@pytest.mark.parametrize("pieces", [0, 1, 40])
def test_a_source_that_breaks_publishes_nothing(objects: Objects, pieces: int) -> None:
    def broken() -> Iterator[bytes]:
        for _ in range(pieces):
            yield b"x" * CHUNK
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError):
        objects.put("checkpoints/e/r/c", broken())
    assert names(objects) == []
    with pytest.raises(ObjectMissing):
        objects.open("checkpoints/e/r/c")
    assert objects.abandon(datetime.now(UTC) + LATER) == 0, "nothing was left to clear away"


def test_nothing_is_seen_of_an_object_before_it_is_whole(objects: Objects) -> None:
    began, goes_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield b"x" * 20 * CHUNK
        began.set()
        assert goes_on.wait(30)
        yield b"y"

    thread = threading.Thread(target=objects.put, args=("checkpoints/e/r/c", slow()))
    thread.start()
    assert began.wait(30)
    assert names(objects) == []
    goes_on.set()
    thread.join(30)
    assert names(objects) == ["checkpoints/e/r/c"]


def test_deleting_is_idempotent(objects: Objects) -> None:
    objects.put("checkpoints/e/r/c", [b"x"])
    objects.put("checkpoints/e/r/d", [b"y"])
    for _ in range(2):
        objects.delete("checkpoints/e/r/c")
    objects.delete("checkpoints/e/never/was")
    assert names(objects) == ["checkpoints/e/r/d"]


def test_lists_are_by_prefix_with_size_and_age(objects: Objects) -> None:
    assert names(objects) == []
    for name in ("checkpoints/a/r/1", "checkpoints/ab/r/2", "checkpoints/a/s/3"):
        objects.put(name, [b"four"])
    assert names(objects, "checkpoints/a/") == ["checkpoints/a/r/1", "checkpoints/a/s/3"]
    assert len(names(objects)) == 3
    found = next(iter(objects.list("checkpoints/ab/")))
    assert found.size == 4 and abs(datetime.now(UTC) - found.at) < timedelta(minutes=1)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a/../b", "a//b", ".hidden", "a/.partial-1", "a\x00", "a/b/"])
def test_a_name_is_a_path_of_plain_segments(objects: Objects, name: str) -> None:
    for call in (lambda: objects.put(name, [b""]), lambda: objects.open(name), lambda: objects.delete(name)):
        with pytest.raises(ValueError, match="no name"):
            call()


def test_a_reader_keeps_what_it_opened(objects: Objects) -> None:
    """A deleted object's reader gets all of it, or an error: never a short body without one."""
    objects.put("checkpoints/e/r/c", [b"z" * 12 * CHUNK])
    opened = objects.open("checkpoints/e/r/c")
    first = next(opened.chunks)
    objects.delete("checkpoints/e/r/c")
    try:
        assert len(first) + sum(len(chunk) for chunk in opened.chunks) == opened.size
    except ObjectsUnavailable:
        pass


# --- each by itself


def test_addresses_need_no_key_and_are_good_for_one_method(objects: Objects) -> None:
    objects.put("packets/e/p.json", [b"[1]"])
    read_at = objects.url("packets/e/p.json", "GET", 60, "application/json")
    write_at = objects.url("uploads/e/u.json", "PUT", 60, None)
    if isinstance(objects, DirectoryObjects):
        assert (read_at, write_at) == (None, None), "whoever serves the directory has addresses of its own"
        return
    assert read_at and write_at and "X-Amz-Expires=60" in read_at
    with urllib.request.urlopen(read_at, timeout=60) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"[1]", "application/json")
    sent = urllib.request.Request(write_at, data=b'{"json": 2}', method="PUT")
    sent.add_header("Content-Type", "application/super+json")
    urllib.request.urlopen(sent, timeout=60).close()
    assert objects.open("uploads/e/u.json").media_type == "application/super+json"
    assert not any(value in read_at for value in CREDENTIALS.values() if value.startswith("secret"))


def test_a_directory_is_nobody_elses(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "objects")
    before = os.umask(0)
    try:
        objects.put("checkpoints/e/r/c", [b"secret"])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "objects").rglob("*")}
    assert modes == {"checkpoints": 0o700, "e": 0o700, "r": 0o700, "c": 0o600}
    assert stat.S_IMODE((tmp_path / "objects").stat().st_mode) == 0o700
    objects.delete("checkpoints/e/r/c")
    assert list((tmp_path / "objects").iterdir()) == [], "empty directories do not pile up"


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)
    left = tmp_path / "checkpoints/e/r/.partial-1"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert names(objects) == []
    assert objects.abandon(datetime.now(UTC) - LATER) == 0
    assert objects.abandon(datetime.now(UTC) + LATER) == 1
    assert not left.exists()


def test_a_directory_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ObjectsUnavailable, match="Not a directory"):
        DirectoryObjects(tmp_path / "file" / "objects").put("checkpoints/e/r/c", [b"x"])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_place_where_nothing_is_mounted_says_nothing_about_what_is_stored(tmp_path: Path, restarted: bool) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    objects = DirectoryObjects(mount, lambda: False)
    with pytest.raises(ObjectMissing):
        objects.open("checkpoints/e/r/c")
    objects.delete("checkpoints/e/r/c")
    objects.put("checkpoints/e/r/c", [b"x"])
    assert {path.name for path in mount.iterdir()} == {MARK, "checkpoints"} and names(objects) == ["checkpoints/e/r/c"]
    mount.rename(tmp_path / "aside")
    mount.mkdir()
    if restarted:
        objects = DirectoryObjects(mount, lambda: True)
    for call in (objects.open, objects.delete, lambda name: objects.put(name, [b"y"])):
        with pytest.raises(ObjectsUnavailable, match="mounted"):
            call("checkpoints/e/r/c")
    assert list(mount.iterdir()) == []
    mount.rmdir()
    (tmp_path / "aside").rename(mount)
    assert read(objects, "checkpoints/e/r/c") == b"x"
    objects.delete("checkpoints/e/r/c")
    with pytest.raises(ObjectMissing):
        objects.open("checkpoints/e/r/c")
    objects.put("checkpoints/e/r/c", [b"y"])


def test_a_directory_of_before_the_mark_is_known_by_its_objects(tmp_path: Path) -> None:
    DirectoryObjects(tmp_path).put("checkpoints/e/r/c", [b"x"])
    objects = DirectoryObjects(tmp_path, lambda: True)
    with pytest.raises(ObjectMissing):
        objects.open("checkpoints/e/r/d")
    objects.put("checkpoints/e/r/d", [b"x"])
    assert (tmp_path / MARK).exists()


def test_a_directory_that_is_not_there_now_says_nothing_about_what_is_on_it(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path / "mount")
    objects.put("checkpoints/e/r/c", [b"x"])
    (tmp_path / "mount").rename(tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(ObjectsUnavailable):
            objects.open("checkpoints/e/r/c")
        (tmp_path / "mount").write_bytes(b"")  # nor a file in its place
    with pytest.raises(ObjectsUnavailable):
        objects.delete("checkpoints/e/r/c")
    (tmp_path / "mount").unlink()
    (tmp_path / "aside").rename(tmp_path / "mount")
    assert read(objects, "checkpoints/e/r/c") == b"x"


def test_parts_that_a_killed_writer_left_are_aborted(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket = buckets.read(server.bucket(f"bucket-{uuid4().hex}"))
    objects = S3Objects(bucket)
    objects._client.create_multipart_upload(Bucket=bucket.name, Key=f"{bucket.prefix}checkpoints/e/r/c")
    assert objects.abandon(datetime(2000, 1, 1, tzinfo=UTC)) == 0, "this server dates every upload to 2010"
    assert objects.abandon(datetime.now(UTC)) == 1
    assert objects.abandon(datetime.now(UTC)) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda objects: objects.put("checkpoints/e/r/c", [b"x"]),
        lambda objects: objects.put("checkpoints/e/r/c", [b"x" * 20 * CHUNK]),
        lambda objects: objects.open("checkpoints/e/r/c"),
        lambda objects: objects.delete("checkpoints/e/r/c"),
        lambda objects: list(objects.list("checkpoints/")),
        lambda objects: objects.abandon(datetime.now(UTC)),
    ],
    ids=["put", "put-parts", "open", "delete", "list", "abandon"],
)
def test_a_service_that_is_away_or_refuses_says_so_without_secrets(
    call: Callable[[Objects], object], server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    nowhere = S3Objects(buckets.Bucket("b", "", "http://127.0.0.1:9", "us-east-1"), patience=0.5)
    no_bucket = S3Objects(buckets.Bucket("no-such-bucket", "", server.endpoint, "us-east-1"))
    for objects in (nowhere, no_bucket):
        with pytest.raises(ObjectsUnavailable) as caught:
            call(objects)
        assert not any(value in str(caught.value) for value in CREDENTIALS.values())


_ABSENT = """
from gevent import monkey
monkey.patch_all()
import sys
from pathlib import Path
from sojourn.control_plane.store.object_directory import DirectoryObjects
from sojourn.control_plane.store.objects import ObjectMissing, ObjectsUnavailable
objects = DirectoryObjects(Path(sys.argv[1]))
objects.put("there", [b"1"])
assert b"".join(objects.open("there").chunks) == b"1"
for name, expected in (("absent", ObjectMissing), ("there/below", ObjectMissing)):
    try:
        objects.open(name)
    except expected:
        continue
    raise AssertionError(name)
"""


def test_what_is_expected_of_a_directory_is_not_logged(tmp_path: Path) -> None:
    """Where greenlets stand for threads, gevent writes down what is raised in its own: anybody could fill the log."""
    done = subprocess.run([sys.executable, "-c", _ABSENT, str(tmp_path / "objects")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
