"""All of an image as one sealed stream: tar, compressed by zstd, encrypted and authenticated (see `sealing`).

Beside criu's files the tar has the sandbox's private directories below `tmp/` and `shm/`. Holes of files stay holes.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections import namedtuple
from typing import cast

import zstandard

from sojourn.executor_shim.freezing import trees
from sojourn.executor_shim.freezing.errors import CheckpointInvalid
from sojourn.executor_shim.freezing.sealing import Opener, Sealer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO, NamedTuple

    from sojourn.executor_shim.freezing.sealing import Readable, Writable

    class Packed(NamedTuple):
        """Bytes of the stream, and of the tar in it."""

        sealed: int
        plain: int

else:
    Packed = namedtuple("Packed", "sealed plain")

LEVEL = 1
_PIECE = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
#: What criu leaves that nobody needs.
_LEFT_OUT = ("stats-dump", "stats-restore")
_KINDS = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFREG: tarfile.REGTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
          stat.S_IFIFO: tarfile.FIFOTYPE}  # fmt: skip


def pack(directory: int, private: Mapping[str, int], out: Writable, key: bytes, context: str) -> Packed:
    """Writes the files of a directory and those private trees (descriptors by name) to `out`, sealed. `OSError`."""
    sealer = Sealer(out, key, context)
    compressor = _Compressor(sealer)
    archive = cast("IO[bytes]", compressor)
    with tarfile.TarFile(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_PIECE) as tar:
        for name in sorted(os.listdir(directory)):
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and name not in _LEFT_OUT and not name.endswith(".log"):
                _add(tar, directory, trees.Entry(name, info, "", ""), name)
        for name, root in private.items():
            for entry in trees.walk(root):
                _add(tar, root, entry, name if entry.path == "." else f"{name}/{entry.path}", name)
    compressor.finish()
    sealer.close()
    return Packed(sealer.written, compressor.tell())


def unpack(source: Readable, directory: str, key: bytes, context: str) -> int:
    """Makes `directory`, private, with all that was packed; the tar's bytes. It is made whole or not at all.

    `CheckpointInvalid`: the stream is not what was sealed with this key for this context. `OSError`: the source, or a disk.
    """
    part = directory + ".part"
    os.mkdir(part, 0o700)
    try:
        size = _unpack(source, part, key, context)
        os.rename(part, directory)
        return size
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


# --- packing


class _Compressor:
    """What a tar is written to: it wants to know where it is."""

    def __init__(self, out: Writable):
        self._out = out
        self._compress = zstandard.ZstdCompressor(level=LEVEL).compressobj()
        self._taken = 0

    def write(self, data: bytes) -> int:
        """Takes all of it."""
        self._put(self._compress.compress(data))
        self._taken += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes taken so far."""
        return self._taken

    def finish(self) -> None:
        """The end of the compressed stream."""
        self._put(self._compress.flush())

    def _put(self, data: bytes) -> None:
        if data:
            self._out.write(data)


def _add(tar: tarfile.TarFile, root: int, entry: trees.Entry, name: str, below: str = "") -> None:
    info = tarfile.TarInfo(name)
    mode = entry.info.st_mode
    info.type = _KINDS[stat.S_IFMT(mode)]
    info.mode, info.uid, info.gid = stat.S_IMODE(mode), entry.info.st_uid, entry.info.st_gid
    info.mtime = entry.info.st_mtime
    if entry.same:
        info.type, info.linkname = tarfile.LNKTYPE, f"{below}/{entry.same}"
    elif stat.S_ISLNK(mode):
        info.linkname = entry.target
    elif stat.S_ISREG(mode):
        fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        with os.fdopen(fd, "rb", buffering=0) as file:
            _add_file(tar, info, file, entry.info.st_size)
        return
    tar.addfile(info)


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, file: IO[bytes], size: int) -> None:
    found = trees.extents(file.fileno(), size)
    info.size = size
    if sum(length for _, length in found) == size:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        tar.addfile(info, file)
        return
    table = _table([*found, (size, 0)])  # as GNU tar has it in its format 1.0
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": info.name,
                        "GNU.sparse.realsize": str(size)}  # fmt: skip
    info.size = len(table) + sum(length for _, length in found)
    tar.addfile(info, cast("IO[bytes]", _Extents(table, file.fileno(), found)))


def _table(found: list[tuple[int, int]]) -> bytes:
    numbers = [len(found), *(number for extent in found for number in extent)]
    text = "".join(f"{number}\n" for number in numbers).encode()
    return text + b"\0" * (-len(text) % _BLOCK)


class _Extents:
    """The table of a file's extents, and then those: what a tar has of a file with holes."""

    def __init__(self, table: bytes, fd: int, found: list[tuple[int, int]]):
        self._table = table
        self._fd = fd
        self._left = list(reversed(found))

    def read(self, size: int) -> bytes:
        """As a file's: fewer bytes than asked for only at the end."""
        data, self._table = self._table[:size], self._table[size:]
        while len(data) < size and self._left:
            start, length = self._left.pop()
            piece = os.pread(self._fd, min(length, size - len(data)), start)
            if not piece:
                break
            data += piece
            if len(piece) < length:
                self._left.append((start + len(piece), length - len(piece)))
        return data


# --- unpacking


def _unpack(source: Readable, directory: str, key: bytes, context: str) -> int:
    opener = Opener(source, key, context)
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(
            cast("IO[bytes]", opener), read_size=_PIECE, read_across_frames=False
        )
        with tarfile.open(fileobj=reader, mode="r|", bufsize=_PIECE) as tar:
            root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _extract(tar, root)
            finally:
                os.close(root)
            size = tar.offset
        while reader.read(_PIECE):
            continue
        opener.finish()
        return size
    except (tarfile.TarError, zstandard.ZstdError, ValueError) as error:
        raise CheckpointInvalid(f"the image cannot be unpacked: {error}") from error


def _extract(tar: tarfile.TarFile, root: int) -> None:
    made = {".", ""}
    directories = []
    for member in tar:
        path = member.name
        if os.path.dirname(path) not in made or os.path.basename(path) in ("", ".", ".."):
            raise CheckpointInvalid(f"the image has a file in no directory of its own: {path!r}")
        _make(tar, member, root)
        if member.isdir():
            made.add(path)
            directories.append(member)
        elif not member.islnk():
            trees.date(root, path, int(member.mtime * 1e9))
    for member in reversed(directories):
        trees.date(root, member.name, int(member.mtime * 1e9))


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, root: int) -> None:
    path = member.name
    if member.islnk():
        os.link(member.linkname, path, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
        return
    if member.isdir():
        os.mkdir(path, 0o700, dir_fd=root)
    elif member.issym():
        os.symlink(member.linkname, path, dir_fd=root)
    elif member.isfifo():
        os.mkfifo(path, 0o600, dir_fd=root)
    elif member.isfile():
        _write(tar, member, root)
    else:
        raise CheckpointInvalid(f"the image has something that is no file: {path!r}")
    os.chown(path, member.uid, member.gid, dir_fd=root, follow_symlinks=False)
    if not member.issym():
        os.chmod(path, member.mode, dir_fd=root)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, root: int) -> None:
    source = tar.fileobj
    assert source is not None
    source.seek(member.offset_data)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(member.name, flags, 0o600, dir_fd=root), "wb", buffering=0) as file:
        file.truncate(member.size)
        for start, length in _extents(member):
            file.seek(start)
            while length:
                data = source.read(min(length, _PIECE))
                if not data:
                    raise CheckpointInvalid(f"{member.name!r} of the image is cut off")
                _write_all(file.fileno(), data)
                length -= len(data)


def _extents(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    found = cast("list[tuple[int, int]] | None", member.sparse)
    return [(0, member.size)] if found is None else found


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
