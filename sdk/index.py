"""Indexing in a process of its own: `python -m sojourn.sdk.index DIRECTORY OUTPUT` writes the manifest as JSON.

User code runs here, so that its prints, crashes and imports reach nobody else. Exit 0 with a manifest; 1 with the
reason, and the user's own traceback, on stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

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
        _tell(error, f"error: {error}")
        return 1
    except BaseException as error:
        hint = importing.next_step(error)
        _tell(error, f"error: the project cannot be imported: {type(error).__name__}: {error}{hint}")
        return 1
    Path(output).write_text(text, encoding="utf-8")
    return 0


def _tell(error: BaseException, line: str) -> None:
    import traceback

    trace = _users_own(error)
    if trace is not None or not isinstance(error, TaskDefinitionError):
        traceback.print_exception(type(error), error, trace)
    print(line, file=sys.stderr)


def _users_own(error: BaseException) -> Any:
    """The traceback from the user's first line on; None where no line of the user's ran, as in a syntax error."""
    ours = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), "<frozen importlib")
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    return trace


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m sojourn.sdk.index DIRECTORY OUTPUT")
    code = main(sys.argv[1], sys.argv[2])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that the project's import has left running would keep the process
