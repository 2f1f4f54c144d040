"""Limits of a sandbox by control groups, version 1 or 2, below the shim's own: the number of processes, and memory."""

from __future__ import annotations

import os

from sojourn.executor_shim.sandbox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WANTED = ("pids", "memory")
#: Where the shim itself goes where version 2 allows no processes beside groups.
_LEAF = "sojourn-shim"


class Place(Record):
    """Where a group may be made. `version` 1 or 2; `controller` of version 1, or all of version 2's that it has."""

    version: int
    controllers: tuple[str, ...]
    directory: str


class Group(Record):
    """A sandbox's directories by controller (of version 2: one for all), and why a controller is missing."""

    directories: dict[str, str]
    missing: dict[str, str]

    def entries(self) -> list[str]:
        """The files that a process writes 0 to, to enter."""
        return [os.path.join(each, "cgroup.procs") for each in sorted(set(self.directories.values()))]


def places(cgroups: str, mountinfo: str) -> list[Place]:
    """Where this process's groups are, out of /proc/self/cgroup and /proc/self/mountinfo. Pure."""
    mounts = [_mount(line) for line in mountinfo.splitlines()]
    found = []
    for line in cgroups.splitlines():
        _, kinds, path = line.split(":", 2)
        for at, root, kind, options in mounts:
            is_it = kind == "cgroup2" if not kinds else kind == "cgroup" and kinds in options
            if is_it and (path + "/").startswith(root.rstrip("/") + "/"):
                below = path[len(root.rstrip("/")) :]
                names = tuple(each for each in kinds.split(",") if each in _WANTED)
                if names or not kinds:
                    found.append(Place(1 if kinds else 2, names, (at + below).rstrip("/")))
                break
    return found


def _mount(line: str) -> tuple[str, str, str, str]:
    """Mount point, root within its file system, type, and super options."""
    before, _, after = line.partition(" - ")
    fields, (kind, _, options) = before.split(" "), after.split(" ", 2)
    return fields[4], fields[3], kind, options


def make(name: str, pids: int) -> Group:
    """The group of that name, with its limit on processes. What cannot be had is told in `missing`, not raised."""
    directories: dict[str, str] = {}
    missing: dict[str, str] = {}
    try:
        found = places(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
    except OSError as error:
        return Group({}, dict.fromkeys(_WANTED, str(error)))
    for place in found:
        try:
            controllers = place.controllers if place.version == 1 else _enabled(place.directory)
            directory = os.path.join(place.directory, name)
            if controllers:
                os.makedirs(directory, exist_ok=True)
                directories |= {each: directory for each in controllers if each not in directories}
        except OSError as error:
            missing |= {each: str(error) for each in _WANTED if each not in directories}
    limit_memory(Group(directories, {}), None)  # a group that was left behind may have another's
    if "pids" in directories:
        try:
            _write(os.path.join(directories["pids"], "pids.max"), str(pids))
        except OSError as error:
            missing["pids"] = str(error)
            del directories["pids"]
    missing = {each: missing.get(each, "no such controller here") for each in _WANTED if each not in directories}
    return Group(directories, missing)


def _enabled(directory: str) -> tuple[str, ...]:
    """The controllers that groups below a version 2 group have, once they are asked for.

    A group with processes cannot hand controllers down; the shim, where it is alone in it, goes into one of its own.
    """
    have = _read(os.path.join(directory, "cgroup.controllers")).split()
    wanted = [each for each in _WANTED if each in have]
    control = os.path.join(directory, "cgroup.subtree_control")
    lacking = [each for each in wanted if each not in _read(control).split()]
    if lacking:
        command = " ".join(f"+{each}" for each in lacking)
        try:
            _write(control, command)
        except OSError:
            if not _leave(directory):
                raise
            _write(control, command)
    return tuple(wanted)


def _leave(directory: str) -> bool:
    """Moves the shim and its helpers out of a group into a leaf of it; false if there are others."""
    inside = {int(each) for each in _read(os.path.join(directory, "cgroup.procs")).split()}
    if not inside or not inside <= _family():
        return False
    leaf = os.path.join(directory, _LEAF)
    os.makedirs(leaf, exist_ok=True)
    for pid in inside:
        _write(os.path.join(leaf, "cgroup.procs"), str(pid))
    return True


def _family() -> set[int]:
    """This process, its keeper and what that has made, and the shim above."""
    from sojourn.executor_shim.process_tree import descendants, parent

    keeper = os.getppid()
    return {os.getpid(), keeper, parent(keeper), *descendants(keeper)}


def limit_memory(group: Group, limit: int | None) -> bool:
    """Sets the limit in bytes, or none; whether it holds."""
    directory = group.directories.get("memory")
    if directory is None:
        return False
    is_old = os.path.exists(os.path.join(directory, "memory.limit_in_bytes"))
    name, unlimited = ("memory.limit_in_bytes", "-1") if is_old else ("memory.max", "max")
    try:
        _write(os.path.join(directory, name), unlimited if limit is None else str(limit))
        if not is_old:
            _write(os.path.join(directory, "memory.oom.group"), "1")
    except OSError:
        return False
    return True


def kill_counter(group: Group) -> str | None:
    """The file whose `oom_kill` line counts the kernel's kills for want of memory."""
    directory = group.directories.get("memory")
    if directory is None:
        return None
    old = os.path.join(directory, "memory.oom_control")
    return old if os.path.exists(old) else os.path.join(directory, "memory.events")


def remove(directories: Iterable[str]) -> None:
    """Removes groups whose processes are gone; one that cannot be removed is used again by its slot's next sandbox."""
    for directory in set(directories):
        try:
            os.rmdir(directory)
        except OSError:
            continue


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
