"""What the threads of a user's process do when its shim is gone."""

from __future__ import annotations

import os
import threading

from sojourn.executor_shim.runner import Runner

INIT = 1


def test_the_thread_that_the_kernel_asks_for_stays_when_its_pipe_is_closed() -> None:
    """A shim that is killed closes its pipes first. Only then the kernel looks for threads that are to be signalled."""
    reading, writing = os.pipe()
    listener = threading.Thread(target=Runner(INIT, -1, reading, -1)._listen, daemon=True)
    listener.start()
    os.close(writing)
    listener.join(0.5)
    assert listener.is_alive()
