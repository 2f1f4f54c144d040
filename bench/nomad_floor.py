"""The least that a cold start in Python can be: a process with the shim's imports and one with those of a user's process.

A Nomad task of `bench/cases/nomad.py`: `python nomad_floor.py shim|user PORT SECONDS`. The second process sends the clock
(seconds since 1970) to a local UDP port, with the task's tag, and stays for SECONDS; the first waits for it.
"""

from __future__ import annotations

import os
import sys


def shim(arguments: list[str]) -> int:
    """What a shim imports in an allocation; nothing is asked of anybody. The exit code."""
    import sojourn.executor_shim.allocation
    import sojourn.executor_shim.journal
    import sojourn.executor_shim.sandbox.keeper
    import sojourn.executor_shim.shim  # noqa: F401

    pid = os.posix_spawn(sys.executable, [sys.executable, "-P", __file__, "user", *arguments], os.environ)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def user(port: int, seconds: float) -> int:
    """What a user's process imports, the project included."""
    from pathlib import Path

    import sojourn.executor_shim.runner  # noqa: F401
    from sojourn.sdk import manifest

    manifest.load(Path(__file__).parent / "project", "noop.py")
    import socket
    import time

    now = time.time()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(f"{os.environ['NOMAD_META_executor']} {now!r}".encode(), ("127.0.0.1", port))  # noqa: SIM112
    time.sleep(seconds)
    return 0


if __name__ == "__main__":
    sys.exit(shim(sys.argv[2:]) if sys.argv[1] == "shim" else user(int(sys.argv[2]), float(sys.argv[3])))
