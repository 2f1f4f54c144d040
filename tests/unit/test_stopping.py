"""Asked to stop in the middle of a wait, as a signal's handler does: at whichever step it comes, the wait ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from sojourn.control_plane.stopping import Stopping


def asked_at(stopping: Stopping, step: int) -> bool:
    """One `wait` of no time in which `ask` is called at that step of its code; whether it came so far."""
    steps = iter(range(10_000))
    did_ask = False

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal did_ask
        if next(steps) == step:
            sys.settrace(None)
            did_ask = True
            stopping.ask()
        return trace

    sys.settrace(trace)
    try:
        stopping.wait(0)
    finally:
        sys.settrace(None)
    return did_ask


def test_it_may_come_at_any_step_of_a_wait() -> None:
    step = 0
    while asked_at(stopping := Stopping(), step):
        assert stopping.is_asked and stopping.wait()
        step += 1
    assert step > 2
    assert not stopping.is_asked and not stopping.wait(0)


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
