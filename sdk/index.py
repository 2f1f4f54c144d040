"""Indexing in a process of its own: `python -m sojourn.sdk.index DIRECTORY OUTPUT` writes the manifest as JSON.

User code runs here, so that its prints, crashes and imports reach nobody else. Exit 0 with a manifest; 1 with the
reason, and the user's own traceback, on stderr.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from sojourn.sdk import manifest


def main(directory: str, output: str) -> int:
    """Writes the manifest of a project to a file."""
    try:
        found = manifest.collect(Path(directory))
    except SystemExit as error:
        print(
            f"importing the project ended Python ({error.code}): guard it with `if __name__ == '__main__':`",
            file=sys.stderr,
        )
        return 1
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and "sojourn" in trace.tb_frame.f_code.co_filename and trace.tb_next is not None:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
        return 1
    Path(output).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
