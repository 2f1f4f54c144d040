"""How the end of a process is told, in the words that a run's history shows."""

from __future__ import annotations

import signal


def told(exit_code: int) -> str:
    """`exit_code` as Python has it: negative for the signal that ended the process."""
    if exit_code >= 0:
        return f"its process exited with code {exit_code}"
    try:
        return f"its process was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"its process was ended by signal {-exit_code}"
