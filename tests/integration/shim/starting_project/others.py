"""Another file of the same version."""

from __future__ import annotations

import os

from sojourn import task

BIRTH = os.urandom(8).hex()


@task
def other(payload):
    return {"birth": BIRTH}
