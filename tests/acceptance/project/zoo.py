"""Tasks that end in every way there is."""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from sojourn import AbortTaskRunError, Retry, context, logger, metadata, task

ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=3, min_timeout=0.05, max_timeout=0.1)


@task(retry=ONCE)
def echo(payload):
    return payload


@task(retry=QUICK)
def fails_until(payload):
    if context.attempt.number < payload["until"]:
        raise ValueError(f"attempt {context.attempt.number}")
    return {"n": payload["n"], "attempts": context.attempt.number}


@task(retry=QUICK)
def always_fails(payload):
    raise RuntimeError("never works")


@task(retry=QUICK)
def aborts(payload):
    raise AbortTaskRunError("no use")


@task(retry=ONCE)
def exits(code):
    os._exit(code)


@task(retry=ONCE)
def leaves(code):
    sys.exit(code)


@task(retry=ONCE)
def signals(number):
    if number == signal.SIGSEGV:
        ctypes.string_at(0)
    os.kill(os.getpid(), number)
    time.sleep(5)


@task(retry=ONCE, machine="micro")
def eats_memory(payload):
    kept = []
    while True:
        kept.append(bytearray(16 * 1024 * 1024))
        time.sleep(0.02)


@task(retry=ONCE, max_duration=5)
def too_long(payload):
    time.sleep(60)


@task(retry=Retry(max_attempts=2, min_timeout=0.05))
def sleeps(seconds):
    print("sleeping", flush=True)
    time.sleep(seconds)
    return "rested"


@task(retry=Retry(max_attempts=2, min_timeout=0.05))
def sleeps_at_first(seconds):
    """Its first attempt alone."""
    print("sleeping", flush=True)
    time.sleep(seconds if context.attempt.number == 1 else 0)


@task(retry=ONCE)
def forks_a_daemon(mark):
    code = "import sys, time; print('up', flush=True); time.sleep(300)"
    daemon = subprocess.Popen([sys.executable, "-c", code, mark], start_new_session=True, stdout=subprocess.PIPE)
    daemon.stdout.readline()
    os._exit(3)


@task(retry=ONCE)
def prints(payload):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logger.info("to the logger", answer=42)
    logging.getLogger("shop").info("to logging")
    print("x" * 100_000)
    return


@task(retry=ONCE)
def returns(what):
    return {
        "nan": float("nan"),
        "nul": "\x00",
        "surrogate": "\ud800",
        "big": 10**5000,
        "generator": (n for n in range(3)),
    }[what]


@task(retry=ONCE)
def waits_for(payload):
    print("waiting for the gate", flush=True)
    while not os.path.exists(payload["file"]):
        time.sleep(0.05)
    print("the gate is open", flush=True)
    return "through"


@task(retry=QUICK)
def waits_in_turn(payload):
    """Each attempt has a gate of its own."""
    while not os.path.exists(f"{payload['gates']}/{context.attempt.number}"):
        time.sleep(0.05)
    return {"attempt": context.attempt.number, "filling": "x" * payload["filling"]}


@task(retry=ONCE)
def looks_around(payload):
    """What a task sees of the node: its own privileges, other processes, these files, these TCP addresses."""
    with open("/proc/self/status") as file:
        status = {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    return {
        "uid": os.getuid(),
        "capabilities": int(status["CapEff"], 16),
        "noNewPrivileges": status["NoNewPrivs"],
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "seen": [path for path in payload["paths"] if os.path.exists(path)],
        "reached": [address for address in payload["addresses"] if reaches(*address)],
        "variables": [name for name in os.environ if name.startswith("NOMAD_")],
    }


def reaches(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


@task(retry=ONCE)
def measures(payload):
    """The size of its payload in its metadata, while it goes on, and the payload back."""
    metadata.set("chars", len(payload["text"])).increment("n", 2)
    metadata.root.increment("measured")
    time.sleep(payload.get("seconds", 0))
    metadata.increment("n")
    return payload["text"]


@task(retry=ONCE)
def measures_twice(payload):
    """Two runs with one debounce key are one, whose output both have."""
    options: dict[str, Any] = {"debounce": {"key": context.run.id, "delay": 5, "mode": "trailing"}}
    first = measures.trigger({"text": "never"}, **options)
    told = measures.trigger_and_wait(payload, **options).unwrap()
    return {"same": len(told) == len(payload["text"]), "first": len(first.result().unwrap())}


@task(retry=ONCE)
def variables(names):
    return {name: os.environ.get(name) for name in names}
