"""Tasks that end in every way there is."""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time

from sojourn import context, logger, metadata, task

STATE = {"runs": 0}
#: A number of a process may be used again.
PROCESS = os.urandom(8).hex()


@task
def hello(payload):
    STATE["runs"] += 1
    print("hi", payload)
    return {"process": PROCESS, "runs": STATE["runs"], "init": vars(builtins)["init_was_imported"]}


@task(id="env")
def environment(payload):
    told = {name: os.environ.get(name) for name in payload["names"]}
    os.environ["LEFT_BEHIND"] = "yes"
    os.chdir("/")
    return {"told": told, "all": sorted(os.environ), "process": PROCESS}


@task
def count(payload):
    """Changes its metadata, goes on for a while if that is asked, and ends in some way."""
    for _ in range(payload["times"]):
        metadata.increment("n")
    metadata.parent.set("seen", True)
    time.sleep(payload.get("seconds", 0))
    if payload.get("fails"):
        raise ValueError("as it was asked")
    if payload.get("exits"):
        os._exit(3)
    return metadata.current()


@task
def speak(payload):
    print("one")
    logger.info("two", number=2)
    print("three", file=sys.stderr)
    logging.getLogger("lib").warning("four")
    sys.stdout.write("five without an end")


@task
def end(payload):
    """Ends its process in the way that is asked for."""
    print("last words", file=sys.stderr)
    how = payload["how"]
    if how == "exit":
        os._exit(payload["code"])
    elif how == "sys.exit":
        sys.exit(payload["code"])
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "memory_error":
        raise MemoryError("no more")
    elif how == "abort":
        os.abort()
    elif how == "close":
        os.closerange(3, 256)
        time.sleep(60)
    elif how == "recursion":
        end.function(payload)
    elif how == "garbage":
        os.write(5, b"\x00\x00\x00\x04nope")
        time.sleep(60)
    else:
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)


@task
def grow(payload):
    """Takes memory and keeps it."""
    kept = []
    while True:
        kept.append(b"x" * (8 << 20))
        time.sleep(0.005)


@task
def share(payload):
    """Children that share their parent's memory: no more of it than the parent has."""
    kept = bytearray(b"x" * (60 << 20))
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.6)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return len(kept)


@task
def daemon(payload):
    """Leaves processes behind: a child, one of another session, one that held on to every pipe."""
    started = [
        subprocess.Popen(["sleep", "300"]).pid,
        subprocess.Popen(["sleep", "300"], start_new_session=True, env={}).pid,
    ]
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
            time.sleep(300)
        os._exit(0)
    started.append(int(os.read(read, 100)))
    if payload and payload.get("exit"):
        os.write(1, f"left {started}\n".encode())
        os._exit(payload["exit"])
    if payload and payload.get("stay"):
        logger.info("left", pids=[*started, os.getpid()])
        time.sleep(300)
    return [*started, os.getpid()]


@task
def bomb(payload):
    """Every process starts others, down to a depth: 2 + 4 + 8 of them."""
    code = "import os,time\nfor _ in range(3):\n  os.fork()\ntime.sleep(300)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    time.sleep(0.2)
    os._exit(9)


@task
def come_back_twice(payload):
    """A copy of the process comes back from the task, too."""
    return {"pid": os.getpid(), "child": os.fork()}


@task
def long_line(payload):
    for _ in range(50):
        os.write(2, b"x" * (1 << 20))
    os.write(2, b"\nafter\n")


@task
def flood(payload):
    """Prints as fast as it can for so many MB."""
    chunk = b"a line of the flood\n" * 3276
    for _ in range(payload["mb"] * 16):
        os.write(1, chunk)
    os.write(1, b"the last line\n")
    return "done"


@task
def odd_bytes(payload):
    os.write(1, b"\xff\xfe bad utf-8\nnul \x00 and \x1b[31mred\x1b[0m\r\nlast")


@task
def nap(payload):
    """Sleeps; a cancellation is noticed."""
    logger.info("sleeping", pid=os.getpid())
    try:
        time.sleep(payload.get("seconds", 60))
    finally:
        print("finally")


@nap.on_cancel
def nap_cancelled(payload):
    print("on_cancel", payload["name"])


@task
async def async_nap(payload):
    logger.info("sleeping")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled")
        raise


@task
def stubborn(payload):
    """Does not let itself be stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logger.info("stubborn", pid=os.getpid())
    while True:
        try:
            time.sleep(60)
        except BaseException as error:
            print("not me", type(error).__name__)


@task
def busy(payload):
    """Holds the interpreter."""
    logger.info("busy")
    until = time.monotonic() + payload["seconds"]
    while time.monotonic() < until:
        pass
    return "done"


@task
def cooperative(payload):
    """Ends when its signal is set."""
    context.signal.wait(60)
    print("signal seen")
    return "late"


@task
def flaky(payload):
    """Fails until its third attempt, and leaves a thread that prints."""
    threading.Thread(target=_chatter, daemon=True).start()
    print("attempt", context.attempt.number)
    if context.attempt.number < 3:
        raise ValueError("not yet")
    return {"attempt": context.attempt.number, "pid": os.getpid()}


def _chatter():
    while True:
        print("chatter")
        time.sleep(0.001)


@task
def big(payload):
    return {"length": len(payload["text"]), "text": "é" * 1_000_000}


@task
def many_logs(payload):
    for number in range(payload["count"]):
        logger.info("line", number=number)
    if payload.get("nap"):
        time.sleep(payload["nap"])
