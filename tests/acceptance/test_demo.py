"""`make demo` as its user would run it: with a terminal it stays to be looked at, without one it ends by itself."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

from tests.support import stack

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "tools/demo.py"]
_PATIENCE = 300


def settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("SOJOURN_")}


def until(terminal: int, wanted: str) -> str:
    """What a program wrote to its terminal, up to some words."""
    told, deadline = "", time.monotonic() + _PATIENCE
    while wanted not in told:
        assert time.monotonic() < deadline, told
        if select.select([terminal], [], [], 1)[0]:
            told += os.read(terminal, 65536).decode("utf-8", "replace")
    return told


def on_its_terminal() -> None:
    """As a shell starts it: the terminal is its own, and Ctrl-C is heard, also where these tests run behind a shell's &."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ioctl(0, termios.TIOCSCTTY, 0)


def test_on_a_terminal_it_stays_until_interrupted() -> None:
    terminal, other = pty.openpty()
    demo = subprocess.Popen(
        DEMO, cwd=ROOT, env=settings(), stdin=other, stdout=other, stderr=other, start_new_session=True,
        preexec_fn=on_its_terminal,
    )  # fmt: skip
    os.close(other)
    try:
        told = until(terminal, "# another link")
        link = re.search(r"dashboard: (\S+)", told)
        data = re.search(r"SOJOURN_DATA_DIR=(\S+)", told)
        assert link and data
        with build_opener(HTTPCookieProcessor()).open(link[1], timeout=90) as page:
            assert "flaky" in page.read().decode()
        os.write(terminal, b"\x03")
        until(terminal, "stopping")
        assert demo.wait(_PATIENCE) == 0
        assert not Path(data[1]).exists()
    finally:
        demo.terminate()
        demo.wait(_PATIENCE)
        os.close(terminal)


def test_interrupted_while_it_starts_it_leaves_nothing() -> None:
    room = Path(tempfile.mkdtemp(prefix="sj-"))
    terminal, other = pty.openpty()
    demo = subprocess.Popen(
        DEMO, cwd=ROOT, env={**settings(), "TMPDIR": str(room)}, stdin=other, stdout=other, stderr=other,
        start_new_session=True, preexec_fn=on_its_terminal,
    )  # fmt: skip
    os.close(other)
    try:
        stack.until(lambda: list(room.glob("sojourn-demo-*/postgres/*")), _PATIENCE, "servers are being started")
        os.write(terminal, b"\x03")
        told = until(terminal, "stopping")
        assert demo.wait(_PATIENCE) in (0, 130) and "Traceback" not in told
        assert (processes_of(room), list(room.iterdir())) == ([], [])
    finally:
        demo.terminate()
        demo.wait(_PATIENCE)
        os.close(terminal)
        shutil.rmtree(room, ignore_errors=True)


def processes_of(room: Path) -> list[str]:
    """The commands of processes that have to do with a directory, by their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            found += [command.decode("utf-8", "replace")] if bytes(room) in command else []
    return found


def test_without_one_it_ends_by_itself() -> None:
    done = subprocess.run(
        DEMO, cwd=ROOT, env=settings(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dashboard: http" in done.stdout and "Ctrl-C" not in done.stdout
