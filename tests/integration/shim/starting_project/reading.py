"""Tasks of a file that looks up single variables when it is imported, and starts nothing that goes on."""

from __future__ import annotations

import ctypes
import os
import time

from sojourn import task

time.sleep(1.5)
BIRTH = os.urandom(8).hex()
READ = os.environ.get("READ_AT_IMPORT", "nothing")
os.environ["SET_AT_IMPORT"] = "yes"


@task
def show(payload):
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    native = libc.getenv(b"OF_A_RUN")
    return {
        "birth": BIRTH,
        "pid": os.getpid(),
        "read": READ,
        "set": os.environ.get("SET_AT_IMPORT"),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(("OF_", "OMP_", "READ_"))},
        "native": native.decode() if native is not None else None,
    }
