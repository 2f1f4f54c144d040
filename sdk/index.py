"""Indexing in a process of its own: `python -m sojourn.sdk.index DIRECTORY OUTPUT` writes the manifest as JSON.

User code runs here, so that its prints, crashes and imports reach nobody else. Exit 0 with a manifest; 1 with the
reason on stderr, below the lines of the project that led to it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from sojourn.sdk import importing, manifest
from sojourn.sdk.errors import TaskDefinitionError


def main(directory: str, output: str) -> int:
    """Writes the manifest of a project to a file; the exit code."""
    try:
        found = manifest.collect(Path(directory))
        text = json.dumps(found, allow_nan=False)
    except SystemExit as error:
        _tell(error, f"importing the project ended Python ({error.code}): guard it with `if __name__ == '__main__':`")
        return 1
    except TaskDefinitionError as error:
        _tell(error, str(error))
        return 1
    except BaseException as error:
        _tell(error, None, importing.next_step(error))
        return 1
    Path(output).write_text(text, encoding="utf-8")
    return 0


def _tell(error: BaseException, reason: str | None, hint: str = "") -> None:
    """The lines of the project that led to it, then the reason; unless one is given, the error as Python tells it."""
    import traceback

    told = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = told
    while link is not None:
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if _is_projects(frame.filename)])
        link = link.__cause__ or link.__context__
    if reason is None:
        lines = told.format() if told.stack else (line for line in told.format() if not line.startswith("Traceback"))
        print("".join(lines).rstrip() + hint, file=sys.stderr)
        return
    if told.stack:
        print("".join(told.stack.format()).rstrip(), file=sys.stderr)
    print(reason, file=sys.stderr)


def _is_projects(file: str) -> bool:
    """Whether a line is the project's, or a library's of it: not this package's, nor of the machinery of imports."""
    ours = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), "<frozen importlib", "<frozen runpy")
    return not file.startswith(ours)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m sojourn.sdk.index DIRECTORY OUTPUT")
    code = main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that the project's import has left running would keep the process
