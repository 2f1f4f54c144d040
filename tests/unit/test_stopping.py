"""Asked to stop in the middle of a wait, as a signal's handler does: at whichever step it comes, the wait ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from sojourn.control_plane.stopping import Stopping

TRIES = 1000
SIGNALLED = f"""
import random, signal
from sojourn.control_plane.stopping import Stopping

for _ in range({TRIES}):
    stopping = Stopping()
    stopping.ask_on(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 50e-6))
    while not stopping.wait(10e-6):
        pass
    stopping.close()
"""


def test_it_may_come_at_any_moment_of_a_wait() -> None:
    """`threading.Event` in its place stays for ever within some hundred tries."""
    subprocess.run([sys.executable, "-c", SIGNALLED], check=True, timeout=60)


def test_it_may_come_while_it_is_being_asked() -> None:
    stopping = Stopping()
    before = signal.getsignal(signal.SIGUSR1)
    stopping.ask_on(signal.SIGUSR1)
    try:
        for _ in range(100_000):  # more than a pipe holds
            stopping.ask()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stopping.wait()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("how", ["thread", "signal"])
def test_a_wait_without_an_end_ends(how: str) -> None:
    stopping = Stopping()
    before = signal.getsignal(signal.SIGALRM)
    stopping.ask_on(signal.SIGALRM)
    try:
        if how == "thread":
            threading.Timer(0.05, stopping.ask).start()
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert stopping.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
