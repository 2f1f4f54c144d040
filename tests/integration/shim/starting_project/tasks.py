"""Tasks whose import takes long enough for an image to be worth it, and notes what is another's in each process."""

from __future__ import annotations

import os
import random
import ssl
import tempfile
import threading
import time

from sojourn import task

time.sleep(1.5)
#: The same in two processes: they are of one image.
BIRTH = os.urandom(8).hex()
LEFT = tempfile.mkdtemp()
with open(f"{LEFT}/cache", "w", encoding="utf-8") as file:
    file.write("kept")
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


@task
def look(payload):
    with open(f"{LEFT}/cache", encoding="utf-8") as kept:
        left = kept.read()
    return {
        "birth": BIRTH,
        "executor": os.environ["SOJOURN_EXECUTOR"],
        "key": os.environ["SOJOURN_SECRET_KEY"],
        "uid": os.getuid(),
        "owner": os.stat(LEFT).st_uid,
        "namespace": os.stat("/proc/self/ns/pid").st_ino,
        "random": random.random(),
        "tls": ssl.RAND_bytes(8).hex(),
        "left": left,
        "threads": threading.active_count(),
        "directory": os.getcwd(),
        "payload": payload,
        "variables": sorted(name for name in os.environ if name.startswith("OF_")),
    }


@task
def stay(payload):
    time.sleep(payload)
