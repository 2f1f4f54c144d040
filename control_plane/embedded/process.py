"""A server process of the stack: started with its output in a file, ended by its pid, never by its name."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sojourn.control_plane.config import SETTINGS

_PR_SET_PDEATHSIG = 1
_KEPT = frozenset(setting.variable for setting in SETTINGS if setting.scheduler_only)
#: Loaded before any fork: a child that is about to become another program loads nothing.
_LIBC = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):
    """A server did not come up; the text is for the person who started it."""


def start(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own, so that a terminal's Ctrl-C reaches only us.

    It gets `death_signal` from the kernel should we die first: nothing of the stack outlives it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(inherited() if environment is None else environment),
            cwd=directory,
            start_new_session=True,
            preexec_fn=lambda: tie_to_parent(death_signal),
        )


def inherited() -> dict[str, str]:
    """This process's environment less what leads to Nomad clusters: only the scheduler is told, by name."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NOMAD_") and name not in _KEPT}


def tie_to_parent(number: signal.Signals) -> None:
    """Has the kernel send this process a signal when the one that started it is gone."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number))


def end(process: subprocess.Popen[bytes], number: signal.Signals, seconds: float) -> None:
    """Asks a process to end, and makes it."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """What a server said last and where the rest is, for an error message of one line."""
    if not log.exists():
        return f"it wrote no {log}"
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 8_192, 0))
        lines = file.read().decode("utf-8", "replace").splitlines()
    said = [line.strip() for line in lines if any(character.isalnum() for character in line)]
    return f"{said[-1] if said else 'it said nothing'} (the rest is in {log})"


def works_in(directory: Path) -> list[int]:
    """The processes whose working directory that is: a server's main process and its children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
        except OSError:
            continue
    return found
