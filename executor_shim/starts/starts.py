"""What a shim knows of restored starts: whether to take an image, and when to make one. It never fails a run."""

from __future__ import annotations

import os
import time

from sojourn.executor_shim.starts.shelf import Shelf
from sojourn.executor_shim.starts.suiting import names_of, suits

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Any

    from sojourn.executor_shim.child import Child
    from sojourn.executor_shim.housing import Housing
    from sojourn.executor_shim.settings import Settings
    from sojourn.executor_shim.starts.figures import Figures
    from sojourn.executor_shim.starts.shelf import StartImage
    from sojourn.executor_shim.station import Station

#: Seconds without a run after which an image is made, and what an executor that leaves by itself spends on one at most.
_IDLE, _LAST_WORK = 0.3, 15.0
#: How often an executor begins to make one.
_TRIES = 5
_UNUSABLE = "COULD_NOT_IMPORT_TASK"


class Starts:
    """One executor's."""

    def __init__(self, settings: Settings, station: Station, housing: Housing):
        self._settings = settings
        self._station = station
        self._housing = housing
        self._shelf = Shelf(settings.versions_dir)
        self._directory = ""
        #: What there was at boot and can be used, by its task file; the last used first.
        self._images: dict[str, StartImage] = {}
        #: The image that the present process came out of, and the milliseconds that took; until it has had a run. Or the
        #: one that its run could not have, and those of the fresh start instead.
        self._taken: tuple[StartImage, float] | None = None
        #: What is to be noted of it, once there is time.
        self._noted: tuple[StartImage, Figures] | None = None
        self._tries = _TRIES if settings.restored_starts == "auto" else 0
        self._thread: threading.Thread | None = None
        self._stop: int | None = None

    # --- taking one

    def look(self, directory: str) -> bool:
        """Whether a process is better had when it is known which run it is for: there are images to choose from."""
        self._directory = directory
        if self._settings.restored_starts != "auto" or not self._housing.is_sandboxed:
            return False
        try:
            if self._shelf.has_any(self._settings.version_hash):
                self._images = self._usable()
        except Exception as error:  # whatever it is, fresh processes are as good
            self._complain(error)
        return bool(self._images)

    def child(self, file: str | None, variables: dict[str, str]) -> Child | None:
        """A process that has imported that file, or what was needed last; None where a fresh one is better."""
        image = self._images.get(file) if file is not None else next(iter(self._images.values()), None)
        if image is None:
            return None
        if file is not None and not suits(variables, image.looked):
            self._taken = (image, image.figures.fresh)  # who would have it begins as if it were that slow
            return None
        try:
            return self._thaw(image)
        except Exception as error:
            self._complain(error)
            return None

    def suits(self, child: Child, variables: dict[str, str]) -> bool:
        """Whether a process that was imported without variables, and has had no run, may have one with these."""
        return child.runs == 0 and not child.variables and suits(variables, names_of(child.looked))

    def _usable(self) -> dict[str, StartImage]:
        now = time.time()
        found: dict[str, StartImage] = {}
        known: dict[str, Any] = {}
        for image in self._shelf.images(self._settings.version_hash):
            criu = image.facts["criu"][0]
            if criu not in known:
                known[criu] = self._facts(criu)
            if image.facts == known[criu] and image.figures.is_worth_it and not image.figures.is_over(now):
                found.setdefault(image.file, image)
        return found

    def _facts(self, criu: str) -> dict[str, Any]:
        from sojourn.executor_shim.child import environment_for
        from sojourn.executor_shim.starts.facts import facts

        options = self._housing.options
        assert options is not None
        return facts(self._settings.version_hash, criu, environment_for(self._settings.executor), options)

    def _thaw(self, image: StartImage) -> Child | None:
        from sojourn.executor_shim.freezing.errors import ThawFailed
        from sojourn.executor_shim.starts.thawing import thaw

        began = time.monotonic()
        work = self._shelf.work(image.path)
        try:
            child = thaw(
                image.path, image.files, work, self._station.events, self._settings.executor, self._housing,
                image.facts["criu"][0],
            )  # fmt: skip
        except ThawFailed as error:
            self._give_up(image, str(error))
            return None
        finally:
            self._shelf.leave(work)
        child.looked = image.looked
        self._taken = (image, (time.monotonic() - began) * 1000)
        return child

    def _give_up(self, image: StartImage, why: str) -> None:
        self._station.note(f"an image of a start is dropped: {why}")
        self._images.pop(image.file, None)
        self._shelf.drop(image.path)

    def _complain(self, error: Exception) -> None:
        self._images = {}
        self._station.note(f"no restored start: {type(error).__name__}: {error}")

    # --- making one

    def after(self, assignment: dict[str, Any], outcome: dict[str, Any], present: Child | None) -> None:
        """A run is over: what came of the present image is noted, and perhaps one is made, once there is time for it."""
        file = assignment["task"]["filePath"]
        taken, self._taken = self._taken, None
        code = (outcome.get("error") or {}).get("code")
        wanted = self._tries > 0 and self._housing.is_sandboxed and code != _UNUSABLE
        wanted = wanted and file not in self._images
        if taken is not None:
            self._noted = (taken[0], taken[0].figures.told(taken[1]))
        if self._station.is_draining or not (wanted or taken):
            return
        import threading

        self.interrupt()
        stopped, self._stop = os.pipe2(os.O_CLOEXEC)
        memory = _left(assignment.get("memoryBytes"), present) if wanted else None
        arguments = (self._thread, stopped, file, memory, wanted)
        self._thread = threading.Thread(target=self._serve, args=arguments, name="starts", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """There is something else to do."""
        if self._stop is not None:
            os.close(self._stop)
            self._stop = None

    def close(self, *, in_peace: bool) -> None:
        """This executor leaves. In peace, it makes what it has begun to make."""
        thread, self._thread = self._thread, None
        until = time.monotonic() + _LAST_WORK
        while thread is not None and in_peace and thread.is_alive() and not self._station.is_draining:
            thread.join(0.05)
            in_peace = time.monotonic() < until
        self.interrupt()
        if thread is not None:
            thread.join(_LAST_WORK)
        try:
            self._note()
        except OSError as error:
            self._station.note(f"how long a restored start took is not kept: {error}")

    # --- the thread

    def _serve(
        self, earlier: threading.Thread | None, stopped: int, file: str, memory: int | None, is_wanted: bool
    ) -> None:
        import select

        try:
            poll = select.poll()
            poll.register(stopped, select.POLLIN | select.POLLHUP)
            if poll.poll(_IDLE * 1000):
                return
            if earlier is not None:
                earlier.join()  # it was told to end
            self._note()
            if is_wanted:
                self._make(stopped, file, memory)
        except Exception as error:
            self._tries = 0
            self._station.note(f"no image of a start was made: {type(error).__name__}: {error}")
        finally:
            os.close(stopped)

    def _note(self) -> None:
        noted, self._noted = self._noted, None
        if noted is not None:
            image, figures = noted
            image.note(figures)

    def _make(self, stopped: int, file: str, memory: int | None) -> None:
        from sojourn.executor_shim import freezing
        from sojourn.executor_shim.starts.making import Maker, NotMade

        self._tries -= 1
        criu = freezing.find_criu()
        obstacle = freezing.obstacle()
        if criu is None or obstacle is not None:
            self._tries = 0
            return
        maker = Maker(self._shelf, self._housing, criu, self._directory, stopped)
        try:
            maker.make(self._settings.version_hash, self._facts(criu), file, memory)
        except NotMade as error:
            if not error.again:
                self._tries = 0
                self._station.note(f"no image of a start was made: {error}")


def _left(most: int | None, present: Child | None) -> int | None:
    """Bytes for one more process beside the present one, which is kept; None: no limit."""
    if most is None or present is None:
        return most
    from sojourn.executor_shim.process_tree import resident_bytes

    return max(most - sum(resident_bytes(each) for each in present.process.members()), 1 << 20)
