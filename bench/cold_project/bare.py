"""A task that imports nothing."""

import time

from sojourn import Retry, task


@task(retry=Retry(max_attempts=1))
def bare(payload):
    return time.time()
