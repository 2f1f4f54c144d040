"""Making an image, in idle time and beside everything else: a thread with a process of its own.

A fresh process imports a task file and is frozen; then it is thawed for a try, before anybody may use it, which shows that
it can be and how long that takes. It is told no payload, variable or key. A run that comes meanwhile ends the making.
"""

from __future__ import annotations

import os
import select
import shutil
import time

from sojourn.executor_shim.child import Child
from sojourn.executor_shim.events import Events
from sojourn.executor_shim.freezing import trees
from sojourn.executor_shim.starts import checks, shelf
from sojourn.executor_shim.starts.figures import Figures
from sojourn.executor_shim.starts.suiting import names_of
from sojourn.executor_shim.starts.thawing import thaw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.housing import Housing
    from sojourn.executor_shim.starts.shelf import Shelf

#: Seconds for an import, for a dump.
_IMPORT, _DUMP = 120.0, 30.0
#: Bytes: what is larger is not kept, and so much has to be left on the disk afterwards.
_MOST, _ROOM = 1 << 30, 2 << 30
#: So often it is thawed before it is used: the first time its files are still being written to the disk.
_TRIALS = 2
#: What a process that has no executor yet is told to be.
_NOBODY = "start"
_STOP = "stop"


class NotMade(Exception):
    """No image came of it; why. `again`: whether it may be tried once more by this executor."""

    def __init__(self, text: str, *, again: bool = False):
        super().__init__(text)
        self.again = again


class _Unimportable(NotMade):
    """The file cannot be imported without variables, now or later."""


_OTHERWISE = NotMade("there was something else to do", again=True)


class Maker:
    """Makes one image. `stop`: a descriptor that becomes readable when there is no more time for it."""

    def __init__(self, shelf: Shelf, housing: Housing, criu: str, directory: str, stop: int):
        self._shelf = shelf
        self._housing = housing
        self._criu = criu
        self._directory = directory
        self._stop = stop

    def make(self, version_hash: str, facts: dict[str, Any], file: str, memory: int | None) -> str:
        """The path of a published image. `NotMade`; other errors as they come.

        `memory`: bytes that its process may have.
        """
        lock = self._shelf.lock()
        if lock is None:
            raise NotMade("another executor of this node makes one", again=True)
        part = ""
        try:
            self._shelf.tidy(time.time())
            for image in self._shelf.images(version_hash):
                if image.file == file and image.facts == facts:
                    return image.path
                if image.file == file:
                    self._shelf.drop(image.path)  # of another interpreter, environment, boot …
            part = self._shelf.part(version_hash)
            _look_for_room(part)
            try:
                fresh, looked = self._freeze(part, file, memory)
            except _Unimportable:
                shelf.write_about(part, facts, file, [], None)
                shelf.write_figures(part, Figures(0.0, time.time()))
                self._shelf.publish(part)  # so that not every executor tries, until it is over
                raise
            descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                files = checks.taken(descriptor)
            finally:
                os.close(descriptor)
            if sum(each[3] for each in files) > _MOST:
                raise NotMade("its image is too large")
            shelf.write_about(part, facts, file, files, looked)
            thaws = tuple(round(self._try(part, files), 1) for _ in range(_TRIALS))
            shelf.write_figures(part, Figures(round(fresh, 1), time.time(), thaws))
            return self._shelf.publish(part)
        finally:
            if part:
                shutil.rmtree(part, ignore_errors=True)
            os.close(lock)

    def _freeze(self, part: str, file: str, memory: int | None) -> tuple[float, list[str] | None]:
        """Writes the image; milliseconds from nothing until its process had imported, and what that looked up."""
        events = self._events()
        began = time.monotonic()
        child = Child(events, _NOBODY, self._housing.start)
        descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            child.process.limit_memory(memory)
            child.prepare(self._directory, {}, file)
            self._await_prepared(events, child)
            taken = (time.monotonic() - began) * 1000
            if child.import_failed:
                raise _Unimportable(f"{file} cannot be imported without a run's variables")
            frozen = child.freeze(descriptor, self._criu, _DUMP)
            try:
                _keep_trees(frozen.private, descriptor)
            finally:
                frozen.close()
            return taken, names_of(child.looked)
        finally:
            child.end()
            os.close(descriptor)
            events.close()

    def _try(self, part: str, files: list[list[Any]]) -> float:
        """Thaws it; milliseconds."""
        self._breathe()
        work = self._shelf.work(part)
        events = self._events()
        try:
            began = time.monotonic()
            child = thaw(part, files, work, events, _NOBODY, self._housing, self._criu)
            taken = (time.monotonic() - began) * 1000
            child.end()
            return taken
        finally:
            self._shelf.leave(work)
            events.close()

    def _breathe(self) -> None:
        if select.select([self._stop], [], [], 0)[0]:
            raise _OTHERWISE

    def _events(self) -> Events:
        events = Events()
        events.add(self._stop, _STOP)
        return events

    def _await_prepared(self, events: Events, child: Child) -> None:
        """Until it has said that it is; what it prints is nobody's."""
        until = time.monotonic() + _IMPORT
        while child.began_nothing:
            left = until - time.monotonic()
            if left <= 0:
                raise NotMade(f"its process was not ready in {_IMPORT:g} s")
            for name in events.wait(left):
                if name == _STOP:
                    raise _OTHERWISE
                child.ignore(name)
            if child.exit_code is not None:
                raise NotMade(f"its process ended with {child.exit_code}")


def _look_for_room(place: str) -> None:
    told = os.statvfs(place)
    if told.f_bavail * told.f_frsize < _MOST + _ROOM:
        raise NotMade("the disk has no room for it")


def _keep_trees(private: dict[str, int], target: int) -> None:
    """The sandbox's own directories become a part of the image, if there is anything in them."""
    for name, root in private.items():
        entries = list(trees.walk(root))
        if len(entries) == 1:
            continue
        if sum(each.info.st_blocks * 512 for each in entries) > _MOST:
            raise NotMade("what its process has written is too large")
        os.mkdir(name, 0o700, dir_fd=target)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
        try:
            trees.copy(root, ".", fd, {uid: uid for each in entries for uid in (each.info.st_uid, each.info.st_gid)})
        finally:
            os.close(fd)
