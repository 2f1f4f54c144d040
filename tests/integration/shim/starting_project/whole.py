"""Tasks of a file that looks at all variables when it is imported."""

from __future__ import annotations

import os
import time

from sojourn import task

time.sleep(1.5)
BIRTH = os.urandom(8).hex()
ALL = dict(os.environ)


@task
def show(payload):
    return {
        "birth": BIRTH,
        "read": ALL.get("READ_AT_IMPORT", "nothing"),
        "variables": {name: value for name, value in os.environ.items() if name.startswith("OF_")},
    }
