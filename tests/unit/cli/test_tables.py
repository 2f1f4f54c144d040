"""Tables: nobody gets half an id, on a terminal or through a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

RUN = "run_01m8ffaseznngt77dhr5t4m20f"
MESSAGE = "msg_0123456789abcdef0123456789abcdef"
PROGRAM = f"""
from sojourn.cli import output
first = ("COMPLETED", "a task with a rather long name", "{RUN}", "12 ms", "2026-01-31T08:00:00.000Z")
rows = [first, ("QUEUED", "b", "{RUN}", "", "")]
output.table(("status", "task", "run", "duration", "triggered"), rows)
output.table(("message", "what"), [("{MESSAGE}", "an error " * 9)])
"""


def on_terminal(columns: int) -> str:
    """What the program prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=theirs, stderr=theirs, stdin=theirs, env=environment | {"TERM": "xterm"}
    )
    os.close(theirs)
    said = b""
    try:
        while more := os.read(ours, 4096):
            said += more
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0
    return said.decode()


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_ids_stay_whole_on_a_terminal(columns: int) -> None:
    shown = on_terminal(columns)
    assert shown.count(RUN) == 2 and MESSAGE in shown


def test_other_columns_shrink_first() -> None:
    lines = [line for line in on_terminal(80).splitlines() if RUN in line]
    assert len(lines) == 2 and "rather long name" not in lines[0]


def test_nothing_is_broken_in_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 5
    assert "a task with a rather long name" in done.stdout and "2026-01-31T08:00:00.000Z" in done.stdout
