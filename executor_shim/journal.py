"""The shim's own log: lines on its stderr, which its placement keeps."""

from __future__ import annotations

import os
import sys
import time


def note(text: str) -> None:
    """Writes a line with the time (UTC) and the shim's pid."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        print(f"{moment} [{os.getpid()}] {text}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # a full disk or a closed log is no reason to end a run
