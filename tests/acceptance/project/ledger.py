"""A task that writes down when each of its attempts lived, in a file that is the test's and not the platform's."""

import json
import os
import time

from sojourn import Retry, context, task

TICK = 0.05


@task(retry=Retry(max_attempts=3, min_timeout=0.05, max_timeout=0.1))
def notes(payload):
    _write(payload["path"], "begin")
    until = time.monotonic() + payload["seconds"]
    while time.monotonic() < until:
        time.sleep(TICK)
        _write(payload["path"], "tick")
    _write(payload["path"], "end")
    return {"n": payload.get("n"), "attempt": context.attempt.number}


def _write(path, what):
    line = {"run": context.run.id, "attempt": context.attempt.number, "pid": os.getpid(), "what": what, "at": time.time()}
    note = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(note, json.dumps(line).encode() + b"\n")
    os.close(note)
