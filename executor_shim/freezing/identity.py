"""Numbers of processes, the user and the address in criu's images: read for the next sandbox, and changed to its own."""

from __future__ import annotations

import os
import socket
import sys

from sojourn.executor_shim.freezing import protobuf
from sojourn.executor_shim.freezing.errors import CheckpointInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Of a process in pstree.img: itself, its group, its session, its threads. Groups and sessions may be of one that is gone.
_PSTREE_NUMBERS = (1, 3, 4, 5)
#: In files.img, messages for kinds of files, and where those have their `fown_entry`.
_OWNED = {3: 5, 4: 13, 6: 6, 7: 11, 8: 3, 9: 3, 10: 3, 12: 3, 13: 4, 14: 3, 15: 5, 16: 9, 18: 4, 19: 4, 20: 4,
          22: 5}  # fmt: skip
_UNIX, _UNIX_RIGHTS = 16, 13
_INET, _INET_ADDRESSES = 4, (11, 12)
_REGULAR, _REGULAR_NAME = 3, 6
_CORE_TASK, _TASK_STATE, _STOPPED = 3, 1, 3
_CORE_THREAD, _THREAD_CREDENTIALS, _CREDENTIALS, _GROUPS = 5, 10, range(1, 9), 14
_DIES_WITH_PARENT = 8
#: Numbers below are not given again when a namespace has used all.
_RESERVED = 300
#: From here on few processes have one: a sandbox that counts from here can be made before its image is known.
_USUAL = 24_000
#: So many are free for criu itself, and whatever it starts.
ROOM = 64


def task_numbers(directory: str) -> set[int]:
    """Every number that a process, thread, group or session of the image has. `CheckpointInvalid`."""
    entries = _messages(directory, "pstree.img")
    return {number for entry in entries for field in _PSTREE_NUMBERS for number in protobuf.numbers(entry, field)}


def room(taken: set[int], most: int) -> int:
    """The number after which there is room for criu's own processes, among those that a sandbox is to have. Pure."""
    last = max(_USUAL, *taken) if taken else _USUAL
    if last + ROOM < most:
        return last
    at = _RESERVED
    for number in sorted(each for each in taken if each > _RESERVED):
        if number - at > ROOM:
            return at
        at = number
    return at


def most_numbers() -> int:
    """The highest number of a process on this node."""
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        return int(file.read())


def change(directory: str, user: tuple[int, int], address: tuple[str | None, str | None], first: int) -> None:
    """What belongs to the user and group `user[0]` belongs to `user[1]`, what has the first address has the other one.

    The process `first`, whose parent will be another one at first, is not killed for that one's end. `CheckpointInvalid`.
    """
    changes = _Changes(_swap(*user), _swap(*(_packed(each) for each in address)), first)
    for name in os.listdir(directory):
        rules, only_first = changes.of(name)
        if not rules:
            continue
        path = os.path.join(directory, name)
        try:
            _write(path, protobuf.rewritten_file(_read(path), rules, only_first))
        except protobuf.Malformed as error:
            raise CheckpointInvalid(f"{name} of the image cannot be read: {error}") from error


def stopped(directory: str) -> list[int]:
    """The processes that user code had stopped, by their number inside. `CheckpointInvalid`."""
    found = []
    for name in os.listdir(directory):
        number = name.removeprefix("core-").removesuffix(".img")
        if number.isdigit():
            for core in _messages(directory, name):
                states = [each for task in protobuf.parts(core, _CORE_TASK) for each in protobuf.numbers(task, _TASK_STATE)]
                found += [int(number)] * (_STOPPED in states)
    return found


def kept_names(directory: str) -> list[str]:
    """Names that criu gave to files that were removed under one name and are open. `CheckpointInvalid`."""
    regular = [each for entry in _messages(directory, "files.img") for each in protobuf.parts(entry, _REGULAR)]
    names = [os.fsdecode(name) for each in regular for name in protobuf.parts(each, _REGULAR_NAME)]
    return [name for name in names if os.path.basename(name).startswith("link_remap.")]


class _Changes:
    def __init__(self, user: Callable[[int], int], address: Callable[[int], int], first: int):
        self._user = user
        self._address = address
        self._first = first

    def of(self, name: str) -> tuple[protobuf.Rules, bool]:
        """What is changed in a file, and whether that is its first message alone."""
        user = self._user
        owner = {1: user, 2: user}
        if name.startswith("core-"):
            thread: dict[int, protobuf.Rules | Callable[[int], int]]
            thread = {_THREAD_CREDENTIALS: dict.fromkeys((*_CREDENTIALS, _GROUPS), user)}
            if name == f"core-{self._first}.img":
                thread[_DIES_WITH_PARENT] = lambda _: 0
            return {_CORE_THREAD: thread}, False
        if name == "files.img":
            files: dict[int, dict[int, protobuf.Rules | Callable[[int], int]]]
            files = {field: {inner: owner} for field, inner in _OWNED.items()}
            files[_UNIX][_UNIX_RIGHTS] = {2: user, 3: user}
            files[_INET] |= dict.fromkeys(_INET_ADDRESSES, self._address)
            return files, False
        if name.startswith("ghost-file-"):
            return owner, True
        if name == "memfd.img":
            return {2: user, 3: user}, False
        if name == "tty-info.img":
            return {14: user, 15: user}, False
        return {}, False


def _swap(old: int | None, new: int | None) -> Callable[[int], int]:
    if old is None or new is None:
        return lambda value: value
    return lambda value: new if value == old else value


def _packed(address: str | None) -> int | None:
    """An IPv4 address as criu has it: a number of the machine's byte order out of the network's."""
    return None if address is None else int.from_bytes(socket.inet_aton(address), sys.byteorder)


def _messages(directory: str, name: str) -> list[bytes]:
    try:
        return list(protobuf.messages(_read(os.path.join(directory, name))))
    except (OSError, protobuf.Malformed) as error:
        raise CheckpointInvalid(f"{name} of the image cannot be read: {error}") from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
