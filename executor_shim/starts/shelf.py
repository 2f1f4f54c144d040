"""The images of a node: a directory beside each version's tree, which goes with the tree; only root looks into it.

<version>.starts/<name>/about.json      what it is of: facts, task file, files with their checks
<version>.starts/<name>/figures.json    how long thaws of it take
<version>.starts/<name>/…               criu's files, tmp/, shm/
<version>.starts/.part-…                one that is being made: by the holder of the lock, who removes what others left
<version>.starts/.work-…                one that is being thawed: links to an image's files
"""

from __future__ import annotations

import fcntl
import json
import os
import time

from sojourn.executor_shim.starts.figures import Figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Beside a version's tree.
SUFFIX = ".starts"
#: Images of a node, and bytes of all of them, at most. The longest unused go.
MOST, MOST_BYTES = 64, 8 << 30
_ABOUT, _FIGURES, _LOCK = "about.json", "figures.json", ".starts-making"
_PART, _WORK = ".part-", ".work-"
#: Seconds after which nobody is thawing by it any more.
_ABANDONED = 600.0


class StartImage:
    """One image. `file`: the task file that its process has imported. `looked`: names of variables that the import looked
    up, None for perhaps all. One without `files` is a note that the file cannot be imported without variables.
    """

    def __init__(self, path: str, about: dict[str, Any], figures: Figures, used: float):
        self.path = path
        self.file: str = about["file"]
        self.facts: dict[str, Any] = about["facts"]
        self.files: list[list[Any]] = about["files"]
        self.looked: list[str] | None = about["looked"]
        self.figures = figures
        self.used = used

    @classmethod
    def read(cls, path: str) -> StartImage | None:
        """None for what is no image."""
        try:
            about = _read(path, _ABOUT)
            figures = Figures.read(_read(path, _FIGURES))
            return cls(path, about, figures, os.stat(os.path.join(path, _FIGURES)).st_mtime)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, figures: Figures) -> None:
        """Keeps its figures, by which it also counts as used now. `OSError`."""
        self.figures = figures
        write_figures(self.path, figures)


def write_about(path: str, facts: dict[str, Any], file: str, files: list[list[Any]], looked: list[str] | None) -> None:
    """What an image's directory says of itself. `OSError`."""
    _write(path, _ABOUT, {"facts": facts, "file": file, "files": files, "looked": looked})


def write_figures(path: str, figures: Figures) -> None:
    """Its figures. `OSError`."""
    _write(path, _FIGURES, figures.as_json())


class Shelf:
    """Those below one directory of versions."""

    def __init__(self, versions_dir: str):
        self._versions = versions_dir

    def of(self, version_hash: str) -> str:
        """Where a version's images are."""
        return os.path.join(self._versions, version_hash + SUFFIX)

    def has_any(self, version_hash: str) -> bool:
        """Whether there is anything to look at."""
        return os.path.isdir(self.of(version_hash))

    def images(self, version_hash: str) -> list[StartImage]:
        """A version's, the last used first."""
        return sorted(_images(self.of(version_hash)), key=lambda each: -each.used)

    def lock(self) -> int | None:
        """A descriptor that is held while an image is made on this node; None while another makes one."""
        path = os.path.join(self._versions, _LOCK)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def part(self, version_hash: str) -> str:
        """A fresh directory for an image that is to be made. With the lock only. `OSError`."""
        place = self.of(version_hash)
        os.makedirs(place, 0o700, exist_ok=True)
        return _fresh(place, _PART)

    def work(self, image: str) -> str:
        """A fresh directory to thaw in, on the same file system as the image. `OSError`."""
        return _fresh(os.path.dirname(image), _WORK)

    def leave(self, work: str) -> None:
        """Removes it."""
        try:
            for entry in os.scandir(work):
                if entry.is_dir(follow_symlinks=False):
                    import shutil

                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
            os.rmdir(work)
        except OSError:
            return  # whoever makes an image next removes it

    def publish(self, part: str) -> str:
        """Gives one that is made its name: from now on it is used. `OSError`."""
        name = os.path.join(os.path.dirname(part), os.path.basename(part).removeprefix(_PART))
        os.rename(part, name)
        return name

    def drop(self, path: str) -> None:
        """Removes an image: first what makes it one."""
        import shutil

        for name in (_ABOUT, _FIGURES):
            try:
                os.unlink(os.path.join(path, name))
            except OSError:
                continue
        shutil.rmtree(path, ignore_errors=True)

    def tidy(self, now: float) -> None:
        """Removes what nobody makes or thaws any more, and the longest unused above the bounds. With the lock only."""
        import shutil

        kept = []
        for place in self._places():
            for entry in _entries(place):
                is_left = entry.name.startswith(_PART)
                is_left |= entry.name.startswith(_WORK) and entry.stat().st_mtime < now - _ABANDONED
                if is_left:
                    shutil.rmtree(entry.path, ignore_errors=True)
            kept += _images(place)
        left, room = MOST, MOST_BYTES
        for image in sorted(kept, key=lambda each: (each.figures.is_over(now), -each.used)):
            left -= 1
            room -= sum(each[3] for each in image.files)
            if left < 0 or room < 0 or image.figures.is_over(now):
                self.drop(image.path)

    def _places(self) -> list[str]:
        return [entry.path for entry in _entries(self._versions) if entry.name.endswith(SUFFIX)]


def _images(place: str) -> list[StartImage]:
    found = [StartImage.read(entry.path) for entry in _entries(place) if not entry.name.startswith(".")]
    return [each for each in found if each is not None]


def _fresh(place: str, prefix: str) -> str:
    """As `tempfile.mkdtemp`, whose import would be a part of each start."""
    path = os.path.join(place, prefix + os.urandom(8).hex())
    os.mkdir(path, 0o700)
    return path


def _entries(place: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(place))
    except OSError:
        return []


def _read(path: str, name: str) -> Any:
    with open(os.path.join(path, name), encoding="utf-8") as file:
        return json.load(file)


def _write(path: str, name: str, told: dict[str, Any]) -> None:
    target = os.path.join(path, name)
    part = f"{target}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.rename(part, target)
    except OSError:
        try:
            os.unlink(part)
        except OSError:
            pass
        raise
