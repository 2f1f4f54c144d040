"""What has to be as it was for an image to be used. Cheap to find out, since a run waits: files by their inode and date.

Kernel and processor are those of this boot. Beside them: criu, the interpreter, the places that code is imported from, the
runner and the SDK file by file, the environment and the sandbox's options.
"""

from __future__ import annotations

import os
import sys

from sojourn.executor_shim.sandbox.paths import needed_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.sandbox.options import Options

FORMAT = 2
_BOOT = "/proc/sys/kernel/random/boot_id"
#: Of the environment, what is another's in each executor and told anew to each process.
_OWN = "SOJOURN_EXECUTOR"


def facts(version_hash: str, criu: str, environment: dict[str, str], options: Options) -> dict[str, Any]:
    """As JSON has them. `OSError` where something is not there."""
    return {
        "format": FORMAT,
        "boot": _boot(),
        "version": version_hash,
        "criu": [criu, os.environ.get("SOJOURN_CRIU", ""), *identity(criu)],
        "interpreter": [sys.version, *identity(os.path.realpath(sys.executable))],
        "code": [[path, *identity(path)] for path in needed_paths(environment)],
        "platform": _platform(),
        "environment": {name: value for name, value in sorted(environment.items()) if name != _OWN},
        "options": {name: _plain(value) for name, value in options._asdict().items()},
    }


def identity(path: str) -> list[int]:
    """Of a file or directory: another one, or one that was changed, has another."""
    info = os.stat(path)
    return [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns]


def _platform() -> list[list[Any]]:
    import sojourn

    package = next(iter(sojourn.__path__))
    found: list[list[Any]] = []
    left = [os.path.join(package, part) for part in ("sdk", "executor_shim")]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    info = entry.stat()
                    found.append([entry.path, info.st_ino, info.st_size, info.st_mtime_ns])
                elif entry.name != "__pycache__" and entry.is_dir():
                    left.append(entry.path)
    return sorted(found)


def _boot() -> str:
    with open(_BOOT, encoding="ascii") as file:
        return file.read().strip()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
