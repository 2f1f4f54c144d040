"""While a project's file is imported: what it must not do then, and what to do when it cannot be imported."""

from __future__ import annotations

import sys

from sojourn.sdk.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Files that are being imported, the innermost last. One list for all threads: some clients speak from theirs.
_files: list[str] = []


class Importing:
    """`with Importing(file):` around the import of a project's file."""

    def __init__(self, file: str):
        self._file = file

    def __enter__(self) -> None:
        _files.append(self._file)

    def __exit__(self, *raised: Any) -> None:
        _files.pop()


def check_may_change() -> None:
    """`ConfigurationError` while a project's file is imported: what it asks of the API would be done again and again."""
    if _files:
        raise ConfigurationError(
            f"{_files[-1]} triggers or changes something while it is imported, which would be done at every deploy and at"
            " every start of a process: put it into a function, or the file outside of the project (.sojournignore does)"
        )


def next_step(error: BaseException) -> str:
    """What to do about a file that could not be imported; nothing where the error says it itself."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    return f"; install what brings {package!r} for {sys.executable}, here and wherever the task runs"
