"""Tasks that hold much of what a process can hold, stand still until the test lets them go on, and look at it again."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

from sojourn import logger, task, wait

TMP = Path("/tmp")


def stand(name: str = "go") -> None:
    """Says that it stands, and goes on when there is a file of that name."""
    logger.info(f"stands {name}")
    while not (TMP / name).exists():
        time.sleep(0.005)


@task
def nothing(payload: dict[str, Any]) -> dict[str, Any]:
    """As small as can be; `ballast` MB beside it."""
    ballast = os.urandom(payload.get("ballast", 0) << 20)
    secret = "-".join(["canary", payload.get("canary", "none")])
    for step in range(payload.get("times", 1)):
        stand(f"go-{step}")
    return {"pid": os.getpid(), "uid": os.getuid(), "ballast": len(ballast), "secret": len(secret)}


@task
def everything(payload: dict[str, Any]) -> dict[str, Any]:
    """Threads, a pool, a child with pipes, a database in the midst of a transaction, files of all kinds, timers."""
    counts = [0]
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.01):
            counts[0] += 1

    threading.Thread(target=count, daemon=True).start()
    pool = ThreadPoolExecutor(4)
    assert list(pool.map(abs, range(-8, 0))) == [8, 7, 6, 5, 4, 3, 2, 1]
    echo = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert echo.stdin and echo.stdout
    echo.stdin.write(b"before\n")
    echo.stdin.flush()
    database = sqlite3.connect(TMP / "data.sqlite", isolation_level=None)
    database.execute("CREATE TABLE rows (n)")
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(100)])
    notes = (TMP / "notes").open("w+")
    notes.write("kept")
    notes.flush()
    notes.seek(2)
    gone = tempfile.TemporaryFile()  # noqa: SIM115 - it is to be open
    gone.write(b"x" * (3 << 20))
    gone.flush()
    (TMP / "mapped").write_bytes(bytes(4096))
    mapped = mmap.mmap(os.open(TMP / "mapped", os.O_RDWR), 4096)
    mapped[:5] = b"hello"
    shared = shared_memory.SharedMemory(create=True, size=4096)
    shared.buf[:3] = b"abc"
    memory = os.memfd_create("scratch")
    os.write(memory, b"in memory")
    os.mkfifo(TMP / "fifo", 0o600)
    (TMP / "link").symlink_to("/etc/passwd")
    os.link(TMP / "notes", TMP / "same")
    with (TMP / "holes").open("wb") as holes:
        holes.truncate(1 << 40)
    one, other = socket.socketpair()
    one.sendall(b"queued")
    listener = socket.create_server(("127.0.0.1", 0))
    here = socket.socket(socket.AF_UNIX)
    here.bind(str(TMP / "socket"))
    here.listen()
    rung: list[int] = []
    signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
    numbers = _numbers()
    before, clock = counts[0], time.monotonic()

    async def loop() -> str:
        later = asyncio.create_task(asyncio.sleep(payload["sleep"], "slept"))
        await asyncio.to_thread(stand)
        return await later

    slept = asyncio.run(loop())
    echo.stdin.write(b"after\n")
    echo.stdin.flush()
    said = [echo.stdout.readline(), echo.stdout.readline()]
    echo.stdin.close()
    database.execute("COMMIT")
    gone.seek(0)
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(TMP / "socket"))
    told = {
        "slept": slept, "counts": counts[0] > before, "clock": time.monotonic() - clock < payload["sleep"] + 60,
        "pool": list(pool.map(abs, [-1, -2])), "echo": [each.decode() for each in said], "echo exit": echo.wait(10),
        "rows": database.execute("SELECT count(*), sum(n) FROM rows").fetchone(), "notes": [notes.tell(), notes.read()],
        "gone": len(gone.read()), "mapped": bytes(mapped[:5]).decode(), "shared": bytes(shared.buf[:3]).decode(),
        "memory": os.pread(memory, 100, 0).decode(), "link": os.readlink(TMP / "link"), "pair": other.recv(100).decode(),
        "same": os.stat(TMP / "same").st_nlink, "holes": [os.stat(TMP / "holes").st_size, os.stat(TMP / "holes").st_blocks],
        "listens": listener.getsockname()[1] > 0, "numbers": _numbers() == numbers, "uid": os.getuid(),
        "owners": sorted({os.lstat(each).st_uid for each in TMP.iterdir() if each.is_file()}),
    }  # fmt: skip
    deadline = time.monotonic() + 10
    rung.clear()
    while not rung and time.monotonic() < deadline:
        time.sleep(0.01)
    signal.setitimer(signal.ITIMER_REAL, 0)
    shared.close()
    shared.unlink()
    stop.set()
    return told | {"rung": bool(rung)}


def _numbers() -> list[float]:
    try:
        import numpy
    except ImportError:
        return [1.0]
    return [float(each) for each in numpy.linspace(0, 1, 5) @ numpy.eye(5)]


@task
def chatty(payload: dict[str, Any]) -> dict[str, Any]:
    """Logs long lines and prints short ones until it may end; how many."""
    count = 0
    while not (TMP / "go").exists():
        logger.info(f"line {count}", padding="x" * payload["padding"])
        print(f"printed {count}", flush=True)
        count += 1
    return {"count": count}


@task
def draws(payload: dict[str, Any]) -> dict[str, Any]:
    """Numbers after a wait, of generators that were in use before it."""
    import ssl

    random.seed(7)
    foretold = random.random()
    random.seed(7)
    ssl.RAND_bytes(8)
    wait.for_(days=1)
    return {"foretold": foretold, "random": random.random(), "tls": ssl.RAND_bytes(8).hex(), "uuid": uuid.uuid4().hex}


@task
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """What it was given."""
    return payload


@task
def greedy(payload: dict[str, Any]) -> dict[str, Any]:
    """Takes memory when it may go on."""
    stand()
    return {"took": len(os.urandom(payload["megabytes"] << 20))}
